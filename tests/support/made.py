"""Programs at random, with loops, reveals, owners' values and handles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mpc

NAMES = ["alice", "bob"]
GIVEN: Any = {
    "x": {"alice": mpc.owned([1.0, -0.5]), "bob": mpc.owned([0.5, 1.0])},
    "y": {"bob": mpc.owned([-1.0, 0.25])},
}


def bounded(value: Any) -> Any:
    return mpc.rescale(mpc.assume_range(value, -30, 30), 16)


class Maker:
    """One program: values are made from values made before, in straight lines and in loops."""

    def __init__(self, seed: int, x: Any, y: Any) -> None:
        self.source = np.random.default_rng(seed)
        self.y = y
        self.pool = [mpc.share(v, range=(-2, 2)) for v in x]
        self.shown: list[Any] = []
        self.outputs: dict[str, Any] = {}

    def some(self) -> Any:
        return self.pool[self.source.integers(len(self.pool))]

    def reveal(self) -> None:
        value = self.some() if self.source.integers(2) else mpc.rescale(self.some(), 16)
        self.shown.append(mpc.reveal(value, bits=8))
        self.outputs[f"r{len(self.outputs)}"] = self.shown[-1]

    def straight(self, count: int) -> None:
        """More values, and reveals."""
        kinds: list[Callable[[Any, Any], Any]] = [
            lambda p, q: p + q,
            lambda p, q: mpc.rescale(p * q, 16) * 0.25,
            lambda p, q: p * 0.5 - q,
            lambda p, _: mpc.broadcast_to(p.sum() * 0.5, (2,)),
            lambda p, q: mpc.concatenate([p[:1], q[1:]]),
            lambda p, _: p + self.shown[0] * 0.25 if self.shown else -p,
            lambda p, q: mpc.where(p < q, p, q),
            lambda _p, _q: mpc.share(mpc.within(self.y * 0.5, -2, 2), range=(-2, 2)),
        ]
        for _ in range(count):
            which = self.source.integers(len(kinds) + 2)
            if which >= len(kinds):
                self.reveal()
            else:
                self.pool.append(bounded(kinds[which](self.some(), self.some())))

    def loop(self) -> None:
        """A loop over one or two values, sometimes with a loop inside."""
        state = [self.some() for _ in range(self.source.integers(1, 3))]
        fixed = [self.some() for _ in range(self.source.integers(1, 3))]
        which = self.source.integers(5, size=2)
        nested = self.source.integers(4) == 0
        kinds: list[Callable[[Any, Any, Any], Any]] = [
            lambda _i, t, p: t * 0.5 + p,
            lambda _i, t, p: p * t * 0.125,
            lambda i, t, _: t * 0.5 + i * 0.125,
            lambda _i, t, p: mpc.where(t < p, t * 0.5, p),
            lambda _i, t, p: t * 0.5 + (self.shown[-1] * 0.125 if self.shown else p),
        ]

        def body(i: Any, now: Any) -> Any:
            out = []
            for k, t in enumerate(now):
                p = fixed[k % len(fixed)]
                value = bounded(kinds[which[k]](i, t, p))
                inner = mpc.repeat(2, lambda _, u, p=p: bounded(u * 0.5 + p), value) if nested else value
                out.append(inner)
            return tuple(out)

        self.pool += list(mpc.repeat(int(self.source.integers(2, 6)), body, tuple(state)))

    def all(self) -> dict[str, Any]:
        for _ in range(self.source.integers(1, 4)):
            self.straight(int(self.source.integers(1, 5)))
            self.loop()
        self.straight(int(self.source.integers(1, 6)))
        for value in self.pool[-3:]:
            self.outputs[f"o{len(self.outputs)}"] = mpc.reveal(
                value, to=["everyone", ["alice"]][self.source.integers(2)]
            )
        mpc.keep(self.some(), "kept")
        return self.outputs


def traced(seed: int) -> mpc.Program:
    @mpc.program
    def made(x: mpc.PerParty[mpc.Private], y: mpc.Private) -> Any:
        return Maker(seed, x, y).all()

    program = made.trace(GIVEN, NAMES)
    return program.verified() if seed % 4 == 0 else program
