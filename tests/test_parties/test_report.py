import io
from types import SimpleNamespace

import numpy as np
import pytest

from parties.progress import progress
from parties.report import (
    Grid,
    Line,
    bytes_in_words,
    check_report,
    disclosures_report,
    emit,
    plain_value,
    plan_report,
    run_report,
)

REVEALS = [{"name": "coef", "to": "everyone", "shape": [30], "bits": 16, "where": "train.py:9"}]
RUN = SimpleNamespace(
    digest="ab" * 32,
    parties=["alice", "bob"],
    results={"coef": np.arange(30.0), "classes": ["no", "yes"], "n": 3},
    rounds=302,
    online_seconds=0.5,
    preprocessing_seconds=0.25,
    total_seconds=1.5,
    bytes_sent={"alice": 1234567, "bob": 12},
    input_bytes={"alice": 100, "bob": 0},
    dealt_bytes={"alice": 5000, "bob": 0},
    peak_rss_bytes={"alice": 50_000_000, "bob": 50_000_000},
    reveals=REVEALS,
    warnings=[],
    results_of={},
)
PLAN = SimpleNamespace(
    rounds=302,
    bytes_sent=RUN.bytes_sent,
    input_bytes=RUN.input_bytes,
    dealt_bytes=RUN.dealt_bytes,
    peak_memory_bytes=RUN.peak_rss_bytes,
    reveals=REVEALS,
    disclosures=[
        {"what": "fact", "name": "x: rows", "owners": ["bob"], "columns": [], "to": "everyone", "count": 1},
        {"what": "labels", "name": "y", "owners": ["bob"], "columns": ["y"], "to": ["alice", "dealer"], "count": 1200},
        {"what": "reveal", "name": "coef", "owners": ["bob"], "columns": ["y"], "to": "everyone", "count": 30},
    ],
    assumptions=[{"where": "train.py:5", "lo": -8.0, "hi": 8.0}],
    notes=["row counts are public"],
    by_line={"train.py:7": {"rounds": 100, "bytes_sent": 4096}, "-": {"rounds": 0}},
)
PROGRAM = SimpleNamespace(name="fit", parties=["alice", "bob"], digest="ab" * 32)


def test_results_say_whose_they_are():
    reveals = [
        {"name": name, "to": to, "shape": [], "bits": 16, "where": ""}
        for name, to in (("a", "everyone"), ("b", ["bob"]), ("c", ["alice", "bob"]), ("d", ["carol"]))
    ]
    run = SimpleNamespace(**{
        **vars(RUN), "reveals": reveals, "results": {"a": 1.0, "b": 2.0, "c": 3.0},
        "results_of": {"bob": {"b": 2.0, "c": 3.0}, "alice": {"c": 3.0}},
    })  # fmt: skip
    (table,) = [block for block in run_report("fit", run) if getattr(block, "title", "") == "results"]
    assert list(table.rows) == [
        ("a", "1"), ("b", "2  (bob alone)"), ("c", "3  (bob and alice alone)"), ("d", "shown at carol alone"),
    ]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(blocks, stream=None):
    stream = stream or io.StringIO()
    emit(blocks, stream)
    return stream.getvalue()


def test_run_in_a_pipe_is_plain_text():
    text = printed(run_report("fit", RUN))
    assert "\x1b" not in text
    assert "302 rounds in 0.50 s online" in text
    assert "[0, 1, 2, 3, 4, 5, … 30 in all]" in text
    assert "1.23 MB" in text
    assert any(line.split() == ["coef", "everyone", "30", "16", "train.py:9"] for line in text.splitlines())


def test_what_is_withheld_is_null_in_json_and_a_dash_in_tables():
    results = {"count": np.array([20.0, np.nan]), "shown": np.array([True, False]), "minimum": 5}
    assert plain_value(results) == {"count": [20.0, None], "shown": [True, False], "minimum": 5}
    assert "[20, —]" in printed(run_report("groups", SimpleNamespace(**{**vars(RUN), "results": results})))


def test_warnings_come_last_and_are_shown():
    said = "party bob died and has not said that it wrote the end of the run"
    run = SimpleNamespace(**{**vars(RUN), "warnings": [said], "results": {"converged": False}})
    *_, first, second = printed(run_report("fit", run)).splitlines()
    assert first == f"warning: {said}"
    assert second.startswith("warning: the fit did not converge")
    assert "warning" not in printed(run_report("fit", RUN))


def test_plan_and_check():
    priced = printed(plan_report(PROGRAM, "masked", PLAN))
    assert "train.py:5" in priced
    assert any(line.split() == ["train.py:7", "100", "4.1", "kB", "0", "B"] for line in priced.splitlines())
    text = printed(check_report(PROGRAM, "masked", PLAN))
    assert "every opening is hidden by a mask of its own" in text
    assert "note: row counts are public" in text


@pytest.mark.parametrize("report", [plan_report, check_report, lambda _program, _suite, plan: disclosures_report(plan)])
def test_what_is_told_beside_the_reveals_is_listed(report):
    lines = [line.split() for line in printed(report(PROGRAM, "masked", PLAN)).splitlines()]
    assert ["x:", "rows", "bob", "everyone", "1"] in lines
    assert ["values", "of", "y", "bob", "y", "alice,", "dealer", "1,200"] in lines
    assert sum(line[:1] == ["coef"] for line in lines) == 1


def test_a_terminal_gets_rich_text_unless_no_color(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in printed(run_report("fit", RUN), Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in printed(run_report("fit", RUN), Terminal())


def test_columns_are_aligned_and_nothing_is_cut():
    wide = "x" * 300
    text = printed([Grid("", ("a", ">b"), [(wide, "1"), ("y", "22")])])
    lines = text.splitlines()
    assert wide in text
    assert len({len(line) for line in lines if line}) == 1
    assert printed([Line("one sentence")]) == "one sentence\n"


def test_markup_in_a_value_is_shown_as_it_is(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert "[red]" in printed([Grid("", ("a",), [("[red]",)])], Terminal())


@pytest.mark.parametrize(
    ("n", "words"), [(None, "?"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123456, "123 kB"), (2.5e9, "2.5 GB")]
)
def test_bytes(n, words):
    assert bytes_in_words(n) == words


def test_values_become_plain():
    assert plain_value({"a": np.float64(1.5), "b": (np.arange(2), None), "c": np.bool_(True)}) == {
        "a": 1.5,
        "b": [[0, 1], None],
        "c": True,
    }


def test_progress_writes_nothing_for_a_short_run_in_a_pipe():
    stream = io.StringIO()
    with progress("fit", stream) as advance:
        advance("round", 1, 10)
    assert stream.getvalue() == ""


def test_progress_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress("fit", stream) as advance:
        advance("round", 5, 10)
    assert "fit: round" in stream.getvalue()
