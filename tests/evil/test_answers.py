"""Answers to a coordinator's questions that are not what they must be."""

import pytest
from lab import LIMITS, Lab

from parties.answers import columns_of, holdings_of, labels_of, shape_of
from parties.coordinator import CoordinatorBrain
from parties.events import Arrived
from parties.wire import BadMessage, Message, Type, pack

RUN = "5a" * 16
GOOD = {"attempts": 1, "checkpoints": [[1, 0, 2]], "materials": [RUN], "handles": []}


def schema(shape, columns=None):
    meta = {"ask": 1, "offered": True, "table": columns is not None, "shape": shape}
    return Message(Type.SCHEMA, 1, 0xFFFF, meta=meta, frames=(pack(columns or []),))


def answer(document):
    return Message(Type.HOLDS, 1, 0xFFFF, meta={"ask": 1}, frames=(pack(document),))


@pytest.mark.parametrize("shape", [[-1], ["2"], [2.0], [True], [1 << 60], [[2]], [1] * 33])
def test_shapes_that_are_none(shape):
    with pytest.raises(BadMessage, match="a shape that is none"):
        shape_of(schema(shape))


@pytest.mark.parametrize(
    "columns",
    ["ab", ["a", 1], ["a", "\x1b[2J"], ["a", "x" * 1001], ["a"], ["a", "b", "c"], ["a", "a"], {"a": 1, "b": 2}],
)
def test_columns_that_are_none(columns):
    with pytest.raises(BadMessage, match="columns that"):
        columns_of(schema([3, 2], columns))


def test_good_ones():
    assert columns_of(schema([3, 2], ["a", "größe"])) == ("a", "größe")
    assert columns_of(schema([3])) is None
    assert shape_of(schema([3, 0])) == (3, 0)
    assert labels_of(answer(["m", "f"])) == ["m", "f"]
    assert holdings_of(answer(GOOD)) == GOOD


@pytest.mark.parametrize("labels", ["ab", [1], ["\x07"], {"a": 1}, None])
def test_labels_that_cannot_be_printed(labels):
    with pytest.raises(BadMessage, match="labels that cannot be printed"):
        labels_of(answer(labels))


@pytest.mark.parametrize(
    "change",
    [
        {"attempts": -1}, {"attempts": 1 << 40}, {"attempts": "1"}, {"attempts": True}, {"more": 1},
        {"checkpoints": [[1, 0]]}, {"checkpoints": [[1, 0, "2"]]}, {"checkpoints": [7]}, {"checkpoints": {}},
        {"checkpoints": [[1 << 63, 0, 0]]}, {"materials": ["x"]}, {"materials": [1]}, {"materials": RUN},
        {"handles": ["x"]}, {"handles": [[RUN, {}]]}, {"handles": [["x", {}]]}, {"handles": [[RUN, {"name": "\x1b"}]]},
    ],
)  # fmt: skip
def test_holdings_of_another_form(change):
    with pytest.raises(BadMessage, match="of another form"):
        holdings_of(answer(GOOD | change))


def test_only_what_was_asked_is_kept_and_only_the_right_type():
    brain = CoordinatorBrain(Lab(1).cluster, lambda: 0.0, LIMITS)
    number, _ = brain.ask(0, Type.DESCRIBE, name="x")
    other, _ = brain.ask(1, Type.HELD, run="", lowered="")
    for ask in (number, other, 77, -1, 1 << 60):
        wrong = Message(Type.LABELS, 1, 0xFFFF, meta={"ask": ask}, frames=(pack([]),))
        assert list(brain.handle(Arrived(wrong))) == []
    assert set(brain.answers) == {other}
    assert brain.answers[other].refused == "sent a bad message (LABELS is no answer to what it was asked)"
