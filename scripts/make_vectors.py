#!/usr/bin/env python3
"""Write the committed test vectors of the public number routines and of the PRG; `--check` only compares.

The references (`exact`) come from `decimal` Taylor series that share no code with mpc/trig.py. The other figures are
what the code gives: they may change only together with the version of the protocol, because parties of different
versions would compute garbage together.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mpc import prg, trig  # noqa: E402  (a script beside the packages, run before they are installed)

FOLDER = ROOT / "tests" / "test_mpc" / "vectors"
GOLDEN = 0x9E3779B97F4A7C15  # odd, so that multiples walk the whole circle
EXACT_BITS = 60
SERIES = ((16, 8), (16, 12), (16, 16), (32, 16), (32, 24), (32, 32))

getcontext().prec = 70
TWO_PI = Decimal("6.28318530717958647692528676655900576839433879875021164194988918461563281")


def weyl(count: int) -> NDArray[np.uint64]:
    """Evenly scattered angles."""
    return np.arange(count, dtype=np.uint64) * np.uint64(GOLDEN)


def exact_sine(angle: int) -> int:
    """sin(2π·angle/2^64) · 2^60, rounded to nearest, by its Taylor series."""
    quarters, rest = divmod(angle + (1 << 61), 1 << 62)
    x = TWO_PI * (rest - (1 << 61)) / (1 << 64)  # |x| ≤ π/4
    power, start = (x, 1) if quarters % 2 == 0 else (Decimal(1), 0)
    total = power
    for n in range(start, 60, 2):
        power = -power * x * x / ((n + 1) * (n + 2))
        total += power
    return int((total * (-1 if quarters % 4 in (2, 3) else 1) * (1 << EXACT_BITS)).to_integral_value())


def digest(*arrays: NDArray[np.uint64]) -> str:
    """sha256 of little-endian words."""
    return hashlib.sha256(b"".join(a.astype("<u8").tobytes() for a in arrays)).hexdigest()


def angles() -> list[int]:
    """Axes, the edges between table entries, their neighbours, and scattered ones."""
    edges = [i << 60 for i in range(16)] + [1 << 49, 3 << 49, (1 << 62) + (1 << 49), (1 << 63) - (1 << 49)]
    near = {(e + d) % (1 << 64) for e in edges for d in (-1, 0, 1)}
    return sorted(near | {int(a) for a in weyl(40)})


def trig_vectors() -> dict[str, Any]:
    """Vectors for mpc/trig.py."""
    cases = []
    for angle in angles():
        word = np.array(angle, dtype=np.uint64)
        got = [int(f(word, bits).view(np.int64)) for bits in (31, 32) for f in (trig.sin_turns, trig.cos_turns)]
        exact = [exact_sine(angle), exact_sine((angle + (1 << 62)) % (1 << 64))]
        cases.append({"angle": f"{angle:#018x}", "sin_cos_31": got[:2], "sin_cos_32": got[2:], "exact_60": exact})
    many = weyl(1 << 16)
    series = {
        f"{half},{terms}": {
            "coefficients_30": (b := trig.sine_series(half, terms, bits=30)),
            "tables_20": digest(*trig.series_tables(weyl(512), tuple(range(1, 2 * terms, 2)), b, 30, 20)),
            "tables_18": digest(*trig.series_tables(weyl(512), tuple(range(1, 2 * terms, 2)), b, 30, 18)),
        }
        for half, terms in SERIES
    }
    return {
        "golden": f"{GOLDEN:#018x}",
        "cases": cases,
        "sha256_of_65536": {str(n): digest(*trig.sincos_turns(many, n)) for n in range(1, trig.MAX_BITS + 1)},
        "series": series,
    }


def prg_vectors() -> dict[str, Any]:
    """Vectors for mpc/prg.py."""
    seed = bytes(range(16))
    places = ((0, 0), (1, 0), (0, 1), (7, 3), ((1 << 32) - 1, (1 << 48) - 1))
    return {
        "seed": seed.hex(),
        "cases": [
            {
                "number": n,
                "iteration": i,
                "words": [f"{int(w):#018x}" for w in prg.block(seed, prg.Position(n, i), (5,))],
            }
            for n, i in places
        ],
    }


def main() -> int:
    """Write or compare; 1 if a committed file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    check = parser.parse_args().check
    stale = 0
    for name, vectors in (("trig", trig_vectors()), ("prg", prg_vectors())):
        path = FOLDER / f"{name}.json"
        text = json.dumps(vectors, indent=1) + "\n"
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            print(f"{path.relative_to(ROOT)} differs from what the code gives", file=sys.stderr)
            stale = 1
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
