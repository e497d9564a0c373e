"""A small part of every real fault; `scripts/soak` has the long figures. Nothing here waits for luck."""

import os
import signal

import faults
import pytest
from killing import LocalWorld, ServedWorld, settled
from links import Links, possible
from served import Served
from workloads import NAMES, REGRESSION, SUM, attempts, checkpoints, offers

LATE = 12.0  # seconds; 6 are promised, and a busy machine may take its time
GROWTH = 10 << 20


def root_only(condition, what):
    if not condition:
        if os.environ.get("PRIVITY_ALL_TESTS"):
            pytest.fail(what)
        pytest.skip(what)


@pytest.fixture
def hosts(tmp_path):
    """Parties and a dealer served from a cluster file; afterwards all is in order."""
    with Served(tmp_path / "hosts", offers()) as served:
        world = ServedWorld(served)
        yield world
        world.close()
        settled(world)


@pytest.fixture
def local(tmp_path):
    """The same under the local launcher."""
    world = LocalWorld(tmp_path, offers())
    yield world
    world.close()
    settled(world)


def once(probe, name="alice"):
    """When a party has begun an attempt, or written a checkpoint."""

    def when(world, command):
        faults.begun(world, name, probe)(command)

    return when


def survived(world, workload, victims, probe):
    expected, _ = world.expected(workload)
    kills = [world.kill(workload, victim, once(probe), expected) for victim in victims]
    for kill in kills:
        assert kill.stage != "not begun", kill
        assert kill.seconds is None or kill.seconds < LATE, kill
    return kills


def test_a_killed_party_and_a_killed_coordinator_of_separate_hosts(hosts):
    assert "running" in {kill.stage for kill in survived(hosts, REGRESSION, ["bob", "coordinator"], checkpoints)}


def test_a_killed_dealer_of_a_local_run(local):
    survived(local, REGRESSION, ["dealer"], checkpoints)


@pytest.mark.slow
def test_everybody_killed_on_separate_hosts(hosts):
    survived(hosts, REGRESSION, [*NAMES, "dealer", "coordinator"], checkpoints)
    survived(hosts, SUM, [*NAMES, "dealer", "coordinator"], attempts)


@pytest.mark.slow
def test_everybody_killed_in_local_runs(local):
    survived(local, REGRESSION, [*NAMES, "dealer", "coordinator"], checkpoints)
    survived(local, SUM, [*NAMES, "dealer", "coordinator"], attempts)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["bob", "dealer"])
def test_a_process_that_is_stopped(hosts, victim):
    assert faults.stopped(hosts, victim, 2.0)["outcome"] == "went on"
    named = faults.stopped(hosts, victim, 20.0)
    assert named["outcome"] == "named" or victim == "dealer"  # who may have dealt all by then


def test_reset_connections_lose_nothing(tmp_path):
    figures = faults.resets(tmp_path / "hosts", 30, 300)
    assert figures["resets"] == figures["wanted"], figures


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "outcomes"), [(1.5, {"went on"}), (3.0, {"went on", "named"}), (30.0, {"named"})])
def test_a_host_that_is_cut_off(tmp_path, seconds, outcomes):
    root_only(possible(), "network namespaces need root and iproute2")
    with Links([*NAMES, "dealer", "coordinator"]) as links:
        assert faults.partitioned(tmp_path / "hosts", links, seconds)["outcome"] in outcomes


def test_a_disk_that_is_full_at_a_checkpoint(tmp_path):
    root_only(os.geteuid() == 0, "a small file system needs root")
    assert faults.disk_full(tmp_path)["outcome"] in {"went on", "named"}


def test_strangers_at_the_door(tmp_path):
    figures = faults.flooded(tmp_path / "hosts", 3.0)
    assert figures["grown_bytes"] < GROWTH, figures
    assert figures["connections"] > 500, figures
    assert figures["longest_handshake_seconds"] < 5, figures  # 1 is promised; see LATE


def test_sixteen_parties():
    assert faults.sixteen()["rounds"] >= 1


def test_runs_back_to_back_leave_nothing_behind(tmp_path):
    figures = faults.endless(tmp_path, 3.0, 25)
    assert max(figures["grown"]["resident"].values()) < GROWTH, figures


@pytest.mark.parametrize("phase", ["start", "run", "resume"])
def test_ctrl_c_stops_a_local_run(local, phase):
    faults.interrupted(local, signal.SIGINT, phase)


def test_sigterm_stops_a_run_on_separate_hosts(hosts):
    faults.interrupted(hosts, signal.SIGTERM, "run")


def test_runs_at_once_and_one_of_them_refused():
    assert faults.several()["others"] == "went on"
