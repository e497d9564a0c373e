"""The textbook suite: multiplication from independent dealt triples. The reference for the masked suite.

Source: Beaver, "Efficient multiparty protocols using circuit randomization" (1991).
"""

from __future__ import annotations

from typing import Any

import mpc
from protocols import compare, masked


@mpc.protocol
def multiply(x: Any, y: Any) -> Any:
    """x · y, elementwise, from a triple (a, b, a·b). 1 round, 16 bytes an element; scales add.

    Perfectly private against n − 1 semi-honest parties: each opening has a mask of its own.
    """
    a, b = mpc.mask(x.shape), mpc.mask(y.shape)
    c = mpc.deal(a * b)
    d, e = mpc.open(x - a), mpc.open(y - b)
    return c + d * b + a * e + d * e


@mpc.protocol
def matmul(x: Any, y: Any) -> Any:
    """x @ y from a matrix triple (a, b, a @ b). 1 round, 8 bytes an element of x and of y."""
    a, b = mpc.mask(x.shape), mpc.mask(y.shape)
    c = mpc.deal(a @ b)
    d, e = mpc.open(x - a), mpc.open(y - b)
    return c + d @ b + a @ e + d @ e


@mpc.protocol(rounding=1)
def truncate(x: Any, by: int) -> Any:
    """⌊x / 2^by⌋ or one more, |x| < 2^62, from a dealt (r, r ≫ by, msb r). 1 round, 8 bytes an element."""
    r = mpc.mask(x.shape)
    c = mpc.open(x + (1 << (x.bits - 2)) + r)
    wrapped = (1 - mpc.msb(c)) * mpc.deal(mpc.msb(r)) << (x.bits - by)
    return (c >> by) - mpc.deal(r >> by) + wrapped - (1 << (x.bits - 2 - by))


SUITE = mpc.Suite(
    "beaver",
    # The last three open under a mask of their own here, since this suite keeps no wires.
    {
        "multiply": multiply,
        "matmul": matmul,
        "truncate": truncate,
        "sigmoid": masked.sigmoid,
        "negative": compare.negative,
        "zero": compare.zero,
        "below": compare.below,
    },
    memoise=False,
)
