"""What a coordinator learns for the asking: public facts, and the values of columns that their owner has declared."""

from pathlib import Path

import numpy as np
import pytest
from actors import Net

import mpc
from mpc.table import Table
from parties.asked import ANSWERS, ASKED
from parties.cluster import COORDINATOR
from parties.declared import LOCAL_MOST, Column, Declared
from parties.keys import fingerprint
from parties.machinery import real
from parties.wire import META, WITH_FRAMES, Message, Type, unpack
from protocols import catalog, suites

SECURITY = Path(__file__).parents[2] / "SECURITY.md"
PEOPLE = {
    "ssn": [f"{100 + i}-45-678{i}" for i in range(6)],
    "y": ["no", "yes"] * 3,
    "age": np.array([31.0, 32, 33, 97, 35, 36]),
}


def net_of(declared=None, table=None, machinery=None):
    return Net(2, machinery, offers=[Table(table or PEOPLE, "a.csv")] * 2, declared=declared)


def ask(net, kind=Type.CLASSES, party=0, **meta):
    """What a party answers to a question that any coordinator's key may ask."""
    number, question = net.coordinator.ask(party, kind, **meta)
    net.perform(COORDINATOR, iter([question]))
    net.settle()
    return net.coordinator.answers.pop(number)


def values_of(net, column, name="x"):
    return ask(net, name=name, column=column)


def seen_by_coordinator(net):
    """Every byte that the party sent."""
    return b"".join(str(m.meta).encode() + b"".join(map(bytes, m.frames)) for m in net.log if m.src == 0)


# -------------------------------------------------------------------------------------------- columns not declared


@pytest.mark.parametrize(
    "declared", [None, Declared({"ssn": Column((0, 1))}), Declared({"ssn": Column(role="feature")})]
)
def test_nothing_of_a_column_that_is_not_declared_is_told(declared):
    net = net_of(declared)
    answer = values_of(net, "ssn")
    assert answer.kind == "policy"
    for words in ("'ssn' of 'x'", "privity party --schema FILE", "format = 1", "[columns.ssn]", 'as = "label"',
                  "at_most = 20", "values = ["):  # fmt: skip
        assert words in answer.refused
    assert not any(value.encode() in seen_by_coordinator(net) for value in PEOPLE["ssn"])
    (entry,) = net.homes[0].journal.facts
    key = fingerprint(net.cluster.coordinator.public)
    who = {"data": "x", "column": "ssn", "coordinator": "coordinator", "key": key}
    assert entry == {"what": "values refused", "why": answer.refused.partition(";")[0], **who}
    assert net.noted[0] == [f"told coordinator (key {key}) no values of column 'ssn' of 'x': {answer.refused}"]


def test_the_attack_works_on_a_party_without_declarations(monkeypatch):
    monkeypatch.setattr(Declared, "_rule", lambda *_: Column(role="label"))  # the guard taken out
    answer = values_of(net_of(), "ssn")
    assert unpack(answer.message.frames) == PEOPLE["ssn"]


def test_a_refusal_is_the_same_for_any_data():
    assert values_of(net_of(), "ssn").refused == values_of(net_of(table=PEOPLE | {"ssn": ["z"] * 6}), "ssn").refused


def test_the_line_to_write_fits_any_name():
    answer = values_of(net_of(table={'mean "x" ü': ["a"]}), 'mean "x" ü')
    assert r'[columns."mean \"x\" ü"]' in answer.refused
    question = "How often, in the last 12 months, did you … " * 7
    refused = values_of(net_of(table={question: ["a"]}), question).refused
    assert f'[columns."{question}"], as = "label", at_most = 20' in refused


# -------------------------------------------------------------------------------------------------- labels and keys


@pytest.mark.parametrize("column", [Column(role="label", values=("no", "yes", "maybe")), Column(role="key", at_most=2)])
def test_values_of_a_label_or_key_are_told_and_written_down_before(column):
    net = net_of(Declared({"y": column}))
    happened = []
    net.homes[0].before = lambda: happened.append(len(net.log))
    assert unpack(values_of(net, "y").message.frames) == ["no", "yes"]
    (entry,) = net.homes[0].journal.facts
    assert entry == {
        "what": "values told", "data": "x", "column": "y", "count": 2, "coordinator": "coordinator",
        "key": fingerprint(net.cluster.coordinator.public),
    }  # fmt: skip
    assert happened == [[m.type for m in net.log].index(Type.LABELS)]
    assert net.noted[0] == [f"told coordinator (key {entry['key']}) the distinct values of column 'y' of 'x': 2"]


def test_what_cannot_be_written_down_is_not_told():
    net = net_of(Declared({"y": Column(role="label", at_most=2)}))
    net.homes[0].full = True
    answer = values_of(net, "y")
    assert (answer.kind, answer.refused) == ("internal", "the disk is full")
    assert Type.LABELS not in {m.type for m in net.log}
    assert not net.noted


@pytest.mark.parametrize("declared", [Declared({"k": Column(role="key", at_most=20)}), Declared(local=True)])
def test_beyond_the_cap_nothing_is_told_not_even_how_many(declared):
    def told(count):
        net = net_of(declared, {"k": [f"v{i:04}" for i in range(count)]})
        return values_of(net, "k"), seen_by_coordinator(net)

    assert len(unpack(told(20)[0].message.frames)) == 20 == LOCAL_MOST
    answers = [told(count) for count in (21, 22, 3000)]
    assert {answer.kind for answer, _ in answers} == {"policy"}
    assert len({raw for _, raw in answers}) == 1
    assert "more distinct values" in answers[0][0].refused
    assert "[columns.k]" in answers[0][0].refused


def test_a_value_that_is_not_declared_is_named_to_its_owner_by_its_row_and_to_nobody_by_itself():
    net = net_of(Declared({"y": Column(role="label", values=("no", "yes"))}), {"y": ["no", "yes", "secret", "no"]})
    answer = values_of(net, "y")
    assert (answer.kind, answer.refused) == ("input", "input refused ('x')")
    (line,) = net.told[0]
    assert line.startswith("alice: a.csv: row 3 (line 4), column 'y' has none of the values that the schema declares")
    shown = str(net.told) + str(net.noted) + str(net.homes[0].journal.facts)
    assert "secret" not in shown
    assert b"secret" not in seen_by_coordinator(net)


def test_missing_labels_and_numbers_are_what_they_were():
    declared = Declared({"k": Column(role="key", values=("1", "2", "0.5", "x"))})
    net = net_of(declared, {"k": ["2", "1.0", "", "0.50", " x", "nan"]})
    assert unpack(values_of(net, "k").message.frames) == ["0.5", "1", "2", "x"]


def test_data_that_is_not_offered_and_columns_that_are_not_there():
    net = net_of(Declared({"y": Column(role="label", at_most=2), "z": Column(role="label", at_most=2)}))
    assert values_of(net, "y", name="other").kind == "policy"
    assert values_of(net, "z").refused == "input refused ('x')"
    assert Net(2).cluster.names == ["alice", "bob"]
    assert ask(Net(2, declared=Declared({"y": Column(role="key", at_most=2)})), name="x", column="y").kind == "input"


# ---------------------------------------------------------------------------------------- guesses, by way of a program


@mpc.program
def guess(x: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(mpc.share(t.labels("ssn", ["100-45-6780", "other"])).sum() for t in x))


def started(net, program, settings=None):
    made = program.trace({"x": dict.fromkeys(net.cluster.names, Table(PEOPLE))}, net.cluster.names, settings)
    net.begin(made.text, program=made)
    net.settle()
    return net.verdict


def test_a_program_cannot_try_out_values_of_a_column_that_is_not_declared():
    net = net_of(machinery=real(suites))
    verdict = started(net, guess)
    assert verdict.kind == "policy"
    assert "[columns.ssn]" in verdict.sentence
    assert "run refused: alice: column 'ssn' of 'x' is not declared a label or key" in verdict.sentence
    assert net.attempt(0) is None
    allowed = net_of(Declared({"ssn": Column(role="key", at_most=2)}), machinery=real(suites))
    assert started(allowed, guess).sentence == "run stopped: alice: input refused"  # of a run, which is in the journal


def test_an_owners_declared_range_and_values_are_checked_before_a_run():
    @mpc.program
    def oldest(x: mpc.PerParty[mpc.Table]):
        return mpc.reveal(sum(mpc.share(t["age"]).sum() for t in x))

    net = net_of(Declared({"age": Column((0, 90))}), machinery=real(suites))
    assert started(net, oldest).sentence == "run refused: alice: input refused"
    (line,) = net.told[0]
    assert line.startswith("alice: a.csv: row 4 (line 5), column 'age' is outside the declared range 0 to 90: correct")
    assert started(net_of(Declared({"age": Column((0, 97))}), machinery=real(suites)), oldest) is None


def test_a_label_that_is_declared_is_trained_on():
    net = net_of(Declared({"y": Column(role="label", values=("no", "yes"))}), {"y": PEOPLE["y"], "age": PEOPLE["age"]},
                 real(suites))  # fmt: skip
    schema = Declared(local=True).shown("x", Table({"y": PEOPLE["y"], "age": PEOPLE["age"]}))
    given = {"data": dict.fromkeys(net.cluster.names, schema)}
    made = catalog["logistic-regression"].trace(given, net.cluster.names, {"label": "y", "steps": 2, "solver": "sgd"})
    made = mpc.Program.parse(made.text.replace('"name":"data"', '"name":"x"'))
    net.begin(made.text, program=made)
    net.settle()
    assert net.verdict is None
    assert net.outcome.results["classes"] == ["no", "yes"]


# ------------------------------------------------------------------------------------------------- the closed list


def listed():
    """The table of SECURITY.md."""
    text = SECURITY.read_text().partition("## What a coordinator can ask")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


def test_the_list_in_the_document_is_the_list_in_the_code():
    def name(kind):
        return "–" if kind is None else f"`{kind.name}`"

    assert listed() == [[q.name, name(q.asks), name(q.answers), q.tells, q.noted] for q in ASKED]
    assert [q.name for q in ASKED] == ["schema", "classes", "facts", "holdings", "drop", "status", "prepare", "journal"]


@pytest.mark.parametrize("kind", [t for t in Type if t.value > 8], ids=lambda t: t.name)
def test_a_party_answers_what_is_listed_and_nothing_else(kind):
    net = net_of(Declared({"y": Column(role="label", at_most=2)}))
    empty = {str: "", int: 1, bool: True, list: [], float: 0.0}
    meta = {field: empty[wanted] for field, wanted in META[kind].items()}
    frames = (b"\x80", b"") if kind in WITH_FRAMES else ()
    for session in (bytes(16), b"t" * 16):
        net.inject(Message(kind, COORDINATOR, 0, session, meta=meta, frames=frames))
    net.settle()
    sent = {m.type for m in net.log if m.src == 0}
    assert sent <= {ANSWERS[kind], Type.REFUSED} if kind in ANSWERS else not sent
    assert bool(sent) == (kind in ANSWERS)


def test_a_schema_tells_names_and_counts_and_nothing_that_a_cell_says():
    net, other = net_of(), net_of(table=PEOPLE | {"ssn": ["z"] * 6, "age": -PEOPLE["age"]})
    answers = [ask(n, Type.DESCRIBE, name="x").message for n in (net, other)]
    assert answers[0].meta == answers[1].meta == {"ask": 1, "offered": True, "table": True, "shape": [6, 3]}
    assert unpack(answers[0].frames) == unpack(answers[1].frames) == ["ssn", "y", "age"]
    assert not net.homes[0].journal.facts
