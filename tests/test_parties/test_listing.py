"""What `privity kept`, and `journal --program`, say of what is here and what is not any more."""

import hashlib
import uuid

import numpy as np
import pytest
from command import privity
from homes import handle

from mpc.errors import UsageError
from parties.home import Home
from parties.home.programs import one_of

TEXTS = ['privity program 1\nname "a"\n\n%0 = x @ a.py:1\n', 'privity program 1\nname "\x1b[2Jb\u202e"\n\n']
DIGESTS = [hashlib.sha256(text.encode()).hexdigest() for text in TEXTS]


@pytest.fixture
def world(tmp_path):
    """Two actors that keep something on this host; carol, who holds a part of one secret, is elsewhere."""
    for name, secrets in (("alice", ["model", "other"]), ("bob", ["model"])):
        with Home.open(tmp_path / "local" / name, name) as home:
            for n, secret in enumerate(secrets):
                home.handles.stage(handle(n, secret), {"w": np.zeros(5, np.uint64)})
                home.handles.commit(f"{n:032x}")
    return tmp_path


def kept(world, *more):
    return privity("kept", "--state", world, *more, cwd=world)


def test_dropping_says_what_was_dropped_and_what_is_left(world):
    done = kept(world, "--drop", "model")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "dropped 'model' at alice, bob"
    assert any(line.split()[:2] == ["alice", "other"] for line in done.out.splitlines())
    last = kept(world, "--drop", "other", "--party", "alice")
    assert last.out.splitlines() == [
        "dropped 'other' at alice; bob may keep their parts, which are of no use without",
        "no other secret is kept here",
    ]
    assert kept(world).out.splitlines() == ["no secret is kept here"]
    again = kept(world, "--drop", "model")
    assert again.code == 2
    assert "no secret is kept here under the name 'model' (kept: none)" in again.refusal


def test_what_was_dropped_is_in_the_json(world):
    answer = kept(world, "--drop", "model", "--json").json
    assert [(d["party"], d["name"], d["run"]) for d in answer["dropped"]] == [
        ("alice", "model", "0" * 32),
        ("bob", "model", "0" * 32),
    ]
    assert [(s["party"], s["name"]) for s in answer["secrets"]] == [("alice", "other")]
    assert "dropped" not in kept(world, "--json").json


# ---------------------------------------------------------------------------------------------------- program texts


def begun(home, at):
    home.ledger.begin(
        uuid.uuid4().hex, 1, uuid.uuid4().hex, program="p", digest=DIGESTS[at], role="party", text=TEXTS[at]
    )  # fmt: skip


def program(world, prefix, *more):
    return privity("journal", "--program", prefix, "--state", world, *more, cwd=world)


def test_the_journal_keeps_the_text_of_every_program(world):
    with Home.open(world / "local" / "alice", "alice") as home:
        for at in (0, 0, 1):
            begun(home, at)
    with Home.open(world / "local" / "bob", "bob") as home:
        begun(home, 0)
    assert program(world, DIGESTS[0][:9]).out == TEXTS[0]
    whole = program(world, DIGESTS[1].upper(), "--json").json
    assert (whole["text"], whole["digest"], whole["parties"]) == (TEXTS[1], DIGESTS[1], ["alice"])
    assert program(world, DIGESTS[0], "--json").json["parties"] == ["alice", "bob"]
    shown = program(world, DIGESTS[1][:9]).out
    assert r'name "\u001b[2Jb\u202e"' in shown
    assert "\x1b" not in shown
    unknown = program(world, "0123456789ab")
    assert unknown.code == 2
    assert f"no program's digest begins with '0123456789ab'; the journal has {min(DIGESTS)[:12]}" in unknown.refusal
    with pytest.raises(UsageError, match="begins several programs: a1, a2; give more digits"):
        one_of(["a2", "a1", "b"], "A")


def test_a_text_that_was_edited_is_not_printed(world):
    with Home.open(world / "local" / "alice", "alice") as home:
        begun(home, 0)
        with home._database.change() as connection:
            connection.execute("UPDATE programs SET text = 'harmless'")
    edited = program(world, DIGESTS[0][:12])
    assert edited.code == 1
    assert "is another program's: it was edited" in edited.refusal
    assert edited.out == ""


def test_a_ledger_of_before_takes_texts_too(tmp_path):
    with Home.open(tmp_path / "local" / "alice", "alice") as home, home._database.change() as connection:
        connection.execute("DROP TABLE programs")
    with Home.open(tmp_path / "local" / "alice", "alice") as home:
        begun(home, 0)
        assert home.programs.digests() == [DIGESTS[0]]
        assert home.programs.text(DIGESTS[0]) == TEXTS[0]
