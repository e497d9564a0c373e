"""Separate hosts, as far as one machine shows them: every party in a network namespace, its key made there."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from command import Answer, still_running

pytestmark = pytest.mark.slow
PARTIES = ("alice", "bob", "carol")
HOSTS = (*PARTIES, "dealer", "coordinator")
PATIENCE = 60.0
_COUNT = itertools.count()


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


def possible():
    if not shutil.which("ip") or os.geteuid() != 0:
        return False
    name = f"pv{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode == 0
    if made:
        ip("netns", "del", name)
    return made


class Host:
    """One namespace with one address, and a folder for its keys and data."""

    def __init__(self, name, number, folder, mark, prefix):
        self.name, self.address = name, f"10.77.0.{number}"
        self.namespace = f"{prefix}{name}"
        self.folder = folder / name
        self.folder.mkdir()
        self.environment = {**os.environ, "PRIVITY_TEST_MARK": mark, "NO_COLOR": "1"}

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "parties", *map(str, arguments)]

    def privity(self, *arguments):
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments):
        log = (self.folder / "log.txt").open("w")
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.environment, stdout=log, stderr=subprocess.STDOUT
        )

    def wait_for(self, pattern):
        deadline = time.monotonic() + PATIENCE
        log = self.folder / "log.txt"
        while not re.search(pattern, log.read_text()):
            assert time.monotonic() < deadline, f"{self.name} never said {pattern!r}: {log.read_text()}"
            time.sleep(0.05)


@pytest.fixture
def hosts(tmp_path):
    if not possible():
        if os.environ.get("PRIVITY_ALL_TESTS"):
            pytest.fail("network namespaces need root and iproute2")
        pytest.skip("network namespaces need root and iproute2")
    mark = f"namespaces-{os.getpid()}-{time.monotonic_ns()}"
    prefix = f"pv{os.getpid() % 100_000}x{next(_COUNT)}"  # the kernel takes its time to give a name back
    bridge = f"{prefix}b"
    with ExitStack() as stack:
        ip("link", "add", bridge, "type", "bridge")
        stack.callback(ip, "link", "del", bridge)
        ip("link", "set", bridge, "up")
        found = {}
        for number, name in enumerate(HOSTS, start=1):
            host = found[name] = Host(name, number, tmp_path, mark, prefix)
            veth = f"{prefix}v{number}"
            ip("netns", "add", host.namespace)
            stack.callback(ip, "netns", "del", host.namespace)
            ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
            ip("link", "set", veth, "master", bridge, "up")
            ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
            ip("-n", host.namespace, "link", "set", "lo", "up")
        yield found
    assert not still_running(mark), "processes are left"


def public_key(host):
    """Made on the host; only the public half is told."""
    answer = host.privity("keygen", host.name)
    assert answer.code == 0, answer.err
    assert (host.folder / f"{host.name}.secret").exists()
    return re.search(r'public = "([^"]+)"', answer.out)[1]


def write_cluster(hosts):
    keys = {name: public_key(host) for name, host in hosts.items()}
    lines = ["format = 1", "[coordinator]", f'public = "{keys["coordinator"]}"']
    lines += ["[dealer]", f'address = "{hosts["dealer"].address}:7000"', f'public = "{keys["dealer"]}"']
    for name in PARTIES:
        lines += [
            "[[party]]",
            f'name = "{name}"',
            f'address = "{hosts[name].address}:7001"',
            f'public = "{keys[name]}"',
        ]
    for host in hosts.values():
        (host.folder / "cluster.toml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def serving(hosts):
    """A dealer and three parties, each started on its own host with its own file."""
    write_cluster(hosts)
    rows = {"alice": "30\n40\n", "bob": "50\n", "carol": "60\n70\n80\n"}
    with ExitStack() as stack:
        children = {}
        for name in ("dealer", *PARTIES):
            host, arguments = hosts[name], ["dealer", "--cluster", "cluster.toml"]
            if name in PARTIES:
                (host.folder / "mine.csv").write_text("age\n" + rows[name])
                arguments = ["party", "--cluster", "cluster.toml", "--name", name, "--data", "ages=mine.csv"]
            child = children[name] = host.start(*arguments)
            stack.callback(child.wait, 20)
            stack.callback(child.terminate)
        for name in children:
            hosts[name].wait_for("listen")
        yield hosts, children


INPUTS = [word for party in PARTIES for word in ("--input", f"values={party}:ages")]


def test_parties_on_separate_hosts(serving):
    hosts, _ = serving
    for _ in range(2):
        answer = hosts["coordinator"].privity("run", "mean", "--cluster", "cluster.toml", *INPUTS, "--json")
        assert answer.code == 0, answer.err
        assert answer.json["results"]["mean"] == pytest.approx(55, abs=1e-3)
    assert {p.name for p in Path(hosts["coordinator"].folder).iterdir()} == {
        "cluster.toml",
        "coordinator.public",
        "coordinator.secret",
    }


def test_a_coordinator_with_another_key_is_refused(serving):
    hosts, _ = serving
    stranger = hosts["coordinator"]
    (stranger.folder / "coordinator.secret").unlink()
    (stranger.folder / "coordinator.public").unlink()
    assert stranger.privity("keygen", "coordinator").code == 0
    answer = stranger.privity("run", "mean", "--cluster", "cluster.toml", *INPUTS)
    assert answer.code != 0
    assert answer.out == ""


def test_a_party_that_dies_is_named(serving):
    hosts, children = serving
    children["bob"].kill()
    children["bob"].wait()
    answer = hosts["coordinator"].privity("run", "mean", "--cluster", "cluster.toml", *INPUTS)
    assert answer.code == 4, answer.err
    assert "bob" in answer.refusal
