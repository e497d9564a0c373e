"""The launcher for people who write scripts, and a whole cluster run through the command line."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from command import MARK, privity, still_running

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = [sys.executable, str(ROOT / "scripts/launch_local.py")]


class Launched:
    """A running launcher; lines of its output are waited for, never slept for."""

    def __init__(self, folder, *arguments):
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [*LAUNCHER, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.seen = []
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, pattern, patience=60.0):
        deadline = time.monotonic() + patience
        while not any(re.search(pattern, line) for line in self.seen):
            try:
                self.seen.append(self._lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                pytest.fail(f"no line like {pattern!r} in:\n{''.join(self.seen)}")

    def stop(self, signum=signal.SIGINT):
        self.process.send_signal(signum)
        code = self.process.wait(20)
        assert not still_running(self.mark), "processes are left"
        return code


@pytest.fixture
def launch(tmp_path):
    started = []

    def start(*arguments):
        started.append(Launched(tmp_path, *arguments))
        return started[-1]

    yield start
    for launched in started:
        if launched.process.poll() is None:
            launched.stop(signal.SIGTERM)


@pytest.fixture
def files(tmp_path):
    for name, ages in {"a": (30, 40), "b": (50,), "c": (60, 70, 80)}.items():
        (tmp_path / f"{name}.csv").write_text("age\n" + "".join(f"{age}\n" for age in ages))
    return [f"--data={party}:ages={party[0]}.csv" for party in ("alice", "bob", "carol")]


def test_a_cluster_serves_runs_until_it_is_stopped(launch, files, tmp_path):
    launched = launch("--make", "cluster", "--parties", 3, *files)
    for name in ("alice", "bob", "carol", "dealer"):
        launched.wait_for(rf"^{name}: .*listen")
    inputs = [word for party in ("alice", "bob", "carol") for word in ("--input", f"values={party}:ages")]
    for _ in range(2):
        answer = privity("run", "mean", "--cluster", "cluster/cluster.toml", *inputs, "--json", cwd=tmp_path)
        assert answer.code == 0, answer.err
        assert answer.json["results"]["mean"] == pytest.approx(55, abs=1e-3)
        assert answer.json["parties"] == ["alice", "bob", "carol"]
    planned = privity("plan", "mean", "--cluster", "cluster/cluster.toml", *inputs, "--json", cwd=tmp_path)
    assert planned.json["rounds"] == answer.json["rounds"]
    assert planned.json["digest"] == answer.json["digest"]
    assert launched.stop() == 130


def test_a_party_offers_only_what_it_was_started_with(launch, files, tmp_path):
    launched = launch("--make", "cluster", "--parties", 3, *files)
    for name in ("alice", "bob", "carol", "dealer"):
        launched.wait_for(rf"^{name}: .*listen")
    inputs = ["--input", "values=alice:ages", "--input", "values=bob:b.csv", "--input", "values=carol:ages"]
    answer = privity("run", "mean", "--cluster", "cluster/cluster.toml", *inputs, cwd=tmp_path)
    assert answer.code not in (0, 1)
    assert "bob" in answer.refusal


def test_if_one_ends_all_are_stopped(launch, files):
    launched = launch("--make", "cluster", "--parties", 3, *files)
    launched.wait_for(r"^bob: .*listen")
    pid = next(int(m[1]) for line in launched.seen if (m := re.match(r"bob: started, process (\d+)", line)))
    os.kill(pid, signal.SIGKILL)
    assert launched.process.wait(20) == 4
    launched.wait_for("bob ended with exit code -9; stopping the others")
    assert not still_running(launched.mark)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--make", "x", "--parties", "1"], "at least 2 parties"),
        (["no-such.toml"], "no-such.toml"),
        (["--make", "x", "--data", "zed:a=b.csv"], "no party 'zed'"),
        (["--make", "x", "--data", "b.csv"], "is not PARTY:NAME=FILE.csv"),
        ([], "give a cluster file"),
    ],
)
def test_mistakes(tmp_path, arguments, expected):
    done = subprocess.run(
        [*LAUNCHER, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
