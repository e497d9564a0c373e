"""What an equation says of where it comes from: the author's line, and what is written there."""

from collections import Counter

import numpy as np
import pytest
from traced import shared

import mpc
from mpc.errors import ProgramError
from mpc.ir import Equation, spoken, walk
from protocols import BEAVER, MASKED


@mpc.protocol(range=lambda x, y: (-16.0, 16.0))
def scaled(x, y):
    """A rule of the author's own."""
    a, b = mpc.mask(x.shape), mpc.mask(y.shape)
    c = mpc.deal(a * b)
    d, e = mpc.open(x - a), mpc.open(y - b)
    return d * e + d * b + a * e + c


WRITTEN = [
    (lambda x, y: x * y, "multiply"),
    (lambda x, y: 3 * (x * y) - 1, "multiply"),
    (np.multiply, "multiply"),
    (lambda x, y: x @ y, "matmul"),
    (np.dot, "dot"),
    (lambda x, y: x < y, "less"),
    (lambda x, y: x >= y, "greater_equal"),
    (lambda x, y: x / y, "divide"),
    (lambda x, y: abs(x), "absolute"),
    (lambda x, y: x**3, "power"),
    (lambda x, y: mpc.sigmoid(x), "sigmoid"),
    (lambda x, y: mpc.reciprocal(x), "reciprocal"),
    (mpc.maximum, "maximum"),
    (lambda x, y: mpc.repeat(2, lambda i, s: mpc.assume_range(s * y, -4, 4), x), "multiply"),
    (scaled, "scaled"),
]


def of(function):
    return shared(function, (3,), (3,), lo=0.5, hi=4)


def rounds(lowered):
    return Counter(spoken(e).split(", ")[0] for e in walk(lowered.block) if e.op in {"open", "send", "reveal"})


@pytest.mark.parametrize(("function", "word"), WRITTEN, ids=[f"{i}-{w}" for i, (_, w) in enumerate(WRITTEN)])
def test_openings_are_called_by_what_the_author_wrote(function, word):
    assert set(rounds(of(function).lower(BEAVER))) - {"repeat"} == {word, "reveal"}  # a loop rescales its state
    assert set(rounds(of(function).lower(MASKED))) <= {word, "reveal", "input", "repeat"}


def test_the_word_is_in_the_text_and_comes_back_from_it():
    program = of(lambda x, y: x * y)
    assert " @ test_where.py:" in program.text
    assert "(multiply)\n" in program.text
    again = mpc.Program.parse(program.text)
    assert again.text == program.text
    assert rounds(again.lower(BEAVER)) == rounds(program.lower(BEAVER))


def test_a_refusal_and_a_plan_name_the_line_alone():
    with pytest.raises(ProgramError) as refusal:
        raise ProgramError("no", "a.py:1 (multiply) via beaver.py:2")
    assert str(refusal.value) == "a.py:1 via beaver.py:2: no"
    plan = of(lambda x, y: x * y).lower(BEAVER).cost()
    assert all(line["where"].rpartition(":")[2].isdigit() for line in plan.reveals)


@pytest.mark.parametrize(
    ("op", "where", "said"),
    [
        ("open", "train.py:17 (multiply) via beaver.py:30", "multiply, train.py:17"),
        ("open", "train.py:17 via beaver.py:30", "opening, train.py:17"),
        ("send", "train.py:3 (share)", "input, train.py:3"),
        ("reveal", "train.py:20 (reveal)", "reveal, train.py:20"),
        ("open", "", "opening, -"),
    ],
)
def test_what_people_read(op, where, said):
    assert spoken(Equation(op, (), (), where=where)) == said
