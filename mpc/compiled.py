"""The kernels that take most of a run's time, compiled by numba: the same integers as numpy's, to the last bit.

Imported by `mpc.native` alone, and only where numba is installed. Every kernel writes into arrays that it is given,
uses 64-bit words modulo 2^64, and allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from mpc.trig import D_BITS, D_CENTRE, D_SHIFT, DROP, REST, S_BITS, TABLE_BITS, TURN_BITS, TURNS, TWO_PI

__all__ = [
    "look", "matmul", "matmul_split", "matmul_whole", "matvec", "onehot", "series", "sincos", "sine_sum",
    "turned_sum", "vecmat",
]  # fmt: skip

_DEEP = 64  # rows of the right factor that stay in the cache while four rows of the left one pass over them
_ROWS, _LANES = 6, 4  # of a tile: what sixteen registers of four words hold
_PANEL_DEEP, _PANEL_TILES = 250, 64  # a tile's part of a panel fits L1, all of it L2; no power of two: sets of a cache
_FEW = 16  # rows or columns of the left factor below which packing the right one costs more than it saves

Kernel = Callable[..., None]
_U, _I = numba.uint64, numba.int64
_READ = {n: numba.types.Array(_U, n, "C", readonly=True) for n in (1, 2, 3)}  # what is written to may be read too
_TABLE = numba.types.Array(_I, 1, "C", readonly=True)
_OUT = {n: numba.types.Array(_U, n, "C") for n in (1, 2, 3)}
_SIGNED = numba.types.Array(_I, 2, "C")
_NARROW = numba.types.Array(numba.int32, 3, "C")

inner = numba.njit(cache=True, nogil=True, boundscheck=False)


def jit(*arguments: Any) -> Callable[[Kernel], Kernel]:
    """Compiled when this file is imported, for these types and no others: a call never compiles anything."""
    made: Callable[[Kernel], Kernel] = numba.njit(numba.void(*arguments), cache=True, nogil=True, boundscheck=False)
    return made


@inner
def _row(x: Any, y: Any, z: Any, i: Any, first: Any, last: Any) -> None:
    for k in range(first, last):
        a = x[i, k]
        for j in range(y.shape[1]):
            z[i, j] += a * y[k, j]


@inner
def _four_rows(x: Any, y: Any, z: Any, i: Any, first: Any, last: Any) -> None:
    """Add to four rows of z what four columns of x at a time give: a word of y is read once for four products."""
    k = first
    while k + 4 <= last:
        a0, a1, a2, a3 = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
        b0, b1, b2, b3 = x[i + 1, k], x[i + 1, k + 1], x[i + 1, k + 2], x[i + 1, k + 3]
        c0, c1, c2, c3 = x[i + 2, k], x[i + 2, k + 1], x[i + 2, k + 2], x[i + 2, k + 3]
        d0, d1, d2, d3 = x[i + 3, k], x[i + 3, k + 1], x[i + 3, k + 2], x[i + 3, k + 3]
        for j in range(y.shape[1]):
            y0, y1, y2, y3 = y[k, j], y[k + 1, j], y[k + 2, j], y[k + 3, j]
            z[i, j] += a0 * y0 + a1 * y1 + a2 * y2 + a3 * y3
            z[i + 1, j] += b0 * y0 + b1 * y1 + b2 * y2 + b3 * y3
            z[i + 2, j] += c0 * y0 + c1 * y1 + c2 * y2 + c3 * y3
            z[i + 3, j] += d0 * y0 + d1 * y1 + d2 * y2 + d3 * y3
        k += 4
    for row in range(i, i + 4):
        _row(x, y, z, row, k, last)


@jit(_READ[2], _READ[2], _OUT[2])
def matmul_whole(x: Any, y: Any, z: Any) -> None:
    """z = x @ y, for x (n, m), y (m, p) in C order: by products of 64-bit words."""
    n, m = x.shape
    z[:, :] = 0
    for first in range(0, m, _DEEP):
        last = min(first + _DEEP, m)
        i = 0
        while i + 4 <= n:
            _four_rows(x, y, z, i, first, last)
            i += 4
        while i < n:
            _row(x, y, z, i, first, last)
            i += 1


def _shuffled(b: Any, v: Any, lanes: list[int]) -> Any:
    return b.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), ir.Constant(_lanes(32, len(lanes)), lanes))


def _lanes(bits: int, n: int) -> Any:
    return ir.VectorType(ir.IntType(bits), n)


def _words(value: int) -> Any:
    return ir.Constant(_lanes(64, _LANES), [value] * _LANES)


def _everywhere(b: Any, word: Any) -> Any:
    """One word in all lanes."""
    return _shuffled(b, b.insert_element(_words(0), word, ir.IntType(32)(0)), [0] * _LANES)


def _row_starts(b: Any, x: Any) -> list[Any]:
    """Where the rows of a tile's left factor start; the last row stands for those that are not there."""
    rows, step = cgutils.unpack_tuple(b, x.shape, 2)[0], cgutils.unpack_tuple(b, x.strides, 2)[0]
    last, words = b.sub(rows, rows.type(1)), b.sdiv(step, step.type(8))
    there = [b.select(b.icmp_signed("<", rows.type(r), rows), rows.type(r), last) for r in range(_ROWS)]
    return [b.gep(x.data, [b.mul(r, words)]) for r in there]


def _increase(b: Any, place: Any, by: Any) -> None:
    b.store(b.add(b.load(place), by), place)


def _joined(b: Any, low: Any, cross: Any) -> Any:
    """low + 2^32·(the sum of both halves of each word of cross)."""
    both = b.bitcast(cross, low.type)
    return b.add(b.add(low, b.shl(both, _words(32))), b.and_(both, _words(0xFFFFFFFF << 32)))


def _multiply_tile(typing: Any, left: Any, right: Any, out: Any) -> Any:
    """out = left @ right: left (1 … _ROWS, depth) with rows of unit stride, right (depth, _LANES), out (_ROWS, _LANES).

    Modulo 2^64 a product is low·low + 2^32·(low·high + high·low). Of four words, one instruction multiplies the lower
    halves to 64 bits, and one all eight halves with the other's halves swapped, to 32 bits, which is enough. numba's
    own loops would not keep the sums in registers.
    """

    def code(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x, y, z = (context.make_array(t)(context, b, v) for t, v in zip(signature.args, arguments, strict=True))
        words, halves, mask = _lanes(64, _LANES), _lanes(32, 2 * _LANES), _words(0xFFFFFFFF)
        low = [cgutils.alloca_once_value(b, _words(0)) for _ in range(_ROWS)]
        cross = [cgutils.alloca_once_value(b, ir.Constant(halves, [0] * 2 * _LANES)) for _ in range(_ROWS)]
        starts = _row_starts(b, x)
        with cgutils.for_range(b, cgutils.unpack_tuple(b, x.shape, 2)[1]) as loop:
            k = loop.index
            four = b.load(b.bitcast(b.gep(y.data, [b.mul(k, k.type(_LANES))]), words.as_pointer()), align=8)
            four_low = b.and_(four, mask)
            swapped = _shuffled(b, b.bitcast(four, halves), [j ^ 1 for j in range(2 * _LANES)])
            for r in range(_ROWS):
                a = _everywhere(b, b.load(b.gep(starts[r], [k])))
                _increase(b, low[r], b.mul(b.and_(a, mask), four_low))
                _increase(b, cross[r], b.mul(b.bitcast(a, halves), swapped))
        for r in range(_ROWS):
            place = b.bitcast(b.gep(z.data, [ir.IntType(64)(r * _LANES)]), words.as_pointer())
            b.store(_joined(b, b.load(low[r]), b.load(cross[r])), place, align=8)
        return context.get_dummy_value()

    return numba.void(left, right, out), code


_tile: Any = intrinsic(_multiply_tile)


@inner
def _pack(y: Any, first: Any, last: Any, at: Any, panel: Any) -> None:
    """Rows first … last of y, its columns from `at` on, four beside each other; zeros after the last column."""
    p = y.shape[1]
    whole = min(panel.shape[0], (p - at) // _LANES)
    for k in range(first, last):
        for t in range(whole):
            for j in range(_LANES):
                panel[t, k - first, j] = y[k, at + t * _LANES + j]
    for t in range(whole, panel.shape[0]):
        for k in range(first, last):
            for j in range(_LANES):
                column = at + t * _LANES + j
                panel[t, k - first, j] = y[k, column] if column < p else np.uint64(0)


@inner
def _add_tile(tile: Any, z: Any, i: Any, column: Any) -> None:
    """Add a tile to z at row i and a column, without what lies outside of z."""
    n, p = z.shape
    if i + _ROWS <= n and column + _LANES <= p:  # numbers that the compiler knows, for nearly all tiles
        for r in range(_ROWS):
            for j in range(_LANES):
                z[i + r, column + j] += tile[r, j]
    else:
        for r in range(min(_ROWS, n - i)):
            for j in range(min(_LANES, p - column)):
                z[i + r, column + j] += tile[r, j]


@jit(_READ[2], _READ[2], _OUT[3], _OUT[2], _OUT[2])
def matmul_split(x: Any, y: Any, panel: Any, tile: Any, z: Any) -> None:
    """z = x @ y, for x (n, m), y (m, p) in C order: by products of 32-bit halves.

    panel (tiles, depth, _LANES) and tile (_ROWS, _LANES) are scratch: how much of y is used before the next is.
    """
    n, m = x.shape
    tiles, depth = panel.shape[0], panel.shape[1]
    z[:, :] = 0
    for first in range(0, m, depth):
        last = min(first + depth, m)
        for at in range(0, y.shape[1], tiles * _LANES):
            used = min(tiles, (y.shape[1] - at + _LANES - 1) // _LANES)
            _pack(y, first, last, at, panel[:used])
            for i in range(0, n, _ROWS):
                for t in range(used):
                    _tile(x[i : i + _ROWS, first:last], panel[t, : last - first], tile)
                    _add_tile(tile, z, i, at + t * _LANES)


def scratch(m: int, p: int) -> tuple[Any, Any]:
    """The panel and the tile that `matmul_split` works with, for y (m, p)."""
    panel = (min(_PANEL_TILES, max(1, -(-p // _LANES))), min(_PANEL_DEEP, max(1, m)), _LANES)
    return np.empty(panel, np.uint64), np.empty((_ROWS, _LANES), np.uint64)


def _multiplies_halves_faster() -> bool:
    """Whether this CPU multiplies vectors of 32-bit words, and of 64-bit words only in several steps."""
    try:
        able = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know what this CPU can do
        return False
    return bool(able.get("avx2")) and not able.get("avx512dq")


_HALVES = _multiplies_halves_faster()


def matmul(x: Any, y: Any, z: Any) -> None:
    """z = x @ y, for x (n, m), y (m, p) in C order: by the kernel that is faster on this CPU."""
    if _HALVES and min(x.shape) >= _FEW:
        matmul_split(x, y, *scratch(*y.shape), z)
    else:
        matmul_whole(x, y, z)


@jit(_READ[2], _READ[1], _OUT[1])
def matvec(x: Any, y: Any, z: Any) -> None:
    """z = x @ y, for x (n, m) in C order, y (m,)."""
    for i in range(x.shape[0]):
        total = np.uint64(0)
        for k in range(x.shape[1]):
            total += x[i, k] * y[k]
        z[i] = total


@jit(_READ[1], _READ[2], _OUT[1])
def vecmat(y: Any, x: Any, z: Any) -> None:
    """z = y @ x, for y (m,), x (m, n) in C order."""
    m, n = x.shape
    z[:] = 0
    k = 0
    while k + 4 <= m:
        a, b, c, d = y[k], y[k + 1], y[k + 2], y[k + 3]
        for j in range(n):
            z[j] += a * x[k, j] + b * x[k + 1, j] + c * x[k + 2, j] + d * x[k + 3, j]
        k += 4
    while k < m:
        a = y[k]
        for j in range(n):
            z[j] += a * x[k, j]
        k += 1


@numba.njit(inline="always")
def _turn(first: Any, second: Any, d: Any, sign: Any, bits: Any) -> Any:
    """first ± d(second ∓ d·first/2) of `mpc.trig`: sign +1 for a sine, −1 for a cosine."""
    half = second - sign * ((first * d) >> (D_BITS + 1))
    step = (half * d) >> D_BITS
    return (first + sign * step + (np.int64(1) << (S_BITS - bits - 1))) >> (S_BITS - bits)


@inner
def _waves(angle: Any, k: Any, table: Any, bits: Any, sines: Any, cosines: Any) -> None:
    """Sine and cosine of one multiple of each angle, at `bits`. Rows of unit stride: it becomes vector code."""
    for i in range(angle.shape[0]):
        turn = k * angle[i] + np.uint64(1 << (REST - 1))
        at = np.int64(turn >> np.uint64(REST))
        d = np.int64((turn >> np.uint64(DROP)) & np.uint64((1 << (REST - DROP)) - 1)) - np.int64(D_CENTRE)
        d = (d * np.int64(TWO_PI)) >> D_SHIFT
        s, c = table[at], table[at + (1 << (TABLE_BITS - 2))]
        sines[i] = _turn(s, c, d, 1, bits)
        cosines[i] = _turn(c, s, d, -1, bits)


@jit(_READ[1], _READ[1], _TABLE, _I, _SIGNED, _SIGNED)
def sincos(angle: Any, odd: Any, table: Any, bits: Any, sines: Any, cosines: Any) -> None:
    """sin and cos of odd[j]·angle[i], at `bits`; sines, cosines (len(odd), len(angle)). As `mpc.trig.sincos_turns`."""
    for j in range(odd.shape[0]):
        _waves(angle, odd[j], table, bits, sines[j], cosines[j])


@jit(_READ[1], _READ[1], _TABLE, _TABLE, _I, _SIGNED, _SIGNED)
def series(angle: Any, odd: Any, weights: Any, table: Any, drop: Any, sines: Any, cosines: Any) -> None:
    """The public factors of a sine series; as `mpc.trig.series_tables`."""
    sincos(angle, odd, table, 32, sines, cosines)
    rounding = np.int64(1) << (drop - 1)
    for j in range(odd.shape[0]):
        w = weights[j]
        for i in range(angle.shape[0]):
            sines[j, i] = (sines[j, i] * w + rounding) >> drop
            cosines[j, i] = (cosines[j, i] * w + rounding) >> drop


@inner
def _add_term(w: Any, drop: Any, sin_d: Any, cos_d: Any, cos_l: Any, sin_l: Any, out: Any) -> None:
    rounding = np.int64(1) << (drop - 1)
    for i in range(out.shape[0]):
        s, c = (sin_d[i] * w + rounding) >> drop, (cos_d[i] * w + rounding) >> drop
        out[i] += np.uint64(s) * cos_l[i] - np.uint64(c) * sin_l[i]


@jit(_READ[1], _READ[1], _TABLE, _TABLE, _I, _READ[2], _READ[2], _SIGNED, _OUT[1])
def sine_sum(
    angle: Any, odd: Any, weights: Any, table: Any, drop: Any, cosines: Any, sines: Any, scratch: Any, out: Any
) -> None:
    """out = Σ_j sin_j·cosines[j] − cos_j·sines[j], with the factors of `series`; cosines, sines (len(odd), n).

    scratch (2, …): its second length is how many lanes' sums stay in the cache while all terms pass over them.
    """
    n, block = angle.shape[0], scratch.shape[1]
    for first in range(0, n, block):
        last = min(first + block, n)
        sin_d, cos_d, sums = scratch[0, : last - first], scratch[1, : last - first], out[first:last]
        sums[:] = 0
        for j in range(odd.shape[0]):
            _waves(angle[first:last], odd[j], table, 32, sin_d, cos_d)
            _add_term(weights[j], drop, sin_d, cos_d, cosines[j, first:last], sines[j, first:last], sums)


@inner
def _add_raised(w: Any, drop: Any, raised: Any, sine: Any, cosine: Any, cos_l: Any, sin_l: Any, out: Any) -> None:
    """One term, of factors that are 2^(61 − drop) too large, so that they are positive, and of 32 bits.

    raised: what makes them so, and half a unit to round by.
    """
    for i in range(out.shape[0]):
        f = np.uint64(np.uint32(np.uint64(np.int64(sine[i]) * w + raised) >> drop))
        g = np.uint64(np.uint32(np.uint64(np.int64(cosine[i]) * w + raised) >> drop))
        out[i] += f * cos_l[i] - g * sin_l[i]


@inner
def _lower(cos_l: Any, sin_l: Any, by: Any, out: Any) -> None:
    """Take away what raised factors have added."""
    for i in range(out.shape[0]):
        out[i] -= (cos_l[i] - sin_l[i]) << by


@inner
def _narrowed(wide_sine: Any, wide_cosine: Any, sine: Any, cosine: Any) -> None:
    for i in range(sine.shape[0]):
        sine[i], cosine[i] = np.int32(wide_sine[i]), np.int32(wide_cosine[i])


@inner
def _turn_on(sine: Any, cosine: Any, by_sine: Any, by_cosine: Any) -> None:
    """On to the next multiple: all at TURN_BITS, of 32 bits."""
    half = np.int64(1) << (TURN_BITS - 1)
    for i in range(sine.shape[0]):
        s, c, s2, c2 = np.int64(sine[i]), np.int64(cosine[i]), np.int64(by_sine[i]), np.int64(by_cosine[i])
        sine[i] = np.int32((s * c2 + c * s2 + half) >> TURN_BITS)
        cosine[i] = np.int32((c * c2 - s * s2 + half) >> TURN_BITS)


@jit(_READ[1], _TABLE, _TABLE, _I, _READ[2], _READ[2], _SIGNED, _NARROW, _OUT[1])
def turned_sum(
    angle: Any, weights: Any, table: Any, drop: Any, cosines: Any, sines: Any, scratch: Any, narrow: Any, out: Any
) -> None:
    """As `sine_sum`, of 1, 3, 5, …, with the factors of `mpc.trig.series_tables` `by_turning`.

    drop: TURN_BITS and how many bits factors have less than weights, 42 or more. scratch (2, …), narrow (2, 2, …): of
    the same last length.
    """
    n, block = angle.shape[0], scratch.shape[1]
    raised = (np.int64(1) << 61) + (np.int64(1) << (drop - 1))
    for first in range(0, n, block):
        last = min(first + block, n)
        sine, cosine = narrow[0, 0, : last - first], narrow[0, 1, : last - first]
        by_sine, by_cosine = narrow[1, 0, : last - first], narrow[1, 1, : last - first]
        wide_sine, wide_cosine, sums = scratch[0, : last - first], scratch[1, : last - first], out[first:last]
        _waves(angle[first:last], np.uint64(2), table, TURN_BITS, wide_sine, wide_cosine)
        _narrowed(wide_sine, wide_cosine, by_sine, by_cosine)
        sums[:] = 0
        for j in range(weights.shape[0]):
            cos_l, sin_l = cosines[j, first:last], sines[j, first:last]
            if j % TURNS == 0:
                _waves(angle[first:last], np.uint64(2 * j + 1), table, TURN_BITS, wide_sine, wide_cosine)
                _narrowed(wide_sine, wide_cosine, sine, cosine)
            _add_raised(weights[j], np.uint64(drop), raised, sine, cosine, cos_l, sin_l, sums)
            _lower(cos_l, sin_l, np.uint64(61 - drop), sums)
            _turn_on(sine, cosine, by_sine, by_cosine)


@jit(_READ[1], _I, _OUT[3])
def onehot(r: Any, width: Any, out: Any) -> None:
    """For each byte of the low width − 1 bits, 256 bits of which one is one; out (n, bytes, 4)."""
    mask = (np.uint64(1) << np.uint64(width - 1)) - np.uint64(1)
    for i in range(r.shape[0]):
        low = r[i] & mask
        for j in range(out.shape[1]):
            byte = (low >> np.uint64(8 * j)) & np.uint64(255)
            for w in range(4):
                out[i, j, w] = 0
            out[i, j, byte >> np.uint64(6)] = np.uint64(1) << (byte & np.uint64(63))


@jit(_READ[3], _READ[1], _I, _READ[2], _OUT[1])
def look(hot: Any, c: Any, width: Any, above: Any, out: Any) -> None:
    """Packed shares of [r_j > c_j], then of [r_j = c_j] but for the lowest byte; hot (n, bytes, 4)."""
    mask = (np.uint64(1) << np.uint64(width - 1)) - np.uint64(1)
    n = hot.shape[1]
    for i in range(c.shape[0]):
        low = c[i] & mask
        packed = np.uint64(0)
        for j in range(n):
            byte = (low >> np.uint64(8 * j)) & np.uint64(255)
            folded = np.uint64(0)
            for w in range(4):
                folded ^= hot[i, j, w] & above[byte, w]
            for half in (32, 16, 8, 4, 2, 1):
                folded ^= folded >> np.uint64(half)
            packed |= (folded & np.uint64(1)) << np.uint64(j)
            if j:
                equal = (hot[i, j, byte >> np.uint64(6)] >> (byte & np.uint64(63))) & np.uint64(1)
                packed |= equal << np.uint64(n + j - 1)
        out[i] = packed
