"""Parties started one by one from a cluster file, as on separate hosts: own processes, serving run after run."""

import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mpc
import parties
from mpc.errors import InputError, PeerError, PolicyError, UsageError
from parties import cluster as clusters
from parties import keys
from parties.cluster import Cluster, Member
from parties.limits import Limits

NAMES = ["alice", "bob", "carol"]


@mpc.program
def ages(table: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(mpc.share(t["age"]).sum() for t in table))


@mpc.program
def to_bob(table: mpc.PerParty[mpc.Table]):
    return {"his": mpc.reveal(sum(mpc.share(t["age"]).sum() for t in table), to="bob")}


@mpc.program
def slow(table: mpc.PerParty[mpc.Table]):
    b = mpc.assume_range(mpc.share(table[0]["age"]) / 1000, -1, 1)
    return mpc.reveal(mpc.repeat(20_000, lambda i, s: mpc.assume_range(s * b, -4, 4), b))


def ports(n):
    found = [socket.socket() for _ in range(n)]
    for s in found:
        s.bind(("127.0.0.1", 0))
    numbers = [s.getsockname()[1] for s in found]
    for s in found:
        s.close()
    return numbers


class Hosts:
    """A cluster file, keys and data in a folder, and the processes."""

    def __init__(self, folder):
        self.folder = folder
        for name in (*NAMES, "dealer", "coordinator"):
            keys.keygen(name, folder)
        public = {n: keys.load_public(folder / f"{n}.public") for n in (*NAMES, "dealer", "coordinator")}
        numbers = ports(4)
        self.cluster = Cluster(
            tuple(Member(n, f"127.0.0.1:{numbers[i]}", public[n]) for i, n in enumerate(NAMES)),
            Member("dealer", f"127.0.0.1:{numbers[3]}", public["dealer"]),
            Member("coordinator", "", public["coordinator"]),
        )
        self.file = folder / "cluster.toml"
        self.file.write_text(clusters.write(self.cluster))
        for i, name in enumerate(NAMES):
            (folder / f"{name}.csv").write_text(f"age,height\n{30 + i},170\n{40 + i},180\n")
        self.processes = {}

    def start(self, name, *more, file=None):
        where = ["--cluster", str(file or self.file)]
        role = ["dealer", *where] if name == "dealer" else ["party", *where, "--name", name, *more]
        process = subprocess.Popen(
            [sys.executable, "-m", "parties", *role],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        self.processes[name] = process
        return process.stdout.readline()

    def start_all(self):
        for name in NAMES:
            line = self.start(name, "--data", f"table={name}.csv")
            assert re.search(rf"{name}: .*offering table: listening on port \d+, key [0-9a-f-]{{19}}", line), line
        assert "dealer: listening" in self.start("dealer").replace("dealer: dealer:", "dealer:")

    def stop(self, name, signum=signal.SIGTERM):
        """Stop a process; its exit code, output and errors."""
        process = self.processes.pop(name)
        process.send_signal(signum)
        out, err = process.communicate(timeout=10)
        return process.returncode, out, err

    def connect(self, **more):
        return parties.connect(self.file, **more)


@pytest.fixture
def hosts(tmp_path):
    made = Hosts(tmp_path)
    yield made
    for process in made.processes.values():
        process.kill()
        process.communicate()


def test_runs_one_after_another_from_one_coordinator_and_the_next(hosts):
    hosts.start_all()
    for _ in range(2):
        with hosts.connect() as ps:
            for _ in range(2):
                assert ps.run(ages).results["result"] == pytest.approx(30 + 40 + 31 + 41 + 32 + 42, abs=1e-2)
            assert ps.run(ages, table={"bob": "table", "carol": "table"}).results["result"] == pytest.approx(
                146, abs=1e-2
            )
            assert ps.describe("table")["bob"].columns == ("age", "height")
            assert ps.describe("nothing") == {}
            assert ps.plan(ages).rounds >= 1
    code, out, err = hosts.stop("bob")
    assert (code, err) == (0, "")
    assert out.count("done:") == 6
    code, out, err = hosts.stop("dealer", signal.SIGINT)
    assert (code, err) == (130, "")


def test_a_result_for_one_party_is_shown_there_only(hosts):
    hosts.start_all()
    with hosts.connect() as ps:
        assert ps.run(to_bob).results == {}
    outputs = {name: hosts.stop(name)[1] for name in NAMES}
    assert re.search(r"bob: result his = 21[56]\.", outputs["bob"])
    assert "result" not in outputs["alice"] + outputs["carol"]


def test_row_and_column_stay_with_the_owner(hosts):
    (hosts.folder / "bob.csv").write_text("age,height\n30,170\noops,180\n")
    hosts.start_all()
    with hosts.connect() as ps, pytest.raises(InputError) as refusal:
        ps.run(ages)
    assert str(refusal.value) == "run stopped: bob: input refused"
    ends = {name: hosts.stop(name) for name in (*NAMES, "dealer")}
    assert "row 2" in ends["bob"][2]
    for name, (_code, out, _err) in ends.items():
        assert ("run stopped: bob: input refused" in out) == (name != "dealer")
    assert re.search(r"^dealer: \S+ \S+ UTC run [0-9a-f]{10} ended: \d+ bytes dealt\n", ends["dealer"][1])
    assert "row 2" not in "".join(out for _, out, _ in ends.values())
    assert "row 2" not in "".join(ends[n][2] for n in ("alice", "carol", "dealer"))


def test_what_is_not_offered(hosts):
    hosts.start_all()
    with hosts.connect() as ps:
        with pytest.raises(PolicyError, match="bob offers no data named 'secrets'"):
            ps.run(ages, table={"alice": "table", "bob": "secrets"})
        with pytest.raises(UsageError, match="data is named"):
            ps.run(ages, table={"alice": np.ones(3)})
        with pytest.raises(UsageError, match="unknown party 'bbo'; did you mean 'bob'"):
            ps.run(ages, table={"bbo": "table"})
        assert ps.run(ages).results


def test_a_death_is_the_same_sentence_everywhere_and_the_party_may_come_back(hosts):
    hosts.start_all()
    with hosts.connect() as ps:

        def kill(_stage, done, _total):
            if done > 20 and "bob" in hosts.processes:
                hosts.stop("bob", signal.SIGKILL)

        began = time.monotonic()
        with pytest.raises(PeerError, match=r"run stopped: party bob died .*in round \d+") as error:
            ps.run(slow, on_progress=kill)
        assert time.monotonic() - began < 20
        hosts.start("bob", "--data", "table=bob.csv")
        assert ps.run(ages).results["result"] == pytest.approx(216, abs=1e-2)
    for name in ("alice", "carol"):
        assert str(error.value) in hosts.stop(name)[1]


@pytest.mark.parametrize(
    ("signum", "knocks", "how"),
    [
        (signal.SIGKILL, True, "its port refuses connections"),
        (signal.SIGSTOP, True, "no sign of life for 5 s"),
        (signal.SIGKILL, False, "no sign of life for 5 s"),  # the broken twin
    ],
)
def test_a_killed_party_is_known_by_its_port_and_a_stopped_one_by_its_silence(hosts, monkeypatch, signum, knocks, how):
    if not knocks:
        monkeypatch.setattr("parties.watch.Knocks", Deaf)
    hosts.start_all()
    hit = []

    def strike(_stage, done, _total):
        if done > 20 and not hit:
            hit.append(hosts.processes["carol"].send_signal(signum))  # whom no other party calls

    with hosts.connect() as ps, pytest.raises(PeerError, match=rf"run stopped: party carol died \({how}\) in round"):
        ps.run(slow, on_progress=strike)


class Deaf:
    """Hears nothing come of a knock."""

    def at(self, peer, address):
        pass

    def answers(self):
        return []


def test_an_operator_who_stops_a_party_is_named(hosts):
    hosts.start_all()

    asked = []

    def stop(_stage, done, _total):
        if done > 20 and not asked:
            asked.append(hosts.processes["carol"].terminate())

    with hosts.connect() as ps, pytest.raises(PeerError, match="carol: stopped by its operator"):
        ps.run(slow, on_progress=stop)
    assert hosts.processes["carol"].wait(10) == 0
    assert "run stopped: carol: stopped by its operator" in hosts.stop("alice")[1]


def test_a_coordinator_that_vanishes_frees_the_parties(hosts, tmp_path):
    hosts.start_all()
    script = tmp_path / "go.py"
    script.write_text(
        Path(__file__).read_text().split("def ports")[0]
        + "\nimport os\nwith parties.connect('cluster.toml') as ps:\n"
        + "    ps.run(slow, on_progress=lambda s, d, t: os.kill(os.getpid(), 9) if d > 20 else None)\n"
    )
    assert subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=False, timeout=60).returncode == -9
    with hosts.connect() as ps:  # another seat: nobody has to wait until the first one is missed
        assert ps.run(ages).results["result"] == pytest.approx(216, abs=1e-2)
    lines = iter(hosts.processes["alice"].stdout.readline, "")
    told = "alice: run stopped: the coordinator died (no sign of life for 5 s); resume with: privity resume"
    assert any(line.startswith(told) for line in lines)


def test_whoever_cannot_be_reached_is_named_with_the_reason(hosts):
    for name in ("alice", "bob"):
        hosts.start(name, "--data", f"table={name}.csv")
    hosts.start("dealer")
    with hosts.connect(limits=Limits(startup=5.0)) as ps, pytest.raises(PeerError) as error:
        ps.run(ages)
    assert re.fullmatch(
        r"party carol cannot be reached at 127.0.0.1:\d+: nothing answers at this address", str(error.value)
    )


def test_a_stranger_with_the_cluster_file_gets_no_answer(hosts):
    hosts.start_all()
    keys.keygen("mallory", hosts.folder)
    public = keys.load_public(hosts.folder / "mallory.public")
    forged = hosts.folder / "forged.toml"
    forged.write_text(clusters.write(replace(hosts.cluster, coordinator=Member("coordinator", "", public))))
    with pytest.raises(UsageError, match="another one"):
        parties.connect(hosts.file, key=hosts.folder / "mallory.secret")
    limits = Limits(startup=1.0)
    with (
        parties.connect(forged, key=hosts.folder / "mallory.secret", limits=limits) as ps,
        pytest.raises(PeerError, match=r"party alice cannot be reached.*does not know our key"),
    ):
        ps.run(ages)


def test_another_cluster_file_is_refused_before_any_input(hosts):
    other = hosts.folder / "other.toml"
    other.write_text(hosts.file.read_text().replace("receives = true", "receives = false"))
    hosts.start("alice", "--data", "table=alice.csv", file=other)
    for name in ("bob", "carol"):
        hosts.start(name, "--data", f"table={name}.csv")
    hosts.start("dealer")
    with (
        hosts.connect() as ps,
        pytest.raises(PeerError, match=r"party alice cannot take part: its cluster file has another 'receives'"),
    ):
        ps.run(ages)


@pytest.mark.parametrize("name", ["alice", "dealer"])
def test_port_in_use(hosts, name):
    member = hosts.cluster.dealer if name == "dealer" else hosts.cluster.parties[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(member.address.rpartition(":")[2])))
        taken.listen()
        assert hosts.start(name) == ""
        _, err = hosts.processes[name].communicate(timeout=10)
    assert hosts.processes[name].returncode == 4
    assert re.fullmatch(r"privity: .*port in use by another process.*\n", err)


def test_wrong_starts(hosts):
    cases = [
        (["--name", "bbo"], "no party of this cluster", 2),
        (["--name", "bob", "--key", "alice.secret"], "the cluster file lists", 2),
        (["--name", "bob", "--key", "bob.public"], "holds no secret key", 2),
        (["--name", "bob", "--key", "nowhere.secret"], "privity keygen nowhere", 2),
        (["--name", "bob", "--data", "table=nowhere.csv"], "nowhere.csv", 3),
    ]
    for arguments, expected, code in cases:
        done = subprocess.run(
            [sys.executable, "-m", "parties", "party", "--cluster", str(hosts.file), *arguments],
            cwd=hosts.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_served_party_cannot_be_traced_and_dumps_no_core(hosts):
    hosts.start_all()
    pid = hosts.processes["alice"].pid
    assert re.search(r"Max core file size\s+0\s+0", Path(f"/proc/{pid}/limits").read_text())
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0


@pytest.mark.slow
def test_an_idle_session_stays_connected(hosts):
    hosts.start_all()
    with hosts.connect() as ps:
        assert ps.run(ages).results
        time.sleep(45)
        assert ps.run(ages).results
