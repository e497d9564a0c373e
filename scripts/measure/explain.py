"""Where the time of a run goes: when each party works and waits, what it does meanwhile, and what no run can avoid."""

from __future__ import annotations

import bisect
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

import parties
import protocols
from measure.pingpong import pingpong
from measure.tables import seconds_in_words
from mpc import native
from mpc.crossing import Crossing
from mpc.errors import MpcError
from mpc.ir import Block, Equation
from mpc.kernels import bind
from mpc.ring import Domains, Shared
from parties.launch import local
from parties.report import Grid

if TYPE_CHECKING:
    from workloads import Workload

__all__ = ["GROUPS", "explained", "explained_grids", "group", "limit", "shares", "spans", "totals"]

GROUPS = {
    "kernels: compiled and numpy's": ("mpc.native:", "mpc.compiled:", "mpc.kernels:", "mpc.ring:", "numpy:", "numba:",
                                      "mpc.alone:Alone.arithmetic"),
    "streams: AES": ("mpc.prg:", "cryptography:"),
    "engine: the rest of mpc": ("mpc.", "protocols."),
    "sockets, waiting in them included": (
        "parties.mesh:", "parties.standing:", "parties.direct:", "parties.sealing:", "zmq:",
    ),
    "wire and channel: the rest of parties": ("parties.",),
}  # fmt: skip
_INTERVAL = 0.0005
_BULK = 1 << 20
_PRODUCTS = ("mul", "matmul", "cross")
_KINDS = ("work", "channel", "waiting")
Record = Mapping[str, Any]
Span = tuple[str, int, float, float]  # what, in which round, from when, until when


def explained(workload: Workload, n: int, repeat: int) -> dict[str, Any]:
    """The figures, ten rounds of one run as `timeline`, and `stacks`: medians of `repeat` runs after one that warms up.

    The runs for the timeline have no sampler in them; the stacks come from as many runs of their own.
    """
    data = workload.make(n)
    plain, online = _records(workload, data, n, repeat, 0.0)
    sampled, _ = _records(workload, data, n, repeat, _INTERVAL)
    by_party = {p: [totals(r) for r in plain if r["party"] == p] for p in dict.fromkeys(r["party"] for r in plain)}
    stacks: Counter[str] = Counter()
    for record in sampled:
        stacks.update(record["stacks"])
    middle = statistics.median_low([r["run"] for r in plain])
    figures = {
        p: {key: statistics.median(t[key] for t in all_of) for key in all_of[0]} for p, all_of in by_party.items()
    }
    last = online[-1]
    return {
        "workload": workload.name,
        "parties": n,
        "repeat": repeat,
        "online_seconds": (seconds := statistics.median(run.online_seconds for run in online)),
        "seconds": seconds,
        "total_seconds": statistics.median(run.total_seconds for run in online),
        "rounds": last.rounds,
        "bytes_sent": max(last.bytes_sent.values()),
        "by_party": figures,
        "samples": stacks.total(),
        "shares": shares(stacks),
        "limit": limit(last.rounds, max(last.bytes_sent.values()), _kernel_seconds(workload, data, n)),
        "timeline": {r["party"]: _window(spans(r), last.rounds // 2) for r in plain if r["run"] == middle},
        "stacks": dict(stacks),
    }


def _records(
    workload: Workload, data: Any, n: int, repeat: int, interval: float
) -> tuple[list[Record], list[parties.Run]]:
    """What the parties wrote down, and what the runs themselves report; the first run is left out."""
    ordinary = local.command

    with tempfile.TemporaryDirectory(prefix="privity-bench-") as folder:
        script = [sys.executable, "-P", str(Path(__file__).with_name("profiled.py")), folder, str(interval)]

        def command(role: Sequence[str]) -> list[str]:
            return ordinary(role) if role[0] == "dealer" else [*script, *role]

        with mock.patch.object(local, "command", command), parties.local(n) as session:
            given = {workload.input: dict(zip(session.parties, data, strict=True)), **workload.settings}
            runs = [session.run(workload.program, **given) for _ in range(repeat + 1)]
        for run in runs:
            wrong = float(workload.wrong(data, run.results))
            if not wrong <= workload.most:
                raise MpcError(f"{workload.name} is wrong by {wrong:.3g}, where {workload.most:.3g} is allowed")
        read = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    return [record for record in read if record["run"]], runs[1:]


# ------------------------------------------------------------------------------------------------------- the time


def spans(record: Record) -> list[Span]:
    """The online time of one party without a gap, from its first exchange to its end.

    work: the engine computes. channel: messages are packed, encoded and given to a socket, or taken apart; also other
    upkeep of the process. waiting: in the sockets, until something is there and has been read.
    """
    out: list[Span] = []
    number, done, last = 0, 0, None
    for kind, count, _, asked, answered in record["requests"]:
        if kind == "Exchange":
            number = done = count
        elif last is None:
            continue
        else:
            number = done + 1
        if last is not None:
            out.append(("work", number, last, asked))
        at = asked
        for begin, end in _between(record["polls"], asked, answered):
            out += [("channel", number, at, begin), ("waiting", number, begin, min(end, answered))]
            at = min(end, answered)
        out.append(("channel", number, at, answered))
        last = answered
    if last is not None:
        out.append(("work", number, last, record["ended"]))
    return out


def _between(polls: Sequence[Sequence[float]], begin: float, end: float) -> Sequence[Sequence[float]]:
    first = bisect.bisect_left(polls, begin, key=lambda poll: poll[0])
    return polls[first : bisect.bisect_left(polls, end, first, key=lambda poll: poll[0])]


def totals(record: Record) -> dict[str, float]:
    """Sums over a run, and the median round of each kind of time."""
    found = spans(record)
    by_round: dict[int, Counter[str]] = {}
    for what, number, begin, end in found:
        by_round.setdefault(number, Counter())[what] += end - begin  # type: ignore[assignment]
    sums = {what: sum(times[what] for times in by_round.values()) for what in _KINDS}
    middle = {f"round_{what}": statistics.median(times[what] for times in by_round.values()) for what in _KINDS}
    whole = statistics.median(sum(times.values()) for times in by_round.values())
    return {"online": sum(sums.values()), **sums, **middle, "round": whole}


def _window(found: Sequence[Span], first: int, rounds: int = 10) -> list[Span]:
    return [span for span in found if first <= span[1] < first + rounds]


# ----------------------------------------------------------------------------------------------------- the stacks


def group(stack: str) -> str:
    """What kind of work the innermost function of a stack does."""
    leaf = stack.rpartition(";")[2]
    return next((name for name, begins in GROUPS.items() if leaf.startswith(begins)), "other")


def shares(stacks: Mapping[str, int]) -> dict[str, float]:
    """The share of each group in all samples."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        found[group(stack)] += count
    every = max(1, found.total())
    return {name: found[name] / every for name in (*GROUPS, "other") if found[name] or name in GROUPS}


# ------------------------------------------------------------------------------------------------------ the limit


def limit(rounds: int, sent: int, kernels: float) -> dict[str, float]:
    """What this machine needs at the least: bare round trips, the bytes over CURVE, the products of the formula."""
    trip, bulk = pingpong(), pingpong(100, _BULK)
    each = max(0.0, bulk - trip) / (2 * _BULK)
    return {
        "pingpong": trip,
        "seconds_a_byte": each,
        "rounds": rounds * trip,
        "bytes": sent * each,
        "kernels": kernels,
        "all": rounds * trip + sent * each + kernels,
    }


def _kernel_seconds(workload: Workload, data: Any, n: int) -> float:
    """The products of shares that one party's part of the program has, alone, one after another."""
    names = tuple(f"p{i}" for i in range(n))
    given = {workload.input: dict(zip(names, data, strict=True))}
    lowered = workload.program.trace(given, names, workload.settings).lower(protocols.MASKED)
    native.load()
    domains = Domains(lowered.bits)
    known: dict[Any, float] = {}
    total = 0.0
    for e, times in _products(lowered.block, 1):
        key = (e.op, times == 1, e.output.type.bits, *(v.type.shape for v in e.inputs))
        if key not in known:
            values = [np.full(v.type.shape, 0x9E3779B97F4A7C15, dtype=np.uint64) for v in e.inputs]
            domain = domains[e.output.type.bits]
            kernel = _crossed(domain, n, e, values, times == 1) if e.op == "cross" else bind(e.op, domain, e.params)
            known[key] = _median(kernel, values)
        total += times * known[key]
    return total


def _crossed(domain: Shared, n: int, e: Equation, values: Sequence[Any], once: bool) -> Any:
    """The first party's part of a product of wires. once: not in a loop, so that it is prepared."""
    crossing = Crossing(domain, 0, n, e.output.type.shape, e.params["divided"])
    before = crossing.before(*values[1::2]) if once else None
    return lambda *wires: crossing.share(*wires, before)


def _products(block: Block, times: int) -> Iterable[tuple[Equation, int]]:
    for e in block.equations:
        if e.body is not None:
            yield from _products(e.body, times * e.params["times"])
        elif e.op in _PRODUCTS and e.output.type.kind.name in ("SHARE", "PUBLIC"):
            yield e, times


def _median(kernel: Any, values: Sequence[Any], repeat: int = 15) -> float:
    taken = []
    for _ in range(repeat):
        began = time.perf_counter()
        kernel(*values)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


# ----------------------------------------------------------------------------------------------------- the tables


def explained_grids(line: Mapping[str, Any]) -> list[Grid]:
    """Where the time goes, party by party; what the samples say; the limit."""
    head = ("party", ">online", ">own work", ">channel", ">waiting", ">a round", ">own work", ">channel", ">waiting")
    keys = ("online", *_KINDS, "round", *(f"round_{what}" for what in _KINDS))
    who = [(p, *(seconds_in_words(at[key]) for key in keys)) for p, at in line["by_party"].items()]
    doing = [(name, f"{100 * share:.1f} %") for name, share in line["shares"].items()]
    least, seconds = line["limit"], line["seconds"]
    bounds = [
        (f"{line['rounds']:,} rounds, each a bare CURVE ping-pong of {seconds_in_words(least['pingpong'])}", "rounds"),
        (f"{line['bytes_sent']:,} bytes over CURVE at {1e-6 / max(least['seconds_a_byte'], 1e-12):,.0f} MB/s", "bytes"),
        ("the products of the formula, alone", "kernels"),
        ("together", "all"),
    ]
    floor = [(what, seconds_in_words(least[key]), f"{100 * least[key] / seconds:.0f} %") for what, key in bounds]
    name = line["workload"]
    return [
        Grid(f"{name}: sums over a run, then the median round", head, who),
        Grid(f"{name}: {line['samples']:,} samples of all parties", ("what", ">share"), doing),
        Grid(f"{name}: the limit, of {seconds_in_words(seconds)} online", ("what", ">time", ">share of online"), floor),
    ]
