"""--verify-ranges with real processes: the bit is listed, and every party stops where a stated range was left."""

from __future__ import annotations

import numpy as np
import pytest
from command import privity

import mpc
import parties
from mpc.errors import MpcError

PROGRAM = """\
import mpc


@mpc.program
def scaled(x: mpc.PerParty[mpc.Table], bound: float = 100.0):
    total = sum(mpc.share(t["age"], range=(0, 120)).sum() for t in x)
    return {"square": mpc.reveal(mpc.assume_range(total, 0, bound) * total)}
"""


@mpc.program
def square(x: mpc.PerParty, bound: float = 100.0):
    total = sum(mpc.share(v, range=(0, 120)).sum() for v in x)
    return {"square": mpc.reveal(mpc.assume_range(total, 0, bound) * total)}


@pytest.fixture
def job(tmp_path):
    (tmp_path / "scaled.py").write_text(PROGRAM)
    (tmp_path / "a.csv").write_text("age\n30\n40\n")
    (tmp_path / "b.csv").write_text("age\n20\n")
    return ["scaled.py:scaled", "--input", "x=alice:a.csv", "--input", "x=bob:b.csv", "--verify-ranges"]


def test_the_bit_is_revealed_first_and_planned(job, tmp_path):
    planned = privity("plan", *job, "--json", cwd=tmp_path).json
    ran = privity("run", *job, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.json["results"] == {"square": pytest.approx(8100, abs=1e-2), "ranges hold": 1.0}
    assert [r["name"] for r in ran.json["reveals"]] == ["ranges hold", "square"]
    for field in ("digest", "rounds", "bytes_sent", "dealt_bytes"):
        assert planned[field] == ran.json[field], field
    assert planned["assumptions"][0]["what"] == "range stated, checked while the program runs"
    assert "checked while the program runs" in privity("check", *job, cwd=tmp_path).out
    assert "ranges hold" in privity("show", *job, cwd=tmp_path).out


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_a_range_that_was_left_ends_the_run_by_name(job, tmp_path, suite):
    answer = privity("run", *job, "--set", "bound=89.0", "--suite", suite, "--json", cwd=tmp_path)
    assert answer.code == 1
    assert "a stated range was left: one of 0 to 89 at scaled.py:7; no result is given out" in answer.err
    assert "results" not in answer.json
    assert "8100" not in answer.out + answer.err


def test_a_script_may_ask_for_it_and_the_session_goes_on(tmp_path):
    given = {"x": {"alice": np.array([30.0, 40.0]), "bob": np.array([20.0])}}
    with parties.local(2) as ps:
        with pytest.raises(MpcError, match="a stated range was left"):
            ps.run(square, bound=89.0, verify_ranges=True, **given)
        run = ps.run(square, bound=90.0, verify_ranges=True, **given)
        assert run.rounds == ps.plan(square, bound=90.0, verify_ranges=True, **given).rounds
        assert run.results["ranges hold"] == 1
        assert "ranges hold" not in ps.run(square, bound=90.0, **given).results


def test_plan_shows_scale_and_range_of_every_value_if_asked(job, tmp_path):
    short = privity("plan", *job, "--json", cwd=tmp_path).json
    assert short["truncations"] == 1  # the square, before it is revealed
    answer = privity("plan", *job, "--values", "--json", cwd=tmp_path).json
    share = answer["values"][0]
    assert share == {"where": "scaled.py:6", "op": "share", "shape": [2], "scale": 16, "lo": 0.0, "hi": 120.0}
    text = privity("plan", *job, "--values", cwd=tmp_path).out
    assert "secret values" in text
    assert any(line.split()[:3] == ["scaled.py:6", "share", "2"] for line in text.splitlines())
