"""Between real numbers and ring integers: exact at every scale, and refused where it is out of range."""

from fractions import Fraction

import numpy as np
import pytest

from mpc.errors import InputError
from mpc.fixed import decode, encode, inside
from mpc.ring import Ring

RING = Ring(64)
NUMBERS = np.array([0.0, -0.0, 1.0, -1.5, 2.5, 0.1, -0.3, 5e-324, -2.5e-310, 1.7976931348623157e308, 123456789.123])


def where(index: tuple[int, ...]) -> str:
    return f"cell {index}"


@pytest.mark.parametrize("scale", [0, 1, 16, 52, 62, 1022, 1023, 1024, 1074, 2000, -1, -62, -1022, -1023, -1100, -5000])
def test_integers_are_those_of_the_definition(scale: int) -> None:
    with np.errstate(over="ignore"):
        real = np.ldexp(NUMBERS, scale)
    numbers = NUMBERS[np.abs(real) < 2.0**62]
    got = encode(RING, numbers, scale, -np.inf, np.inf, False, where)
    assert got.view(np.int64).tolist() == np.rint(np.ldexp(numbers, scale)).astype(np.int64).tolist()


@pytest.mark.parametrize("scale", [0, 1, 16, 62, 1022, 1023, 1074, 3000, -1, -700, -1022, -1024])
def test_numbers_are_those_of_the_definition(scale: int) -> None:
    whole = np.array([0, 1, -1, 3, 2**52 + 1, -(2**53), 2**62], dtype=np.int64)
    with np.errstate(over="ignore"):
        expected = np.ldexp(whole.astype(np.float64), -scale).tolist()
        assert decode(RING, whole.view(np.uint64), scale, Fraction(1)).tolist() == expected


@pytest.mark.parametrize("shape", [(0,), (3, 0), (), (2, 3)])
def test_what_is_inside_comes_back_in_any_shape(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 2.0)
    assert inside(x, -2.0, 2.0, where) is x
    assert encode(RING, x, 1, -2.0, 2.0, False, where).shape == shape


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.nan, "is not finite"),
        (np.inf, "is not finite"),
        (-np.inf, "is not finite"),
        (2.1, "is outside the declared range -2 to 2: "),
        (-2.1, "is outside the declared range -2 to 2: "),
    ],
)
@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (np.array([-2.0, -2.0, -2.0]), np.array([2.0, 2.0, 2.0]))])
def test_what_is_not_inside_is_refused_with_its_place(bad: float, said: str, bounds: tuple[object, object]) -> None:
    x = np.zeros((4, 3))
    x[2, 1] = bad
    with pytest.raises(InputError, match=rf"cell \(.*2.*, .*1.*\) {said}"):
        inside(x, *bounds, where)
    x[3, 0] = 9.0
    many = r"\(2 such values\)" if np.isfinite(bad) else "not finite"
    with pytest.raises(InputError, match=rf"cell \(.*2.*, .*1.*\) .*{many}"):
        inside(x, *bounds, where)
