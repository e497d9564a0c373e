import re

import pytest

import mpc
from mpc.errors import ProgramError, UsageError
from parties.target import load_target


@mpc.program
def known(x: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(mpc.share(t["x"]).sum() for t in x))


CATALOG = {"secure-sum": known}
ONE = """
import mpc

def helper(t):
    return mpc.share(t["x"]).sum()

@mpc.program
def total(x: mpc.PerParty[mpc.Table]):
    return mpc.reveal(sum(helper(t) for t in x))
"""
TWO = ONE + "\n@mpc.program\ndef other(x: mpc.PerParty[mpc.Table]):\n    return mpc.reveal(helper(x[0]))\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_catalogue():
    assert load_target("secure-sum", CATALOG) is known


@pytest.mark.parametrize("target", ["secure-sums", "securesum", "sum", "", "a:b", "./secure-sum"])
def test_unknown_names_are_refused_with_what_there_is(target):
    with pytest.raises(UsageError, match="secure-sum"):
        load_target(target, CATALOG)


def test_nearest_name():
    with pytest.raises(UsageError, match=r"'secure-som'; did you mean 'secure-sum'\?"):
        load_target("secure-som", CATALOG)


def test_function_of_a_file(write):
    assert load_target(f"{write(TWO)}:other", CATALOG).name == "other"
    assert load_target(f"{write(ONE)}:total", CATALOG).name == "total"
    assert load_target(str(write(ONE)), CATALOG).name == "total"


def test_a_file_may_import_its_neighbour_and_leaves_no_cache(write, tmp_path):
    write("WEIGHT = 2\n", "neighbour_of_target.py")
    path = write("from neighbour_of_target import WEIGHT\n" + ONE)
    load_target(str(path), CATALOG)
    assert not (tmp_path / "__pycache__" / "mine.cpython-311.pyc").exists()


def test_the_latest_text_counts(write):
    assert load_target(str(write(ONE)), CATALOG).name == "total"
    assert load_target(str(write(ONE.replace("total", "tally"))), CATALOG).name == "tally"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", r"2 programs \(total, other\); say which: .*mine.py:total"),
        (":totl", r"no program 'totl'; did you mean 'total'\?"),
        (":helper", r"helper is a plain function.*@mpc.program"),
    ],
)
def test_functions_that_are_not_there(write, name, expected):
    with pytest.raises(UsageError, match=expected):
        load_target(f"{write(TWO)}{name}", CATALOG)


def test_a_file_without_programs(write):
    with pytest.raises(UsageError, match=r"0 programs.*@mpc\.program"):
        load_target(str(write("x = 1\n")), CATALOG)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_target(f"{tmp_path}/none.py:f", CATALOG)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import mpc\n\ndef f(:\n", r"^mine.py:3: SyntaxError: "),
        ("x = 1\nif x:\ny = 2\n", r"^mine.py:3: IndentationError: "),
        ("import mpc\nimport no_such_module_here\n", r"^mine.py:2: No module named 'no_such_module_here'; install"),
        ("import mpc\nfrom mpc import nothing_like_it\n", r"^mine.py:2: cannot import name"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"^mine.py:2: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)\n", r"ends the process"),
        ('raise ValueError("one\\ntwo")\n', r"^mine.py:1: ValueError: one$"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(write, text, expected):
    with pytest.raises(ProgramError) as caught:
        load_target(str(write(text)), CATALOG)
    assert re.search(expected, str(caught.value))
    assert "\n" not in str(caught.value)
