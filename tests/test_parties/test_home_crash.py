import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import homes
import pytest
from disks import MODES, Crash, FailingDisk
from homes import ACTIONS, MATERIAL, RUN, SESSION, array, opened, steps_of, whole, working

from parties.home import AlreadyUsed, HomeError, disk
from parties.home.database import Database
from parties.home.shelf import Shelf
from parties.home.vault import Vault


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    homes.without_fsync(monkeypatch)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return homes.template(tmp_path_factory.mktemp("template") / "alice")


def stopped_everywhere(tmp_path, template, name, mode):
    """The outcome of an action that stops at each of its steps in turn, and at last at none."""
    action, look, states = ACTIONS[name]
    seen = []
    for at in range(steps_of(template, tmp_path / "whole", action) + 1):
        directory = tmp_path / str(at)
        with working(template, directory) as home, FailingDisk(at, mode) as failing, contextlib.suppress(Crash):
            action(home)
        with opened(directory) as home:
            state = look(home)
            assert state in states, (at, failing.steps)
            whole(home)
        seen.append(states.index(state))
        shutil.rmtree(directory)
    return seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ACTIONS)
def test_old_or_new_wherever_it_stops(tmp_path, template, name, mode):
    seen = stopped_everywhere(tmp_path, template, name, mode)
    assert seen == sorted(seen), "once new, never old again"
    assert seen[-1] == len(ACTIONS[name][2]) - 1
    assert mode == "after" or seen[0] == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_first_opening_that_is_interrupted_is_done_again(tmp_path, mode):
    with FailingDisk() as counted, opened(tmp_path / "whole"):
        pass
    for at in range(len(counted.steps) + 1):
        directory = tmp_path / str(at)
        with FailingDisk(at, mode), contextlib.suppress(Crash):
            opened(directory).close()
        with opened(directory) as home:
            home.vault.put("plain", {}, array(1))
            whole(home)
        with opened(directory) as home:
            home.vault.get("plain")


@pytest.mark.parametrize("at", range(10))
def test_a_recovery_that_is_interrupted_is_done_again(tmp_path, template, at):
    with working(template, tmp_path / "a") as home:
        home.materials.take(MATERIAL, SESSION)
        with FailingDisk(2, "torn"), contextlib.suppress(Crash):
            home.vault.put("plain", {"n": 2}, array(2))
        with FailingDisk(4, "before"), contextlib.suppress(Crash):
            home.checkpoints.prepare(RUN, 2, "loop", 20, array(2))
        assert len(list((home.directory / "vault").glob("*.part"))) == 2
    with FailingDisk(at), contextlib.suppress(Crash):
        opened(tmp_path / "a").close()
    with opened(tmp_path / "a") as home:
        whole(home)
        assert home.materials.state(MATERIAL) == "burnt"
        assert [e["what"] for e in home.journal.entries(RUN)].count("run ended") == 2
        assert homes.plain(home) == (1, [1] * 5)


def test_a_living_process_is_not_tidied_up_after(tmp_path, template):
    with working(template, tmp_path / "a") as home:
        home.materials.take(MATERIAL, SESSION)
        part = home.directory / "vault" / f"{home._presence.token}.7.part"
        part.write_bytes(b"half")
        blob = home._shelf.place("checkpoint", {}, array(1))
        with opened(tmp_path / "a") as other:
            assert other.crashed == []
        assert part.exists()
        assert blob in home.vault.names()
    with opened(tmp_path / "a") as home:
        whole(home)


def test_the_disk_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.undo()
    with opened(tmp_path / "a") as home:
        assert home._database.rows("PRAGMA synchronous") == [(2,)]
        assert home._database.rows("PRAGMA journal_mode") == [("wal",)]
        with FailingDisk() as watched:
            home.vault.put("plain", {}, array(1))
        assert watched.steps[-3:] == ["fsync", "rename", "fsync"]
        with FailingDisk() as watched:
            home.vault.drop("plain")
        assert watched.steps == ["unlink", "fsync"]


def test_without_shared_memory_the_rollback_journal_is_synced_in_full(tmp_path, monkeypatch):
    real = Database.rows

    def rows(self, query, values=()):
        return [("delete",)] if query == "PRAGMA journal_mode=WAL" else real(self, query, values)

    monkeypatch.setattr(Database, "rows", rows)
    with opened(tmp_path / "a") as home:
        assert home._database.rows("PRAGMA synchronous") == [(3,)]
        homes.prepared(home)
        whole(home)


# --- broken twins: each of these must be seen ------------------------------------------------------------------------


def test_a_missing_fsync_is_seen(tmp_path, template, monkeypatch):
    monkeypatch.setattr(disk, "fsync", lambda handle: None)
    monkeypatch.setattr("disks.STEPS", ("create", "write", "rename", "link", "unlink", "commit"))
    with pytest.raises(HomeError, match="damaged"):
        stopped_everywhere(tmp_path, template, "keep", "power")


def test_writing_in_place_is_seen(tmp_path, template, monkeypatch):
    real = Vault._write

    def in_place(self, part, name, *rest):
        self._path(name).unlink(missing_ok=True)
        real(self, self._path(name), name, *rest)
        shutil.copy(self._path(name), part)

    monkeypatch.setattr(Vault, "_write", in_place)
    with pytest.raises(HomeError, match=r"plain\.sealed: (missing|damaged)"):
        stopped_everywhere(tmp_path, template, "put", "torn")


def test_a_file_that_goes_before_the_commit_is_seen(tmp_path, template, monkeypatch):
    def hasty(self, connection, names):
        for name in names:
            self._vault.drop(name)

    monkeypatch.setattr(Shelf, "condemn", hasty)
    with pytest.raises((HomeError, AssertionError)):
        stopped_everywhere(tmp_path, template, "commit", "before")


def test_a_file_that_nobody_wrote_down_is_seen(tmp_path, template, monkeypatch):
    def unannounced(self, kind, header, arrays):
        name = self._vault.fresh_name(kind)
        self._vault.put(name, {"kind": kind, **header}, arrays)
        with self._database.change() as connection:
            connection.execute("INSERT INTO blobs VALUES (?, 'writing', ?)", (name, self._token))
        return name

    monkeypatch.setattr(Shelf, "place", unannounced)
    with pytest.raises(AssertionError):
        stopped_everywhere(tmp_path, template, "prepare", "before")


# --- a process that is really killed ---------------------------------------------------------------------------------

WRITER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from disks import FailingDisk
from parties.home import Home, Stream

home = Home.open(Path(sys.argv[1]), "alice")
home.ledger.begin("a" * 32, 2, "e" * 32, program="fit", digest="d", role="party")
with FailingDisk(int(sys.argv[2])) as failing:
    failing._die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    home.ledger.reserve("e" * 32, [Stream("k")])
    print("reserved", flush=True)
    home.materials.take("c" * 32, "e" * 32)
    print("taken", flush=True)
    home.checkpoints.prepare("a" * 32, 2, "loop", 20, {"w": np.full(5, 2, np.uint64)})
    print("prepared", flush=True)
    home.checkpoints.commit("a" * 32, 2)
    print("committed", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("at", range(0, 18, 2))
def test_kill_9(tmp_path, template, at):
    shutil.copytree(template, tmp_path / "a")
    support = Path(__file__).parent.parent / "support"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, tmp_path / "a", str(at)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(support)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    said = done.stdout.split()
    with opened(tmp_path / "a") as home:
        whole(home)
        assert [a.how for a in home.crashed] == ["crashed"]
        homes.begin(home, "f" * 32, 3)
        if "reserved" in said:
            with pytest.raises(AlreadyUsed):
                home.ledger.reserve("f" * 32, [homes.Stream("k")])
        if "taken" in said:
            with pytest.raises(AlreadyUsed):
                home.materials.take(MATERIAL, "f" * 32)
        held = homes.epochs(home)
        assert held in homes.BOTH
        assert ("prepared" in said) <= (held[-1][0] == 2)
        assert ("committed" in said) <= (held == homes.BOTH[2])
