"""mpc/surface.py: numpy's habits on secrets. Each function runs on arrays, in the clear, and by both suites."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from traced import agrees, shared, some

import mpc
from mpc.tracing import Value

sixteenths = st.integers(-64, 64).map(lambda n: n / 16)  # so that three factors are exact at 16 bits
shapes = hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)
Function = Callable[..., Any]


def arrays(shape: Any = shapes) -> Any:
    return hnp.arrays(np.float64, shape, elements=sixteenths)


@st.composite
def pairs(draw: Any) -> tuple[Any, Any]:
    both = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)).input_shapes
    return draw(arrays(both[0])), draw(arrays(both[1]))


# --- arithmetic


@some
@given(pairs())
def test_elementwise(both: tuple[Any, Any]) -> None:
    agrees(lambda x, y: x + y, *both)
    agrees(lambda x, y: 3 - x * y, *both)
    agrees(lambda x, y: -(y - x) * 2.5, *both)


@some
@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_matmul(data: st.DataObject, n: int, k: int, m: int) -> None:
    A, B, v = (data.draw(arrays(s)) for s in ((n, k), (k, m), (k,)))
    agrees(lambda a, b: a @ b, A, B)
    agrees(lambda a, b: a.dot(b), A, v)
    agrees(np.matmul, v, B)
    agrees(np.dot, v, v)
    agrees(lambda a: np.array([[1.0] * n]) @ a, A)


@some
@given(arrays(), st.sampled_from([3, -1, 0.5, -2.25, np.float64(1.5), np.int64(7), True]))
def test_plain_numbers(x: Any, c: Any) -> None:
    agrees(lambda s: s * c + c, x)
    agrees(lambda s: c - c * s, x)


@some
@given(pairs())
def test_plain_arrays(both: tuple[Any, Any]) -> None:
    x, c = both
    agrees(lambda s: s * c + c, x)
    agrees(lambda s: c - c * s, x)
    agrees(lambda s: c.round().astype(int) * s, x)


@some
@given(arrays(), st.integers(1, 4))
def test_powers(x: Any, n: int) -> None:
    agrees(lambda s: (s / 4) ** n, np.round(x))


@some
@given(arrays(), st.sampled_from([2, 3, 7.0, 0.3, -5]))
def test_division_by_public(x: Any, c: float) -> None:
    agrees(lambda s: s / c, x, within=2**-15)
    agrees(lambda s: (s / c + 1) * 2, x, within=2**-13)
    agrees(lambda s: s / c - s / (c + 1), x, within=2**-13)


def test_division_by_a_public_array() -> None:
    agrees(lambda s: s / np.array([2.0, 3.0, 0.7]), [1.5, -2.0, 7.0], within=2**-14)


@some
@given(pairs())
def test_numpy_functions_and_operators_are_the_same(both: tuple[Any, Any]) -> None:
    agrees(lambda x, y: np.add(x, y) - np.multiply(x, y), *both)
    agrees(lambda x, y: np.subtract(np.negative(x), np.square(y)), *both)
    agrees(lambda x, y: np.true_divide(x, 4) + np.positive(y), *both)


# --- shapes


REDUCTIONS: list[Function] = [
    lambda x: x.sum(),
    lambda x: x.sum(axis=0),
    lambda x: x.sum(axis=-1, keepdims=True),
    lambda x: np.sum(x, axis=(0, 1)),
    lambda x: mpc.sum(x, axis=1) if isinstance(x, Value) else np.sum(x, axis=1),
]


@pytest.mark.parametrize("function", REDUCTIONS)
@some
@given(arrays(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4)))
def test_sums(function: Function, x: Any) -> None:
    agrees(function, x)


@some
@given(arrays(hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)))
def test_means(x: Any) -> None:
    agrees(lambda s: s.mean(), x, within=2**-15)
    agrees(lambda s: np.mean(s, axis=0), x, within=2**-15)
    agrees(lambda s: s.mean(axis=1, keepdims=True) * s, x, within=2**-11)


STRUCTURE: list[Function] = [
    lambda x: x.T,
    lambda x: x.transpose(1, 0, 2),
    lambda x: np.transpose(x, (2, 0, 1)),
    lambda x: x.reshape(-1, 2),
    lambda x: np.reshape(x, (4, 6)),
    lambda x: x.reshape([3, 8]).T.ravel(),
    lambda x: np.ravel(x)[::-2],
    lambda x: np.concatenate([x, x * 2], axis=1),
    lambda x: np.concatenate([x, np.ones((1, 3, 4))]),
    lambda x: np.stack([x, -x, np.zeros((2, 3, 4))], axis=-1),
    lambda x: np.stack([x[0], x[1]]),
    lambda x: np.vstack([x[0], x[1, 0]]),
    lambda x: np.hstack([x[:, 0], x[:, 1]]),
    lambda x: np.where(np.arange(4) % 2 == 0, x, -x),
    lambda x: np.where(np.arange(4) > 1, x, 0.25),
    lambda x: np.broadcast_to(x[:, :1], (2, 3, 4)),
    lambda x: sum(row.sum(axis=0) for row in x),
    lambda x: sum([x[0], x[1]], start=1),
    lambda x: x[np.newaxis, ..., 0] + len(x) + x.ndim + x.size,
    lambda x: x + np.shape(x)[1] + np.ndim(x) + np.size(x),
]


@pytest.mark.parametrize("function", STRUCTURE)
def test_structure(function: Function) -> None:
    agrees(function, np.arange(24).reshape(2, 3, 4) / 16 - 0.5)


INDICES: list[Any] = [
    0, -1, (1, 2), (1, -1, 3), slice(1, None), slice(None, None, -1), (slice(None), slice(2, 0, -1)), ..., (..., 1),
    (0, ..., slice(1, 3)), None, (slice(None), None, 1), [1, 0, 1], (slice(None), [0, 2]), np.array([True, False]),
    (..., np.array([0, -1])), (1, [0, 2]), (slice(None), 1, [0, 3]), np.int64(1), slice(5, 9), (slice(0, 0), 1),
]  # fmt: skip


@pytest.mark.parametrize("key", INDICES, ids=str)
def test_indices(key: Any) -> None:
    agrees(lambda x: x[key] * 2, np.arange(24).reshape(2, 3, 4) / 16)


@some
@given(st.data(), arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)))
def test_basic_indices(data: st.DataObject, x: Any) -> None:
    key = data.draw(hnp.basic_indices(x.shape, allow_newaxis=True))
    agrees(lambda s: s[key], x)


UNLIKE_NUMPY: list[Any] = [
    ([0, 1], [0, 1]),  # numpy pairs them
    (0, slice(None), [0, 1]),  # numpy moves the axis to the front
    np.arange(6).reshape(2, 3) < 2,  # numpy takes single elements
    np.array([True, False, True]),
    [[0, 1]],
    True,
    2.0,
    "a",
    4,
    (0, 0, 0, 0),
    [3],
]


@pytest.mark.parametrize("key", UNLIKE_NUMPY, ids=str)
def test_indices_that_would_mean_something_else_are_refused(key: Any) -> None:
    with pytest.raises(mpc.ProgramError, match=r"test_language.py:\d+: "):
        shared(lambda x: x[key], (2, 3, 4))


# --- what a secret is not


@pytest.mark.parametrize(
    ("use", "cure"),
    [
        (lambda s: 1 if s else 0, "mpc.where"),
        (lambda s: s and 1, "mpc.where"),
        (float, "mpc.reveal"),
        (int, "mpc.reveal"),
        (complex, "mpc.reveal"),
        (np.asarray, "numpy's functions on it directly"),
        (lambda s: [1, 2][s], "public settings"),
        (range, "public settings"),
        (lambda s: np.arange(3)[s], "numpy's functions on it directly"),
        (pickle.dumps, "return it"),
        (lambda s: s.__reduce__(), "return it"),
    ],
)
def test_a_secret_is_no_number(use: Function, cure: str) -> None:
    with pytest.raises(TypeError, match=rf"test_language.py:\d+: .*{cure}"):
        shared(lambda x: use(x) if True else x, ())


@pytest.mark.parametrize("use", [lambda s: 1 / s, mpc.log, mpc.rsqrt, mpc.sqrt, np.log])
def test_a_function_of_positive_numbers_wants_a_positive_range(use: Function) -> None:
    with pytest.raises(mpc.ProgramError, match=r"\w+.py:\d+: .*must be (more than 0|0 or more) by its range"):
        shared(use, ())


@pytest.mark.parametrize("function", [np.exp2, np.power, np.linalg.inv, np.cumsum, np.arctan, np.add.reduce])
def test_what_numpy_knows_and_the_language_does_not(function: Function) -> None:
    with pytest.raises(mpc.ProgramError, match=r"test_language.py:\d+: numpy.*not in the language"):
        shared(lambda x: function(x, 2) if function in (np.power, np.maximum) else function(x), (2, 2))


def test_repr_shows_kind_and_shape_only() -> None:
    seen: list[str] = []

    def program(x: Any) -> Any:
        seen.extend(repr(v) for v in (x, x * 3, [x], {"x": x}))
        return x

    result = shared(program, (2, 3))
    assert seen[:2] == ["<secret shape=(2, 3) scale=16>"] * 2
    assert repr(result).startswith("<Program program for alice, bob: ")


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x, y: x + y, ((2,), (3,))),
        (lambda x, y: x * y, ((2, 2), (3,))),
        (lambda x, y: x @ y, ((2, 2), (3, 2))),
        (lambda x, y: x @ y, ((), (2,))),
        (lambda x, y: np.concatenate([x, y]), ((2, 2), (2, 3))),
        (lambda x, y: np.concatenate([x, y], axis=5), ((2,), (2,))),
        (lambda x, y: np.stack([x, y]), ((2,), (3,))),
        (lambda x, y: x.reshape(3) + y, ((2,), (3,))),
        (lambda x, y: x.sum(axis=1) + y, ((2,), (2,))),
        (lambda x, y: x.transpose(0, 0) + y, ((2, 2), (2, 2))),
        (lambda x, y: len(x) + y, ((), (2,))),
        (lambda x, y: np.broadcast_to(x, (2, 2)) + y, ((3,), (2, 2))),
    ],
)
def test_shapes_that_do_not_fit_name_the_line(function: Function, sizes: Any) -> None:
    with pytest.raises(mpc.ShapeError, match=r"test_language.py:\d+: "):
        shared(function, *sizes)


@pytest.mark.parametrize("c", [np.nan, np.inf, "1", None, 1j, [None], object()])
def test_public_numbers_are_finite_numbers(c: Any) -> None:
    with pytest.raises(mpc.ProgramError, match=r"test_language.py:\d+: "):
        shared(lambda x: x + c, ())


@pytest.mark.parametrize("n", [0, -1, 0.5])
def test_only_positive_whole_powers(n: Any) -> None:
    with pytest.raises(mpc.ProgramError, match="positive whole powers"):
        shared(lambda x: x**n, ())


def test_division_by_zero() -> None:
    with pytest.raises(mpc.ProgramError, match=r"test_language.py:\d+: division by zero"):
        shared(lambda x: x / 0, ())


# --- outside a program, and rules' words in one


def test_functions_outside_a_program_name_the_cure() -> None:
    with pytest.raises(mpc.ProgramError, match=r"under @mpc.program"):
        mpc.sigmoid(1)


@pytest.mark.parametrize("word", [lambda x: mpc.mask(()), mpc.deal, mpc.open, mpc.masked, mpc.msb])
def test_masks_belong_in_protocol_rules(word: Function) -> None:
    with pytest.raises(mpc.LeakError, match=r"test_language.py:\d+: .*@mpc.protocol"):
        shared(lambda x: word(x), ())  # noqa: PLW0108


def test_a_rule_cannot_reveal() -> None:
    @mpc.protocol
    def shows(x: Any) -> Any:
        return mpc.reveal(x)

    with pytest.raises(mpc.LeakError, match=r"test_language.py:\d+: .*belong in programs"):
        shared(lambda x: shows(x), ())  # noqa: PLW0108


def test_a_value_does_not_survive_its_program() -> None:
    kept: list[Any] = []
    shared(lambda x: kept.append(x) or x, ())
    with pytest.raises(mpc.ProgramError, match="has ended"):
        shared(lambda x: x + kept[0], ())
