"""Loops of which more than one test file asks something: their inputs are any numbers or arrays of one shape."""

from __future__ import annotations

from typing import Any

import mpc

__all__ = ["exchanged", "nested", "two"]


def two(x: Any) -> Any:
    """The first two owners' values, shared."""
    return (mpc.share(v, range=(-1.5, 1.5)) for v in x[:2])


@mpc.program
def exchanged(x: mpc.PerParty[mpc.Private]) -> Any:
    """A state of two that change places, one of them as it is: two openings in a round at the end."""

    def step(_: Any, state: Any) -> Any:
        a, b = state
        return b, mpc.assume_range(mpc.rescale(a * b, 16), -2, 2)

    a, b = mpc.repeat(9, step, tuple(two(x)))
    return {"a": mpc.reveal(a), "b": mpc.reveal(b)}


@mpc.program
def nested(x: mpc.PerParty[mpc.Private]) -> Any:
    """A loop in a loop, which is run several times with other masks."""
    a, b = two(x)

    def inner(_: Any, z: Any) -> Any:
        return mpc.assume_range(mpc.rescale(z * b, 16), -2, 2)

    return mpc.reveal(mpc.repeat(4, lambda _, z: mpc.repeat(5, inner, z), a))
