"""Logistic regression by two kinds of Newton steps: with a fixed bound of the Hessian, and with the Hessian itself.

The objective is scikit-learn's divided by C: Σ log(1 + e^u) − y·u + ½ wᵀRw with R = 1/C on the diagonal, 0 for the
intercept. Columns must be standardised: then Σx² = n for each, entries of XᵀX lie within ±n, the intercept's column of
ones is orthogonal to the others, and the smallest eigenvalue is that of the penalty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import mpc
from protocols.learning.owners import X_BITS

__all__ = ["Form", "Newton", "irls", "newton_bound"]

Form = Literal["auto", "kernel", "primal"]
_KERNEL_ROWS = 2000  # up to so many, an n × n matrix costs less than a round a step
IRLS_BITS = 14  # of X: rounding it to 10 bits moves coefficients of breast cancer by 1e-3, to 14 by 7e-5
_BACK_BITS = 23  # of G⁻¹Xᵀ; with X it makes a kernel of 33 bits, and nothing of n² words is ever truncated
_REFINED = 3  # steps of Newton-Schulz from one Hessian's inverse to the next one's
_EIGHTHS = 8  # of the momentum: 3 bits
_WEIGHTS = 64.0
_BALANCE = 1.01  # standardised columns, rounded to 10 bits: Σx² is n within a hundredth


@dataclass(frozen=True)
class Newton:
    """How many steps, 1/C, the bound of |Xw|, and whether the last column is the intercept's."""

    steps: int
    penalty: float
    margin: float
    intercept: bool

    def ridge(self, columns: int) -> np.ndarray:
        """R's diagonal."""
        return np.array([self.penalty] * (columns - self.intercept) + [0.0] * self.intercept)


def newton_bound(X: Any, y: Any, newton: Newton, form: Form = "auto") -> tuple[Any, Any]:
    """Weights, and those of the step before, by Böhning's fixed bound of the Hessian with Nesterov's momentum.

    X: secret (n, d) at 10 fraction bits, standardised; y: secret (n,) or (n, k) of 0 and 1. G = XᵀX + 4R bounds four
    times the Hessian. With u = Xv a step is w ← G⁻¹Xᵀ(u + 4(y − σ(u))), v ← w + β(w − w before).
    `kernel`: A = XG⁻¹Xᵀ is opened once (n² words), then a step is u ← A(u + 4(y − σ(u))), 2 rounds and 2n words for
    each model; `primal`: 3 rounds and 2n + d words; `auto` takes the kernel up to 2,000 rows.
    Security: rule 1; the rounding of the sigmoid depends on masks, which `accept_rounding` states.
    Source: Böhning, "Multinomial logistic regression algorithm" (1992); Nesterov (1983).
    """
    n, d = X.shape
    inner = 59 - X_BITS - _BACK_BITS - math.ceil(math.log2(newton.margin))  # 3 bits are the momentum's
    gram = mpc.bounded(X.T @ X, -_BALANCE * n, _BALANCE * n) + 4.0 * np.diag(newton.ridge(d))
    smallest = min(4.0 * newton.penalty, n / _BALANCE) if newton.intercept else 4.0 * newton.penalty
    largest = _BALANCE * n * d + 4.0 * newton.penalty * d
    inverse = mpc.inverse(gram, smallest=smallest, largest=largest)
    back = mpc.rescale(mpc.bounded(inverse @ X.T, -1.0 / math.sqrt(smallest), 1.0 / math.sqrt(smallest)), _BACK_BITS)
    momentum = mpc.constant(np.array([min(round(_EIGHTHS * t / (t + 3)), 7) for t in range(newton.steps)]), 0)

    def pushed(u: Any) -> Any:
        return mpc.rescale(u, inner) + 4 * y - mpc.sigmoid(u, gain=4.0, scale=inner)

    def ahead(i: Any, now: Any, before: Any) -> Any:
        return now + (now - before) * momentum[i] / _EIGHTHS

    def limited(u: Any) -> Any:
        return mpc.assume_range(u, -newton.margin, newton.margin)

    if form == "kernel" or (form == "auto" and n <= _KERNEL_ROWS):
        kernel = mpc.bounded(X @ back, -1.0, 1.0)

        def step(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
            u, before = state
            v = limited(ahead(i, u, before))
            return mpc.accept_rounding(limited(kernel @ pushed(v))), u

        start = mpc.constant(np.zeros(y.shape), kernel.type.scale + inner)
        ends = mpc.repeat(newton.steps - 1, step, (start, start))
        return tuple(_weights(back @ pushed(u)) for u in ends)

    def primal(i: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        w, before = state
        u = limited(X @ ahead(i, w, before))
        return _weights(back @ pushed(u)), w

    start = mpc.constant(np.zeros((d, *y.shape[1:])), _BACK_BITS + inner)
    w, before = mpc.repeat(newton.steps, primal, (start, start))
    return w, before


def _weights(w: Any) -> Any:
    return mpc.accept_rounding(mpc.assume_range(w, -_WEIGHTS, _WEIGHTS))


def irls(X: Any, y: Any, newton: Newton) -> tuple[Any, Any]:
    """Weights, and those of the step before, by Newton's steps with the exact Hessian (iteratively reweighted squares).

    X: secret (n, d) at 14 fraction bits, standardised; y: secret (n,). H = Xᵀ diag(p(1 − p)) X + R is inverted once, at
    w = 0, by Newton-Schulz; every step takes up the inverse of the one before and refines it three times, which is
    right as long as no eigenvalue of the Hessian doubles from one step to the next. It shrinks while weights grow: on
    nine sets of data, heavy tails and separable ones among them, none grew by more than a tenth.
    A step: 21 rounds, n·d + 4n words and six products of (d, d). Security: as `newton_bound`.
    """
    n, d = X.shape
    ridge = newton.ridge(d)
    largest = n * d / 4 * _BALANCE + newton.penalty * d
    # the intercept alone has no penalty to hold it up: with so few steps an inverse only comes out too small, never
    # too large, where the Hessian is flatter than this
    smallest = newton.penalty / (4.0 if newton.intercept else 1.0)
    spread_bits = min(24, 60 - 2 * IRLS_BITS - max(0, math.ceil(math.log2(n / 4 * _BALANCE))))
    halvings = math.ceil(math.log2(largest)) - math.floor(math.log2(smallest))

    def inverse(curved: Any, steps: int, near: Any = None) -> Any:
        hessian = mpc.bounded(curved, -n / 4 * _BALANCE, n / 4 * _BALANCE) + np.diag(ridge)
        return mpc.inverse(hessian, smallest=smallest, largest=largest, steps=steps, near=near)

    def step(_: Any, state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        w, _before, near = state
        u = mpc.assume_range(X @ w, -newton.margin, newton.margin)
        p = mpc.accept_rounding(mpc.bounded(mpc.sigmoid(u, scale=30), -1e-3, 1.0 + 1e-3))
        spread = mpc.rescale(mpc.bounded(p - p * p, -1e-3, 0.25), spread_bits)
        gradient = X.T @ (y - p) - w * ridge
        gradient = mpc.rescale(mpc.assume_range(gradient, -_BALANCE * n, _BALANCE * n), 20)
        refined = inverse(X.T @ (X * spread.reshape(-1, 1)), _REFINED, near)
        change = mpc.rescale(mpc.assume_range(refined @ gradient, -_WEIGHTS, _WEIGHTS), 20)
        return _weights(w + change), w, refined

    start = mpc.constant(np.zeros(d), 20)
    w, before, _ = mpc.repeat(newton.steps, step, (start, start, inverse(X.T @ X / 4, halvings)))
    return w, before
