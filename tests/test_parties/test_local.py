"""Real processes on this machine: results, refusals, deaths, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ends import has_unix

import mpc
import parties
from mpc.errors import InputError, PeerError, UsageError
from mpc.memory import run_in_memory
from mpc.pricing import AHEAD
from mpc.testing import deterministic_entropy
from parties.limits import Limits
from protocols import catalog, suites


@mpc.program
def inner(x: mpc.Private, y: mpc.Private):
    return {"product": mpc.reveal(mpc.share(x) @ mpc.share(y)), "size": x.shape[0]}


@mpc.program
def ages(table: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(mpc.share(t["age"]).sum() for t in table))


@mpc.program
def chain(x: mpc.Private, y: mpc.Private, *, times: int = 50):
    a, b = mpc.share(x), mpc.share(y)
    return mpc.reveal(mpc.repeat(times, lambda i, s: mpc.assume_range(s * b, -4, 4), a))


@mpc.program
def to_alice(x: mpc.PerParty):
    total = sum(mpc.share(v) for v in x)
    return {"hers": mpc.reveal(total, to="alice"), "ours": mpc.reveal(total, to=["bob", "coordinator"])}


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in state(pid)]


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def gone(pids, seconds=5.0):
    end = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not left


@pytest.fixture(scope="module")
def three():
    with parties.local(3) as ps:
        yield ps
        pids = ps.pids().values()
    assert gone(pids, 1.0)


@pytest.fixture
def tables(tmp_path):
    paths = {}
    for i, name in enumerate(("alice", "bob", "carol")):
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text(f"age,height\n{30 + i},170\n{40 + i},180\n")
    return paths


# --------------------------------------------------------------------------------------------------------------- runs


def test_arrays_from_a_script(three):
    run = three.run(inner, x={"alice": np.arange(5.0)}, y={"bob": [1, 2, 3, 4, 5]})
    assert run.results == {"product": 40.0, "size": 5}
    assert run.parties == ["alice", "bob", "carol"]
    assert run.seconds == run.total_seconds >= run.online_seconds > 0
    assert run.reveals[0]["name"] == "product"
    assert all(1 << 20 < size < 1 << 30 for size in run.peak_rss_bytes.values())


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_the_plan_is_the_price(three, suite):
    given = {"x": {"alice": np.ones((4, 3))}, "y": {"carol": np.ones((3, 2))}}
    plan, run = three.plan(inner, suite=suite, **given), three.run(inner, suite=suite, **given)
    for what in ("rounds", "bytes_sent", "input_bytes", "dealt_bytes", "reveals"):
        assert getattr(plan, what) == getattr(run, what), what
    assert all(run.peak_rss_bytes[name] <= plan.peak_memory_bytes[name] for name in three.parties)
    assert Limits().window == AHEAD, "what plans count is what the dealer does"


def test_files_frames_and_tables(three, tables):
    class Frame:
        def __init__(self, **columns):
            self.columns, self._data = list(columns), columns

        def __getitem__(self, name):
            return Frame(**{name: self._data[name]})

        def to_numpy(self):
            return np.asarray(self._data[self.columns[0]])

    given = {
        "alice": tables["alice"],
        "bob": Frame(age=[1.5, 2.5], name=["x", "y"]),
        "carol": mpc.table.Table({"age": ["3", "4"]}, "made here"),
    }
    assert three.run(ages, table=given).results["result"] == pytest.approx(70 + 4 + 7, abs=1e-3)


def test_a_result_goes_to_whom_it_is_for(three):
    run = three.run(to_alice, x={name: np.ones(2) for name in three.parties})
    assert np.allclose(run.results.pop("ours"), 3)
    assert np.allclose(run.results.pop("hers"), 3)  # all owners sit at this terminal
    assert run.results == {}


def test_progress_is_told(three):
    told = []
    run = three.run(chain, x={"alice": [1.0]}, y={"bob": [1.0]}, on_progress=lambda *a: told.append(a))
    assert told[-1] == ("round", run.rounds, run.rounds)
    assert [t[1] for t in told] == sorted(t[1] for t in told)


def test_the_catalogue_by_name(three):
    run = three.run("secure-sum", values={name: np.arange(3) for name in three.parties})
    assert 0 < run.rounds <= 2
    assert np.array_equal(np.asarray(run.results["sum"]), [0, 3, 6])


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_processes_and_memory_are_bit_equal_under_test_entropy(n, suite):
    x, y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 3)
    with parties.local(n, entropy=7) as ps:
        run = ps.run(inner, suite=suite, x={"alice": x}, y={"bob": y})
        again = ps.run(inner, suite=suite, x={"alice": x}, y={"bob": y})
        program, _ = ps._inputs.program(inner, {"x": {"alice": x}, "y": {"bob": y}})
        names = ps.parties
    lowered = program.lower(suites[suite])
    memory = run_in_memory(lowered, {"x": {"alice": x}, "y": {"bob": y}}, entropy=deterministic_entropy(n, 7))
    assert run.transcripts == memory.transcripts == again.transcripts
    assert list(run.transcripts) == names
    assert np.array_equal(run.results["product"], memory.results["product"])
    assert run.rounds == memory.rounds
    assert run.bytes_sent == memory.bytes_sent
    assert run.dealt_bytes == memory.dealt_bytes


def test_without_test_entropy_no_two_runs_are_alike(three):
    assert three.run(inner, x={"alice": [1.0]}, y={"bob": [1.0]}).transcripts == {}


def test_logistic_regression_learns_on_tables():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 3))
    label = (X @ [2.0, -1.0, 0.5] + rng.normal(size=90) * 0.3 > 0).astype(int)
    parts = {
        name: mpc.table.Table(
            {"a": X[i::3, 0], "b": X[i::3, 1], "c": X[i::3, 2], "y": [("no", "yes")[v] for v in label[i::3]]}
        )
        for i, name in enumerate(("alice", "bob", "carol"))
    }
    with parties.local(3) as ps:
        run = ps.run("logistic-regression", data=parts, label="y", steps=60)
    assert run.results["classes"] == ["no", "yes"]
    guess = X @ np.ravel(run.results["coef"]) + run.results["intercept"] > 0
    assert np.mean(guess == label) > 0.9


# ---------------------------------------------------------------------------------------------------------- refusals


def test_names_and_numbers_of_parties():
    for wrong in (1, 0, ["alice"], ["alice", "alice"], ["alice", "dealer"], ["alice", "Bob"], []):
        with pytest.raises(UsageError):
            parties.local(wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"x": {"alice": [1.0]}, "y": {"bbo": [1.0]}}, "unknown party 'bbo'; did you mean 'bob'"),
        ({"x": {"alice": [1.0]}}, "input y is missing"),
        ({"x": {"alice": [1.0], "bob": [1.0]}, "y": {"bob": [1.0]}}, "one owner, and 2 are given: alice, bob"),
        ({"x": [1.0], "y": {"bob": [1.0]}}, "says who owns what"),
        ({"x": {"alice": [1.0]}, "y": {"bob": [1.0]}, "z": 1}, "no setting 'z'"),
        ({"x": {"alice": ["a"]}, "y": {"bob": [1.0]}}, "an array of numbers is needed"),
    ],
)
def test_wrong_calls(three, given, expected):
    with pytest.raises(UsageError, match=expected):
        three.run(inner, **given)


def test_wrong_names(three):
    with pytest.raises(UsageError, match="did you mean 'secure-sum'"):
        three.run("secure-sun", values={})
    with pytest.raises(UsageError, match="did you mean 'masked'"):
        three.run(inner, suite="maskd", x={"alice": [1.0]}, y={"bob": [1.0]})


def test_the_owner_here_reads_row_and_column(three, tables):
    tables["bob"].write_text("age,height\n30,170\noops,180\n")
    with pytest.raises(InputError, match=r"bob: .*bob\.csv: row 2 .*column 'age' is text") as refusal:
        three.run(ages, table=tables)
    assert refusal.value.owner == "bob"
    assert "oops" not in str(refusal.value)
    with pytest.raises(InputError, match=r"bob: .*nowhere"):
        three.run(ages, table={**tables, "bob": "nowhere.csv"})
    tables["bob"].write_text("age\n1\n2\n")
    assert three.run(ages, table=tables).results["result"] == pytest.approx(70 + 3 + 74, abs=1e-3)


# -------------------------------------------------------------------------------------------- deaths, and what remains


def long_run(ps, failure):
    try:
        ps.run(chain, x={"alice": np.ones(1000)}, y={"bob": np.ones(1000)}, times=20_000)
    except PeerError as error:
        failure.append(error)


@pytest.mark.parametrize("victim", ["bob", "dealer"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_death_is_named_within_seconds_and_nothing_is_left(victim, how):
    with parties.local(3) as ps:
        pids = ps.pids()
        rounds = threading.Event()

        def kill():
            rounds.wait(30)
            os.kill(pids[victim], how)

        thread = threading.Thread(target=kill)
        thread.start()
        died = None
        with pytest.raises(PeerError) as error:
            ps.run(
                chain,
                x={"alice": np.ones(1000)},
                y={"bob": np.ones(1000)},
                times=20_000,
                on_progress=lambda stage, done, total: rounds.set() if done > 20 else None,
            )
        died = time.monotonic()
        thread.join()
        who = "the dealer" if victim == "dealer" else "party bob"
        assert str(error.value).startswith(f"run stopped: {who} died"), error.value
        if victim == "bob":
            assert re.search(r"in round \d+", str(error.value))
        with pytest.raises(PeerError, match="died"):
            ps.run(inner, x={"alice": [1.0]}, y={"bob": [1.0]})
    assert time.monotonic() - died < 6
    assert gone(pids.values(), 1.0)


def test_a_stopped_process_goes_on_after_two_seconds():
    with parties.local(2) as ps:
        pid = ps.pids()["bob"]
        stopped = threading.Event()

        def pause(_stage, done, _total):
            if done > 5 and not stopped.is_set():
                stopped.set()
                os.kill(pid, signal.SIGSTOP)
                threading.Timer(2.0, os.kill, (pid, signal.SIGCONT)).start()

        run = ps.run(chain, x={"alice": np.ones(10)}, y={"bob": np.ones(10)}, times=1000, on_progress=pause)
        assert stopped.is_set()
        assert np.allclose(run.results["result"], 1, atol=0.1)


def test_a_stopped_process_is_named_in_the_end():
    with parties.local(2) as ps:
        pid = ps.pids()["bob"]

        def pause(_stage, done, _total):
            if done > 5:
                os.kill(pid, signal.SIGSTOP)

        began = time.monotonic()
        with pytest.raises(PeerError, match="run stopped: party bob"):
            ps.run(chain, x={"alice": np.ones(10)}, y={"bob": np.ones(10)}, times=5000, on_progress=pause)
        assert time.monotonic() - began < 15
    assert gone([pid], 1.0)


def test_a_stalled_peer_is_named():
    with parties.local(2, limits=Limits(stall=1.0)) as ps:
        pids = ps.pids()

        def pause(_stage, done, _total):
            if done > 5:
                os.kill(pids["bob"], signal.SIGSTOP)

        with pytest.raises(PeerError, match=r"party bob sent nothing for 1 s in round|party bob died"):
            ps.run(chain, x={"alice": np.ones(10)}, y={"bob": np.ones(10)}, times=5000, on_progress=pause)


SCRIPT = """
import mpc, parties, sys, time
import numpy as np

@mpc.program
def total(x: mpc.PerParty):
    return mpc.reveal(sum(mpc.share(v) for v in x).sum())

@mpc.program
def chain(x: mpc.Private, y: mpc.Private):
    b = mpc.share(y)
    return mpc.reveal(mpc.repeat(50000, lambda i, s: mpc.assume_range(s * b, -4, 4), mpc.share(x)))

ps = parties.local(2)
print(*ps.pids().values(), flush=True)
print(ps.run(total, x={"alice": [1.0], "bob": [2.0]}).results["result"], flush=True)
if sys.argv[1] == "wait":
    time.sleep(60)
if sys.argv[1] == "run":
    ps.run(chain, x={"alice": np.ones(1000)}, y={"bob": np.ones(1000)})
if sys.argv[1] == "crash":
    raise SystemExit(3)
if sys.argv[1] == "segv":
    import os
    os.kill(os.getpid(), 9)
"""


def script(tmp_path, how):
    """A plain script without any guard."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    process = subprocess.Popen(
        [sys.executable, str(path), how], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pids = [int(p) for p in process.stdout.readline().split()]
    assert process.stdout.readline().strip() == "3.0"
    assert len(pids) == 3
    return process, pids


@pytest.mark.parametrize("how", ["end", "crash", "segv"])
def test_no_process_outlives_a_script(tmp_path, how):
    process, pids = script(tmp_path, how)
    process.wait(10)
    assert gone(pids, 2.0)
    process.communicate()


@pytest.mark.parametrize("how", ["wait", "run"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_stopping_a_script_stops_everything_within_a_second(tmp_path, how, signum):
    process, pids = script(tmp_path, how)
    if how == "run":
        time.sleep(0.3)  # somewhere in the middle; any point will do
    began = time.monotonic()
    process.send_signal(signum)
    process.wait(10)
    assert gone(pids, 2.0)
    assert time.monotonic() - began < 1.5
    out, err = process.communicate()
    assert out == ""
    if signum == signal.SIGINT:
        assert "KeyboardInterrupt" in err


def test_processes_are_recognised_hardened_and_leave_no_file(tmp_path, monkeypatch, tables):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "scratch")
    (tmp_path / "scratch" / "mpc.py").write_text("raise SystemExit('shadowed')")
    with parties.local(["anna", "bert"]) as ps:
        for name, pid in ps.pids().items():
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            assert ("--child dealer" if name == "dealer" else f"--child party {name}") in line
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0", limits)
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"secret" not in environment.lower()
            if os.geteuid() == 0:
                assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
        ps.run(ages, table={"anna": tables["alice"], "bert": tables["bob"]})
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["mpc.py"]


def test_ten_sessions_leave_nothing_open():
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    with parties.local(2):
        pass
    before, threads = descriptors(), threading.active_count()
    for _ in range(3):
        with parties.local(2) as ps:
            pids = list(ps.pids().values())
        assert gone(pids, 1.0)
    assert descriptors() == before
    assert threading.active_count() == threads


def test_a_closed_session_says_so():
    ps = parties.local(2)
    ps.close()
    ps.close()
    with pytest.raises(UsageError, match="closed"):
        ps.run(inner, x={"alice": [1.0]}, y={"bob": [1.0]})


def test_a_program_defined_in_a_notebook_cell(three):
    scope = {"mpc": mpc}
    exec("@mpc.program\ndef cell(x: mpc.PerParty):\n    return mpc.reveal(sum(mpc.share(v) for v in x))", scope)
    assert three.run(scope["cell"], x={"alice": 1.0, "bob": 2.0, "carol": 3.0}).results["result"] == pytest.approx(6)


def test_results_are_plain_data(three):
    run = three.run("mean", values={name: np.arange(4.0) for name in three.parties})
    assert json.dumps({k: np.asarray(v).tolist() for k, v in run.results.items()})
    assert "mean" in catalog


def connections(pid):
    """How many TCP connections of a process stand, and at how many Unix sockets with a name it was called."""
    files = Path(f"/proc/{pid}/fd")
    own = {str(file.readlink()).removeprefix("socket:[").rstrip("]") for file in files.iterdir() if file.is_symlink()}
    tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    named = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines() if "@privity" in line]
    tcp = sum(words[3] == "01" and words[9] in own for words in lines)
    return tcp, sum(words[5] == "03" and words[6] in own for words in named)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_parties_and_dealer_are_connected_directly_besides():
    """Each: data and signs of life to the other two and the coordinator, over TCP; and to the two once more."""
    with parties.local(2) as ps:
        x, y = np.ones(3), np.ones(3)
        assert ps.run(inner, x={"alice": x}, y={"bob": y}).results["product"] == 3
        pids, end, unix = ps.pids(), time.monotonic() + 10.0, 3 if has_unix() else 0
        while True:
            found = {name: connections(pid) for name, pid in pids.items()}
            if {tcp for tcp, _ in found.values()} == {6 if unix else 8} and sum(n for _, n in found.values()) == unix:
                break
            assert time.monotonic() < end, found
            time.sleep(0.05)
