"""The scripts: they find Python or say what is missing, and what is pinned is what is declared."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL = [
    "scripts/demo",
    "scripts/test",
    "scripts/bench",
    "scripts/check",
    "scripts/lock",
    "scripts/mutants",
    "scripts/environment.sh",
    ".ci/run",
]


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=240, **options)


@pytest.mark.parametrize("script", SHELL)
def test_shell_scripts_parse(script):
    done = run("bash", "-n", ROOT / script)
    assert done.returncode == 0, done.stderr
    assert script.endswith(".sh") or os.access(ROOT / script, os.X_OK)


def test_a_machine_without_python_is_told_in_one_line(tmp_path):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "cksum", "dirname", "rm"):
        (tools / tool).symlink_to(shutil.which(tool))
    done = run(shutil.which("bash"), tmp_path / "scripts/demo", env={"PATH": str(tools)}, cwd="/")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "needs Python 3.11 or later" in done.stderr
    (tools / "python3").write_text("#!/bin/bash\nexit 1\n")  # a Python that is too old
    (tools / "python3").chmod(0o755)
    assert "needs Python 3.11" in run(shutil.which("bash"), tmp_path / "scripts/demo", env={"PATH": str(tools)}).stderr


@pytest.mark.parametrize("name", ["demo", "test", "bench"])
def test_everything_declared_is_pinned_with_hashes_and_without_addresses(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = (
        project["dependencies"] + project["optional-dependencies"][name] + project["optional-dependencies"]["build"]
    )
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    pinned = set(re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.MULTILINE))
    assert {re.match(r"[A-Za-z0-9_.-]+", d)[0] for d in declared} <= pinned
    for block in re.split(r"\n(?=\S)", text):
        assert block.startswith("#") or "--hash=sha256:" in block, block


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import pickle", "TID251"),
        ("import multiprocessing", "TID251"),
        ("from random import randint", "TID251"),
        ("import numpy as np\nx = np.random.rand(3)", "TID251"),
        ("try:\n    x = 1\nexcept:\n    pass", "E722"),
        ("def f(a):\n" + "".join(f"    if a == {i}:\n        return {i}\n" for i in range(12)), "C901"),
    ],
)
def test_lint_refuses_what_the_house_forbids(line, expected):
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename=mpc/new.py", "-"]
    done = run(*command, input=f'"""A module."""\n{line}\n', cwd=ROOT)
    assert done.returncode == 1
    assert expected in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        (None, "", False),
        ("mpc/errors.py", "import parties.version", True),
        ("mpc/errors.py", "import socket", True),
        ("mpc/errors.py", "import time", True),
        ("parties/data.py", "import protocols", True),
        ("parties/data.py", "import zmq", True),
        ("protocols/sums.py", "import parties.version", True),
    ],
)
def test_imports_that_point_the_wrong_way_break_a_contract(tmp_path, file, line, broken):
    for package in ("mpc", "parties", "protocols"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    if file:
        path = tmp_path / file
        path.write_text(path.read_text() + f"\n{line}\n")
    entry = "from importlinter.cli import lint_imports_command as go; import sys; sys.path.insert(0, '.'); go()"
    done = run(sys.executable, "-c", entry, "--no-cache", cwd=tmp_path)
    assert (done.returncode != 0) == broken, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or not broken


@pytest.mark.slow
def test_the_wheel_holds_three_packages_and_works_elsewhere(tmp_path):
    built = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path, ROOT
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("privity-*.whl")
    target = tmp_path / "site"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel)
    top = {p.name for p in target.iterdir() if not p.name.endswith(".dist-info")} - {"bin"}
    assert top == {"mpc", "parties", "protocols"}
    for package in top:
        assert (target / package / "py.typed").exists()
    done = run(sys.executable, "-m", "parties", "catalog", cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)})
    assert done.returncode == 0, done.stderr
    assert "secure-sum" in done.stdout


@pytest.mark.slow
def test_a_fresh_copy_with_an_empty_home_sets_itself_up(tmp_path):
    copy = tmp_path / "a copy"  # with a space in its name
    ignore = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", "demo-data")
    shutil.copytree(ROOT, copy, ignore=ignore)
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [copy / "scripts/demo"],
        cwd="/",
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy on the held-out quarter" in done.stdout


def test_the_demo(tmp_path):
    done = run(sys.executable, ROOT / "scripts/three_hospitals.py", "--folder", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "accuracy" in line]
    ours, pooled = (float(word) for word in line.split()[-2:])
    assert abs(ours - pooled) <= 0.01
    assert "to" in done.stdout
    assert "everyone" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alice.csv", "bob.csv", "carol.csv"]
