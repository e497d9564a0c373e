"""Several coordinators at the same time: one key, several processes, runs that do not disturb one another."""

import numpy as np
import pytest
from actors import Threads

import mpc
from mpc.errors import UsageError
from parties import records
from parties.cluster import COORDINATOR
from parties.home import Home, HomeError
from parties.session import Session
from protocols import catalog

DATA = {name: {"x": np.arange(3.0)} for name in ("alice", "bob", "carol")}


@mpc.program
def total(x: mpc.PerParty[mpc.Private]):
    return mpc.reveal(sum(mpc.share(v).sum() for v in x))


@mpc.program
def walk(x: mpc.PerParty[mpc.Private], steps: int = 300):
    c = mpc.assume_range(mpc.share(x[0]) / 8, -1, 1)
    return mpc.reveal(mpc.repeat(steps, lambda i, s: mpc.assume_range(s * c, -4, 4), c))


def another(threads, tmp_path, number):
    first = threads.session
    home = Home.open(tmp_path / f"coordinator{number}", "coordinator")
    return Session(threads.cluster, threads.pairs[COORDINATOR], first._machinery, home=home, catalog=catalog)


def test_two_coordinators_run_at_the_same_time(tmp_path):
    with Threads(3, offers=DATA) as threads, another(threads, tmp_path, 2) as second:
        long = threads.session.start(walk)
        assert second.run(total).results["result"] == 9
        third = second.start(walk, steps=30)
        assert long.result().rounds > third.result().rounds
        with another(threads, tmp_path, 3) as other:
            assert other.run(total).results["result"] == 9
        assert threads.session.run(total).results["result"] == 9


def test_one_that_leaves_ends_its_own_runs_only(tmp_path):
    with Threads(3, offers=DATA) as threads:
        long = threads.session.start(walk)
        leaving = another(threads, tmp_path, 2)
        leaving.start(walk)
        leaving.close()
        assert long.result().results["result"].shape == (3,)
    assert sum("run stopped: the coordinator closed its session" in line for line in threads.lines) >= 3


@mpc.program
def grow(x: mpc.PerParty[mpc.Private], steps: int = 40):
    c = mpc.assume_range(mpc.share(x[0]) / 8, -1, 1)
    model = mpc.repeat(steps, lambda i, s: mpc.assume_range(s * c, -4, 4), c)
    mpc.keep(model, "model")
    return mpc.reveal(model.sum())


def test_a_run_whose_end_one_party_could_not_write_is_ended_by_resume(monkeypatch):
    """Its checkpoints are there in real stores, although the run is done; what it keeps is usable afterwards."""
    conclude, full = records.Conclude.apply, ["carol"]

    def on_a_full_disk(self, home):
        if self.how == "done" and home.name in full:
            full.clear()
            raise HomeError("the disk is full")
        conclude(self, home)

    monkeypatch.setattr(records.Conclude, "apply", on_a_full_disk)
    with Threads(3, offers=DATA) as threads:
        session = threads.session
        run = session.run(grow, checkpoint_every=10)
        trouble = "party carol could not write the end of the run (the disk is full)"
        until = f"what it keeps of the run may be missing until: privity resume {run.id[:10]}"
        assert run.warnings == [f"{trouble}; {until}"]
        assert session.kept() == []
        (stored,) = session._home.runs.all()
        assert (stored.status, stored.sentence) == ("done", run.warnings[0])
        held = session._liaison.holdings(run=run.id)
        assert all(len(h["checkpoints"]) == 1 for h in held.values())
        again = session.resume(run.id)
        assert again.rounds < run.rounds
        assert np.allclose(again.results["result"], run.results["result"], atol=2**-14)
        assert not again.warnings
        assert [spec.name for spec in session.kept()] == ["model"]
        with pytest.raises(UsageError, match="is done; there is nothing to resume"):
            session.resume(run.id)
        held = session._liaison.holdings(run=run.id)
        assert not any(h["checkpoints"] for h in held.values())
