import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid

import pytest
from command import MARK, marked, privity, still_running

TOTAL = """\
import mpc


@mpc.program
def total(patients: mpc.PerParty[mpc.Table], column: str = "age"):
    \"\"\"The sum of one column over all parties.\"\"\"
    shares = [mpc.share(t[column], range=(0, 1000)).sum() for t in patients]
    return {"total": mpc.reveal(sum(shares)), "rows": sum(len(t) for t in patients)}
"""


@pytest.fixture
def job(tmp_path):
    """A folder outside the repository with a program and two parties' files, and the arguments that name them."""
    (tmp_path / "total.py").write_text(TOTAL)
    (tmp_path / "a.csv").write_text("age,bmi\n30,20.5\n40,21.5\n")
    (tmp_path / "b.csv").write_text("age,bmi\n50,22.5\n")
    return ["total.py:total", "--input", "patients=alice:a.csv", "--input", "patients=bob:b.csv"]


def test_run_as_json(job, tmp_path):
    answer = privity("run", *job, "--json", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.json["schema_version"] == 1
    assert answer.json["results"]["total"] == pytest.approx(120, abs=1e-3)
    assert answer.json["results"]["rows"] == 3
    assert answer.json["parties"] == ["alice", "bob"]
    assert {"name", "to", "shape", "where"} <= set(answer.json["reveals"][0])
    assert answer.json["reveals"][0]["where"].startswith("total.py:")
    for field in ("bytes_sent", "dealt_bytes", "peak_rss_bytes"):
        assert set(answer.json[field]) == {"alice", "bob"}


def test_plan_is_exactly_what_run_costs(job, tmp_path):
    planned = privity("plan", *job, "--json", cwd=tmp_path).json
    ran = privity("run", *job, "--json", cwd=tmp_path).json
    for field in ("digest", "rounds", "bytes_sent", "input_bytes", "dealt_bytes"):
        assert planned[field] == ran[field], field
    for party, peak in planned["peak_memory_bytes"].items():
        assert peak >= 0, party


@pytest.mark.parametrize("suite", ["masked", "beaver"])
def test_check_lists_what_is_revealed(job, tmp_path, suite):
    answer = privity("check", *job, "--suite", suite, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "every opening is hidden by a mask of its own" in answer.out
    assert "everyone" in answer.out
    assert privity("check", *job, "--suite", suite, "--json", cwd=tmp_path).json["ok"] is True


def test_show_prints_both_levels(job, tmp_path):
    answer = privity("show", *job, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "reveal" in answer.out
    shown = privity("show", *job, "--json", cwd=tmp_path).json
    assert shown["source"] in answer.out
    assert shown["lowered"] in answer.out


def test_people_get_plain_text_in_a_pipe(job, tmp_path):
    answer = privity("run", *job, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "\x1b" not in answer.out
    assert "revealed" in answer.out


def test_settings_reach_the_program(job, tmp_path):
    answer = privity("run", *job, "--set", "column=bmi", "--json", cwd=tmp_path)
    assert answer.json["results"]["total"] == pytest.approx(64.5, abs=1e-3)


def test_the_input_name_may_be_left_out(job, tmp_path):
    answer = privity("run", "total.py", "--input", "alice:a.csv", "--input", "rows=bob:b.csv", "--json", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "'rows' is taken to mean it" in answer.err


def test_output_directory_is_never_overwritten_unasked(job, tmp_path):
    first = privity("run", *job, "-o", "out", cwd=tmp_path)
    assert first.code == 0, first.err
    kept = json.loads((tmp_path / "out" / "run.json").read_text())
    assert kept["results"] == json.loads((tmp_path / "out" / "results.json").read_text())
    again = privity("run", *job, "-o", "out", cwd=tmp_path)
    assert again.code == 2
    assert "--force" in again.refusal
    assert privity("run", *job, "-o", "out", "--force", cwd=tmp_path).code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["results.json", "run.json"]


def test_every_party_has_a_name_in_the_catalogue():
    answer = privity("catalog", "--json")
    assert {"secure-sum", "mean", "logistic-regression"} <= set(answer.json["programs"])
    assert "logistic-regression" in privity("catalog").out


def test_version():
    answer = privity("--version")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("privity ")


def test_version_notices_a_package_that_shadows_ours(tmp_path):
    (tmp_path / "protocols").mkdir()
    (tmp_path / "protocols" / "__init__.py").write_text("")
    answer = privity("--version", cwd=tmp_path)
    assert answer.code == 1
    assert "'protocols' is imported from" in answer.refusal


def test_keygen_makes_a_key_that_only_its_owner_reads(tmp_path):
    answer = privity("keygen", "alice", "--directory", tmp_path)
    assert answer.code == 0, answer.err
    assert stat.S_IMODE((tmp_path / "alice.secret").stat().st_mode) == 0o600
    assert (tmp_path / "alice.secret").read_text() not in answer.out
    assert "fingerprint" in answer.out
    again = privity("keygen", "alice", "--directory", tmp_path)
    assert again.code == 2
    assert "exists already" in again.refusal


@pytest.mark.parametrize("arguments", [[], ["--help"], ["run", "--help"], ["party", "-h"]])
def test_help(arguments):
    answer = privity(*arguments)
    assert answer.code == (0 if arguments else 2)
    assert "Usage: privity" in answer.out + answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'TARGET'"),
        (["run", "mean", "--sett", "a=1"], "--sett"),
        (["run", "mean", "--parties", "two"], "'two' is not a valid integer"),
        (["run", "meen"], "did you mean 'mean'?"),
        (["run", "mean", "--suite", "maskd"], "did you mean 'masked'?"),
        (["run", "mean", "--parties", "3", "--cluster", "c.toml"], "--parties is for local runs"),
        (["run", "mean", "--cluster", "no-such.toml"], "no-such.toml"),
        (["party", "--cluster", "no-such.toml", "--name", "alice"], "no-such.toml"),
        (["dealer", "--cluster", "no-such.toml"], "no-such.toml"),
        (["keygen", "Not A Name"], "not a name"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments, expected, tmp_path):
    answer = privity(*arguments, cwd=tmp_path)
    assert answer.code == 2, answer.err
    assert expected in answer.refusal
    assert answer.out == ""


def test_under_json_a_refusal_is_an_object_too(tmp_path):
    answer = privity("run", "meen", "--json", cwd=tmp_path)
    assert answer.code == 2
    assert answer.json["exit_code"] == 2
    assert answer.json["error"] in answer.refusal


def test_debug_shows_the_traceback(tmp_path):
    answer = privity("run", "meen", "--debug", cwd=tmp_path)
    assert "Traceback" in answer.err
    assert answer.code == 2


LONG = """\
import mpc


@mpc.program
def long(patients: mpc.PerParty[mpc.Table]):
    x = mpc.share(patients[0]["age"], range=(-1, 1), scale=8)

    def step(i, w):
        return mpc.assume_range(mpc.accept_rounding(mpc.rescale(w * x, 8)), -1, 1)

    return mpc.reveal(mpc.repeat(1_000_000, step, x).sum())
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_stops_everything(tmp_path, signum, code):
    (tmp_path / "long.py").write_text(LONG)
    (tmp_path / "a.csv").write_text("age\n0.5\n0.25\n")
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "parties", "run", "long.py", "--input", "patients=alice:a.csv", "--json"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while len(marked(mark)) < 4 and time.monotonic() < deadline:  # this one, alice, bob, the dealer
        time.sleep(0.05)
    time.sleep(0.5)
    assert running.poll() is None, running.communicate()
    began = time.monotonic()
    running.send_signal(signum)
    _, err = running.communicate(timeout=20)
    took = time.monotonic() - began
    assert running.returncode == code
    assert err == "privity: stopped\n"
    assert not still_running(mark), "processes are left"
    assert took < 10, took


def test_nothing_heavy_is_imported_for_help():
    script = (
        "import sys, parties.cli; print([m for m in ('zmq', 'rich', 'msgpack', 'numpy', 'mpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LEAK = """\
import mpc


@mpc.program
def leak(data: mpc.PerParty[mpc.Table]):
    x = mpc.share(data[0]["age"], range=(0, 200))

    def body(i, s):
        mpc.reveal(x * (i + 1), name="each")
        return s

    return {"total": mpc.reveal(mpc.repeat(3, body, x.sum()))}
"""


def test_reveals_of_rows_and_of_one_owner_are_warned_of(job, tmp_path):
    (tmp_path / "leak.py").write_text(LEAK)
    arguments = ["leak.py", "--input", "data=alice:a.csv", "--input", "data=bob:b.csv"]
    checked = privity("check", *arguments, "--json", cwd=tmp_path)
    assert {r["name"]: r["count"] for r in checked.json["reveals"]} == {"each": 6, "total": 1}
    found = [(w["what"], w["name"], w["where"]) for w in checked.json["warnings"]]
    assert found[0] == ("column", "each", "leak.py:9")
    assert found[1:] == [("one owner", "each", "leak.py:9"), ("one owner", "total", "leak.py:12")]
    assert checked.err == ""
    warning = "warning: reveal 'each' at leak.py:9: 6 of 6 numbers are values of single rows, as they stand"
    assert warning in privity("check", *arguments, cwd=tmp_path).out
    planned, ran = (privity(command, *arguments, "--json", cwd=tmp_path) for command in ("plan", "run"))
    assert planned.json["warnings"] == checked.json["warnings"]
    assert planned.err.count(warning) == ran.err.count(warning) == 1
    honest = privity("check", *job, "--json", cwd=tmp_path)
    assert honest.json["warnings"] == []
