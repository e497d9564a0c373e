import os
import sqlite3
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import homes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpc.errors import UsageError
from parties.home import (
    AlreadyUsed,
    Handle,
    Home,
    HomeError,
    Material,
    StoredRun,
    Stream,
    actor_directory,
    key_id,
    state_root,
)
from parties.home.home import _make_key

DIGEST = "ab" * 32
ARRAYS = {"w": np.arange(4, dtype=np.uint64), "none": None}


def fresh():
    return uuid.uuid4().hex


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        homes.without_fsync(patch)
        yield


@pytest.fixture
def home(tmp_path):
    with Home.open(tmp_path / "alice", "alice", now=lambda: 1.7e9) as opened:
        yield opened


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
    assert actor_directory("bob", DIGEST, Path("/s")) == Path("/s/abababababababab/bob")


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


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_an_older_checkpoint_goes_with_the_commit_and_not_before(home):
    run = fresh()
    first = home.checkpoints.prepare(run, 1, "loop", 10, ARRAYS)
    home.checkpoints.commit(run, 1)
    second = home.checkpoints.prepare(run, 2, "loop", 20, {"w": ARRAYS["w"] + np.uint64(1)}, {"of": "us"})
    assert [(c.epoch, c.state) for c in home.checkpoints.held(run)] == [(1, "committed"), (2, "prepared")]
    assert home.vault.names() == sorted([first.blob, second.blob])
    home.checkpoints.commit(run, 2)
    home.checkpoints.commit(run, 2)
    assert [(c.epoch, c.state) for c in home.checkpoints.held(run)] == [(2, "committed")]
    assert home.vault.names() == [second.blob]
    found, header, arrays = home.checkpoints.load(run, 2)
    assert (found.site, found.iteration, header) == ("loop", 20, {"of": "us"})
    assert arrays["w"].tolist() == [1, 2, 3, 4]
    for gone in (1, 3):
        with pytest.raises(HomeError, match=f"no checkpoint of epoch {gone}"):
            home.checkpoints.load(run, gone)
        with pytest.raises(HomeError, match=f"no checkpoint of epoch {gone}"):
            home.checkpoints.commit(run, gone)
    for late in (1, 2):
        with pytest.raises(AlreadyUsed, match="each epoch is larger"):
            home.checkpoints.prepare(run, late, "loop", 30, ARRAYS)
    home.checkpoints.drop(run)
    assert home.vault.names() == []


def test_going_on_from_a_checkpoint(home):
    run = fresh()
    for epoch in (1, 2, 3):
        home.checkpoints.prepare(run, epoch, 7, epoch * 10, ARRAYS)
    home.checkpoints.restored(run, 2, attempt=2)  # another party never had the third
    assert [(c.epoch, c.site, c.state) for c in home.checkpoints.held(run)] == [(2, 7, "committed")]
    assert len(home.vault.names()) == 1
    entry = home.journal.entries(run)[-1]
    assert (entry["what"], entry["epoch"], entry["iteration"]) == ("checkpoint restored", 2, 20)
    home.checkpoints.prepare(run, 3, 7, 30, ARRAYS)


def test_blobs_swapped_in_the_ledger_are_noticed(home):
    run = fresh()
    a, b = (home.checkpoints.prepare(run, e, "s", e, ARRAYS) for e in (1, 2))
    with home._database.change() as connection:
        connection.execute("UPDATE checkpoints SET blob = ? WHERE epoch = 1", (b.blob,))
    with pytest.raises(HomeError, match="is not the checkpoint of epoch 1"):
        home.checkpoints.load(run, 1)
    assert a.blob != b.blob


# --- handles ---------------------------------------------------------------------------------------------------------


def handle(run, name="model", **more):
    fields = dict(shape=(4,), scale=20, unit="kg", lo=-8, hi=2**70, bits=None, parties=("alice", "bob"))
    return Handle(name=name, run=run, **{**fields, **more})


def test_a_handle_is_there_after_the_commit(home):
    run = fresh()
    home.handles.stage(handle(run), ARRAYS)
    with pytest.raises(UsageError, match="no secret is kept under the name 'model'; there is none"):
        home.handles.get("model")
    assert [h.name for h in home.handles.staged(run)] == ["model"]
    assert [h.name for h in home.handles.commit(run)] == ["model"]
    assert home.handles.commit(run) == []
    found, arrays = home.handles.load("model")
    assert (found.shape, found.hi, found.lo, found.parties, found.unit) == ((4,), 2**70, -8, ("alice", "bob"), "kg")
    assert arrays["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="did you mean 'model'"):
        home.handles.get("modle")
    home.handles.drop("model")
    assert home.handles.all() == []
    assert home.vault.names() == []
    assert [e["what"] for e in home.journal.entries()] == ["handle kept", "handle dropped"]


def test_a_later_handle_of_the_same_name_takes_its_place_at_the_commit(home):
    old, new = fresh(), fresh()
    home.handles.stage(handle(old), ARRAYS)
    home.handles.commit(old)
    home.handles.stage(handle(new), ARRAYS)
    home.handles.stage(handle(new), ARRAYS)
    assert home.handles.get("model").run == old
    home.handles.commit(new)
    assert home.handles.get("model").run == new
    assert home.handles.load("model", new)[0].run == old, "who takes it and ends twice takes the same"
    assert home.handles.load("model", fresh())[0].run == new
    home.handles.replace(new)
    assert len(home.vault.names()) == 1
    with pytest.raises(UsageError, match="what 'model' was before this run replaced it is not there any more"):
        home.handles.load("model", new)
    home.handles.stage(handle(fresh(), "other"), ARRAYS)
    home.handles.abandon(home.handles._select(None, "state = 'staged'", ())[0].run)
    assert len(home.vault.names()) == 1


def test_what_a_handle_replaced_is_kept_once_and_no_longer_than_the_name(home):
    runs = [fresh() for _ in range(3)]
    for run in (*runs, runs[-1]):
        home.handles.stage(handle(run), ARRAYS)
        home.handles.commit(run)
    assert home.handles.get("model").run == runs[2]
    assert home.handles.load("model", runs[2])[0].run == runs[1], "a run that ends twice replaces what it took"
    assert len(home.vault.names()) == 2
    home.handles.drop("model")
    assert home.vault.names() == []
    assert [e["run"] for e in home.journal.entries() if e["what"] == "handle dropped"] == runs


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_handle_has_a_printable_name(home, name):
    with pytest.raises(UsageError, match="no name for a kept secret"):
        home.handles.stage(handle(fresh(), name), ARRAYS)
    home.handles.stage(handle(fresh(), "Modell für 'Ärzte' / 2"), ARRAYS)


# --- materials -------------------------------------------------------------------------------------------------------


def material(**more):
    return Material(more.pop("id", fresh()), DIGEST, "cd" * 32, ("alice", "bob"), 1000, **more)


def test_material_is_used_once(home):
    m = material()
    home.materials.stock(m, ARRAYS, {"round": 1})
    with pytest.raises(AlreadyUsed, match="stocked here already"):
        home.materials.stock(m, ARRAYS)
    assert [x.id for x in home.materials.all(digest=DIGEST, state="stocked")] == [m.id]
    assert home.materials.all(digest="ef" * 32) == []
    run, session = begin(home)
    with pytest.raises(AlreadyUsed, match="was not taken"):
        home.materials.load(m.id, session)
    taken = home.materials.take(m.id, session)
    assert (taken.state, taken.session, taken.parties) == ("used", session, ("alice", "bob"))
    with pytest.raises(AlreadyUsed, match="is used"):
        home.materials.take(m.id, session)
    _, header, arrays = home.materials.load(m.id, session)
    assert header == {"round": 1}
    assert arrays["w"].tolist() == [0, 1, 2, 3]
    home.materials.spent(session)
    assert home.vault.names() == []
    assert home.materials.state(m.id) == "used"
    with pytest.raises(AlreadyUsed):
        home.materials.stock(m, ARRAYS)
    with pytest.raises(HomeError, match="privity deal"):
        home.materials.take(fresh(), session)
    with pytest.raises(HomeError, match="privity deal"):
        home.materials.get(fresh())
    assert [e["what"] for e in home.journal.entries(run)] == ["run begun", "material taken"]


def test_an_attempt_that_is_over_takes_nothing(home):
    m = material()
    home.materials.stock(m, ARRAYS)
    _, session = begin(home)
    home.ledger.end(session, "stopped", "x")
    with pytest.raises(HomeError, match="not under way"):
        home.materials.take(m.id, session)
    assert home.materials.state(m.id) == "stocked"


def test_burnt_is_burnt_also_when_it_was_never_here(home):
    known, unknown = material(), fresh()
    home.materials.stock(known, ARRAYS)
    for m in (known.id, unknown):
        home.materials.burn(m, "bob has used it")
        home.materials.burn(m, "said again")
        assert home.materials.state(m) == "burnt"
        with pytest.raises(AlreadyUsed, match="burnt"):
            home.materials.stock(material(id=m), ARRAYS)
        with pytest.raises(AlreadyUsed, match="burnt"):
            home.materials.take(m, begin(home)[1])
    assert home.vault.names() == []
    assert [e["why"] for e in home.journal.entries() if e["what"] == "material burnt"] == ["bob has used it"] * 2


def test_a_dead_process_leaves_its_run_stopped_and_its_material_burnt(tmp_path):
    m = material()
    with Home.open(tmp_path / "a", "alice") as home:
        home.materials.stock(m, ARRAYS)
        run, session = begin(home)
        home.runs.add(stored(run))
        home.materials.take(m.id, session)
        with Home.open(tmp_path / "a", "alice") as other:
            assert other.crashed == []  # it is alive
            assert other.materials.state(m.id) == "used"
    with Home.open(tmp_path / "a", "alice") as home:
        assert [(a.run, a.how) for a in home.crashed] == [(run, "crashed")]
        assert home.materials.state(m.id) == "burnt"
        assert home.vault.names() == []
        assert (home.runs.get(run).status, home.runs.get(run).sentence) == ("stopped", "its process died")
        assert home.journal.entries(run)[-1]["how"] == "crashed"
