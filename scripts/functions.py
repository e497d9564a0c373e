#!/usr/bin/env python3
"""Measure every function of the language and write docs/functions.md: range, largest error, rounds, bytes.

    functions.py [--points 100000] [--only TEXT] [--write]

Without --write the table goes to standard output. --only: measure the lines whose name contains TEXT and those
that the file has not yet, and keep the others as they stand there.

Errors are those of the real protocol in one process (`mpc.emulate`) against numpy in float64 on the same inputs, which
stand at 16 fraction bits; costs are those of `plan`, which are exact.
"""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mpc
from mpc.memory import run_in_memory
from protocols.learning.metrics import accuracy_of, area_under_curve, log_loss_of
from protocols.learning.prediction import probability
from protocols.statistics.order import counts

TARGET = Path(__file__).resolve().parents[1] / "docs" / "functions.md"
PARTIES = ("alice", "bob", "carol", "dave", "erin")
COUNTS = (2, 3, 5)
CHUNK = 8192  # elements that one emulation holds in memory at a time, all parties together
ROW = 16  # elements that sort, max and their kin take at a time
SIDE = 32  # of a matrix that is inverted
SPREAD = (0.1, 10.0)  # its eigenvalues


def _stride(n: int) -> int:
    """A number without common factor with n: steps of it visit every place once, far from its neighbours."""
    return next(k for k in range(int(n * 0.378) + 1, 2 * n + 2) if math.gcd(k, n) == 1)


@dataclass(frozen=True)
class Case:
    """One line of the table. f: of one secret array; known: the same in numpy.

    row: elements that f takes together, as the last axis. chunk: elements of one run. gives: numbers that are compared
    for each element. made: what f is given instead of the rows of a run. of: public functions that have no other line.
    """

    name: str
    f: Callable[[Any], Any]
    known: Callable[[Any], Any]
    lo: float
    hi: float
    row: int = 1
    bits: int | None = 24  # revealed; None: as many as rule 8 allows
    chunk: int = CHUNK
    gives: float = 1.0
    made: Callable[[np.ndarray], np.ndarray] = lambda x: x
    of: str = ""

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

    def parts(self, n: int) -> list[np.ndarray]:
        """As many inputs as give n numbers to compare, one array a run."""
        if self.chunk == CHUNK:
            elements = n - n % self.row
            return np.array_split(self.points(elements), math.ceil(elements / CHUNK))
        runs = math.ceil(n / self.gives / self.chunk)
        return [self.made(x) for x in np.split(self.points(runs * self.chunk), runs)]

    def alone(self) -> np.ndarray:
        """The inputs of the run that the costs are told of."""
        return self.points(160) if self.chunk == CHUNK else self.parts(1)[0]


def positive(x: np.ndarray) -> np.ndarray:
    """A symmetric matrix of the stated eigenvalues, and the rest of the numbers as another one."""
    q, _ = np.linalg.qr(x[0].reshape(SIDE, SIDE))
    h = (q * np.geomspace(*SPREAD, SIDE)) @ q.T
    h = np.round((h + h.T) / 2 * 65536) / 65536
    return np.stack([h, *x[1:].reshape(-1, SIDE, SIDE)])


def square(x: Any) -> Any:
    """Rows of 16 as matrices of 4 by 4."""
    return x.reshape(-1, 4, 4)


def trapezoid(y: np.ndarray, score: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in which the positive scores more, ties counted half."""
    up, down = score[y], score[~y]
    return float(np.mean((up[:, None] > down) + 0.5 * (up[:, None] == down)))


def logarithmic(y: np.ndarray, p: np.ndarray) -> float:
    """The log loss, with probabilities kept away from 0 and 1 as `log_loss_of` does."""
    p = np.clip(p, 2.0**-16, 1 - 2.0**-16)
    return float(-np.mean(np.log(np.where(y, p, 1 - p))))


def softmax(x: np.ndarray) -> np.ndarray:
    """In float64, the largest subtracted first."""
    grown = np.exp(x - x.max(1, keepdims=True))
    result: np.ndarray = grown / grown.sum(1, keepdims=True)
    return result


MANY: dict[str, Any] = {"row": 1, "chunk": 1000, "gives": 1.0}
EDGES = [-8, -4, -2, -1, 0, 1, 2, 4, 8]

CASES = [
    Case("x < y, <=, >, >=", lambda x: x < x[::-1], lambda x: x < x[::-1], -1000, 1000, of="is_negative"),
    Case("x == y, !=", lambda x: x == x[::-1], lambda x: x == x[::-1], -8, 8, of="is_zero"),
    Case("sign", mpc.sign, np.sign, -1000, 1000),
    Case("absolute", mpc.absolute, np.abs, -1000, 1000),
    Case("relu", mpc.relu, lambda x: np.maximum(x, 0), -1000, 1000),
    Case("clip(x, -1, 1)", lambda x: mpc.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), -1000, 1000),
    Case(
        "where(x < 0, x, 1)",
        lambda x: mpc.where(x < 0, x, 1),
        lambda x: np.where(x < 0, x, 1),
        -1000,
        1000,
        of="if_else",
    ),
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
    Case(
        "quantile(x, 0.37) of 16",
        lambda x: mpc.quantile(x, 0.37, 1),
        lambda x: np.quantile(x, 0.37, 1),
        -1000,
        1000,
        ROW,
    ),
    Case("sort_by(x, x < 0) of 16", lambda x: mpc.sort_by(x, x < 0)[1], lambda x: np.sort(x, 1) < 0, -1000, 1000, ROW),
    Case("mean of 16", lambda x: mpc.mean(x, axis=1), lambda x: x.mean(1), -1000, 1000, ROW),
    Case("rescale(x, 8)", lambda x: mpc.rescale(x, 8), lambda x: x, -1000, 1000, bits=8),
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
    Case(
        "x @ y, matmul, 4 by 4",
        lambda x: square(x) @ square(x)[::-1],
        lambda x: square(x) @ square(x)[::-1],
        -1000,
        1000,
        ROW,
    ),
    Case(
        "einsum('bij,bkj->bik'), 4 by 4",
        lambda x: mpc.einsum("bij,bkj->bik", square(x), square(x)[::-1]),
        lambda x: np.einsum("bij,bkj->bik", square(x), square(x)[::-1]),
        -1000,
        1000,
        ROW,
    ),
    Case(
        "outer(x, x), 320",
        lambda x: mpc.outer(x, x),
        lambda x: np.outer(x, x),
        -1000,
        1000,
        chunk=320,
        gives=320,
    ),
    Case(
        "covariance, 64 by 16",
        mpc.covariance,
        lambda x: np.cov(x, rowvar=False),
        -8,
        8,
        ROW,
        chunk=1024,
        gives=1 / 4,
    ),
    Case(
        "inverse, 32 by 32, eigenvalues 0.1 to 10",
        lambda x: mpc.inverse(x[0], smallest=0.099, largest=10.01),
        lambda x: np.linalg.inv(x[0]),
        -10,
        10,
        SIDE * SIDE,
        chunk=SIDE * SIDE,
        made=positive,
    ),
    Case(
        "solve(H, b), 32 by 32 each, eigenvalues 0.1 to 10",
        lambda x: mpc.solve(x[0], x[1], smallest=0.099, largest=10.01),
        lambda x: np.linalg.solve(x[0], x[1]),
        -10,
        10,
        SIDE * SIDE,
        chunk=2 * SIDE * SIDE,
        gives=1 / 2,
        made=positive,
    ),
    Case("probability", probability, lambda x: 1 / (1 + np.exp(-x)), -50, 50),
    Case("counts(x, 9 edges) of 1000", lambda x: counts(x, EDGES), lambda x: np.histogram(x, EDGES)[0], -8, 8, **MANY),
    Case(
        "accuracy_of 1000",
        lambda x: accuracy_of(x < 0, x[::-1] < 0),
        lambda x: np.mean((x < 0) == (x[::-1] < 0)),
        -8,
        8,
        **MANY,
    ),
    Case(
        "log_loss_of 1000",
        lambda x: log_loss_of(x[::-1] < 0.5, x),
        lambda x: logarithmic(x[::-1] < 0.5, x),
        0,
        1,
        **MANY,
    ),
    Case(
        "area_under_curve of 1000, 10 results",
        lambda x: area_under_curve(mpc.bounded(x[::-1] < 0, 0, 1), x),
        lambda x: trapezoid(x[::-1] < 0, x),
        -8,
        8,
        chunk=1000,
        gives=10,
    ),
]

# Public functions without a line, by reason.
NO_LINE = {
    "no message, and exact": (
        "broadcast_to concatenate constant keep permutation permute reshape secret stack sum transpose"
    ),
    "statements about a value, which send nothing themselves": "accept_rounding assume_range bounded share within",
    "of known values, which the parties compute in the clear":
        "chi_square_tail exponent ldexp nonzero owned rint student_tail truth withheld",
    "of k owners' private values, 3·⌈log2 k⌉ + 2 rounds for all columns together": "magnitude",
    "of private values of several owners, 1 round and 64 bytes an element and peer": "total",
    "the language of programs and rules; what they cost is in the lines of what is made of them":
        "bit cross deal emulate look mask masked masked_low msb onehot open program protocol repeat reveal series "
        "simulate terms waves",
}  # fmt: skip

# Functions of `protocols` without a line: each is a part of one program, of that program's tables and settings.
PARTS = """
learning.convergence.minimised learning.convergence.outside learning.convergence.settled
learning.gradient.gradient_steps learning.newton_bound.irls
learning.newton_bound.newton_bound learning.owners.all_columns learning.owners.classes_of learning.owners.gathered
learning.owners.known_label learning.owners.number learning.owners.one_hot learning.owners.same_columns
learning.owners.shared_labels learning.owners.values_of learning.principal_components.principal_component
learning.units.own_moments learning.units.pooled masked.product statistics.cells.shown_cells
statistics.columns.check_limit statistics.columns.columns_of statistics.columns.keys_of
statistics.columns.known_column statistics.columns.limited statistics.columns.ordered
statistics.columns.rows_of statistics.columns.total statistics.wide.wide
"""


def cost(case: Case, n: int) -> tuple[int, float, float]:
    """Rounds, and the most that one party sends and is dealt, bytes for each element of the input."""
    x = case.alone()
    plan = case.program().trace({"x": {"alice": x}}, PARTIES[:n]).plan("masked")
    sent = max(plan.bytes_sent[p] - plan.input_bytes[p] for p in PARTIES[:n])
    return plan.rounds, sent / x.size, sum(plan.dealt_bytes.values()) / x.size


def error(case: Case, n: int, points: int) -> float:
    """The largest difference from numpy."""
    worst = 0.0
    lowered: dict[tuple[int, ...], mpc.Lowered] = {}
    for x in case.parts(points):
        given = {"x": {"alice": mpc.owned(x)}}
        if x.shape not in lowered:
            lowered[x.shape] = case.program().trace({"x": {"alice": x}}, PARTIES[:n]).lower("masked")
            lowered[x.shape].check()
        got = run_in_memory(lowered[x.shape], given).results["result"]
        worst = max(worst, float(np.max(np.abs(got - case.known(x)))))
    return worst


HEAD = """# Functions and what they cost

Made by `scripts/functions.py --write`: {points:,} points for each line and number of parties, inputs at 16 fraction
bits; of matrices, so many that at least {points:,} numbers of the result are compared, and of "1000", results of 1,000
elements each. *error*: the largest absolute difference from numpy in float64, the rounding of a reveal of 24 fraction
bits included (2^-23 = 1.2e-7). *sent*: payload bytes that one party sends for each element of the input, to all peers,
the reveal included and the sharing of the input not. *dealt*: correction bytes for each element, to all parties
together. Rounds count input sharing and reveal. Suite `masked`. Ranges are those measured here; each docstring says
what others may be. Costs of matrices and of "1000" are for that size, others for 160 elements.

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


def without_line() -> str:
    """What the table leaves out, and why."""
    listed = [f"{why}: {', '.join(f'`{n}`' for n in names.split())}" for why, names in NO_LINE.items()]
    listed.append(
        "the programs of the catalogue and their parts, of the size of their tables: `privity plan` says what they cost"
    )
    lines = [textwrap.fill(f"* {line}", 120, subsequent_indent="  ", break_on_hyphens=False) for line in listed]
    return "\nWithout a line:\n\n" + "\n".join(lines) + "\n"


def standing() -> dict[str, str]:
    """The lines in the file, by name."""
    lines = [line for line in TARGET.read_text().splitlines(keepends=True) if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines[1:]}


def main() -> None:
    """Measure, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--only", default="", metavar="TEXT", help="lines whose name contains it")
    parser.add_argument("--write", action="store_true", help="into docs/functions.md")
    given = parser.parse_args()
    points = given.points
    kept = {name: was for name, was in standing().items() if given.only and given.only not in name}
    lines = (kept.get(case.name) or f"{line(case, points)}\n" for case in CASES)
    table = HEAD.format(points=points) + "".join(lines) + without_line()
    if given.write:
        TARGET.write_text(table)
    else:
        print(table, end="")


if __name__ == "__main__":
    main()
