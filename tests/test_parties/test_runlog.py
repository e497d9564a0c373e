"""What a party's log and journal say of a run: who asked for what, on which data, and what really left."""

from types import SimpleNamespace

import numpy as np
import pytest
from actors import Net

import mpc
from mpc.table import Table
from mpc.text import compact
from parties.cluster import COORDINATOR, DEALER
from parties.keys import fingerprint
from parties.machinery import real
from parties.runlog import Reveals, RunLog
from parties.wire import Message, Type, printable
from protocols import suites

ALL = {"name": "all", "to": "everyone", "shape": [2], "bits": 16, "where": "a.py:1"}
BOBS = {"name": "bobs", "to": ["bob", "coordinator"], "shape": [], "bits": 0, "where": "a.py:2"}
TABLES = [{"age": np.array([30.0, 40.0 + i]), "bmi": np.array([20.0, 21.0]), "name": ["x", "y"]} for i in range(2)]


def reveals(me="alice"):
    return Reveals([ALL, BOBS], me, ["alice", "bob", "carol"])


def summed(rows):
    return [(what, r["name"], r["to"], *([r["left"]] if "left" in r else [])) for what, r in rows]


# ------------------------------------------------------------------------------------------------ intended, revealed


def test_what_was_opened_is_revealed_with_the_next_reveal_or_at_the_end():
    one = reveals()
    assert summed(one.intend(["all"])) == [("intended", "all", "everyone")]
    one.leave()
    one.open()
    assert summed(one.intend(["bobs"])) == [
        ("revealed", "all", "everyone"),
        ("intended", "bobs", ["bob", "coordinator"]),
    ]
    one.leave()
    one.open()  # alice is no recipient: her share has left, and that is all she knows
    assert summed(one.settle(done=True, reported=True)) == [("revealed", "bobs", ["bob", "coordinator"])]
    assert [r["name"] for r in one.learnt] == ["all", "bobs"]
    assert one.settle(done=True, reported=True) == []


BOTH = ["bob", "coordinator"]
THREE = ["alice", "bob", "carol"]


@pytest.mark.parametrize(
    ("me", "steps", "rows"),
    [
        ("alice", "", [("not opened", "all", "everyone", []), ("not opened", "bobs", BOTH, [])]),
        ("alice", "leave", [("not opened", "all", "everyone", THREE[1:]), ("not opened", "bobs", BOTH, ["bob"])]),
        ("alice", "leave open", [("revealed", "all", THREE), ("not opened", "bobs", BOTH, ["bob"])]),
        ("bob", "leave open", [("revealed", "all", THREE), ("revealed", "bobs", ["bob"])]),
        ("bob", "leave", [("not opened", "all", "everyone", THREE[::2]), ("not opened", "bobs", BOTH, [])]),
    ],
)
def test_of_a_run_that_stops_the_journal_has_what_left_and_what_was_opened(me, steps, rows):
    one = reveals(me)
    one.intend(["all", "bobs"])
    for step in steps.split():
        getattr(one, step)()
    assert summed(one.settle(done=False, reported=False)) == rows


def test_of_reveals_of_one_name_each_has_its_turn():
    again = {**ALL, "where": "a.py:9"}
    one = Reveals([ALL, again], "alice", THREE)
    assert [r["where"] for _, r in one.intend(["all"])] == ["a.py:1"]
    one.leave()
    one.open()
    assert [r["where"] for _, r in one.intend(["all"])] == ["a.py:1", "a.py:9"]  # revealed, intended


def test_results_that_the_coordinator_has_been_given_were_revealed_to_it_too():
    one = reveals("bob")
    one.intend(["bobs"])
    one.leave()
    one.open()
    assert summed(one.settle(done=False, reported=True)) == [("revealed", "bobs", ["bob", "coordinator"])]


def test_what_could_not_be_written_is_written_the_next_time():
    one = reveals()
    one.intend(["all"])
    one.leave()
    one.open()
    one.intend(["bobs"])  # the disk is full: nothing leaves
    assert summed(one.settle(done=False, reported=False)) == [
        ("revealed", "all", ["alice", "bob", "carol"]),
        ("not opened", "bobs", ["bob", "coordinator"], []),
    ]


# ----------------------------------------------------------------------------------------------- whole runs in memory


@mpc.program
def total(patients: mpc.PerParty[mpc.Table]):
    return {"total": mpc.reveal(sum(mpc.share(t["age"]).sum() for t in patients))}


def net_of(tables=TABLES, **more):
    return Net(2, real(suites), offers=[Table(t, "a.csv") for t in tables], **more)


def run(net, program=total, tables=TABLES):
    given = {p: Table(t) for p, t in zip(net.cluster.names, tables, strict=True)}
    made = program.trace({next(iter(program.parameters)): given}, net.cluster.names)
    made = mpc.Program.parse(made.text.replace('"name":"patients"', '"name":"x"'))
    net.begin(made.text, program=made)
    net.settle()
    return made


def test_the_owner_reads_before_and_after_who_asked_for_what_and_what_was_learnt():
    net = net_of()
    made = run(net)
    assert net.outcome is not None
    key = fingerprint(net.cluster.coordinator.public)
    number, whom = net.following.terms.run[:10], f"asked for by coordinator (key {key})"
    about = f"program total (digest {made.digest[:12]}); data x as x, columns age"
    by = "total (one number) by alice, bob, coordinator"
    for party in (0, 1):
        text = f"its text: privity journal --program {made.digest[:12]}"
        assert net.noted[party] == [
            f"run {number} {whom}: {about}; to be learnt: {by}; {text}",
            f"run {number} is done, {whom}: {about}; learnt: {by}",
        ]
    assert [row[2:] for row in net.homes[0].journal.entries] == [("intended", "total"), ("revealed", "total")]
    (asked,) = net.homes[0].ledger.asked.values()
    assert asked == {
        "coordinator": "coordinator",
        "key": fingerprint(net.cluster.coordinator.public),
        "text": made.text,
        "data": [{"input": "x", "data": "x", "columns": ["age"]}],
    }


def test_the_line_before_comes_before_any_share_of_an_input_and_before_it_is_written_that_it_begins():
    net = net_of()
    seen = []
    net.homes[0].before = lambda: seen.append((list(net.noted.get(0, [])), {m.type for m in net.log}))
    run(net)
    first = next(noted for noted, _ in seen)
    assert "asked for by" in first[0]
    assert all(Type.DATA not in types for noted, types in seen if not noted)


def refused(tables):
    net = net_of(tables)
    run(net, tables=tables)
    assert net.verdict.sentence == "run stopped: bob: input refused"
    return net


def test_a_run_that_is_refused_before_anything_opened_is_not_in_the_journal_as_revealed():
    bad = [TABLES[0], {**TABLES[1], "age": np.array([np.nan, 1.0])}]
    net = refused(bad)
    for party in (0, 1):
        assert "revealed" not in {what for _, _, what, _ in net.homes[party].journal.entries}
    assert [row[2:] for row in net.homes[0].journal.entries] == [("intended", "total"), ("not opened", "total")]
    assert net.noted[0][-1].endswith("; learnt: nothing; not opened here: total, shares from here had left to bob")
    assert f"run {net.following.terms.run[:10]} was refused, asked for by coordinator" in net.noted[0][-1]
    (ended,) = net.homes[0].ledger.by_session.values()
    assert (ended.how, ended.sentence) == ("refused", "run stopped: bob: input refused")
    assert not any("total" in str(e) for e in net.homes[1].journal.entries)  # bob's shares never got so far


def test_writing_revealed_beforehand_is_seen(monkeypatch):
    intend = Reveals.intend
    monkeypatch.setattr(Reveals, "intend", lambda self, names: [("revealed", r) for _, r in intend(self, names)])
    bad = [TABLES[0], {**TABLES[1], "age": np.array([np.nan, 1.0])}]
    assert "revealed" in {what for _, _, what, _ in refused(bad).homes[0].journal.entries}  # as it was


def test_a_run_that_this_party_refuses_is_written_down_and_said():
    net = net_of()
    run(net, tables=[{**t, "more": np.ones(2)} for t in TABLES])
    assert net.verdict.sentence.startswith("run refused: alice: the program was made for other shapes or columns")
    (entry,) = net.homes[0].journal.facts
    assert (entry["what"], entry["program"], entry["coordinator"]) == ("run refused", "total", "coordinator")
    assert entry["run"] == net.following.terms.run
    assert "other shapes or columns of 'x'" in entry["why"]
    assert "was refused here: program total" in net.noted[0][0]
    net.inject(Message(Type.PREPARE, COORDINATOR, 0, b"z" * 16, meta=meta_of_nonsense(net), frames=(b"", b"")))
    net.settle()
    assert net.homes[0].journal.facts[-1]["what"] == "run refused"
    assert "was refused here: a program: got a PREPARE message that it cannot read" in net.noted[0][-1]


def meta_of_nonsense(net):
    real_one = next(m for m in net.log if m.type is Type.PREPARE)
    return {**real_one.meta, "run": "x" * 900}


def test_a_run_that_another_party_refuses_is_written_down_here_too():
    net = net_of()
    run(net, tables=[TABLES[0], {**TABLES[1], "more": np.ones(2)}])
    assert net.verdict.sentence.startswith("run refused: bob: the program was made for other shapes")
    (entry,) = net.homes[0].journal.facts
    assert (entry["what"], entry["program"], entry["why"]) == ("run refused", "total", net.verdict.sentence)
    before, after = net.noted[0]
    assert "to be learnt: total" in before
    assert "was refused, asked for by" in after
    assert after.endswith("; learnt: nothing")


def test_a_loop_says_how_many_numbers_there_are_in_all_and_how_many_were_learnt():
    @mpc.program
    def looped(patients: mpc.PerParty[mpc.Table]):
        start = mpc.assume_range(sum(mpc.share(t["age"]).sum() for t in patients), -999, 999)

        def body(i, state):
            mpc.reveal(state, to="bob", name="each")
            return mpc.assume_range(state * 0.5, -999, 999)

        return {"last": mpc.reveal(mpc.repeat(3, body, start))}

    net = net_of()
    run(net, looped)
    said = "each (3 numbers) by bob; last (one number) by alice, bob, coordinator"
    assert f"to be learnt: {said}; its text" in net.noted[0][0]
    assert net.noted[0][1].endswith(f"learnt: {said}")
    assert [row[2:] for row in net.homes[1].journal.entries] == [
        *(("intended", "each"), ("revealed", "each")) * 3, ("intended", "last"), ("revealed", "last")
    ]  # fmt: skip


def test_columns_are_those_that_the_program_takes_and_many_are_cut():
    many = {f"c{i}": np.ones(2) for i in range(2500)}
    net = net_of([many, many])

    @mpc.program
    def wide(patients: mpc.PerParty[mpc.Table]):
        return mpc.reveal(sum(mpc.share(t[list(t.columns)[1:]]).sum() for t in patients))

    run(net, wide, [many, many])
    (asked,) = net.homes[0].ledger.asked.values()
    columns = asked["data"][0]["columns"]
    assert (columns[0], len(columns), columns[-1]) == ("c1", 1001, "and 1499 more")
    assert "columns c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12 and 989 more; to be" in net.noted[0][0]


def test_material_for_later_is_asked_for_too():
    net = net_of()
    given = {p: Table(t) for p, t in zip(net.cluster.names, TABLES, strict=True)}
    made = total.trace({"patients": given}, net.cluster.names)
    net.begin(made.text, program=made, mode="deal")
    net.settle()
    before, after = net.noted[0]
    assert f"material for program total (digest {made.digest[:12]}), of which no data is needed" in before
    assert "is done, asked for by" in after
    assert ": material for program total" in after


# --------------------------------------------------------------------------------------------------- text from outside

EVIL = "\x1b[2J\nalice: run 1 done\u202e\x07"


def test_no_text_of_a_program_steers_a_terminal_or_makes_a_line():
    net = net_of()
    given = {p: Table(t) for p, t in zip(net.cluster.names, TABLES, strict=True)}
    made = total.trace({"patients": given}, net.cluster.names)
    text = made.text.replace('"name":"patients"', '"name":"x"').replace('name "total"', f"name {compact(EVIL)}")
    evil = mpc.Program.parse(text.replace('"name":"total"', f'"name":{compact(EVIL)}'))
    net.begin(evil.text, program=evil)
    net.settle()
    assert net.outcome is not None
    lines = [line for lines in (*net.noted.values(), *net.said.values()) for line in lines]
    assert lines
    assert all(printable(line) == line for line in lines)
    evil_name = r'"\u001b[2J\nalice: run 1 done\u202e\u0007"'
    assert any(f"program {evil_name} (digest" in line for line in lines)
    assert any(line.endswith(f"; learnt: {evil_name} (one number) by alice, bob, coordinator") for line in lines)


def test_a_coordinators_verdict_cannot_pass_for_a_partys_own_words():
    net = net_of()
    made = run(net)
    said = {}
    for session, reason in ((b"1" * 16, "run 3f2a done: 12 rounds"), (b"2" * 16, "run stopped: it was stopped")):
        net.begin(made.text, session, program=made)
        while session not in net.brains[0].sessions:
            assert net.step()
        meta = {"origin": COORDINATOR, "kind": "stopped", "reason": reason, "round": 0, "where": "", "final": True}
        net.inject(Message(Type.ABORT, COORDINATOR, 0, session, meta=meta))
        net.settle()
        said[reason] = net.said[0][-1]
    assert said == {
        "run 3f2a done: 12 rounds": "the coordinator says: run 3f2a done: 12 rounds",
        "run stopped: it was stopped": "run stopped: it was stopped",
    }
    assert DEALER in net.noted


def test_an_attempt_and_a_log_agree_about_whose_words_they_are():
    cluster = Net(2).cluster
    program = SimpleNamespace(name="p" * 500, inputs=[], text="")
    terms = SimpleNamespace(mode="run", run="a" * 32, attempt=3, task=SimpleNamespace(source="b" * 64), data=())
    log = RunLog(cluster, COORDINATOR, "alice", program, SimpleNamespace(reveals=[]), terms)
    assert log.before().startswith("run aaaaaaaaaa, attempt 3, asked for by coordinator (key ")
    assert f"program {'p' * 100} (digest bbbbbbbbbbbb); no data of this party; to be learnt: nothing" in log.before()
