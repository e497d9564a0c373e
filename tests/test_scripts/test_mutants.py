"""scripts/mutants: what it makes of a text, and how it judges tests, on a tree of two functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''"""A module."""


def least(x: int, y: int = 3) -> int:
    """The smaller one, at most 10."""
    if not isinstance(x, int):
        raise TypeError(f"{x + 1} is no number")
    assert x < 100
    return min(x, y - 0) if x < 10 and y != 10 else -x


def filled(out: list[int], count: int) -> None:
    out.clear()
    while len(out) < count:
        out.append(1)
'''
TESTS = """from mpc.small import filled, least


def test_least():
    assert [least(1), least(5), least(9, 9), least(10), least(10, 12), least(3, 10)] == [1, 3, 9, -10, -10, -3]


def test_filled():
    out = [7, 7, 7]
    filled(out, 2)
    assert out == [1, 1]
"""
TABLE = """[[group.small.files]]
path = "mpc/small.py"
tests = ["tests/test_small.py"]

[[mistake]]
name = "nothing is filled"
file = "mpc/small.py"
old = "        out.append(1)"
new = "        break"
"""
# A choice that has each: the mistake, one that is caught, one that never ends, one that changes nothing.
SEED = "1735"
QUICK = "2"  # the mistake and the one that changes nothing
SURVIVOR = (
    "sign: return min(x, y - 0) if x < 10 and y != 10 else -x  ->  return min(x, y + 0) if x < 10 and y != 10 else -x"
)
REFUSAL = """[[accepted]]
file = "mpc/small.py"
in = "least"
line = "if not isinstance(x, int):"
becomes = "if (isinstance(x, int)):"
reason = "nobody asks"
"""


@pytest.fixture
def tree(tmp_path):
    for folder in ("mpc", "tests", "docs/evidence"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mpc" / "__init__.py").touch()
    (tmp_path / "mpc" / "small.py").write_text(SOURCE)
    (tmp_path / "tests" / "test_small.py").write_text(TESTS)
    (tmp_path / "tests" / "mutants.toml").write_text(TABLE)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return tmp_path


def mutants(tree, *options):
    command = [sys.executable, ROOT / "scripts" / "mutants.py", "small", "--root", tree, *options]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=280)


def listed(tree, *options):
    done = mutants(tree, "--list", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_comparison_sign_and_constant(tree):
    made = listed(tree)
    changes = {line.split(": ", 1)[1] for line in made}
    result = "return min(x, y - 0) if x < 10 and y != 10 else -x"
    for kind, after in [
        ("comparison", result.replace("x < 10", "x <= 10")),
        ("comparison", result.replace("x < 10", "x >= 10")),
        ("comparison", result.replace("!=", "==")),
        ("boolean", result.replace("and", "or")),
        ("constant", result.replace("x < 10", "x < 11")),
        ("sign", result.replace("y - 0", "y + 0")),
        ("sign", result.replace("-x", "(x)")),
        ("extremum", result.replace("min", "max")),
    ]:
        assert f"{kind}: {result}  ->  {after}" in changes
    assert "boolean: if not isinstance(x, int):  ->  if (isinstance(x, int)):" in changes
    assert "deleted: out.append(1)  ->  pass" in changes
    assert "early: out.append(1)  ->  out.append(1) break" in changes
    assert "early: out.clear()  ->  out.clear() return" in changes
    assert 'deleted: raise TypeError(f"{x + 1} is no number")  ->  pass' in changes
    assert len(made) == len(set(made)) == 22
    assert not any("assert" in change or "x - 1" in change for change in changes)


def test_a_sample_is_the_same_every_time_and_in_the_order_of_the_text(tree):
    whole, some = listed(tree), listed(tree, "--sample", "7", "--seed", "3")
    assert some == listed(tree, "--sample", "7", "--seed", "3")
    assert some != listed(tree, "--sample", "7", "--seed", "4")
    assert len(some) == 7
    assert [line for line in whole if line in some] == some
    assert any("nothing is filled" in line for line in some)


def test_survivors_are_named_until_they_are_accepted_with_a_reason(tree):
    done = mutants(tree, "--sample", "4", "--seed", SEED, "--write")
    page = (tree / "docs" / "evidence" / "mutants-small.md").read_text()
    assert done.returncode == 1
    assert done.stdout.startswith(f"survived and not listed: mpc/small.py:9 least: {SURVIVOR}\n4 mutants (a sample of")
    assert "2 caught, 1 ran out of time (caught as well), 1 survived, of which 0 are equivalent" in done.stdout
    assert "| nothing is filled | mpc/small.py | tests/test_small.py::test_filled |" in page
    assert "least, sign: not listed" in page
    assert (tree / "mpc" / "small.py").read_text() == SOURCE
    line, becomes = SURVIVOR.removeprefix("sign: ").split("  ->  ")
    entry = {"file": "mpc/small.py", "in": "least", "line": line, "becomes": becomes, "reason": "a zero has no sign"}
    listed = "".join(f'{key} = "{value}"\n' for key, value in entry.items())
    (tree / "tests" / "mutants.toml").write_text(f"{TABLE}\n[[accepted]]\n{listed}equivalent = true\n")
    done = mutants(tree, "--sample", "2", "--seed", QUICK)
    assert done.returncode == 0, done.stdout
    assert "of which 1 are equivalent" in done.stdout
    assert "Caught of those that change behaviour: 100.0 %." in done.stdout


def test_an_accepted_survivor_that_fits_nothing_is_named(tree):
    table = tree / "tests" / "mutants.toml"
    table.write_text(TABLE + REFUSAL + REFUSAL.replace("(isinstance", "(is_instance"))
    done = mutants(tree, "--list")
    assert done.returncode == 1
    assert done.stdout.count("fits no mutant any more") == 1
    assert "is_instance" in done.stdout.splitlines()[-1]
    table.write_text(TABLE + REFUSAL)
    assert mutants(tree, "--list").returncode == 0


def test_a_mistake_that_fits_no_place_and_broken_tests_are_refused(tree):
    table = tree / "tests" / "mutants.toml"
    table.write_text(TABLE.replace("append(1)", "append(2)"))
    assert "fits no single place" in mutants(tree).stderr
    table.write_text(TABLE)
    (tree / "tests" / "test_small.py").write_text(TESTS.replace("[1, 1]", "[1, 2]"))
    done = mutants(tree)
    assert done.returncode == 1
    assert "the unbroken sources fail the tests of mpc/small.py" in done.stderr
    assert (
        "no group other"
        in subprocess.run(
            [sys.executable, ROOT / "scripts" / "mutants.py", "other"], capture_output=True, text=True, check=False
        ).stderr
    )
