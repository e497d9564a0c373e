"""Several coordinators at the same time: one key, several processes, runs that do not disturb one another."""

import numpy as np
from actors import Threads

import mpc
from parties.cluster import COORDINATOR
from parties.home import Home
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
    assert sum("run stopped: the coordinator stopped; resume with" in line for line in threads.lines) >= 3
