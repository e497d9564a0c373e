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
    "scripts/grid",
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


@pytest.fixture
def machine(tmp_path):
    """A copy of the scripts, and what `environment.sh` says with these Pythons: {path: version}."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "cat", "cksum", "dirname", "rm"):
        (tools / tool).symlink_to(shutil.which(tool))

    def says(pythons, command):
        for place, version in pythons.items():
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            # asked whether it is of the version that is wanted; a shim that is not switched on says no to everything
            path.write_text(f"#!/bin/bash\n[ -n '{version}' ] && [ \"${{3:-{version}}}\" = '{version}' ]\n")
            path.chmod(0o755)
        environment = {"PATH": f"{tools}:{tmp_path / 'shims'}", "HOME": str(tmp_path / "home")}
        return run(shutil.which("bash"), "-euc", f". scripts/environment.sh; {command}", cwd=copy, env=environment)

    return says


PYENV = {"shims/python3.13": "", "versions/3.13.4/bin/python3.13": "3.13", "shims/python3.11": "3.11"}
UV = {"home/.local/share/uv/python/cpython-3.12.1-linux/bin/python3.12": "3.12", "shims/python3": "3.11"}


@pytest.mark.parametrize(
    ("pythons", "version", "place"),
    [(PYENV, "3.13", "versions/3.13.4/bin/python3.13"), (PYENV, "3.11", "python3.11"), (UV, "3.12", next(iter(UV)))],
)
def test_a_python_is_found_by_its_version_also_where_it_is_not_switched_on(machine, tmp_path, pythons, version, place):
    done = machine(pythons, f'choose {version}; echo "$venv $chosen"')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f".venv-{version}", place if "/" not in place else str(tmp_path / place)]


def test_the_environment_of_the_right_version_is_taken_and_no_other_is_touched(machine):
    done = machine(PYENV | {"copy/.venv/bin/python": "3.13"}, 'choose 3.13; echo "$venv"; choose 3.11; echo "$venv"')
    assert done.stdout.split() == [".venv", ".venv-3.11"], done.stderr


@pytest.mark.parametrize("version", ["3.12", "3.9", "4", "", "3.13; rm"])
def test_a_version_that_is_not_here_is_refused_in_one_line(machine, version):
    done = machine(PYENV, f"chosen_in --python '{version}'; echo not reached")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"--python {version}: no such Python with venv is found here; found: 3.13, 3.11. privity needs 3.11 or later."
    ]
    assert not done.stdout


def test_the_scripts_take_the_version_out_of_their_arguments(machine):
    done = machine(PYENV, 'chosen_in -k "a b" --python=3.13 --all; printf "%s|" "$version" "${rest[@]}"')
    assert done.stdout == "3.13|-k|a b|--all|", done.stderr


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
