import os
import re
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import InputError
from mpc.table import Table, owned
from parties import data
from parties.data import read_csv
from parties.launch.pipe import pack_value, unpack_value
from parties.store import fingerprint


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(path, *columns):
    """The one line with which a file, or the columns asked for, are refused."""
    with pytest.raises(InputError) as caught:
        read_csv(path).numbers(columns)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


def test_numbers_text_and_order(write):
    table = read_csv(write("age,ward, bmi\n34,north,22.5\n61,south,1e1\n"))
    assert table.columns == ("age", "ward", "bmi")
    assert table.rows == 2
    assert table.numbers(["bmi", "age"]).tolist() == [[22.5, 34.0], [10.0, 61.0]]
    assert table.classes("ward") == ["north", "south"]
    assert table.schema().shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", r"is empty"),
        ("\n\n", r"is empty"),
        ("age,bmi\n", r"no rows"),
        ("age,bmi,age\n1,2,3\n", r"column 'age' stands in the header twice \(columns 1 and 3\)"),
        ("age,,bmi\n1,2,3\n", r"column 2 has no name"),
        ("age,bmi,\n1,2,3\n", r"column 3 has no name"),
        ("age,bmi\n1,2\n3\n", r"row 2 \(line 3\) has 1 cells and the header 2"),
        ("age,bmi\n1,2\n3,4,5\n", r"row 2 \(line 3\) has 3 cells and the header 2"),
        ("age;bmi\n1;2\n", r"separated by ';'"),
        ("age,b\u202emi\n1,2\n", r"the name of column 2 is too long, or has a character that cannot be shown"),
        (f"{'x' * 1001},bmi\n1,2\n", r"the name of column 1 is too long"),
        ("1.5,2.5\n3.5,4.5\n", r"holds a number in column 1.*header"),
        ("7,7\n3,4\n", r"holds a number in column 2.*header"),
        ('age,bmi\n1,"2\n3,4\n', r"begins on line 2 is broken.*quote"),
        (b"age,ward\n1,north\n2,s\xfcd\n", r"line 3 is not UTF-8"),
        ("age\n1\n".encode("utf-16"), r"UTF-16"),
        (b"PK\x03\x04rest", r"spreadsheet"),
        (b"\x1f\x8brest", r"compressed"),
    ],
)
def test_files_that_are_refused(write, content, expected):
    assert re.search(expected, refusal(write(content)))


def test_missing_file_and_directory(tmp_path):
    assert "no such file" in refusal(tmp_path / "a.csv")
    assert "is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("tall", "is text"), ("", "is empty"), ("nan", "NaN"), ("inf", "infinite"), ("-inf", "infinite")],
)
def test_cells_that_are_refused_when_a_program_asks_for_them(write, cell, expected):
    text = refusal(write(f"age,height\n1,170\n2,{cell}\n3,180\n"), "height")
    assert "row 2 (line 3), column 'height'" in text
    assert expected in text
    assert cell != "tall" or cell not in text, "a value of the data is echoed"
    assert read_csv(write(f"age,height\n1,170\n2,{cell}\n3,180\n")).numbers(["age"]).sum() == 6


def test_a_missing_column_names_those_there(write):
    text = refusal(write("age,bmi\n1,2\n"), "weight")
    assert "no column 'weight'" in text
    assert "age, bmi" in text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_right_after_quoted_newlines_and_blank_lines(write, end):
    lines = ["", '"age', 'in years",note', '1,"a', 'b"', "2,c", "", "", '3,"d', "e", 'f"', "bad,g"]
    path = write(end.join(lines) + end)
    table = read_csv(path)
    assert [table.line(row) for row in range(4)] == [4, 6, 9, 12]
    name = table.columns[0]
    with pytest.raises(InputError, match=r"row 4 \(line 12\)"):
        table.numbers([name])


def test_byte_order_mark(write):
    assert read_csv(write(b"\xef\xbb\xbfage\n1\n")).columns == ("age",)


def test_names_may_be_whole_numbers(write):
    assert read_csv(write("0,1,2\n5,6,7\n")).numbers(["2"]).tolist() == [[7.0]]


def test_one_bad_cell_far_down_keeps_the_labels_of_the_rest(write):
    rows = ["1"] * 10_000 + ["x"]
    table = read_csv(write("label\n" + "\n".join(rows) + "\n"))
    assert table.classes("label") == ["1", "x"]
    with pytest.raises(InputError, match=r"row 10001 \(line 10002\)"):
        table.numbers(["label"])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_refusal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(content)
    try:
        table = read_csv(path)
        table.numbers(table.columns)
    except InputError as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - most files are refused, some are tables


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_come_back_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("floats") / "a.csv"
    path.write_text("x\n" + "".join(f"{v!r}\n" for v in values))
    assert np.array_equal(read_csv(path).numbers(["x"])[:, 0], np.array(values))


# ---------------------------------------------------------------------------------------------- long cells and files

LONG = "x" * 100_000


@contextmanager
def little_memory(megabytes=8):
    """What is allocated inside, numpy's arrays too, stays small."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes << 20
    finally:
        tracemalloc.stop()


def test_one_long_cell_costs_no_more_than_itself(write):
    path = write("v,note\n" + "1,\n" * 2000 + f"2,{LONG}\n")
    with little_memory():
        table = read_csv(path)
        assert len(fingerprint(table)) == 64
        assert table.classes("v") == ["1", "2"]
        head, blobs = pack_value(table, "x")
        again = unpack_value(head, [bytes(blob) for blob in blobs])
        assert fingerprint(again) == fingerprint(table)
        given = owned({"note": ["a"] * 2000 + [LONG], "v": [1.5] * 2001})
        assert given.column("note")[-1] == LONG
        assert given.numbers(["v"]).sum() == 1.5 * 2001


@pytest.mark.parametrize(
    "columns",
    [({"a": ["1", "23"]}, {"a": ["12", "3"]}), ({"a": ["", "x"]}, {"a": ["x", ""]}), ({"a": ["x"]}, {"a": ["x\0"]})],
)
def test_fingerprints_of_different_text_differ(columns):
    one, other = (fingerprint(Table(c)) for c in columns)
    assert one != other


def test_columns_stay_what_they_were(write):
    assert fingerprint(read_csv(write("a,b\n1,x\n", "1.csv"))) != fingerprint(read_csv(write("a,b\n1,y\n", "2.csv")))
    assert fingerprint(np.array(1.0)) != fingerprint(np.array([1.0, 1.0]))
    strided = np.arange(6.0).reshape(2, 3).T
    assert fingerprint(strided) == fingerprint(strided.copy())


def test_a_cell_and_a_line_have_a_limit(write, monkeypatch):
    assert re.search(
        r"on line 3 has a cell of more than 131,072 characters", refusal(write(f"v\n1\n{'x' * 131_073}\n"))
    )
    monkeypatch.setattr(data, "_LINE", 1000)
    assert "line 3 has more than 1,000 characters" in refusal(write(f"v\n1\n{'1' * 1001}\n"))
    assert read_csv(write(f"v\n1\n{'1' * 99}\n")).rows == 2
    monkeypatch.setattr(data, "_NAMES", 100)
    assert "its 200 columns have more than 100 " in refusal(write(",".join(f"v{i}" for i in range(200)) + "\n"))


def test_a_table_that_does_not_fit_in_memory_is_refused_before_it_is_read_whole(write, monkeypatch):
    monkeypatch.setattr(data, "_CHARACTERS_AT_ONCE", 1000)
    monkeypatch.setattr(data, "_memory", lambda: 2 << 20)
    path = write("v,note\n" + "".join(f"{i},{'x' * 500}{i}\n" for i in range(5000)))
    assert re.search(r"up to line 1\d\d\d it takes more than 1 MiB, half of this host's memory", refusal(path))


def test_an_endless_line_that_is_no_text_is_found_without_reading_it_whole(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"v\n1\n" + b"\xff" * 100)
        file.truncate(1 << 28)
    with little_memory(), pytest.raises(InputError, match="line 3 is not UTF-8"):
        read_csv(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert "a device or a pipe" in refusal(tmp_path / "a.csv")
    with pytest.raises(InputError, match="a device or a pipe"):
        read_csv("/dev/zero")
