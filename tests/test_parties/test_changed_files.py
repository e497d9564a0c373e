"""A party's file changes while it serves: it is read anew, the owner is told, and what has begun stays as it was."""

import os
import re
import signal
import time

import pytest
from served import Served, wait_until
from workloads import attempts, offers, regression

from mpc.errors import InputError
from parties.data import read_csv
from parties.store import Store

HOUR = 3600 * 10**9


class Owner:
    """A store over one file, and what its owner is told. later: how long after the file's last change it is asked."""

    def __init__(self, path, read=read_csv, later=HOUR):
        self.path, self.told = path, []
        self.store = Store("alice", read, self.told.append, lambda: time.time_ns() + later)
        self.store.offer_file("x", path)

    def ask(self):
        self.store.refresh("x")
        return self.store.get("x").numbers(["v"]).ravel().tolist()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("v\n1\n2\n")
    return path


def test_a_changed_file_is_read_anew_and_its_owner_is_told_once(path):
    owner = Owner(path)
    schema, print_ = owner.store.schema("x"), owner.store.fingerprint("x")
    path.write_text("v,w\n3,a\n4,b\n5,c\n")
    assert owner.ask() == [3, 4, 5]
    assert owner.ask() == [3, 4, 5]
    (told,) = owner.told
    assert re.search(r"'x' has changed: .*x\.csv had 2 rows × 1 columns, and has 3 rows × 2 columns now", told)
    assert owner.store.schema("x").shape != schema.shape
    assert owner.store.fingerprint("x") != print_


@pytest.mark.parametrize("how", ["the same size", "its old times", "another file in its place"])
def test_a_change_is_seen_however_it_was_made(path, how):
    owner = Owner(path)
    old = path.stat()
    if how == "another file in its place":
        other = path.with_suffix(".new")
        other.write_text("v\n8\n9\n")
        os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
        other.replace(path)
    else:
        path.write_text("v\n8\n9\n")
        if how == "its old times":
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert owner.ask() == [8, 9]
    assert len(owner.told) == 1


@pytest.mark.parametrize(("later", "seen"), [(0, [8, 9]), (HOUR, [1, 2])], ids=["just written", "long at rest"])
def test_a_change_that_no_stamp_shows_is_seen_if_the_file_was_just_written_when_it_was_read(
    path, monkeypatch, later, seen
):
    written = time.time_ns()
    monkeypatch.setattr("parties.store.stamp_of", lambda path: (1, 2, 3, written, written))
    owner = Owner(path, later=later)
    path.write_text("v\n8\n9\n")  # in the same step of the file system's clock
    assert owner.ask() == seen


def test_a_file_that_was_only_touched_is_not_talked_of(path):
    owner = Owner(path)
    path.touch()
    assert owner.ask() == [1, 2]
    assert owner.told == []


def test_an_unchanged_file_is_read_once(path):
    reads = []
    owner = Owner(path, lambda path: reads.append(path) or read_csv(path))
    for _ in range(5):
        owner.ask()
    assert len(reads) == 1


@pytest.mark.parametrize("broken", ["v\n1\n2,3\n", "", None])
def test_a_broken_file_is_refused_by_name_until_it_is_right_again(path, broken):
    owner = Owner(path)
    path.unlink() if broken is None else path.write_text(broken)
    for _ in range(2):
        with pytest.raises(InputError, match=r"alice: 'x' is not served until its file is right again: .*x\.csv"):
            owner.store.refresh("x")
    with pytest.raises(AssertionError):
        owner.store.get("x")  # nothing old is left to be served
    assert len(owner.told) == 1
    path.write_text("v\n7\n")
    assert owner.ask() == [7]
    assert "has 1 rows × 1 columns now" in owner.told[-1]


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(path):
    versions = iter(["v\n3\n", "v\n4\n"])

    def read(path):
        table = read_csv(path)
        if (text := next(versions, None)) is not None:
            path.write_text(text)
        return table

    assert Owner(path, read).ask() == [4]


def test_a_file_that_never_rests_is_refused(path):
    def read(path):
        table = read_csv(path)
        path.write_text(path.read_text() + "1\n")
        return table

    with pytest.raises(InputError, match=r"alice: .*x\.csv: is written to while it is read"):
        Owner(path, read)


def test_what_has_begun_keeps_what_it_began_with(path):
    owner = Owner(path)
    taken = owner.store.get("x")
    path.write_text("v\n8\n9\n")
    assert owner.ask() == [8, 9]
    assert taken.numbers(["v"]).ravel().tolist() == [1, 2]


# ---------------------------------------------------------------------------------------------- with real processes

NUMBERS = "v\n1\n2\n"


def mean(world, state=0):
    done = world.run("mean", offer="values", parameter="values")
    assert done.wait() == state, done.err
    return done


def test_parties_serve_what_is_in_their_files_now(tmp_path):
    with Served(tmp_path, {name: {"values": NUMBERS} for name in ("alice", "bob")}) as world:
        world.serve_all()
        assert mean(world).json["results"]["mean"] == 1.5
        file = tmp_path / "bob-values.csv"
        file.write_text("v\n10\n20\n7\n")
        assert mean(world).json["results"]["mean"] == 8
        world.running["bob"].says(r"bob: the file of 'values' has changed: .*had 2 rows × 1 columns, and has 3 rows")
        file.write_text("v\n10\n,\n")
        refused = mean(world, 3)
        assert refused.sentence == "bob: input refused ('values')"
        world.running["bob"].says(r"bob: 'values' is not served until its file is right again: .*row 2 \(line 3\)")
        file.write_text("v\n5\n")
        assert mean(world).json["results"]["mean"] == pytest.approx(8 / 3, abs=1e-4)
        assert world.close() == [0] * 3


def test_a_run_is_not_resumed_on_data_that_has_changed(tmp_path):
    work = regression(2000, every=0)
    with Served(tmp_path, offers(["alice", "bob"])) as world:
        world.serve_all()
        run = work.served(world)
        wait_until(lambda: attempts(world.state("alice")), what="no attempt began")
        run.send(signal.SIGINT)
        assert run.wait() == 130, run.err
        file = tmp_path / f"bob-{work.offer}.csv"
        lines = file.read_text().splitlines()
        file.write_text("\n".join([lines[0], "0.5,0.5,0.5,yes", *lines[2:]]) + "\n")
        status = world.privity("status", "--json")
        assert status.wait() == 0
        again = world.privity("resume", status.json["runs"][0]["run"], "--json")
        assert again.wait() == 3, again.err
        assert again.sentence.endswith("bob: input 'data' has changed since the run began; resume needs the same data")
        assert world.close() == [0] * 3
