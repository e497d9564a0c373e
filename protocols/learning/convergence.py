"""Whether an iteration has come to rest, as one secret bit."""

from __future__ import annotations

from typing import Any

import mpc


def settled(change: Any, tolerance: float) -> Any:
    """1 if every element of `change` lies within ±tolerance, else 0: secret. Two comparisons an element, 4 rounds.

    The change is looked at with 20 fraction bits; nothing but the bit comes out when it is revealed.
    """
    small = mpc.rescale(change, 20) if change.type.scale > 20 else change
    limit = round(tolerance * 2.0**20) / 2.0**20
    if limit <= 0:
        raise mpc.UsageError(f"tolerance must be at least 1e-6, not {tolerance}")
    moved = mpc.is_negative(limit - small) + mpc.is_negative(limit + small)
    return mpc.is_zero(moved.sum())
