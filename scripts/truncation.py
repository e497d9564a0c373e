#!/usr/bin/env python
"""Truncations by 1 to 62 bits of edge values and of random ones of every magnitude, for 2 to 5 parties and both suites.

Every value has a mask of its own and is cut by four of the 62. Prints a table: how many values and results, how many
are neither the floor nor one above it (there must be none, else it exits with 1), and how often the one above.
--write puts it into docs/evidence/truncation.md.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

import numpy as np

import mpc
from mpc import engine
from protocols import suites

TARGET = Path(__file__).resolve().parent.parent / "docs" / "evidence" / "truncation.md"
TOP = 2**62
LIMIT = float(np.nextafter(2.0**62, 0))
BATCH = 200_000
TOGETHER = 4  # truncations of one value, in one batch
HEAD = """# Truncation about the wrap

`scripts/truncation.py --write` wrote this. Every result is the floor of z/2^t or one more, for t from 1 to 62 and
−2^62 ≤ z < 2^62: z at the ends of the range, at and beside every power of two of either sign, random over the whole
range, and random of every magnitude; each under a mask of its own, and cut by four of the 62 in turn.

| parties | suite | values | results | neither the floor nor one above | one above |
|---|---|---|---|---|---|
"""


@mpc.program
def truncations(high: mpc.Private, low: mpc.Private, shifts: list) -> Any:  # type: ignore[type-arg]
    """z = high · 2^31 + low, by some of 1 to 62 bits: one opening for all."""
    upper = mpc.share(high, range=(-(2.0**31), 2.0**31), scale=0)
    z = upper * 2**31 + mpc.share(low, range=(0, 2.0**31), scale=0)
    z = mpc.assume_range(z, -LIMIT, LIMIT)
    return {f"by{t}": mpc.reveal(mpc.rescale(z, -t), bits=-t) for t in shifts}


def random_words(count: int) -> np.ndarray:
    """64 random bits each."""
    return np.frombuffer(secrets.token_bytes(8 * count), dtype=np.int64)


def operands() -> np.ndarray:
    """Edges, and random values."""
    near = {s * 2**k + d for k in range(62) for s in (1, -1) for d in (-1, 0, 1)}
    edges = sorted({-TOP, -TOP + 1, TOP - 1, TOP - 2, 0} | {z for z in near if -TOP <= z < TOP})
    choice = random_words(BATCH).view(np.uint64)
    whole = random_words(BATCH) >> 1
    sized = whole >> (choice % 62).astype(np.int64)
    return np.concatenate([np.array(edges, dtype=np.int64), np.where(choice >> 63, whole, sized)])


def counted(parties: int, suite: str, values: int) -> tuple[int, int, int, int]:
    """Values, results, those that are wrong, those one above the floor."""
    seen = total = wrong = above = batch = 0
    while seen < values:
        z = operands()
        given = {"high": {"alice": (z >> 31).astype(float)}, "low": {"bob": (z & (2**31 - 1)).astype(float)}}
        shifts = [(batch * TOGETHER + i) % 62 + 1 for i in range(TOGETHER)]
        found = mpc.emulate(truncations, given, parties, suite=suite, shifts=shifts).results
        seen, batch = seen + z.size, batch + 1
        for t in shifts:
            off = found[f"by{t}"] - (z >> t)
            total, wrong, above = total + off.size, wrong + int(((off != 0) & (off != 1)).sum()), above + int(off.sum())
    return seen, total, wrong, above


def main() -> None:
    """Count, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=10_000_000, help="for each number of parties and suite")
    parser.add_argument("--write", action="store_true", help="into docs/evidence/truncation.md")
    given = parser.parse_args()
    engine.decode = lambda ring, value, scale, unit: ring.signed(value)  # float64 has no room for 62 bits
    table, failed = HEAD, False
    for parties in (2, 3, 4, 5):
        for suite in suites:
            seen, total, wrong, above = counted(parties, suite, given.values)
            table += f"| {parties} | {suite} | {seen:,} | {total:,} | {wrong} | {above / total:.1%} |\n"
            failed |= wrong > 0
    if given.write:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(table)
    else:
        print(table, end="")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
