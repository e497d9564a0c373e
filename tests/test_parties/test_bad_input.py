"""What bad input gets: one line that names file, row, column or source line, cause and cure; nothing left running."""

import re
import socket

import pytest
from command import privity

GOOD = "age,bmi,label\n30,20.5,yes\n40,21.5,no\n50,20.5,yes\n60,25.5,no\n"
TOTAL = """\
import mpc


@mpc.program
def total(patients: mpc.PerParty[mpc.Table], column: str = "age"):
    shares = [mpc.share(t[column], range=(0, 1000)).sum() for t in patients]
    return mpc.reveal(sum(shares))
"""
SECRET_CELL = "731.4159"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "total.py").write_text(TOTAL)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.csv").write_text(GOOD)
    return tmp_path


def inputs(*parties, name="patients"):
    files = {"alice": "a.csv", "bob": "b.csv", "carol": "c.csv"}
    return [word for party in parties for word in ("--input", f"{name}={party}:{files[party]}")]


BAD_FILES = {
    "missing file": (None, r"bob: b\.csv: no such file; check the path"),
    "empty file": ("", r"bob: b\.csv is empty"),
    "no rows": ("age,bmi,label\n", r"bob: b\.csv has a header and no rows"),
    "duplicate column": ("age,bmi,age\n1,2,3\n", r"bob: b\.csv: column 'age' stands in the header twice.*rename"),
    "ragged rows": ("age,bmi\n1,2\n3\n", r"bob: b\.csv: row 2 \(line 3\) has 1 cells and the header 2.*complete"),
    "text in a number column": (
        "age,bmi\n1,2\nold,2\n",
        r"bob: b\.csv: row 2 \(line 3\), column 'age' is text.*fill or remove",
    ),
    "empty cell": ("age,bmi\n1,2\n,2\n", r"bob: b\.csv: row 2 \(line 3\), column 'age' is empty.*fill or remove"),
    "NaN": ("age,bmi\n1,2\nnan,2\n", r"bob: b\.csv: row 2 \(line 3\), column 'age' is NaN.*fill or remove"),
    "inf": ("age,bmi\n1,2\ninf,2\n", r"bob: b\.csv: row 2 \(line 3\), column 'age' is infinite"),
    "value outside the declared range": (
        f"age,bmi\n1,2\n-{SECRET_CELL},2\n",
        r"bob: .*b\.csv: row 2 \(line 3\), column 'age'.*range",
    ),
    "wrong column": ("height,bmi\n1,2\n", r"bob.* no column 'age'.*height"),
    "another encoding": (b"age,bmi\n1,2\n3,\xff\n", r"bob: b\.csv: line 3 is not UTF-8.*save"),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(folder, case, command):
    content, expected = BAD_FILES[case]
    path = folder / "b.csv"
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = privity(command, "total.py", *inputs("alice", "bob", "carol"), cwd=folder)
    reads_cells = re.search("row 2 .*column", expected)
    if command == "plan" and reads_cells:
        assert answer.code == 0, "a plan needs no cell"
        return
    assert answer.code == (3 if case != "wrong column" else answer.code or 3), answer.err
    assert re.search(expected, answer.refusal), answer.refusal
    assert SECRET_CELL not in answer.err + answer.out, "a value of the data is shown"
    assert answer.out == ""


PROGRAMS = {
    "bool of a secret": (
        "s = mpc.share(t[0]['age']).sum()\n    return mpc.reveal(s) if bool(s) else 0",
        "bool",
        6,
    ),
    "if on a secret": (
        "s = mpc.share(t[0]['age']).sum()\n    if s:\n        s = s + 1\n    return mpc.reveal(s)",
        "secret",
        6,
    ),
    "float of a secret": ("return float(mpc.share(t[0]['age']).sum())", "secret", 5),
    "shape mismatch": (
        "x = mpc.share(t[0]['age'])\n    return mpc.reveal(x + mpc.share(t[0][['age', 'bmi']])[:3, 0])",
        r"shape|\(4,\)",
        6,
    ),
    "overflow": (
        "x = mpc.share(t[0]['age'], range=(-1e9, 1e9))\n    return mpc.reveal(x * x * x * x * x)",
        "overflow",
        6,
    ),
    "nothing revealed": ("return mpc.share(t[0]['age']).sum()", "reveal", None),
    "a bug of one's own": ("return undefined_name", "NameError: name 'undefined_name'", 5),
    "no such column": ("return mpc.reveal(mpc.share(t[0]['agee']).sum())", "no column 'agee'", None),
}


@pytest.mark.parametrize("case", PROGRAMS)
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_programs_are_refused_with_their_line(folder, case, command):
    body, expected, line = PROGRAMS[case]
    text = f"import mpc\n\n@mpc.program\ndef bad(t: mpc.PerParty[mpc.Table]):\n    {body}\n"
    (folder / "bad.py").write_text(text)
    answer = privity(command, "bad.py", "--input", "t=alice:a.csv", "--input", "t=bob:b.csv", cwd=folder)
    assert answer.code != 0
    assert re.search(expected, answer.refusal), answer.refusal
    if line is not None:
        assert f"bad.py:{line}" in answer.refusal


LEAKY = """\
import mpc


@mpc.protocol
def twice(x, y):
    r = mpc.mask(x.shape)
    a = mpc.open(x + r)
    b = mpc.open(y + r)
    return x + a - b


@mpc.program
def leak(t: mpc.PerParty[mpc.Table]):
    s, u = (mpc.share(each["age"], range=(0, 100)).sum() for each in t)
    return mpc.reveal(twice(s, u))
"""


@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_a_mask_used_twice_is_refused_with_its_line(folder, command):
    (folder / "leaky.py").write_text(LEAKY)
    named = inputs("alice", "bob", name="t")
    answer = privity(command, "leaky.py", *named, cwd=folder)
    assert answer.code == 1
    assert re.search(r"leaky\.py:[78].*mask is used twice.*mask\(x\.shape\)", answer.refusal)


def test_a_program_that_leaks_can_be_shown(folder):
    (folder / "leaky.py").write_text(LEAKY)
    answer = privity("show", "leaky.py", *inputs("alice", "bob", name="t"), cwd=folder)
    assert answer.code == 0, answer.err
    assert "open" in answer.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--parties", "1", *inputs("alice")], "at least 2 parties"),
        (["--parties", "0"], "at least 2 parties"),
        (["--parties", "2", "--input", "patients=bbo:b.csv"], "unknown party 'bbo'; did you mean 'bob'?"),
        ([], "needs the input 'patients'"),
        ([*inputs("alice", "bob"), "--set", "colum=age"], "no setting 'colum'; did you mean 'column'?"),
        ([*inputs("alice", "bob"), "--set", "column=[1]"], "column"),
        (["--input", "a.csv"], "is not NAME=PARTY:FILE.csv"),
        ([*inputs("alice", "alice")], "given twice for alice"),
    ],
)
def test_bad_arguments(folder, arguments, expected):
    answer = privity("run", "total.py", *arguments, cwd=folder)
    assert answer.code == 2
    assert expected in answer.refusal


def logistic(folder, *more, **files):
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    named = inputs("alice", "bob", name="data")
    return privity("run", "logistic-regression", *named, "--set", "label=label", *more, cwd=folder)


def test_one_class_only(folder):
    one = "age,bmi,label\n30,20.5,yes\n40,21.5,yes\n"
    answer = logistic(folder, a=one, b=one)
    assert answer.code != 0
    assert re.search(r"class", answer.refusal)


def test_different_columns_between_horizontal_parties(folder):
    answer = logistic(folder, b="age,height,label\n30,20.5,yes\n40,21.5,no\n")
    assert answer.code != 0
    assert "bob" in answer.refusal
    assert "column" in answer.refusal


def test_different_row_counts_between_vertical_parties(folder):
    answer = logistic(folder, "--set", "partition=vertical", b="height\n30\n40\n")
    assert answer.code != 0
    assert re.search("row", answer.refusal)


def test_unknown_label(folder):
    named = inputs("alice", "bob", name="data")
    answer = privity("run", "logistic-regression", *named, "--set", "label=diagnosis", cwd=folder)
    assert answer.code != 0
    assert "'diagnosis'" in answer.refusal
    assert "label" in answer.refusal


def test_port_in_use(folder):
    for name in ("alice", "bob", "dealer", "coordinator"):
        assert privity("keygen", name, "--directory", folder).code == 0
    public = {n: (folder / f"{n}.public").read_text().split('public = "')[1].split('"')[0] for n in _NAMES}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (folder / "cluster.toml").write_text(
            f'format = 1\n[coordinator]\npublic = "{public["coordinator"]}"\n'
            f'[dealer]\naddress = "127.0.0.1:1"\npublic = "{public["dealer"]}"\n'
            f'[[party]]\nname = "alice"\naddress = "127.0.0.1:{port}"\npublic = "{public["alice"]}"\n'
            f'[[party]]\nname = "bob"\naddress = "127.0.0.1:2"\npublic = "{public["bob"]}"\n'
        )
        answer = privity("party", "--cluster", "cluster.toml", "--name", "alice", cwd=folder)
    assert answer.code != 0
    assert re.search(rf"{port}.*(in use|taken)", answer.refusal)


_NAMES = ("alice", "bob", "dealer", "coordinator")
