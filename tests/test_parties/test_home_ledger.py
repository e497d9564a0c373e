import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from homes import DIGEST, fresh
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import UsageError
from parties.home import (
    AlreadyUsed,
    Home,
    HomeError,
    StoredRun,
    Stream,
    actor_directory,
    key_id,
    state_root,
)
from parties.home.home import _make_key

pytestmark = pytest.mark.usefixtures("quick")


def begin(home, run=None, attempt=1):
    run, session = run or fresh(), fresh()
    home.ledger.begin(run, attempt, session, program="fit", digest=DIGEST, role="party")
    return run, session


# --- the place -------------------------------------------------------------------------------------------------------


def test_state_root():
    assert state_root({"PRIVITY_STATE": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert state_root({"XDG_STATE_HOME": "/b"}) == Path("/b/privity")
    for empty in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}, {"PRIVITY_STATE": ""}):
        assert state_root(empty) == Path("~/.local/state/privity").expanduser()
    assert actor_directory("bob", root=Path("/s")) == Path("/s/local/bob")


def test_all_of_it_is_private(tmp_path):
    directory = tmp_path / "root" / "local" / "alice"
    old = os.umask(0)
    try:
        with Home.open(directory, "alice") as home:
            home.vault.put("x", {}, {})
            for path in (tmp_path / "root").rglob("*"):
                wanted = 0o700 if path.is_dir() else 0o600
                assert stat.S_IMODE(path.stat().st_mode) == wanted, path
            assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o700
    finally:
        os.umask(old)
    assert len((directory / "vault.key").read_bytes()) == 32
    assert sorted(p.name for p in directory.iterdir()) == ["ledger.sqlite", "open", "vault", "vault.key"]
    assert list((directory / "open").iterdir()) == []


def test_a_directory_that_others_enter_is_refused_with_the_cure(tmp_path):
    Home.open(tmp_path / "a", "alice").close()
    (tmp_path / "a").chmod(0o750)
    with pytest.raises(UsageError, match=f"chmod 700 {tmp_path / 'a'}"):
        Home.open(tmp_path / "a", "alice")
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "a" / "vault.key").chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        Home.open(tmp_path / "a", "alice")


def test_another_users_directory_is_refused(tmp_path, monkeypatch):
    Home.open(tmp_path / "a", "alice").close()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(UsageError, match="belongs to another user"):
        Home.open(tmp_path / "a", "alice")


def test_what_is_not_there_is_not_made_by_a_reader(tmp_path):
    for there in (False, True):
        with pytest.raises(UsageError, match="nothing is kept here"):
            Home.open(tmp_path / "a", "alice", create=False)
        assert (tmp_path / "a").exists() == there
        (tmp_path / "a").mkdir(mode=0o700, exist_ok=True)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        Home.open(tmp_path / "a", "alice")
    with pytest.raises(HomeError, match="Not a directory"):
        Home.open(tmp_path / "a" / "b", "alice")


def test_an_actor_has_its_own_directory(tmp_path):
    Home.open(tmp_path / "a", "alice").close()
    with pytest.raises(UsageError, match="the state of alice, not of bob"):
        Home.open(tmp_path / "a", "bob")
    assert list((tmp_path / "a" / "open").iterdir()) == []


def test_a_lost_key_or_ledger_is_not_replaced(tmp_path):
    with Home.open(tmp_path / "a", "alice") as home:
        home.vault.put("x", {}, {})
    (tmp_path / "a" / "vault.key").rename(tmp_path / "key")
    with pytest.raises(HomeError, match=r"vault\.key: missing"):
        Home.open(tmp_path / "a", "alice")
    (tmp_path / "a" / "vault.key").write_bytes(b"short")
    (tmp_path / "a" / "vault.key").chmod(0o600)
    with pytest.raises(HomeError, match=r"vault\.key: damaged"):
        Home.open(tmp_path / "a", "alice")
    (tmp_path / "key").rename(tmp_path / "a" / "vault.key")
    (tmp_path / "a" / "ledger.sqlite").unlink()
    with pytest.raises(HomeError, match=r"ledger\.sqlite: missing"):
        Home.open(tmp_path / "a", "alice")


def test_the_key_of_a_faster_process_counts(home):
    path = home.directory / "vault.key"
    key = path.read_bytes()
    _make_key(path, home.directory / "0.part", os.urandom)
    assert path.read_bytes() == key
    assert not (home.directory / "0.part").exists()


def test_a_newer_a_foreign_and_a_damaged_ledger(tmp_path):
    Home.open(tmp_path / "a", "alice").close()
    path = tmp_path / "a" / "ledger.sqlite"
    raw = path.read_bytes()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(HomeError, match="newer privity"):
        Home.open(tmp_path / "a", "alice")
    path.write_bytes(b"x" * 4096)
    with pytest.raises(HomeError, match="damaged"):
        Home.open(tmp_path / "a", "alice")
    path.write_bytes(raw[:5000])
    with pytest.raises(HomeError):
        Home.open(tmp_path / "a", "alice")
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (x)")
    connection.close()
    with pytest.raises(HomeError, match="not a ledger of privity"):
        Home.open(tmp_path / "a", "alice")


def test_nothing_secret_in_a_repr(home, tmp_path):
    assert repr(home) == f"<Home of alice in {tmp_path / 'alice'}>"
    for part in (home.vault, home.ledger, home.journal, home._presence, home._database):
        assert home.vault._key.hex() not in repr(part)
        assert str(home.vault._key) not in repr(part)
    with pytest.raises(TypeError, match="never serialised"):
        home.__reduce__()


# --- attempts and reservations ---------------------------------------------------------------------------------------


def test_attempts_are_numbered_and_used_once(home):
    run, session = begin(home)
    assert home.ledger.next_attempt(run) == 2
    with pytest.raises(AlreadyUsed, match="attempt 1 was begun before"):
        begin(home, run, 1)
    with pytest.raises(AlreadyUsed, match="session"):
        home.ledger.begin(run, 2, session, program="fit", digest=DIGEST, role="party")
    home.ledger.end(session, "stopped", "party bob died in round 41")
    home.ledger.end(session, "done")
    begin(home, run, 5)
    with pytest.raises(AlreadyUsed):
        begin(home, run, 4)
    first, second = home.ledger.attempts(run)
    assert (first.how, first.sentence, second.attempt, second.how) == ("stopped", "party bob died in round 41", 5, "")
    assert first.begun == "2023-11-14T22:13:20+00:00"
    assert home.ledger.attempt(session) == first


@pytest.mark.parametrize("bad", ["", "xyz", "AB" * 16, "ab" * 15, "ab" * 17])
def test_ids_are_ids(home, bad):
    with pytest.raises(HomeError, match="32 digits"):
        begin(home, bad or "-")


def test_a_key_is_reserved_once(home):
    _, session = begin(home)
    seed = os.urandom(16)
    name = key_id(seed)
    assert seed.hex() not in name
    home.ledger.reserve(session, [Stream(name), Stream("k2", 0, 9), Stream("k2", 10, 19)])
    for again in (Stream(name), Stream(name, 5, 6), Stream("k2", 19, 25), Stream("k2", 0, 0), Stream("k2", 5, 12)):
        with pytest.raises(AlreadyUsed, match="overlapping"):
            home.ledger.reserve(session, [again])
    home.ledger.reserve(session, [Stream("k2", 20, 29)])
    _, other = begin(home)
    with pytest.raises(AlreadyUsed, match="start a new attempt"):
        home.ledger.reserve(other, [Stream("fresh"), Stream("k2", 1 << 100, 1 << 101)])
    assert home.ledger.reserved(other) == []  # all or nothing
    assert len(home.ledger.reserved(session)) == 4


def test_nothing_is_reserved_for_an_attempt_that_is_over(home):
    _, session = begin(home)
    home.ledger.end(session, "done")
    with pytest.raises(HomeError, match="is over"):
        home.ledger.reserve(session, [Stream("k")])
    with pytest.raises(HomeError, match="not begun"):
        home.ledger.reserve(fresh(), [Stream("k")])
    with pytest.raises(HomeError, match="never begun"):
        home.ledger.end(fresh(), "done")
    with pytest.raises(UsageError, match="never begun"):
        home.ledger.attempt(fresh())
    for first, last in ((-1, 5), (6, 5), (0, 1 << 128)):
        with pytest.raises(ValueError, match="positions"):
            Stream("k", first, last)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 12)), max_size=20))
def test_no_position_is_reserved_twice(tmp_path_factory, wishes):
    used, owner = set(), {}
    with Home.open(tmp_path_factory.mktemp("h") / "a", "alice") as home:
        sessions = [begin(home)[1] for _ in range(2)]
        for i, (key, first, length) in enumerate(wishes):
            session = sessions[i % 2]
            wanted = {(key, p) for p in range(first, first + length + 1)}
            free = not wanted & used and owner.get(key, session) == session
            if free:
                home.ledger.reserve(session, [Stream(str(key), first, first + length)])
                used |= wanted
                owner[key] = session
            else:
                with pytest.raises(AlreadyUsed):
                    home.ledger.reserve(session, [Stream(str(key), first, first + length)])


def test_the_ledger_survives_and_so_does_its_refusal(tmp_path):
    with Home.open(tmp_path / "a", "alice") as home:
        run, session = begin(home)
        home.ledger.reserve(session, [Stream("k")])
    with Home.open(tmp_path / "a", "alice") as home:
        assert [a.how for a in home.crashed] == ["crashed"]  # its process went without ending it
        with pytest.raises(HomeError, match="is over"):
            home.ledger.reserve(session, [Stream("k")])
        _, second = begin(home, run, 2)
        with pytest.raises(AlreadyUsed):
            home.ledger.reserve(second, [Stream("k")])


def test_several_processes_share_a_home(tmp_path):
    script = """
import sys, uuid
from pathlib import Path
from parties.home import Home, Stream, AlreadyUsed
for i in range(10):
    with Home.open(Path(sys.argv[1]), "alice") as home:
        assert home.crashed == []
        session = uuid.uuid4().hex
        home.ledger.begin(uuid.uuid4().hex, 1, session, program="p", digest="d", role="party")
        try:
            home.ledger.reserve(session, [Stream(f"key{i}")])
            print(f"key{i}")
        except AlreadyUsed:
            pass
        home.vault.put(f"b-{session}", {}, {})
        home.ledger.end(session, "done")
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "a"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert sorted(line for out, _ in said for line in out.split()) == sorted(f"key{i}" for i in range(10))
    with Home.open(tmp_path / "a", "alice") as home:
        assert len(home.vault.names()) == 40
        assert home.journal.verify().holds
        assert home.journal.verify().count == 80


# --- runs ------------------------------------------------------------------------------------------------------------


def stored(run=None, **more):
    return StoredRun(run or fresh(), "fit", "program fit …", DIGEST, "masked", **more)


def test_a_run_is_found_by_the_beginning_of_its_id(home):
    a, b = (
        stored("3f9a" + "0" * 28),
        stored("3f9b" + "0" * 28, every=5, inputs={"x": {"bob": "b.csv"}}, more={"n": [1]}),
    )
    home.runs.add(a)
    home.runs.add(b)
    assert home.runs.find("3f9a").run == a.run
    found = home.runs.find("3F9B")
    assert (found.inputs, found.more, found.every, found.status) == ({"x": {"bob": "b.csv"}}, {"n": [1]}, 5, "running")
    with pytest.raises(UsageError, match=r"several runs: 3f9b0000 \(fit, running, .*3f9a0000.*more digits"):
        home.runs.find("3f")
    for bad in ("77", "", "%", "_", "zz"):
        with pytest.raises(UsageError, match=r"no run begins with .* known: 3f9b0000"):
            home.runs.find(bad)
    assert home.runs.get(a.run).text == a.text
    assert a.text not in repr(home.runs.get(a.run))
    assert home.runs.get(fresh()) is None
    with pytest.raises(AlreadyUsed, match="known here already"):
        home.runs.add(a)


def test_the_status_of_a_run(home):
    run = stored()
    home.runs.add(run)
    home.runs.set_status(run.run, "stopped", "party bob died in round 41 (multiply, train.py:17)")
    assert home.runs.get(run.run).sentence.startswith("party bob died")
    assert [r.run for r in home.runs.all("stopped")] == [run.run]
    assert home.runs.all("done") == []
    with pytest.raises(ValueError, match="status"):
        home.runs.set_status(run.run, "finished")
    with pytest.raises(UsageError, match="not known here"):
        home.runs.set_status(fresh(), "done")
    with pytest.raises(UsageError, match="none is known here"):
        home.runs.set_status(run.run, "done") or Home.open(home.directory.parent / "bob", "bob").runs.find("a")
