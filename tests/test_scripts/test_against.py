"""scripts/bench --against: each side runs its own tree's code, in turn; nothing stays behind. No time is asserted."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from measure import against, tables  # noqa: E402

from mpc.errors import MpcError, UsageError  # noqa: E402

# A tree that is quick to start: its parties are real processes that take their code from its packages, its seconds
# are made up. `{behaviour}` is what a run does before it is over.
PARTIES = """
import contextlib, os, pathlib, subprocess, sys, types
HERE = pathlib.Path(__file__).resolve().parents[1]

@contextlib.contextmanager
def local(n):
    code = "import mpc, parties, protocols"
    environment = os.environ | {{"PYTHONPATH": f"{children}{{os.pathsep}}{{os.environ['PYTHONPATH']}}"}}
    for _ in range(n + 1):
        subprocess.run([sys.executable, "-P", "-c", code], check=True, env=environment)
    yield types.SimpleNamespace(parties=["alice", "bob"][:n], run=run)

def run(program, **given):
    order = HERE.parent / "order"
    with order.open("a") as out:
        out.write("{name}\\n")
    {behaviour}
    return types.SimpleNamespace(results={{}}, total_seconds={seconds}, online_seconds={seconds} / 4)
"""
SCRIPTS = """
import types
def workload(name):
    return types.SimpleNamespace(
        name=name, parties=2, program=name, input="data", settings={{}}, most=0.1,
        make=lambda n: [0] * n, wrong=lambda data, results: {wrong},
    )
WORKLOADS = {{name: workload(name) for name in {names}}}
"""


def tree(root, name, seconds, *, behaviour="pass", children="{HERE}", names=("one",), wrong=0.0):
    for package in ("mpc", "protocols", "parties", "scripts", "requirements"):
        (root / package).mkdir(exist_ok=True)
        (root / package / "__init__.py").touch()
    text = PARTIES.format(name=name, seconds=seconds, behaviour=behaviour, children=children)
    (root / "parties" / "__init__.py").write_text(text)
    (root / "scripts" / "workloads.py").write_text(SCRIPTS.format(names=names, wrong=wrong))
    (root / "requirements" / "demo.txt").touch()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "-m", name)


def git(root, *words):
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *settings, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("__pycache__\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(against.tempfile, "tempdir", str(temporary))
    return root


def compare(root, *names, pairs=3, commit="HEAD~1"):
    found = list(against.compared_pairs(against.commit_of(commit, root), names or ("one",), pairs, None, root))
    assert not list(Path(against.tempfile.gettempdir()).iterdir())
    assert git(root, "status", "--porcelain") == ""
    assert len(git(root, "worktree", "list").splitlines()) == 1
    return found


# -------------------------------------------------------------------------------------------------------- ratios


def test_each_side_runs_its_own_code_and_is_first_in_turn(repository, tmp_path):
    tree(repository, "old", 2.0)
    tree(repository, "new", 1.0)
    order = tmp_path / "order"  # what this tree's runs write; the older one's write theirs beside their own tree
    (line,) = compare(repository, pairs=7)
    assert line["ratios"] == {"total_seconds": 0.5, "online_seconds": 0.5, "seconds": 0.5}
    assert line["quartiles"] == {"total_seconds": [0.5, 0.5], "online_seconds": [0.5, 0.5]}
    assert (line["total_seconds"], line["online_seconds"], line["seconds"]) == (1.0, 0.25, 0.25)
    assert line["old"] == {"total_seconds": 2.0, "online_seconds": 0.5, "seconds": 0.5}
    assert (line["workload"], line["parties"], line["pairs"], line["error"]) == ("one", 2, 7, 0.0)
    assert line["against"] == git(repository, "rev-parse", "HEAD~1").strip()
    assert order.read_text().split() == ["new"] * 9  # seven pairs in two sessions, each of which is warmed up


def test_what_is_compared_is_the_working_tree_and_its_side_says_so(repository, capsys):
    tree(repository, "old", 2.0)
    before = repository / "parties" / "__init__.py"
    before.write_text(before.read_text().replace("total_seconds=2.0", "total_seconds=3.0"))
    commit = against.commit_of("HEAD", repository)
    (line,) = against.compared_pairs(commit, ("one",), 1, None, repository)
    assert line["ratios"]["total_seconds"] == 1.5
    assert "old, and 1 changed files" in capsys.readouterr().err


def test_pairs_are_in_turn(repository):
    calls = []

    class Recorded:
        def __init__(self, name):
            self.name = name

        def order(self, **words):
            if "run" in words:
                calls.append(self.name)

        def answer(self):
            return {"total_seconds": 1.0, "online_seconds": 1.0, "error": 0.0, "allowed": 0.0}

        def check_code(self, least):
            assert least == 4

    against.paired(Recorded("old"), Recorded("new"), "one", 2, 4)
    assert calls == ["new", "old", "old", "new", "new", "old", "old", "new"]


def test_the_median_and_the_quartiles_are_those_of_the_ratios_of_pairs():
    def one(seconds):
        return {"total_seconds": seconds, "online_seconds": seconds / 2}

    # The host slows down: each pair sees the same of it, so the ratios do not.
    pairs = ((1, 1), (2, 2), (4, 3), (8, 4), (16, 9))
    line = against.summary([(one(slow), one(slow * ratio)) for slow, ratio in pairs])
    assert line["ratios"]["total_seconds"] == line["ratios"]["online_seconds"] == 3
    assert line["quartiles"]["total_seconds"] == [2, 4]
    assert against.summary([(one(2), one(1))])["quartiles"]["online_seconds"] == [0.5, 0.5]
    grid = tables.against_grid([line | {"workload": "one", "parties": 2}, {"workload": "two", "failed": "x"}], "abc")
    assert [row[:3] for row in grid.rows] == [("one", "2", "5")]
    assert grid.rows[0][5:7] == ("3.000", "2.00 to 4.00")


# ------------------------------------------------------------------------------------------------------ what fails


def test_a_workload_that_the_commit_has_not_is_named_and_left_out(repository, capsys):
    tree(repository, "old", 2.0)
    tree(repository, "new", 1.0, names=("one", "two"))
    two, one = compare(repository, "two", "one")
    assert two["skipped"] == "there is no workload two at HEAD~1"
    assert "ratios" not in two
    assert "scripts/workloads.py differs: each side runs its own" in capsys.readouterr().err
    assert one["ratios"]["total_seconds"] == 0.5


def test_a_wrong_answer_is_an_error_of_this_tree_only(repository):
    tree(repository, "old", 2.0, wrong=7.0)
    tree(repository, "new", 1.0, wrong=0.25)
    (line,) = compare(repository)
    assert (line["error"], line["allowed"]) == (0.25, 0.1)


ONCE = 'mark = HERE / "mark"\n    if not mark.exists():\n        mark.touch()\n        '


@pytest.mark.parametrize("misfortune", ['raise RuntimeError("party bob died")', "os._exit(3)"])
def test_what_fails_once_is_tried_again(repository, misfortune):
    tree(repository, "old", 2.0, behaviour=ONCE + misfortune)
    tree(repository, "new", 1.0)
    (line,) = compare(repository)
    assert (line["pairs"], line["ratios"]["total_seconds"]) == (3, 0.5)


@pytest.mark.parametrize(
    ("misfortune", "said"),
    [
        ('raise RuntimeError("party bob died")', "old: party bob died"),
        ('sys.exit("no such file")', "old: its process ended: no such file"),
    ],
)
def test_what_always_fails_is_told_and_the_next_workload_is_measured(repository, misfortune, said):
    tree(repository, "old", 2.0, names=("one", "two"), behaviour=f'if program == "one": {misfortune}')
    tree(repository, "new", 1.0, names=("one", "two"))
    one, two = compare(repository, "one", "two")
    assert one["failed"] == said
    assert two["ratios"]["total_seconds"] == 0.5


def test_a_side_whose_parties_take_other_code_is_an_error(repository, tmp_path):
    other = tmp_path / "other"
    (other / "mpc").mkdir(parents=True)
    (other / "mpc" / "__init__.py").touch()
    tree(repository, "old", 2.0, children=other)
    tree(repository, "new", 1.0)
    with pytest.raises(MpcError, match=r"of the old side took its code from .*other/mpc/__init__.py, not "):
        compare(repository)


def test_a_side_whose_parties_nobody_witnessed_is_an_error(repository, monkeypatch):
    tree(repository, "old", 2.0)
    tree(repository, "new", 1.0)
    (repository / "nobody").mkdir()
    shutil.copy(against.HERE / "side.py", repository / "nobody")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "no witness")
    monkeypatch.setattr(against, "HERE", repository / "nobody")
    with pytest.raises(MpcError, match="of the old side 0 processes were witnessed, not 4"):
        compare(repository)


@pytest.mark.slow
def test_dependencies_that_cannot_be_installed_are_told(repository):
    tree(repository, "old", 2.0)
    (repository / "requirements" / "demo.txt").write_text("???\n")
    git(repository, "commit", "--quiet", "-am", "new")
    (repository / "requirements" / "demo.txt").write_text("")
    git(repository, "commit", "--quiet", "-am", "newer")
    with pytest.raises(MpcError, match=r"dependencies of the older commit cannot be installed: .*Invalid requirement"):
        compare(repository)


def test_a_commit_without_workloads_is_told(repository):
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    tree(repository, "new", 1.0)
    with pytest.raises(MpcError, match=r"HEAD~1 has no scripts/workloads.py"):
        compare(repository)


@pytest.mark.parametrize("name", ["nonsense", "HEAD~99", "--all", "HEAD:scripts", ""])
def test_what_is_no_commit_is_wrong_usage(repository, name):
    tree(repository, "old", 2.0)
    with pytest.raises(UsageError, match="no commit of this repository"):
        against.commit_of(name, repository)


def test_where_there_is_no_repository_it_says_so(tmp_path):
    with pytest.raises(UsageError, match="not a git repository"):
        against.commit_of("HEAD", tmp_path)


# ---------------------------------------------------------------------------------------------------- interruption


DRIVER = """
import sys, tempfile
from pathlib import Path
sys.path[:0] = [{scripts!r}, {root!r}]
from measure import against
tempfile.tempdir = {temporary!r}
root = Path({repository!r})
list(against.compared_pairs(against.commit_of("HEAD", root), ["one"], 3, None, root))
"""


def test_ctrl_c_leaves_neither_files_nor_processes(repository, tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {deaf!r}], stdout=subprocess.PIPE, process_group=0)"
    told = "(HERE.parent / 'pid').write_text(str(child.pid))"
    behaviour = f"child = {start}; child.stdout.readline(); {told}; child.wait()"
    tree(repository, "new", 1.0, behaviour=behaviour)
    places = {"scripts": str(ROOT / "scripts"), "root": str(ROOT), "repository": str(repository)}
    temporary = tmp_path / "temporary"
    command = [sys.executable, "-c", DRIVER.format(**places, temporary=str(temporary))]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (pid := _written(tmp_path / "pid")) or not list(temporary.glob("*/pid")):
        assert time.monotonic() < until
        time.sleep(0.02)
    other = _written(next(temporary.glob("*/pid")))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert not list(temporary.iterdir())
    for number in (pid, other):
        assert not Path(f"/proc/{number}").exists() or "Z" in Path(f"/proc/{number}/stat").read_text().split()[2]
    assert git(repository, "status", "--porcelain") == ""


def _written(file):
    return int(file.read_text() or 0) if file.exists() else 0


# ------------------------------------------------------------------------------------------------------- real runs


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this tree is no repository")
def test_real_processes_of_both_trees():
    command = [
        sys.executable,
        str(ROOT / "scripts" / "bench.py"),
        "--against",
        "HEAD",
        "less-1e4",
        "--pairs",
        "1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd="/")
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["error"] == 0
    for what in ("total_seconds", "online_seconds"):
        assert line["ratios"][what] == pytest.approx(line[what] / line["old"][what])
        assert 0 < line["online_seconds"] == line["seconds"] < line["total_seconds"]
