import os
import shutil
import subprocess

import homes
import numpy as np
import pytest
from disks import FailingDisk
from homes import ACTIONS, RUN, SESSION, array, opened, steps_of, whole, working

from parties.home import AlreadyUsed, HomeError, Stream


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    homes.without_fsync(monkeypatch)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return homes.template(tmp_path_factory.mktemp("template") / "alice")


@pytest.mark.parametrize("name", ["put", "prepare", "keep", "stock"])
def test_a_full_disk_is_said_and_changes_nothing(tmp_path, template, name):
    action, look, states = ACTIONS[name]
    refused = 0
    for at in range(steps_of(template, tmp_path / "whole", action) + 1):
        with working(template, tmp_path / str(at)) as home:
            said = ""
            with FailingDisk(at, "full"):
                try:
                    action(home)
                except HomeError as error:
                    said = str(error)
            refused += bool(said)
            assert not said or ("free some space" in said and "\n" not in said)
            assert look(home) == states[0 if said else -1]
            if said:
                action(home)  # there is space again
            assert look(home) == states[-1]
            whole(home)
        shutil.rmtree(tmp_path / str(at))
    assert refused


def test_a_full_disk_under_the_ledger(tmp_path, template):
    with working(template, tmp_path / "a") as home:
        pages = home._database.rows("PRAGMA page_count")[0][0]
        home._database.rows(f"PRAGMA max_page_count={pages}")
        done = 0
        with pytest.raises(HomeError, match="the disk is full; nothing was changed"):
            while True:
                home.ledger.reserve(SESSION, [Stream(f"{done}" * 20)])
                done += 1
        assert len(home.ledger.reserved()) == done
        home._database.rows("PRAGMA max_page_count=1000000")
        home.ledger.reserve(SESSION, [Stream(f"{done}" * 20)])
        with pytest.raises(AlreadyUsed):
            home.ledger.reserve(SESSION, [Stream(f"{done}" * 20)])
        whole(home)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MiB; mounting needs root."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        if os.environ.get("PRIVITY_ALL_TESTS"):
            pytest.fail("a tmpfs cannot be mounted here; --all needs root")
        pytest.skip("a tmpfs cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_really_full(small_disk):
    with opened(small_disk / "alice") as home:
        homes.prepared(home)
        big = {"w": np.zeros(1 << 18, np.uint64)}
        with pytest.raises(HomeError, match="No space left on device; what was there before is intact"):
            home.checkpoints.prepare(RUN, 2, "loop", 20, big)
        with pytest.raises(HomeError, match="No space left on device"):
            home.vault.put("plain", {"n": 2}, big)
        assert homes.plain(home) == (1, [1] * 5)
        assert homes.epochs(home) == homes.BOTH[0]
        whole(home)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(2 << 20))
        with pytest.raises(HomeError, match="free some space"):
            home.checkpoints.prepare(RUN, 2, "loop", 20, array(2))
        assert homes.epochs(home) == homes.BOTH[0]
        filler.unlink()
        home.checkpoints.prepare(RUN, 2, "loop", 20, array(2))
        home.checkpoints.commit(RUN, 2)
        assert homes.epochs(home) == homes.BOTH[2]
        whole(home)
