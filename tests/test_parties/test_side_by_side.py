"""Commands of one coordinator key at the same time, against parties that are served as on hosts of their own."""

import signal

import numpy as np
import pytest
from served import Served, wait_until

from parties.home import Home

SLOW = """
import mpc

@mpc.program
def slow(table: mpc.PerParty[mpc.Table], steps: int = 10):
    b = mpc.assume_range(mpc.share(table[0]["age"]) / 1024, -1, 1)
    return mpc.reveal(mpc.repeat(steps, lambda i, s: mpc.assume_range(s * b + 1, -4, 4), b))
"""
AGES = [30.0, 500.0]
OFFER = {"table": "age\n" + "".join(f"{age:g}\n" for age in AGES)}
LONG = 16_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Two parties and a dealer that serve all tests of this file."""
    with Served(tmp_path_factory.mktemp("beside"), dict.fromkeys(("alice", "bob"), OFFER)) as hosts:
        (hosts.folder / "slow.py").write_text(SLOW)
        hosts.serve_all()
        yield hosts
        hosts.close()


def command(served, word, steps):
    inputs = [w for name in served.names for w in ("--input", f"table={name}:table")]
    words = ["slow.py:slow", "--cluster", served.file, *inputs, "--set", f"steps={steps}", "--json"]
    return served.privity(word, *words)


def right(done):
    """The fixed point of s = s b + 1."""
    assert done.wait() == 0, done.err
    expected = [1 / (1 - age / 1024) for age in AGES]
    assert np.allclose(done.json["results"]["result"], expected, atol=1e-2)


def sessions(served):
    """How many attempts alice has begun."""
    directory = served.home("alice")
    with Home.open(directory, "alice", create=False) as home:
        return len({session for session, _ in home.ledger.reserved()})


def running(served, times):
    """So many runs that are on."""
    before = sessions(served)
    started = [command(served, "run", LONG) for _ in range(times)]
    wait_until(lambda: sessions(served) == before + times)
    return started


def test_plans_checks_and_runs_come_and_go_beside_a_run(served):
    (long,) = running(served, 1)
    others = [command(served, word, 100) for word in ("plan", "check", "run", "show", "run")]
    assert [other.wait() for other in others] == [0] * 5, [other.err for other in others]
    assert long.process.poll() is None, "it ended before the others had come and gone"
    for run in (others[2], others[4], long):
        right(run)


def test_a_run_goes_on_beside_one_whose_command_is_killed(served):
    first, second = running(served, 2)
    first.send(signal.SIGKILL)
    right(second)
    for name in served.names:
        served.running[name].says(rf"{name}: run stopped: the coordinator died \(no sign of life for 5 s\)")
