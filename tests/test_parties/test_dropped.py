"""Four hosts and a firewall that drops packets without a word: what everybody says, and after how long."""

import os
import signal
import subprocess
import time

import pytest
from links import Links, possible
from served import Served, wait_until
from workloads import attempts, checkpoints

pytestmark = pytest.mark.slow
NAMES = ("alice", "bob")
SLOW = """
import mpc

@mpc.program
def slow(table: mpc.PerParty[mpc.Table], steps: int = 10):
    b = mpc.assume_range(mpc.share(table[0]["age"]) / 1024, -1, 1)
    return mpc.reveal(mpc.repeat(steps, lambda i, s: mpc.assume_range(s * b, -4, 4), b))
"""
SECONDS = 15.0  # of a busy machine, where 6 to 9 are usual


class Hosts:
    """The links, the parties, and runs."""

    def __init__(self, links, served):
        self.links, self.served = links, served
        (served.folder / "slow.py").write_text(SLOW)

    def command(self, steps=10, *more, word="run"):
        inputs = [w for name in NAMES for w in ("--input", f"table={name}:table")]
        words = ["slow.py", "--cluster", self.served.file, *inputs, "--set", f"steps={steps}", *more, "--json"]
        return self.served.privity(word, *words)

    def begun(self, *more):
        """A long run that is on, over direct connections."""
        command = self.command(100_000, *more)
        wait_until(lambda: self.alice(attempts))
        wait_until(lambda: self.direct() == 2)
        return command

    def alice(self, probe):
        """What is in alice's state."""
        return probe(self.served.home("alice"))

    def direct(self):
        """How many connections of alice's, to bob and the dealer, are at none of her own ports or theirs."""
        listed = [*self.links.before["alice"], "ss", "-Htn", "state", "established"]
        rows = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
        known = {str(port) for ports in self.served.ports.values() for port in ports}
        return sum(not known & {end.rpartition(":")[2] for end in row.split()[2:4]} for row in rows)

    def address(self, name, which=0):
        return f"{self.links.addresses[name]}:{self.served.ports[name][which]}"


@pytest.fixture
def hosts(tmp_path):
    if not possible(firewall=True):
        if os.environ.get("PRIVITY_ALL_TESTS"):
            pytest.fail("network namespaces with a firewall need root, iproute2 and iptables")
        pytest.skip("network namespaces with a firewall need root, iproute2 and iptables")
    offers = {name: {"table": "age\n30\n40\n"} for name in NAMES}
    with (
        Links([*NAMES, "dealer", "coordinator"]) as links,
        Served(tmp_path / "hosts", offers, addresses=links.addresses, before=links.before) as served,
    ):
        yield Hosts(links, served)
        served.close()


def refused(command, began, seconds=SECONDS):
    """The sentence of a command that ends in time."""
    assert command.wait() == 4, command.err
    assert time.monotonic() - began < seconds
    return command.sentence


@pytest.mark.parametrize("which", [0, 1], ids=["data", "control"])
def test_a_port_that_the_coordinator_cannot_call(hosts, which):
    hosts.served.serve_all()
    port = hosts.served.ports["alice"][which]
    hosts.links.drop("alice", "--dport", port)
    for word in ("check", "run"):
        sentence = refused(hosts.command(word=word), time.monotonic())
        where = ["at", "at its control port"][which]
        assert sentence.startswith(f"party alice cannot be reached {where} {hosts.address('alice', which)}"), sentence
        assert "packets are dropped on the way" in sentence
        assert f"{port}" in sentence.partition("; let port")[2], sentence


@pytest.mark.parametrize(("host", "whom"), [("alice", "party alice"), ("dealer", "the dealer")])
def test_one_that_a_party_cannot_call(hosts, host, whom):
    hosts.links.drop(host, "-s", hosts.links.addresses["bob"])
    hosts.served.serve_all()
    sentence = refused(hosts.command(), time.monotonic())
    assert sentence.startswith(f"run stopped: bob cannot reach {whom} at {hosts.address(host)}: nothing answers"), (
        sentence
    )
    hosts.served.heard(sentence)


def test_a_way_between_two_parties_that_drops_everything_in_the_middle_of_a_run(hosts):
    hosts.served.serve_all()
    command = hosts.begun()
    hosts.links.drop("alice", "-s", hosts.links.addresses["bob"])
    sentence = refused(command, time.monotonic())
    assert "died" not in sentence
    assert "the coordinator hears both: packets between them are dropped (bob calls ports" in sentence, sentence
    hosts.served.heard(sentence)


def test_a_data_port_that_drops_while_signs_of_life_go_on(hosts):
    hosts.served.serve_all()
    command = hosts.begun()
    hosts.links.drop("alice", "-s", hosts.links.addresses["bob"], but=[hosts.served.ports["alice"][1]])
    sentence = refused(command, time.monotonic(), 2 * SECONDS)
    assert sentence.startswith(
        f"run stopped: party alice cannot be reached by bob any more at {hosts.address('alice')}: nothing answers at "
        "this address: packets are dropped on the way; let"
    ), sentence


def test_a_direct_connection_that_is_dropped_costs_seconds(hosts):
    hosts.served.serve_all()
    command = hosts.begun("--checkpoint-every", 100)
    hosts.links.drop("alice", "-s", hosts.links.addresses["bob"], but=hosts.served.ports["alice"])
    began = time.monotonic()
    wait_until(lambda: hosts.direct() == 1)
    assert time.monotonic() - began < 12
    before = hosts.alice(checkpoints)
    wait_until(lambda: hosts.alice(checkpoints) != before or hosts.alice(checkpoints) > 1)
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert "run stopped: the coordinator was stopped by Ctrl-C in round" in command.err


def test_a_host_that_is_cut_off_says_that_of_itself(hosts):
    hosts.served.serve_all()
    command = hosts.begun()
    hosts.links.cut("alice")
    sentence = refused(command, time.monotonic())
    assert sentence.startswith("run stopped: party alice died (no sign of life for 5 s)"), sentence
    hosts.served.running["alice"].says("nor does anybody else: this host is probably cut off")
    hosts.links.mend("alice")
