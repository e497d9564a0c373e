#!/usr/bin/env python3
"""Measure every function of the language and write docs/functions.md: range, largest error, rounds, bytes.

    functions.py [--points 100000] [--write]        without --write the table goes to standard output

Errors are those of the real protocol in one process (`mpc.emulate`) against numpy in float64 on the same inputs, which
stand at 16 fraction bits; costs are those of `plan`, which are exact.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mpc

TARGET = Path(__file__).resolve().parents[1] / "docs" / "functions.md"
PARTIES = ("alice", "bob", "carol", "dave", "erin")
COUNTS = (2, 3, 5)
CHUNK = 8192  # elements that one emulation holds in memory at a time, all parties together
ROW = 16  # elements that sort, max and their kin take at a time


def _stride(n: int) -> int:
    """A number without common factor with n: steps of it visit every place once, far from its neighbours."""
    return next(k for k in range(int(n * 0.38) + 1, 2 * n + 2) if math.gcd(k, n) == 1)


@dataclass(frozen=True)
class Case:
    """One line of the table. f: of one secret array; known: the same in numpy. row: elements that f takes together."""

    name: str
    f: Callable[[Any], Any]
    known: Callable[[Any], Any]
    lo: float
    hi: float
    row: int = 1
    bits: int | None = 24  # revealed; None: as many as rule 8 allows

    def program(self) -> mpc.ProgramFunction:
        """The function applied to one private array, and the result revealed."""

        def table(x: mpc.Private) -> Any:
            y = self.f(mpc.share(x, range=(self.lo, self.hi)))
            return mpc.reveal(mpc.accept_rounding(y) if self.bits is None else y, bits=self.bits or 24)

        return mpc.program(table)

    def points(self, n: int) -> np.ndarray:
        """n inputs, half spread evenly, half by magnitude, rounded to 16 fraction bits."""
        step = (math.sqrt(5) - 1) / 2
        even, odd = (np.arange(1, m + 1) * step % 1 for m in (n - n // 2, n // 2))
        least = math.log(self.lo if self.lo > 0 else 2.0**-16)
        sizes = np.exp(least + (math.log(self.hi) - least) * odd)
        signs = np.where(np.arange(n // 2) % 2, -1.0, 1.0) if self.lo < 0 else 1.0
        x = np.concatenate([self.lo + (self.hi - self.lo) * even, sizes * signs])
        x = np.round(np.clip(x, self.lo, self.hi) * 65536) / 65536
        x = x[np.arange(n) * _stride(n) % n]
        whole: np.ndarray = x.reshape(-1, self.row) if self.row > 1 else x
        return whole


def softmax(x: np.ndarray) -> np.ndarray:
    """In float64, the largest subtracted first."""
    grown = np.exp(x - x.max(1, keepdims=True))
    result: np.ndarray = grown / grown.sum(1, keepdims=True)
    return result


CASES = [
    Case("x < y, <=, >, >=", lambda x: x < x[::-1], lambda x: x < x[::-1], -1000, 1000),
    Case("x == y, !=", lambda x: x == x[::-1], lambda x: x == x[::-1], -8, 8),
    Case("sign", mpc.sign, np.sign, -1000, 1000),
    Case("absolute", mpc.absolute, np.abs, -1000, 1000),
    Case("relu", mpc.relu, lambda x: np.maximum(x, 0), -1000, 1000),
    Case("clip(x, -1, 1)", lambda x: mpc.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), -1000, 1000),
    Case("where(x < 0, x, 1)", lambda x: mpc.where(x < 0, x, 1), lambda x: np.where(x < 0, x, 1), -1000, 1000),
    Case(
        "at_least(x, 8 points)",
        lambda x: mpc.at_least(x, range(-4, 4)),
        lambda x: x[:, None] >= np.arange(-4, 4),
        -8,
        8,
    ),
    Case("maximum, minimum", lambda x: mpc.maximum(x, x[::-1]), lambda x: np.maximum(x, x[::-1]), -1000, 1000),
    Case("max, min of 16", lambda x: mpc.max(x, 1), lambda x: x.max(1), -1000, 1000, ROW),
    Case("argmax, argmin of 16", lambda x: mpc.argmax(x, 1), lambda x: x.argmax(1), -1000, 1000, ROW),
    Case("sort of 16", lambda x: mpc.sort(x, 1), lambda x: np.sort(x, 1), -1000, 1000, ROW),
    Case("top_k(x, 3) of 16", lambda x: mpc.top_k(x, 3, 1), lambda x: -np.sort(-x, 1)[:, :3], -1000, 1000, ROW),
    Case("median of 16", lambda x: mpc.median(x, 1), lambda x: np.median(x, 1), -1000, 1000, ROW),
    Case("x * y", lambda x: x * x[::-1], lambda x: x * x[::-1], -1000, 1000),
    Case("reciprocal", mpc.reciprocal, lambda x: 1 / x, 2.0**-8, 256),
    Case("x / y", lambda x: x / x[::-1], lambda x: x / x[::-1], 0.5, 1000),
    Case("sqrt", mpc.sqrt, np.sqrt, 0, 1000),
    Case("rsqrt", mpc.rsqrt, lambda x: 1 / np.sqrt(x), 2.0**-8, 1000),
    Case("exp", mpc.exp, np.exp, -16, 4),
    Case("log", mpc.log, np.log, 2.0**-16, 1000),
    Case("sin, cos", mpc.sin, np.sin, -100, 100),
    Case("sigmoid", mpc.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -8, 8, 1, None),
    Case("sigmoid, wider", mpc.sigmoid, lambda x: 1 / (1 + np.exp(-x)), -50, 50, 1, None),
    Case("tanh", mpc.tanh, np.tanh, -8, 8, 1, None),
    Case("softmax of 16", lambda x: mpc.softmax(x, 1), softmax, -16, 16, ROW),
    Case(
        "polynomial of degree 3",
        lambda x: mpc.polynomial(x, [1, 2, 3, 4]),
        lambda x: 1 + x * (2 + x * (3 + x * 4)),
        -2,
        2,
    ),
]


def cost(case: Case, n: int, elements: int = 160) -> tuple[int, float, float]:
    """Rounds, and the most that one party sends and is dealt, bytes for each element of the input."""
    x = case.points(elements)
    plan = case.program().trace({"x": {"alice": x}}, PARTIES[:n]).plan("masked")
    sent = max(plan.bytes_sent[p] - plan.input_bytes[p] for p in PARTIES[:n])
    return plan.rounds, sent / elements, sum(plan.dealt_bytes.values()) / elements


def error(case: Case, n: int, elements: int) -> float:
    """The largest difference from numpy."""
    worst = 0.0
    whole = case.points(elements)
    for x in np.array_split(whole, math.ceil(elements / CHUNK)):
        got = mpc.emulate(case.program(), {"x": {"alice": x}}, PARTIES[:n]).results["result"]
        worst = max(worst, float(np.max(np.abs(got - case.known(x)))))
    return worst


HEAD = """# Functions and what they cost

Made by `scripts/functions.py --write`: {points:,} points for each line and number of parties, inputs at 16 fraction
bits. *error*: the largest absolute difference from numpy in float64, the rounding of a reveal of 24 fraction bits
included (2^-23 = 1.2e-7). *sent*: payload bytes that one party sends for each element of the input, to all peers, the
reveal included and the sharing of the input not. *dealt*: correction bytes for each element, to all parties together.
Rounds count input sharing and reveal. Suite `masked`. Ranges are those measured here; each docstring says what others
may be.

| function | range | error, n = 2 / 3 / 5 | rounds | sent, n = 2 / 3 / 5 | dealt, n = 2 / 3 / 5 |
|---|---|---|---|---|---|
"""


def line(case: Case, points: int) -> str:
    """One line of the table."""
    errors = " / ".join(f"{error(case, n, points):.1e}" for n in COUNTS) if points else "-"
    costs = [cost(case, n) for n in COUNTS]
    rounds = sorted({rounds for rounds, _, _ in costs})
    sent = " / ".join(f"{sent:.4g}" for _, sent, _ in costs)
    dealt = " / ".join(f"{dealt:.5g}" for _, _, dealt in costs)
    shown = f"[{case.lo:.6g}, {case.hi:.6g}]"
    return f"| {case.name} | {shown} | {errors} | {', '.join(map(str, rounds))} | {sent} | {dealt} |"


def main() -> None:
    """Measure, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--write", action="store_true", help="into docs/functions.md")
    given = parser.parse_args()
    points = given.points - given.points % ROW
    table = HEAD.format(points=points) + "".join(f"{line(case, points)}\n" for case in CASES)
    if given.write:
        TARGET.write_text(table)
    else:
        print(table, end="")


if __name__ == "__main__":
    main()
