"""All parties and the dealer in one thread: the real protocol, any delivery order.

The same engines as in separate processes; messages wait in one list and `pick` says which is delivered next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from mpc.dealing import Dealt, run_dealer
from mpc.engine import run_party
from mpc.errors import MpcError
from mpc.exchange import CHECKPOINT, Array, Draw, Exchange, Save, whole
from mpc.handles import Handle, HandleSpec
from mpc.lowering import Lowered
from mpc.prg import DealerEntropy, PartyEntropy, fresh_entropy

__all__ = ["Emulation", "run_in_memory"]

Kept = Mapping[str, Mapping[str, Array | None]]
_NOTHING: Kept = MappingProxyType({})
Change = Callable[[int, int, int, list[Array]], list[Array]]


@dataclass
class Emulation:
    """What a run in one process gave: results by party, and the measured cost.

    `views[p]` is all that party p received; `transcripts[p]` the sha256 of all that it sent; `saves[p]` what it
    put away, in order. A run that was stopped has no results.
    """

    results_of: dict[str, dict[str, Any]]
    rounds: int
    bytes_sent: dict[str, int]
    dealt_bytes: dict[str, int]
    transcripts: dict[str, str]
    views: dict[str, list[Array]] = field(default_factory=dict, repr=False)
    saves: dict[str, list[Save]] = field(default_factory=dict, repr=False)
    keeps: list[HandleSpec] = field(default_factory=list)

    @property
    def results(self) -> dict[str, Any]:
        """Everything that anybody was shown."""
        merged: dict[str, Any] = {}
        for known in self.results_of.values():
            merged |= known
        return merged

    def checkpoint(self, site: int, iteration: int) -> dict[str, dict[str, Array | None]]:
        """What each party has put away at a checkpoint, for `run_in_memory(kept=…)` of the continued program."""
        return {p: whole(saves, site, iteration) for p, saves in self.saves.items()}

    @property
    def handles(self) -> dict[str, Handle]:
        """What was kept, for `mpc.emulate` of a later program; nothing if the run broke off."""
        found: dict[str, Handle] = {}
        for spec in self.keeps:
            made = {
                p: s.arrays[spec.name]
                for p, saves in self.saves.items()
                for s in saves
                if s.name == spec.name and s.site < 0
            }
            found[spec.name] = Handle(spec, {p: np.asarray(a, dtype=np.uint64) for p, a in made.items()})
        return found

    @property
    def checkpoints(self) -> list[tuple[int, int]]:
        """The loop and step of every checkpoint that all parties hold, in order."""
        made = [[(s.site, s.iteration) for s in saves if s.name == CHECKPOINT] for saves in self.saves.values()]
        return [at for at in made[0] if all(at in other for other in made)] if made else []


@dataclass
class _Message:
    source: int
    to: int
    number: int
    arrays: list[Array] = field(repr=False)


class _World:
    def __init__(
        self,
        lowered: Lowered,
        inputs: list[dict[str, Any]],
        dealer: DealerEntropy,
        parties: list[PartyEntropy],
        kept: Kept,
        change: Change | None,
    ) -> None:
        self.change = change or (lambda _source, _to, _number, arrays: arrays)
        self.names, self.keeps = lowered.parties, lowered.keeps
        self.n = len(self.names)
        self.runs = [run_party(lowered, i, inputs[i], parties[i], kept.get(p, {})) for i, p in enumerate(self.names)]
        self.saves: list[list[Save]] = [[] for _ in range(self.n)]
        self.waiting: list[Exchange | Draw | None] = [None] * self.n
        self.results: dict[int, dict[str, Any]] = {}
        self.flying: list[_Message] = []
        self.arrived: dict[tuple[int, int], dict[int, list[Array]]] = {}
        self.stock = [Dealt() for _ in range(self.n)]
        self.dealer = run_dealer(lowered, dealer)
        self.rounds = [0] * self.n
        self.sent, self.dealt = [0] * self.n, [0] * self.n
        self.hashes = [hashlib.sha256() for _ in range(self.n)]
        self.views: list[list[Array]] = [[] for _ in range(self.n)]

    def advance(self, p: int, answer: Any) -> None:
        """Resume party p and post what it sends."""
        try:
            request = self.runs[p].send(answer)
            while isinstance(request, Save):
                self.saves[p].append(request)
                request = self.runs[p].send(None)
        except StopIteration as stop:
            self.waiting[p], self.results[p] = None, stop.value
            return
        self.waiting[p] = request
        if isinstance(request, Exchange):
            self.rounds[p] = request.number
            for to, arrays in sorted(request.arrays.items()):
                self.sent[p] += sum(a.nbytes for a in arrays)
                for a in arrays:
                    self.hashes[p].update(a.tobytes())
                self.flying.append(_Message(p, to, request.number, self.change(p, to, request.number, arrays)))

    def ready(self) -> list[int]:
        """Parties whose request can be answered."""
        found = []
        for p, request in enumerate(self.waiting):
            if isinstance(request, Draw) or (
                isinstance(request, Exchange)
                and self.arrived.get((p, request.number), {}).keys() >= request.expect.keys()
            ):
                found.append(p)
        return found

    def answer(self, p: int) -> None:
        request = self.waiting[p]
        if isinstance(request, Draw):
            while (arrays := self.stock[p].cut(request.expect)) is None:
                correction = next(self.dealer)
                self.stock[correction.party].put(correction)
            self.dealt[p] += sum(a.nbytes for a in arrays)
            self.views[p].extend(arrays)
            self.advance(p, arrays)
        elif isinstance(request, Exchange):
            got = self.arrived.pop((p, request.number), {})
            self.views[p].extend(a for peer in sorted(got) for a in got[peer])
            self.advance(p, got)

    def emulation(self) -> Emulation:
        """What there is to tell."""
        names = self.names
        return Emulation(
            {names[p]: self.results.get(p, {}) for p in range(self.n)},
            max(self.rounds),
            dict(zip(names, self.sent, strict=True)),
            dict(zip(names, self.dealt, strict=True)),
            {names[p]: self.hashes[p].hexdigest() for p in range(self.n)},
            dict(zip(names, self.views, strict=True)),
            dict(zip(names, self.saves, strict=True)),
            self.keeps if self.results else [],
        )

    def deliver(self, index: int) -> None:
        m = self.flying.pop(index)
        self.arrived.setdefault((m.to, m.number), {})[m.source] = m.arrays


def run_in_memory(
    lowered: Lowered,
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    entropy: tuple[DealerEntropy, list[PartyEntropy]] | None = None,
    pick: Callable[[int], int] | None = None,
    kept: Kept = _NOTHING,
    stop: tuple[int, int] | None = None,
    change: Change | None = None,
) -> Emulation:
    """Run a lowered program with all parties in this thread.

    inputs: {name: {party: Table or array}}. entropy: fresh unless a test gives its own. pick(k): which of k possible
    deliveries and resumptions is next; the first unless given. kept: {party: {name: array}}, what the parties have put
    away before and the program takes up. stop: (site, iteration) of a checkpoint; as soon as every party holds it the
    run breaks off, without results, as in a crash. change(from, to, round, arrays): what a cheating party sends
    instead. Raises what a party raises; MpcError if all parties wait for ever (a bug in a rule or in the engine).
    """
    names = lowered.parties
    own = [{name: given[p] for name, given in inputs.items() if p in given} for p in names]
    dealer, parties = entropy or fresh_entropy(len(names))
    world = _World(lowered, own, dealer, parties, kept, change)
    for p in range(world.n):
        world.advance(p, None)
    choose = pick or (lambda _: 0)
    while len(world.results) < world.n:
        if stop is not None and all(any((s.site, s.iteration) == stop for s in saves) for saves in world.saves):
            world.results.clear()
            break
        ready = world.ready()
        moves = len(world.flying) + len(ready)
        if not moves:
            raise MpcError(f"no party can go on: {', '.join(names[p] for p in range(world.n) if world.waiting[p])}")
        move = choose(moves)
        if move < len(world.flying):
            world.deliver(move)
        else:
            world.answer(ready[move - len(world.flying)])
    return world.emulation()


def names_of(parties: int | Sequence[str]) -> list[str]:
    """Party names from a number or a list."""
    if not isinstance(parties, int):
        return list(parties)
    return [*DEFAULT_NAMES, *(f"p{i}" for i in range(len(DEFAULT_NAMES) + 1, parties + 1))][:parties]


DEFAULT_NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
