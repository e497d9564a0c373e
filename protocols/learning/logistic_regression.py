"""Logistic regression, for rows or columns that lie at different owners.

Objective as in scikit-learn's `LogisticRegression`: ½‖w‖² + C·Σ log(1 + e^−yu), intercept unpenalised, on the scaled
columns. More than two classes: one model for each against the rest.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

import mpc
from protocols.learning.convergence import minimised
from protocols.learning.gradient import WEIGHTS, Steps, gradient_steps
from protocols.learning.newton_bound import IRLS_BITS, Form, Newton, irls, newton_bound
from protocols.learning.owners import X_BITS, Partition, Scaled, Scaling, classes_of, gathered, number, shared_labels

__all__ = ["logistic_regression"]

Solver = Literal["auto", "sgd", "newton-bound", "irls"]
_MARGIN = 100.0  # |Xw|
_MOST_COLUMNS = 256  # of irls: it inverts a matrix at every step
_TIMES = {"newton-bound": 80, "irls": 8}


@mpc.program
def logistic_regression(
    data: mpc.PerParty[mpc.Table],
    label: str,
    partition: Partition = "horizontal",
    solver: Solver = "auto",
    steps: int | None = None,
    learning_rate: float | None = None,
    momentum: float | None = None,
    batch_size: int | None = None,
    C: float = 1.0,
    fit_intercept: bool = True,
    scale: Scaling = "standard",
    ranges: dict | None = None,  # type: ignore[type-arg]
    clip: bool = False,
    margin: float | None = None,
    form: Form = "auto",
    tolerance: float = 1e-3,
    seed: int = 0,
) -> dict[str, Any]:
    """A logistic regression over tables of several owners; the rows stay with them.

    label: the column with the classes; for more than two, one model for each against the rest, all in the same rounds.
    partition: `horizontal`, every owner has other rows of the same columns; `vertical`, other columns of the same rows
    in the same order, the label at one of them.
    solver: `auto` takes the cheapest that is exact: `irls` for two classes, `newton-bound` for more, or beyond 256
    columns, and `sgd` if its steps, rate, momentum or batches are stated, without a penalty or standardisation.
    `newton-bound` (80 steps with one fixed matrix, `form` kernel or primal; the closest to scikit-learn for its
    rounds), `irls` (8 exact Newton steps, two classes), both with scale=standard and a penalty; `sgd` gradient steps.
    Scaled columns stand at 10 fraction bits, with irls at 14; that moves coefficients in proportion to C: on breast
    cancer by 2e-3·C, with irls by 1e-4·C.
    steps, learning_rate, momentum: of sgd; without any of them 500 steps of 4/(d + 1) with momentum 0.9; if steps or a
    rate are given, plain gradient steps unless a momentum is given too. batch_size: rows a step of sgd, all unless
    given; a fixed public order of the rows by `seed`, the last partial batch left out. C: as in scikit-learn; 0 for no
    penalty, with sgd.
    scale: `standard`: columns are standardised, over all rows where owners share columns (pooled mean and variance are
    revealed), by each owner alone where they do not; `range`: by the declared `ranges`, {column = [lo, hi]}, which
    reveals nothing; `none`: values as they are, within ±16. A scaled value beyond ±16 is refused, or clipped with
    `clip`. margin: the stated bound of |Xw| in training.
    Results: coef and intercept in the columns' own units (a row for each of more than two classes), classes, n_iter,
    features, converged: whether the gradient of the loss, computed once more at the result, is at most `tolerance`
    times what it was at the start, with every |Xw| within the margin: a step that went wrong cannot make it true.
    Revealed besides: pooled mean and variance (horizontal, standard), and the bit `converged`. Row counts, column names
    and class labels are public.
    """
    tables = list(data)
    classes = classes_of(tables, label)
    _check_settings(steps, learning_rate, momentum, C)
    stated = [v for v in (steps, learning_rate, momentum, batch_size) if v is not None]
    if solver == "auto":
        solver = _chosen(bool(stated), scale, C, len(classes), sum(len(t.columns) for t in tables))
    if solver != "sgd":
        _check_newton(solver, scale, C, batch_size, len(classes))
    margin = _MARGIN if margin is None else margin
    if not 0.5 <= margin <= 200:
        raise mpc.UsageError(f"margin must lie between 0.5 and 200, not {margin}")
    scaled = Scaled(scale, ranges or {}, clip, IRLS_BITS if solver == "irls" else X_BITS)
    X, y, units, features = gathered(tables, label, partition, scaled, lambda t: shared_labels(t, label, classes))
    n, d = X.shape
    whole = mpc.concatenate([X, np.ones((n, 1))], axis=1) if fit_intercept else X
    ridge = np.array([1.0 / C if C else 0.0] * d + [0.0] * fit_intercept)
    if solver == "sgd":
        w, facts = _descended(X, y, fit_intercept, steps, learning_rate, momentum, batch_size, C, margin, seed)
    else:
        times = steps if steps is not None else _TIMES[solver]
        newton = Newton(times, 1.0 / C, margin, fit_intercept)
        w, _ = newton_bound(whole, y, newton, form) if solver == "newton-bound" else irls(whole, y, newton)
        facts = {"n_iter": times}
    sure = minimised(whole, y, w, ridge, margin, WEIGHTS, tolerance)
    coef, intercept = units.own(w, d, fit_intercept)
    return {
        "coef": coef,
        "intercept": intercept,
        "classes": [number(c) for c in classes],
        **facts,
        "features": features,
        "solver": solver,
        "converged": mpc.reveal(sure, name="converged"),
        **units.revealed,
    }


def _descended(
    X: Any,
    y: Any,
    intercept: bool,
    steps: int | None,
    learning_rate: float | None,
    momentum: float | None,
    batch_size: int | None,
    C: float,
    margin: float,
    seed: int,
) -> tuple[Any, dict[str, Any]]:
    """Weights by gradient steps, and the schedule."""
    n, d = X.shape
    batch = n if batch_size is None else batch_size
    if not 1 <= batch <= n:
        raise mpc.UsageError(f"batch_size must be between 1 and the {n} rows, not {batch}")
    own_schedule = steps is None and learning_rate is None
    schedule = Steps(
        500 if steps is None else steps,
        4.0 / (d + 1) if learning_rate is None else learning_rate,
        momentum if momentum is not None else 0.9 if own_schedule else 0.0,
        batch,
        1.0 / (n * C) if C else 0.0,
    )
    penalised = np.array([1.0] * d + [0.0] * intercept)
    w, _ = gradient_steps(X, y, penalised, schedule, margin, intercept=intercept, seed=seed if batch < n else None)
    facts = {"n_iter": schedule.times, "learning_rate": schedule.rate, "momentum": schedule.momentum}
    return w, facts


def _chosen(stated: bool, scale: Scaling, c: float, classes: int, columns: int) -> Solver:
    """The solver that costs least for results that do not depend on its steps."""
    if stated or scale != "standard" or not c:
        return "sgd"
    return "irls" if classes == 2 and columns <= _MOST_COLUMNS else "newton-bound"


def _check_newton(solver: str, scale: str, c: float, batch_size: int | None, classes: int) -> None:
    if scale != "standard":
        raise mpc.UsageError(f"solver {solver} needs standardised columns: scale=standard, or solver=sgd")
    if not c:
        raise mpc.UsageError(f"solver {solver} needs a penalty, C > 0, or solver=sgd")
    if batch_size is not None:
        raise mpc.UsageError(f"solver {solver} takes all rows at every step; batch_size is for solver=sgd")
    if solver == "irls" and classes > 2:
        raise mpc.UsageError(f"solver irls is for two classes, not {classes}: use newton-bound or sgd")


def _check_settings(steps: int | None, rate: float | None, momentum: float | None, c: float) -> None:
    if steps is not None and steps < 1:
        raise mpc.UsageError(f"steps must be at least 1, not {steps}")
    if rate is not None and not 0 < rate < 1e3:
        raise mpc.UsageError(f"learning_rate must be positive, not {rate}")
    if momentum is not None and not 0 <= momentum < 1:
        raise mpc.UsageError(f"momentum must lie in [0, 1), not {momentum}")
    if not 0 <= c < math.inf:
        raise mpc.UsageError(f"C must be 0 (no penalty) or positive, not {c}")
