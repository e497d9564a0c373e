"""Parties need not run the same Python: what they hash is the same, and they compute together."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from served import Served

ROOT = Path(__file__).resolve().parents[2]
ROWS = 24


@cache
def others():
    """{version: interpreter} of the environments beside this one, as `./scripts/test --python` makes them."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    ask = "import sys, parties, numba; print('%d.%d' % sys.version_info[:2])"
    found = {}
    for python in sorted(ROOT.glob(".venv*/bin/python")):
        done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode == 0 and done.stdout.strip() != ours:
            found[done.stdout.strip()] = str(python)
    return found


@pytest.fixture
def pythons():
    if not others():
        told = "there is no environment with another Python: make one with ./scripts/test --python 3.13"
        if os.environ.get("PRIVITY_ALL_TESTS"):
            pytest.fail(told)
        pytest.skip(told)
    return others()


@pytest.mark.slow
def test_types_are_right_with_every_python(pythons, tmp_path):
    for version, python in pythons.items():
        command = [python, "-m", "mypy", "--cache-dir", tmp_path / version]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_what_is_hashed_is_the_same_with_every_python(pythons):
    script = ROOT / "tests/support/digests.py"
    running = [
        subprocess.Popen([python, script], stdout=subprocess.PIPE, cwd=ROOT)
        for python in (sys.executable, *pythons.values())
    ]
    ours, *theirs = [json.loads(one.communicate(timeout=240)[0]) for one in running]
    assert len(ours) > 50
    for version, digests in zip(pythons, theirs, strict=True):
        assert digests == ours, version


def test_a_cluster_of_parties_on_different_versions(tmp_path, pythons):
    random = np.random.default_rng(5)

    def table():
        x = random.normal(size=ROWS)
        return "x,y\n" + "".join(f"{v:.6f},{'yes' if v > 0 else 'no'}\n" for v in x)

    newest = pythons[max(pythons, key=lambda v: int(v.split(".")[1]))]
    middle = pythons[min(pythons, key=lambda v: int(v.split(".")[1]))]
    where = {"bob": newest, "carol": middle, "dealer": newest}
    offers = {name: {"data": table()} for name in ("alice", "bob", "carol")}
    with Served(tmp_path, offers, pythons=where) as world:
        world.serve_all()
        for starter in (sys.executable, newest):
            world._pythons["coordinator"] = starter
            done = world.run(
                "logistic-regression", "--set", "label=y", "--set", "steps=20", offer="data", parameter="data"
            )
            assert done.wait() == 0, done.err
            assert done.json["results"]["coef"][0] > 0
        assert world.close() == [0] * 4
