import hashlib
import io
import json
import uuid

import numpy as np
import pytest
from command import privity

from mpc.errors import UsageError
from parties.home import Home, HomeError
from parties.home.journal import KINDS
from parties.home.reading import journal_report
from parties.report import emit

RUN = "3f9a" + "0" * 28
REVEALS = [
    {"name": "coef", "to": "everyone", "shape": (30,), "bits": 16, "where": "train.py:9"},
    {"name": "n", "to": ["alice", "coordinator"], "shape": [], "where": "train.py:10"},
]


def clock():
    return 1.7e9


@pytest.fixture
def home(tmp_path):
    with Home.open(tmp_path / "local" / "alice", "alice", now=clock) as opened:
        yield opened


def filled(home):
    session = uuid.uuid4().hex
    home.ledger.begin(RUN, home.ledger.next_attempt(RUN), session, program="fit", digest="ab" * 32, role="party")
    home.journal.reveals(RUN, 1, "fit", "ab" * 32, [("revealed", r) for r in REVEALS])
    home.ledger.end(session, "stopped", "party bob died in round 41 (multiply, train.py:17)")
    return home.journal.verify()


def edit(home, statement, *values):
    with home._database.change() as connection:
        connection.execute(statement, values)


def test_the_chain_can_be_computed_by_anybody(home):
    verdict = filled(home)
    assert (verdict.holds, verdict.count, verdict.head) == (True, 4, home.journal.head())
    prev = "0" * 64
    for number, before, text, digest in home._database.rows("SELECT * FROM journal ORDER BY number"):
        assert before == prev
        assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text
        prev = hashlib.sha256((prev + text).encode()).hexdigest()
        assert (prev, json.loads(text)["number"]) == (digest, number)


def test_entries_say_who_learnt_what_and_never_a_value(home):
    filled(home)
    kinds = [e["what"] for e in home.journal.entries(RUN)]
    assert kinds == ["run begun", "revealed", "revealed", "run ended"]
    first, second = home.journal.entries(RUN)[1:3]
    assert (first["to"], first["shape"], first["bits"], first["where"]) == (["everyone"], [30], 16, "train.py:9")
    assert (second["to"], second["shape"], second["bits"]) == (["alice", "coordinator"], [], None)
    assert home.journal.entries("ab" * 16) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"what": "gossip"},
        {"what": "handle dropped", "handle": "m"},
        {"what": "handle dropped", "handle": "m", "run": RUN, "value": 3},
        {"what": "handle dropped", "handle": 0.5, "run": RUN},
        {"what": "handle dropped", "handle": np.arange(3), "run": RUN},
        {"what": "handle dropped", "handle": [1.5], "run": RUN},
        {"what": "handle dropped", "handle": [[1]], "run": RUN},
        {"what": "handle dropped", "handle": True, "run": RUN},
        {"what": "handle dropped", "handle": {"a": 1}, "run": RUN},
        {"what": "handle dropped", "handle": "x" * 2001, "run": RUN},
        {"what": "handle dropped", "handle": list(range(257)), "run": RUN},
    ],
)
def test_an_entry_holds_nothing_else(home, entry):
    with pytest.raises(HomeError, match="journal"):
        home.journal.append(entry)
    assert home.journal.head() == "0:" + "0" * 64


def test_an_entry_of_a_known_kind(home):
    assert home.journal.append({"what": "handle dropped", "handle": "m", "run": RUN}) == 1
    assert home.journal.append({"what": "handle dropped", "handle": "m", "run": RUN}) == 2
    assert home.journal.verify(home.journal.head()).holds


def test_a_long_sentence_is_cut(home):
    session = uuid.uuid4().hex
    home.ledger.begin(RUN, 1, session, program="fit", digest="", role="party")
    home.ledger.end(session, "stopped", "x" * 5000)
    assert len(home.journal.entries()[-1]["sentence"]) == 2000


# --- tampering -------------------------------------------------------------------------------------------------------


def verdict_after(home, *statements):
    for statement in statements:
        edit(home, statement)
    return home.journal.verify()


@pytest.mark.parametrize(
    ("statements", "place"),
    [
        (["UPDATE journal SET entry = replace(entry, 'everyone', 'nobody') WHERE number = 2"], 2),
        (["UPDATE journal SET entry = entry || ' ' WHERE number = 4"], 4),
        (["UPDATE journal SET entry = NULL WHERE number = 3"], 3),
        (["UPDATE journal SET entry = x'00' WHERE number = 3"], 3),
        (["UPDATE journal SET hash = prev WHERE number = 1"], 1),
        (["UPDATE journal SET prev = hash WHERE number = 3"], 3),
        (["DELETE FROM journal WHERE number = 1"], 1),
        (["DELETE FROM journal WHERE number = 3"], 3),
        (["DELETE FROM journal WHERE number = 3", "UPDATE journal SET number = 3 WHERE number = 4"], 3),
        (
            [
                "UPDATE journal SET number = -2 WHERE number = 2",
                "UPDATE journal SET number = 2 WHERE number = 3",
                "UPDATE journal SET number = 3 WHERE number = -2",
            ],
            2,
        ),
        (["INSERT INTO journal SELECT 5, hash, entry, hash FROM journal WHERE number = 4"], 5),
        (["INSERT INTO journal SELECT 9, hash, entry, hash FROM journal WHERE number = 4"], 5),
        (["INSERT INTO journal SELECT 0, hash, entry, hash FROM journal WHERE number = 4"], 1),
    ],
)
def test_the_first_entry_that_does_not_fit_is_named(home, statements, place):
    filled(home)
    verdict = verdict_after(home, *statements)
    assert not verdict.holds
    assert (verdict.place, verdict.count) == (place, place - 1)
    assert verdict.reason


def test_a_forged_successor_must_carry_its_number(home):
    filled(home)
    (_, head), text = home.journal.head().split(":"), '{"number":7}'
    forged = hashlib.sha256((head + text).encode()).hexdigest()
    edit(home, "INSERT INTO journal VALUES (5, ?, ?, ?)", head, text, forged)
    assert home.journal.verify().place == 5


def test_a_tail_cut_off_shows_against_a_head_kept_elsewhere(home):
    head = filled(home).head
    assert home.journal.verify(head).holds
    edit(home, "DELETE FROM journal WHERE number > 2")
    assert home.journal.verify().holds  # the rest is whole: only a head kept elsewhere can tell
    verdict = home.journal.verify(head)
    assert (verdict.holds, verdict.place, verdict.count) == (False, 3, 2)
    filled(home)
    assert home.journal.verify().holds
    assert home.journal.verify(head).place == 4  # another history, longer than the kept one
    assert home.journal.verify(home.journal.head()[:-40]).holds


@pytest.mark.parametrize("head", ["", "4", "4:", "4:abc", "x:" + "a" * 64, "-1:" + "a" * 64, "4:" + "A" * 64])
def test_a_head_is_a_number_and_a_hash(home, head):
    if head:
        with pytest.raises(UsageError, match="NUMBER:HASH"):
            home.journal.verify(head)
    else:
        assert home.journal.verify(head).holds


# --- the command -----------------------------------------------------------------------------------------------------


def journal(tmp_path, *arguments, **more):
    return privity("journal", *arguments, cwd=tmp_path, PRIVITY_STATE=str(tmp_path), **more)


def test_the_command_prints_and_verifies(home, tmp_path):
    head = filled(home).head
    answer = journal(tmp_path)
    assert answer.code == 0, answer.err
    assert "\x1b" not in answer.out
    assert "revealed   fit: coef (30) to everyone, 16 bits, train.py:9" in answer.out
    assert "revealed   fit: n (one number) to alice, coordinator, train.py:10" in answer.out
    assert "run begun  fit (digest abababababab) as party, attempt 1" in answer.out
    assert "party bob died in round 41 (multiply, train.py:17)" in answer.out
    assert f"the chain of 4 entries holds; head {head}" in answer.out
    assert journal(tmp_path, "--head", head).code == 0
    assert journal(tmp_path, "--state", tmp_path, "--party", "alice", "--run", "3f9").code == 0


def test_the_command_as_json(home, tmp_path):
    head = filled(home).head
    answer = journal(tmp_path, "--json").json
    assert (answer["schema_version"], answer["command"], answer["ok"]) == (1, "journal", True)
    (one,) = answer["journals"]
    assert (one["party"], one["ok"], one["count"], one["head"]) == ("alice", True, 4, head)
    assert one["directory"] == str(home.directory)
    assert [e["number"] for e in one["entries"]] == [1, 2, 3, 4]
    assert one["entries"][1]["to"] == ["everyone"]
    assert "place" not in one


def test_the_command_names_the_place(home, tmp_path):
    filled(home)
    edit(home, "UPDATE journal SET entry = replace(entry, 'everyone', 'nobody') WHERE number = 2")
    answer = journal(tmp_path)
    assert answer.code == 1
    assert "entry 2 does not fit" in answer.out
    shown = journal(tmp_path, "--json")
    assert shown.code == 1
    (one,) = shown.json["journals"]
    assert (shown.json["ok"], one["ok"], one["place"]) == (False, False, 2)
    assert one["reason"]


def test_one_run_only_and_still_the_whole_chain(home, tmp_path):
    filled(home)
    home.journal.append({"what": "handle dropped", "handle": "m", "run": "77" * 16})
    (one,) = journal(tmp_path, "--run", "77", "--json").json["journals"]
    assert [e["number"] for e in one["entries"]] == [5]
    assert one["count"] == 5
    assert journal(tmp_path, "--run", "7").code == 0
    none = journal(tmp_path, "--run", "5")
    assert none.code == 2
    assert "no run begins with '5'" in none.refusal
    home.journal.append({"what": "handle dropped", "handle": "m", "run": "78" * 16})
    several = journal(tmp_path, "--run", "7")
    assert several.code == 2
    assert "77777777, 78787878" in several.refusal


def test_every_actor_of_a_world_unless_one_is_named(home, tmp_path):
    filled(home)
    with Home.open(tmp_path / "local" / "bob", "bob"):
        pass
    assert [j["party"] for j in journal(tmp_path, "--json").json["journals"]] == ["alice", "bob"]
    assert [j["party"] for j in journal(tmp_path, "--json", "--party", "bob").json["journals"]] == ["bob"]
    wrong = journal(tmp_path, "--head", "1:" + "a" * 64)
    assert wrong.code == 2
    assert "--party" in wrong.refusal


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--party", "carol"], "there is alice"),
        (["--cluster", "none.toml"], "none.toml"),
        (["--state", "elsewhere"], "nothing is kept"),
        (["--head", "x", "--party", "alice"], "NUMBER:HASH"),
        (["--party", "../alice"], "not a name"),
    ],
)
def test_wrong_usage(home, tmp_path, arguments, expected):
    filled(home)
    answer = journal(tmp_path, *arguments)
    assert answer.code == 2, answer.err
    assert expected in answer.refusal
    assert answer.out == ""


def test_every_kind_is_told_and_no_name_steers_a_terminal(home):
    evil = "\x1b[2Jmodel\n"
    for what, fields in KINDS.items():
        home.journal.append(
            {"what": what, **dict.fromkeys(fields, evil), "shape": [2, 3]}
            if "shape" in fields
            else {"what": what, **dict.fromkeys(fields, evil)}
        )
    stream = io.StringIO()
    entries = home.journal.entries()
    emit(journal_report([{"party": "alice", "ok": True, "count": 8, "head": "8:0", "entries": entries}]), stream)
    assert "\x1b" not in stream.getvalue()
    assert all(kind in stream.getvalue() for kind in KINDS)
    assert "model" in stream.getvalue()
    mangled = [{"number": 1, "at": None, "what": what} for what in [*KINDS, "gossip", None]]
    emit(
        journal_report([{"party": "a", "ok": False, "count": 0, "place": 1, "reason": "r", "entries": mangled}]), stream
    )
