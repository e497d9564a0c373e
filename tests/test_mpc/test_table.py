"""mpc/table.py: numbers and labels as a program wants them; a refusal names row and column, never the value."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import InputError
from mpc.table import Schema, Table, label_of, owned

CANARY = "4711secret"


def people(**columns: list[str]) -> Table:
    return Table({"age": ["41", "52.5", "63"], "sex": ["f", "m", "f"], **columns}, source="hospital.csv")


def refusal(call: Any) -> str:
    """The text of the refusal, after making sure that it is one line without the canary, for the owner and others."""
    with pytest.raises(InputError) as caught:
        call()
    error = caught.value.of("bob")
    for text in (str(caught.value), repr(caught.value), str(error), error.public):
        assert CANARY not in text
        assert "\n" not in text
    assert error.public == "bob: input refused"
    assert error.exit_code == 3
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


# --- what works


def test_numbers_in_the_asked_order() -> None:
    table = people(dose=["1e3", "-2", " 7 "])
    got = table.numbers(["dose", "age"])
    assert got.dtype == np.float64
    assert got.tolist() == [[1000.0, 41.0], [-2.0, 52.5], [7.0, 63.0]]
    assert table.numbers([]).shape == (3, 0)


def test_float_columns_pass_through() -> None:
    table = Table({"x": np.array([0.5, -1.5])})
    assert table.numbers(["x"]).tolist() == [[0.5], [-1.5]]
    assert table.rows == 2


def test_an_empty_table_has_no_rows() -> None:
    assert Table({}).rows == 0
    assert Table({"a": []}).numbers(["a"]).shape == (0, 1)


def test_classes_are_sorted_text() -> None:
    table = Table({"y": ["10", "2", "b", "2.0", "a", " a ", "1.5", "-0"]})
    assert table.classes("y") == ["0", "1.5", "2", "10", "a", "b"]


def test_labels_are_indices_of_the_agreed_classes() -> None:
    assert people().labels("sex", ["f", "m"]).tolist() == [0.0, 1.0, 0.0]
    assert Table({"y": ["1.0", "0", "1"]}).labels("y", ["0", "1"]).tolist() == [1.0, 0.0, 1.0]
    assert Table({"y": np.array([1.0, 0.0])}).labels("y", ["0", "1"]).tolist() == [1.0, 0.0]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_finite_number_survives_its_text(values: list[float]) -> None:
    got = Table({"x": [repr(v) for v in values]}).numbers(["x"])[:, 0]
    assert got.tolist() == values


@given(st.lists(st.text(max_size=5).filter(label_of), min_size=1))
def test_every_row_has_a_label_among_its_own_classes(cells: list[str]) -> None:
    table = Table({"y": cells})
    classes = table.classes("y")
    assert {classes[int(i)] for i in table.labels("y", classes)} == set(classes)
    assert len(set(classes)) == len(classes)


# --- refusals


@pytest.mark.parametrize("cell", [CANARY, "0x10", "1,5", "1 2", "12%", "1\x00"])
def test_text_in_a_number_column(cell: str) -> None:
    text = refusal(lambda: people(dose=["1", cell, CANARY]).numbers(["age", "dose"]))
    assert text.startswith("hospital.csv: row 2 (line 3), column 'dose' is text, not a number")


@pytest.mark.parametrize("cell", ["", "  ", "\t"])
def test_empty_cell(cell: str) -> None:
    text = refusal(lambda: people(dose=["1", "2", cell]).numbers(["dose"]))
    assert text.startswith("hospital.csv: row 3 (line 4), column 'dose' is empty: fill or remove the row")


@pytest.mark.parametrize(
    ("cell", "what"),
    [("nan", "NaN"), ("NaN", "NaN"), ("inf", "infinite"), ("-Infinity", "infinite"), ("1e400", "infinite")],
)
def test_not_finite(cell: str, what: str) -> None:
    text = refusal(lambda: people(dose=["1", "2", cell]).numbers(["dose"]))
    assert text.startswith(f"hospital.csv: row 3 (line 4), column 'dose' is {what}")


def test_not_finite_in_a_float_column() -> None:
    text = refusal(lambda: Table({"x": np.array([np.inf, np.nan])}).numbers(["x"]))
    assert text.startswith("table: row 1 (line 2), column 'x' is infinite")


@pytest.mark.parametrize("method", ["column", "classes"])
def test_unknown_column_names_the_known_ones(method: str) -> None:
    text = refusal(lambda: getattr(people(), method)("weight"))
    assert text == "hospital.csv: no column 'weight'; it has age, sex"


def test_label_outside_the_agreed_classes() -> None:
    text = refusal(lambda: people(y=["a", "b", CANARY]).labels("y", ["a", "b"]))
    assert text == "hospital.csv: row 3 (line 4), column 'y' is none of the 2 agreed classes"


@given(st.lists(st.sampled_from(["1", "2.5", CANARY, "", "nan", "inf"]), min_size=1))
def test_the_first_bad_row_of_its_kind_is_named(cells: list[str]) -> None:
    table = Table({"x": cells})
    text = [row for row, cell in enumerate(cells) if cell in (CANARY, "")]
    bad = text or [row for row, cell in enumerate(cells) if cell in ("nan", "inf")]
    if bad:
        assert refusal(lambda: table.numbers(["x"])).startswith(table.at(bad[0], "x"))
    else:
        assert table.numbers(["x"]).shape == (len(cells), 1)


# --- what is public of it


def test_schema_holds_names_and_counts_only() -> None:
    schema = people(dose=[CANARY] * 3).schema()
    assert schema.shape == (3, 3)
    assert schema.columns == ("age", "sex", "dose")
    assert schema.classes("sex") == ["f", "m"]
    assert CANARY not in repr(schema)


def test_a_schema_without_an_owner_knows_no_classes() -> None:
    assert refusal(lambda: Schema((3,)).classes("y")) == "the classes of column 'y' are not known here"


def test_repr_shows_no_value() -> None:
    table = Table({"x": [CANARY, "4711.25"]}, source="a.csv")
    assert repr(table) == "Table('a.csv', rows=2, columns=['x'])"
    assert "4711" not in f"{table} {[table]}"


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_never_copied_nor_pickled(copier: Any) -> None:
    with pytest.raises(TypeError, match="never serialised"):
        copier(people())


@given(st.lists(st.sampled_from(["1", "1.0", " 1", "2.5", "x", "", " ", "nan", "NaN"])), st.booleans())
def test_a_label_is_its_class_and_the_first_row_without_one_is_named(cells: list[str], numbers: bool) -> None:
    """Text or numbers. A cell that is missing is so even if somebody agreed on a class of that name."""
    if numbers:
        cells = [cell for cell in cells if cell.strip() not in ("x", "")]
    table = Table({"y": np.array(cells, dtype=float) if numbers else cells})
    wanted = {"1": 0.0, "1.0": 0.0, " 1": 0.0, "2.5": 1.0}
    bad = [row for row, cell in enumerate(cells) if cell not in wanted]
    if not bad:
        assert table.labels("y", ["1", "2.5", "nan"]).tolist() == [wanted[cell] for cell in cells]
        return
    text = refusal(lambda: table.labels("y", ["1", "2.5", "nan"]))
    what = " is none of the 3 agreed classes" if cells[bad[0]] == "x" else ": the label is missing"
    assert text.startswith(table.at(bad[0], "y") + what)


@pytest.mark.parametrize("cell", ["", " ", "NA", "n/a", "NaN", "nan", "null", "None", "?"])
def test_a_missing_label_is_no_class_and_its_row_is_named(cell: str) -> None:
    table = Table({"y": ["yes", "no", cell]}, "a.csv")
    assert table.classes("y") == ["no", "yes"]
    with pytest.raises(InputError, match=r"row 3 \(line 4\), column 'y': the label is missing"):
        table.labels("y", ["no", "yes"])


def test_booleans_in_any_spelling_are_one_thing() -> None:
    assert Table({"y": ["True", "false", "TRUE", "0", "1.0"]}).classes("y") == ["0", "1"]
    assert owned({"y": np.array([True, False])}).classes("y") == ["0", "1"]


@pytest.mark.parametrize("cells", [["1", "9007199254740993"], np.array([1, 9007199254740993])])
def test_whole_numbers_that_no_double_holds_are_refused_with_their_row(cells: Any) -> None:
    with pytest.raises(InputError, match=r"row 2 \(line 3\), column 'x' is a whole number beyond 2\^53"):
        owned({"x": cells}).numbers(["x"])
    assert owned({"x": [str(2**60), "1e300"]}).numbers(["x"]).tolist() == [[2.0**60], [1e300]]
