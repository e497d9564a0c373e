import pytest
from hypothesis import given
from hypothesis import strategies as st

import mpc
from mpc.errors import UsageError
from parties.arguments import (
    choose_parties,
    inputs_of,
    parse_input,
    parse_offers,
    require_inputs,
    settings_of,
    toml_value,
)


@mpc.program
def one_input(patients: mpc.PerParty[mpc.Table], label: str = "y", steps: int = 10, rate: float = 0.5):
    return mpc.reveal(sum(mpc.share(t["x"]).sum() for t in patients))


@mpc.program
def two_inputs(X: mpc.PerParty[mpc.Table], y: mpc.Private):
    return mpc.reveal(mpc.share(y).sum())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patients=alice:a.csv", ("patients", "alice", "a.csv")),
        ("alice:a.csv", ("", "alice", "a.csv")),
        ("x=alice:/tmp/a=b:c.csv", ("x", "alice", "/tmp/a=b:c.csv")),
        ("alice:odd=name.csv", ("", "alice", "odd=name.csv")),
    ],
)
def test_inputs_are_parsed(text, expected):
    argument = parse_input(text)
    assert (argument.name, argument.party, argument.source) == expected


@pytest.mark.parametrize("text", ["", "a.csv", "alice:", "=alice:a.csv", "x=:a.csv", "x=alice", "1x=alice:a"])
def test_other_inputs_are_refused(text):
    with pytest.raises(UsageError, match="NAME=PARTY:FILE"):
        parse_input(text)


def test_in_a_cluster_the_offered_name_may_be_left_out():
    assert parse_input("patients=alice", cluster=True).source == "patients"


@given(st.text(max_size=40))
def test_any_text_is_an_input_or_a_usage_error(text):
    try:
        parse_input(text)
    except UsageError as refused:
        assert "--input" in str(refused)  # noqa: PT017 - most texts are refused, some are inputs


def test_with_one_input_its_name_may_be_left_out_or_wrong():
    inputs, notes = inputs_of(one_input, [parse_input("alice:a.csv"), parse_input("rows=bob:b.csv")])
    assert inputs == {"patients": {"alice": "a.csv", "bob": "b.csv"}}
    assert notes == ["one_input has one input, 'patients': 'rows' is taken to mean it"]


def test_with_two_inputs_the_name_is_needed():
    with pytest.raises(UsageError, match="say which"):
        inputs_of(two_inputs, [parse_input("alice:a.csv")])
    with pytest.raises(UsageError, match=r"no input 'Y'.*did you mean 'y'|no input 'Y'.*inputs: X, y"):
        inputs_of(two_inputs, [parse_input("Y=alice:a.csv")])
    with pytest.raises(UsageError, match="given twice for alice"):
        inputs_of(two_inputs, [parse_input("y=alice:a.csv"), parse_input("y=alice:b.csv")])
    with pytest.raises(UsageError, match="needs the input 'y'"):
        require_inputs(two_inputs, {"X": {"alice": "a.csv"}})


@pytest.mark.parametrize(
    ("n", "owners", "expected"),
    [
        (None, ["alice", "bob", "carol"], ["alice", "bob", "carol"]),
        (None, ["bob", "alice"], ["alice", "bob"]),
        (None, ["alice"], ["alice", "bob"]),
        (None, ["bob"], ["alice", "bob"]),
        (None, ["north", "south"], ["north", "south"]),
        (3, ["alice"], ["alice", "bob", "carol"]),
        (None, [], ["alice", "bob"]),
        (None, ["p12", "judy", "p11"], ["judy", "p11", "p12"]),
    ],
)
def test_who_computes(n, owners, expected):
    assert choose_parties(n, {"x": dict.fromkeys(owners, "f.csv")}) == expected


def test_parties_that_cannot_be():
    with pytest.raises(UsageError, match="at least 2 parties"):
        choose_parties(1, {})
    with pytest.raises(UsageError, match=r"unknown party 'bbo'; did you mean 'bob'.*alice, bob, carol"):
        choose_parties(3, {"x": {"bbo": "b.csv"}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100", 100),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 1e-3),
        ("true", True),
        ('"a b"', "a b"),
        ("diagnosis", "diagnosis"),
        ("mean radius", "mean radius"),
        ("[1, 2]", [1, 2]),
        ("2020-01-01", "2020-01-01"),
        ("1\nother = 2", "1\nother = 2"),
        ("", ""),
    ],
)
def test_values_are_toml(text, expected):
    value = toml_value(text)
    assert value == expected
    assert type(value) is type(expected)


def test_settings():
    assert settings_of(one_input, ["steps=20", "label=diagnosis"]) == {"steps": 20, "label": "diagnosis"}
    assert settings_of(one_input, ["label=1"]) == {"label": "1"}
    assert settings_of(one_input, ['label="y"']) == {"label": "y"}
    with pytest.raises(UsageError, match=r"no setting 'step'; did you mean 'steps'\?.*label, steps, rate"):
        settings_of(one_input, ["step=3"])
    with pytest.raises(UsageError, match="KEY=VALUE"):
        settings_of(one_input, ["steps"])
    with pytest.raises(UsageError, match="given twice"):
        settings_of(one_input, ["steps=1", "steps=2"])


def test_offers():
    assert {n: str(p) for n, p in parse_offers(["x=a.csv", "y=d=e.csv"]).items()} == {"x": "a.csv", "y": "d=e.csv"}
    for text in ("x", "=a.csv", "x=", "a b=c.csv"):
        with pytest.raises(UsageError, match="NAME=FILE"):
            parse_offers([text])
    with pytest.raises(UsageError, match="twice"):
        parse_offers(["x=a.csv", "x=b.csv"])
