"""scripts/bench: its arguments, its fields, the peers' table, the page. No time is asserted."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from measure import ours, page, tables  # noqa: E402
from measure.peers import RECIPES, figures, known  # noqa: E402
from measure.pingpong import pingpong  # noqa: E402

NAMES = [
    "mul-1e5",
    "mul-1e6",
    "matmul-1000",
    "matvec-10000x100",
    "less-1e4",
    "less-1e5",
    "sum-1e6",
    "sigmoid-1e5",
    "chain-1000",
    "logreg-breast",
    "logreg-10000x100",
    "logreg-1000x784",
    "logreg-mnist",
]
FIELDS = [
    "workload",
    "parties",
    "online_seconds",
    "seconds",
    "input_seconds",
    "operation_seconds",
    "preprocessing_seconds",
    "bytes_sent",
    "input_bytes",
    "dealt_bytes",
    "rounds",
    "peak_rss_bytes",
    "total_seconds",
    "error",
]
OURS = {
    "workload": "less-1e5", "parties": 2, "seconds": 0.05, "operation_seconds": 0.04,
    "input_seconds": 0.01, "preprocessing_seconds": 0.15, "total_seconds": 0.3,
    "bytes_sent": 600, "input_bytes": 100, "bytes_after_input": 500, "dealt_bytes": 7, "rounds": 3,
    "peak_rss_bytes": 10**8, "error": 0.0, "allowed": 0.0,
}  # fmt: skip
THEIRS = {
    "peer": "crypten",
    "workload": "less-1e5",
    "parties": 2,
    "seconds": 0.4,
    "bytes_sent": 5000,
    "error": 0.0,
    "rerun": True,
}


class Named:
    """A workload of which only the name matters."""

    parties = 2

    def __init__(self, name):
        self.name = name


def bench(*words):
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd="/")


# ------------------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["less-1e6"], "there is no workload 'less-1e6'; did you mean 'less-1e"),
        (["mul-1e5", "logreg-brest"], "did you mean 'logreg-breast'?"),
        (["--repeat", "0"], "--repeat counts runs"),
        (["mul-1e5", "--elements", "0"], "--elements counts elements, from 1 on, not 0"),
        (["chain-1000", "--elements", "9"], "chain-1000 has a length of its own"),
        (["mul-1e5", "--elements", "9", "--growth"], "--elements goes with workloads alone"),
        (["--parties", "1"], "at least 2 parties"),
        (["--write", "mul-1e5"], "--write fills the page with all workloads"),
        (["--against", "nonsense", "mul-1e5"], "--against nonsense: no commit of this repository"),
        (["--against", "HEAD", "--growth"], "not with --growth"),
        (["--against", "HEAD", "--pairs", "0"], "--pairs counts pairs of runs, from 1 on, not 0"),
        (["--pairs", "3"], "--pairs goes with --against COMMIT"),
        (["--peers", "--peer", "cripten"], "there is no peer 'cripten'; did you mean 'crypten'?"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(words, said):
    done = bench(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_the_help_has_every_workload_by_its_name():
    done = bench("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in NAMES)


# ------------------------------------------------------------------------------------------------------ real runs


@pytest.mark.slow
def test_a_line_of_json_for_each_workload_from_real_processes():
    done = bench("less-1e4", "chain-1000", "--repeat", "1", "--json")
    assert done.returncode == 0, done.stderr
    less, chain = (json.loads(line) for line in done.stdout.splitlines())
    assert all(field in less for field in FIELDS)
    assert less["seconds"] == less["online_seconds"]
    assert (less["workload"], less["parties"], less["error"]) == ("less-1e4", 2, 0)
    assert less["bytes_after_input"] <= less["bytes_sent"]
    assert math.isclose(chain["round_to_pingpong"], chain["seconds"] / chain["rounds"] / chain["pingpong_seconds"])


@pytest.mark.slow
def test_a_workload_can_have_another_length():
    done = bench("less-1e4", "--elements", "300", "--repeat", "1", "--json")
    line = json.loads(done.stdout)
    assert (line["elements"], line["error"]) == (300, 0.0)
    assert line["bytes_after_input"] < 300 * 8 * 4


def test_people_get_a_table_and_the_number_of_parties_they_asked_for():
    done = bench("less-1e4", "--repeat", "1", "--parties", "3")
    assert done.returncode == 0, done.stderr
    (row,) = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("less-1e4")]
    assert row[1] == "3"


def test_a_bare_ping_pong_takes_some_time():
    assert pingpong(times=20) > 0


# ---------------------------------------------------------------------------------------------------------- peers


def test_every_peer_says_against_whom_it_holds_and_what_its_seconds_hold():
    for peer in known().values():
        assert peer.title
        assert "semi-honest" in peer.setting
        assert peer.phases
        assert peer.bytes
        assert peer.more <= peer.dealer
        assert bool(peer.program) != bool(peer.figures)
        assert set(peer.figures) | set(peer.skip) | set(peer.once) <= set(NAMES)
        for found in peer.figures.values():
            assert found["seconds"] > 0
            assert set(found) <= {"seconds", "bytes_sent"}


@pytest.mark.parametrize("name", [name for name, peer in known().items() if peer.program])
def test_what_is_installed_is_pinned(name):
    peer = known()[name]
    assert (RECIPES / peer.program).exists()
    pins = [line for line in (RECIPES / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]
    for pin in (*pins, *peer.alone):
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", pin), pin
    assert peer.pythons


def test_published_figures_are_lines_that_say_that_they_were_not_run_again(tmp_path):
    (line,) = figures(known()["mp-spdz-dealer"], [Named("less-1e5"), Named("logreg-mnist")], 5, tmp_path)
    assert line == {
        "peer": "mp-spdz-dealer", "workload": "less-1e5", "parties": 2, "seconds": 0.151, "bytes_sent": 3_000_000,
        "rerun": False,
    }  # fmt: skip


def test_a_peer_that_cannot_be_had_says_why(tmp_path, monkeypatch):
    import dataclasses

    absent = dataclasses.replace(known()["spu"], pythons=("2.7",))
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = figures(absent, [Named("less-1e5")], 5, tmp_path)
    assert line["unavailable"] == "it needs Python 2.7, and there is none on the PATH"


# ----------------------------------------------------------------------------------------------- tables and page


def test_ratios_are_theirs_to_ours():
    more = OURS | {"dealt_bytes": 1500}
    assert tables.compared(more, THEIRS) == pytest.approx({"with_dealing": 0.4 / 0.19, "operation": 10, "bytes": 2.5})


def test_what_the_dealer_sends_counts_in_every_table_and_sum():
    ours = OURS | {"bytes_sent": 1_000_000, "bytes_after_input": 900_000, "dealt_bytes": 29_600_000}
    (row,) = tables.workloads_grid([ours]).rows
    assert row[7:11] == ("1 MB", "100 B", "29.6 MB", "30.6 MB")
    (row,) = tables.growth_grids([ours | {"growth": "steps", "steps": 10}])[0].rows
    assert row[5:8] == ("1 MB", "29.6 MB", "30.6 MB")
    (row,) = tables.peers_grid([ours], known(), [THEIRS | {"bytes_sent": 15_250_000}]).rows
    assert row[8:13] == ("15.2 MB", "900 kB", "29.6 MB", "30.5 MB", "0.5")


def test_where_a_peer_needs_less_is_said_in_words():
    spu = {"peer": "spu", "workload": "less-1e5", "parties": 2, "seconds": 0.1, "bytes_sent": 56, "rerun": True}
    lost = tables.losses([OURS], known(), [THEIRS, spu])
    assert lost == {
        "with_dealing": ["`less-1e5`: SPU 0.9.5 Semi2k 0.526"],
        "operation": [],
        "bytes": ["`less-1e5`: SPU 0.9.5 Semi2k 0.11"],
    }


def test_bytes_that_a_peers_dealer_sends_and_nobody_counted_are_no_loss_and_no_gain():
    spdz = {
        "peer": "mp-spdz-dealer",
        "workload": "less-1e5",
        "parties": 2,
        "seconds": 9,
        "bytes_sent": 50,
        "rerun": False,
    }
    (row,) = tables.peers_grid([OURS], known(), [spdz]).rows
    assert (row[8], row[12]) == ("50 B and more", "> 0.0986")
    assert tables.losses([OURS], known(), [spdz])["bytes"] == []


def test_the_table_of_peers_shows_both_and_marks_what_was_not_run_again():
    spdz = {"peer": "mp-spdz-dealer", "workload": "less-1e5", "parties": 2, "seconds": 0.151, "rerun": False}
    grid = tables.peers_grid([OURS], known(), [THEIRS, spdz, THEIRS | {"workload": "mul-1e5"}])
    assert [row[1] for row in grid.rows] == ["CrypTen 0.4.1", "MP-SPDZ dealer ring"]
    assert [row[-1] for row in grid.rows] == ["", "not re-run"]
    assert grid.rows[0][3:8] == ("400 ms", "190 ms", "2.11", "40 ms", "10")
    assert tables.markdown(grid).count("\n") == 4


def test_a_run_that_failed_has_no_row_and_is_not_right():
    failed = {"workload": "mul-1e5", "parties": 2, "failed": "run stopped: party bob died", "load": 0.1}
    assert ours.right(OURS)
    assert not ours.right(failed)
    assert not ours.right(OURS | {"error": 1.0})
    assert [row[0] for row in tables.workloads_grid([OURS, failed]).rows] == ["less-1e5"]
    assert (
        tables.peers_grid([OURS, failed], known(), [THEIRS, THEIRS | {"workload": "mul-1e5"}]).rows[0][0] == "less-1e5"
    )


def test_figures_of_peers_that_were_not_run_now_stay():
    old = [THEIRS, THEIRS | {"workload": "mul-1e5"}]
    assert page.merged(old, [THEIRS | {"seconds": 1.0}]) == [THEIRS | {"seconds": 1.0}, old[1]]


def test_the_page_has_a_place_for_every_section_and_keeps_what_people_wrote():
    told = {"date": "today", "machine": "a machine", "command": "./scripts/bench --write", "workloads": [OURS]}
    told |= {"startup": [{"startup": "compiler", "seconds": 0.1}], "growth": [{"growth": "steps", "steps": 10, **OURS}]}
    parts = page.sections(told, known(), told | {"peers": [THEIRS]})
    before = page.PAGE.read_text(encoding="utf-8")
    after = page.filled(before, parts)
    outside = re.compile(r"<!-- bench: \w+ -->.*?<!-- /bench -->", re.DOTALL)
    assert outside.sub("", after) == outside.sub("", before)
    assert page.filled(after, parts) == after
    assert "| less-1e5 | CrypTen 0.4.1 | 2 | 400 ms | 190 ms | 2.11 | 40 ms | 10 |" in after
    with pytest.raises(ValueError, match="no section"):
        page.filled("nothing", parts)


def test_what_is_kept_of_peers_is_of_peers_and_workloads_that_are_known():
    if page.PEERS.exists():
        kept = json.loads(page.PEERS.read_text(encoding="utf-8"))
        assert kept["format"] == 1
        for line in kept["peers"]:
            assert line["peer"] in known()
            assert line["workload"] in NAMES
            assert ("seconds" in line) != ("unavailable" in line)


def test_plots_need_what_only_the_bench_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("matplotlib") for line in project["optional-dependencies"]["bench"])
    assert not any("matplotlib" in line for line in project["dependencies"] + project["optional-dependencies"]["test"])
