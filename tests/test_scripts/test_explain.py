"""scripts/bench --explain: arguments, collapsed stacks, spans and tables from made-up records. No time is asserted."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from measure import explain, page, plots, profiled  # noqa: E402
from measure.tables import markdown  # noqa: E402

RECORD = {
    "party": "alice", "run": 1, "began": 0.0, "ended": 10.0, "stacks": {},
    "requests": [
        ["Draw", 1, "p.py:1", 0.5, 0.6],
        ["Exchange", 1, "p.py:1", 1.0, 2.0],
        ["Draw", 2, "p.py:2", 3.0, 3.5],
        ["Exchange", 2, "p.py:2", 4.0, 8.0],
    ],
    "polls": [[0.5, 0.6], [1.25, 1.5], [5.0, 6.0], [6.5, 8.5]],
}  # fmt: skip
STACKS = {
    "parties.actor:step;mpc.engine:run_party;mpc.native:matmul": 6,
    "parties.actor:step;mpc.engine:run_party;mpc.prg:block": 2,
    "parties.actor:step;parties.mesh:Mesh.poll;zmq:Socket.recv": 1,
    "parties.actor:step;mpc.engine:run_party": 1,
}
LINE = {
    "workload": "logreg-breast", "parties": 2, "seconds": 0.1, "rounds": 300, "bytes_sent": 1000, "samples": 10,
    "by_party": {"alice": explain.totals(RECORD)}, "shares": explain.shares(STACKS),
    "limit": {"pingpong": 1e-4, "seconds_a_byte": 1e-9, "rounds": 0.03, "bytes": 1e-6, "kernels": 0.01, "all": 0.04},
}  # fmt: skip


def test_online_time_has_no_gap_from_the_first_exchange_to_the_end():
    spans = explain.spans(RECORD)
    assert spans[0][2] == 1.0
    assert spans[-1][3] == 10.0
    assert all(before[3] == after[2] for before, after in itertools.pairwise(spans))
    assert [span[0] for span in spans if span[1] == 1] == ["channel", "waiting", "channel"]
    assert {number for _, number, *_ in spans} == {1, 2}


def test_work_channel_and_waiting_add_up():
    sums = explain.totals(RECORD)
    assert sums["online"] == pytest.approx(9.0)
    assert sums["waiting"] == pytest.approx(0.25 + 1.0 + 1.5)
    assert sums["work"] == pytest.approx(1.0 + 0.5 + 2.0)


def test_a_stack_belongs_to_the_group_of_its_innermost_function():
    assert explain.shares(STACKS) == {
        "kernels: compiled and numpy's": 0.6,
        "streams: AES": 0.2,
        "engine: the rest of mpc": 0.1,
        "sockets, waiting in them included": 0.1,
        "wire and channel: the rest of parties": 0.0,
    }
    assert explain.group("mpc.alone:Alone.arithmetic.two") == explain.group("numpy:matmul")


def test_stacks_hold_our_functions_and_what_is_innermost_of_others():
    assert profiled.label(str(ROOT / "mpc" / "engine.py"), "_Party.f.<locals>.two") == "mpc.engine:_Party.f.two"
    assert profiled.label("/lib/site-packages/zmq/sugar/socket.py", "Socket.send") == "zmq:Socket.send"
    assert not profiled.label("/lib/python3.12/runpy.py", "run_module")
    assert not profiled.label(str(ROOT / "scripts" / "measure" / "profiled.py"), "main")
    assert profiled.frames_of(sys._getframe()) == []


def test_the_recorder_passes_requests_answers_and_the_result_on(tmp_path):
    class Exchange:
        number, where = 1, "p.py:1"

    def engine():
        got = yield Exchange()
        return {"got": got}

    run = profiled.Recorder(tmp_path, "alice", 0.0).around_engine(engine)()
    assert next(run).number == 1
    with pytest.raises(StopIteration) as end:
        run.send(5)
    assert end.value.value == {"got": 5}
    assert '"Exchange", 1, "p.py:1"' in (tmp_path / "alice-0.json").read_text(encoding="utf-8")


def test_what_all_samples_have_in_common_is_not_drawn():
    tree = plots.tree(STACKS)
    assert tree["count"] == 10
    assert {name: inner["count"] for name, inner in tree["inside"].items()} == {
        "mpc.engine:run_party": 9,
        "parties.mesh:Mesh.poll": 1,
    }


def test_the_tables_and_the_page_show_the_limit():
    text = "\n".join(markdown(grid) for grid in explain.explained_grids(LINE))
    assert "300 rounds, each a bare CURVE ping-pong of 100 µs | 30 ms | 30 %" in text
    told = {"date": "today", "command": "bench", "machine": "some machine", "explained": [LINE]}
    section = page.explained_section(told)
    assert "performance-flame.svg" in section
    assert text.splitlines()[0] in page.filled(page.PAGE.read_text(encoding="utf-8"), {"explained": section})


def test_one_workload_is_explained_at_a_time():
    command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--explain", "chain-1000", "sum-1e6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "bench: --explain takes one workload, not 2\n"
