"""The exact cost of a lowered program, known before the first byte moves.

Rounds and payload bytes are counts over the schedule that the engine itself walks, so they agree with a run to the
byte. `input_bytes` is the part of `bytes_sent` that shares inputs. Peak memory is an upper bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

from mpc.disclosures import disclosures
from mpc.ir import Block, Equation, Kind, Var
from mpc.kernels import STRUCTURAL
from mpc.lowering import Lowered
from mpc.openings import frame_of, recipients
from mpc.programs import RANGES_HOLD
from mpc.schedule import Slot, receiver

__all__ = ["AHEAD", "Plan", "price"]

Scheduled = Callable[[Block], list[Slot]]
AHEAD = 256 << 20  # bytes that were dealt and not drawn yet, which may lie at a party
BASE_MEMORY = 400 << 20  # interpreter, libraries, sockets, copies a message makes, what waits for a step


@dataclass
class Plan:
    """What a run will cost and say. Bytes are payload, by party; `by_line` counts bytes sent per source line.

    truncations, opened: elements that are truncated, and opened between parties, over all steps of loops. values: the
    program's secret values in its order, a loop's once: {where, op, shape, scale, lo, hi}, of the real number.
    disclosures: all that a run tells anybody (`mpc.disclosures`).
    keeps, handles: what is kept for later programs and taken of earlier ones (`HandleSpec.fields`).
    """

    rounds: int
    bytes_sent: dict[str, int]
    input_bytes: dict[str, int]
    dealt_bytes: dict[str, int]
    peak_memory_bytes: dict[str, int]
    reveals: list[dict[str, Any]]
    assumptions: list[dict[str, Any]]
    notes: list[str]
    by_line: dict[str, dict[str, int]] = field(default_factory=dict)
    truncations: int = 0
    opened: int = 0
    values: list[dict[str, Any]] = field(default_factory=list, repr=False)
    keeps: list[dict[str, Any]] = field(default_factory=list)
    handles: list[dict[str, Any]] = field(default_factory=list)
    disclosures: list[dict[str, Any]] = field(default_factory=list)

    def __repr__(self) -> str:
        sent = ", ".join(f"{p} {b}" for p, b in self.bytes_sent.items())
        return f"<Plan {self.rounds} rounds; bytes sent: {sent}>"


class _Count:
    def __init__(self, lowered: Lowered, slots: Scheduled) -> None:
        self.lowered, self.n, self.slots = lowered, len(lowered.parties), slots
        self.rounds = 0
        self.sent: Counter[int] = Counter()
        self.inputs: Counter[int] = Counter()
        self.dealt: Counter[int] = Counter()
        self.lines: dict[str, Counter[str]] = {}
        self.opened = 0

    def block(self, b: Block, times: int) -> None:
        for slot in self.slots(b):
            for e in slot.deals:
                size = 8 * e.output.type.size * times
                self.dealt[receiver(e, self.n)] += size
                self.line(e)["dealt_bytes"] += size
            moved = [self.exchange(e, times) for e in slot.exchange]
            if any(moved):
                self.rounds += times
                self.line(slot.exchange[0])["rounds"] += times
            for e in slot.loops:
                assert e.body is not None
                self.block(e.body, times * e.params["times"])

    def line(self, e: Equation) -> Counter[str]:
        return self.lines.setdefault(e.line, Counter())

    def exchange(self, e: Equation, times: int) -> bool:
        names, n = self.lowered.parties, self.n
        size = frame_of(e.output.type.shape, e.params.get("width", self.lowered.bits)).nbytes * times
        if e.op == "send":
            owner = names.index(e.params["owner"])
            senders = {owner: n - 1}
            self.inputs[owner] += size * (n - 1)
        elif e.op == "open":
            senders = dict.fromkeys(range(n), n - 1)
            self.opened += e.output.type.size * times
        else:
            to = recipients(e, names)
            senders = {p: len([r for r in to if r != p]) for p in range(n)}
        for p, peers in senders.items():
            self.sent[p] += size * peers
        self.line(e)["bytes_sent"] += max((size * k for k in senders.values()), default=0)
        return any(senders.values())


def _memory(block: Block, slots: Scheduled) -> int:
    """An upper bound on the bytes of all values that live at once: what is a view keeps alive what it looks at."""
    steps, pieces = [], set[Var]()
    for slot in slots(block):
        for part in slot.parts:
            steps += [part.equations] if part.swept else [[e] for e in part.equations]
            pieces |= slot.party.within(part) if part.swept else set()
        steps.append([*slot.exchange, *slot.loops])
    root: dict[Var, Var] = {}
    for e in (e for step in steps for e in step if e.op in STRUCTURAL):
        root[e.output] = root.get(e.inputs[0], e.inputs[0])
    last: dict[Var, int] = {}
    for at, step in enumerate(steps):
        last.update({root.get(v, v): at for e in step for v in (*e.inputs, *e.outputs)})
    kept = {root.get(v, v) for v in block.results} | {v for v in last if v.type.kind is Kind.TABLE}
    grown = [0] * (len(steps) + 1)
    for at, step in enumerate(steps):
        for v in (v for e in step for v in e.outputs if v.type.kind is not Kind.DEALER and v not in pieces):
            size, end = 8 * prod(v.type.shape), root.get(v, v)
            grown[at] += size
            grown[len(steps) if end in kept else last[end] + 1] -= size
    inside = [max((_memory(e.body, slots) for e in step if e.body is not None), default=0) for step in steps]
    return max((here + more for here, more in zip(accumulate(grown), inside, strict=False)), default=0)


def price(lowered: Lowered) -> Plan:
    """Walk the schedule and count."""
    slots = lowered.slots
    count = _Count(lowered, slots)
    count.block(lowered.block, 1)
    names = lowered.parties
    memory = BASE_MEMORY + 3 * _memory(lowered.block, slots)
    stock = [min(AHEAD, count.dealt[i]) for i in range(len(names))]
    checked = RANGES_HOLD in lowered.outputs_by_name
    stated = "range stated, checked while the program runs" if checked else "range stated, not checked"
    assumptions = [
        {"where": e.line, "lo": e.params["lo"], "hi": e.params["hi"], "what": stated}
        if e.op == "assume"
        else {"where": e.line, "lo": None, "hi": None, "what": "rounding that depends on masks may be seen"}
        for e in _assumed(lowered.program.block)
    ]
    return Plan(
        count.rounds,
        {p: count.sent[i] for i, p in enumerate(names)},
        {p: count.inputs[i] for i, p in enumerate(names)},
        {p: count.dealt[i] for i, p in enumerate(names)},
        {p: memory + stock[i] for i, p in enumerate(names)},
        lowered.reveals,
        assumptions,
        list(lowered.program.notes),
        {where: dict(c) for where, c in sorted(count.lines.items())},
        lowered.program.truncations,
        count.opened,
        _values(lowered.program.block),
        [spec.fields() for spec in lowered.keeps],
        [spec.fields() for spec in lowered.handles],
        disclosures(lowered.program),
    )


def _values(block: Block) -> list[dict[str, Any]]:
    """Scale and range of every secret value, as they were derived or stated; not those inside a rule."""
    found: list[dict[str, Any]] = []
    for e in block.equations:
        if e.op == "repeat" and e.body is not None:
            found += _values(e.body)
        for v in e.outputs:
            if v.type.kind is Kind.SECRET:
                ends = {end: x if math.isfinite(x) else None for end, x in (("lo", v.type.lo), ("hi", v.type.hi))}
                shown = {"where": e.line, "op": e.op, "shape": list(v.type.shape), "scale": v.type.scale}
                found.append({**shown, **ends})
    return found


def _assumed(block: Block) -> list[Equation]:
    found = [e for e in block.equations if e.op in ("assume", "rounded") or e.params.get("rounding")]
    for e in block.equations:
        if e.body is not None:
            found += _assumed(e.body)
    return found
