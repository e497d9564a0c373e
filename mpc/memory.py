"""All parties and the dealer in one thread: the real protocol, any delivery order.

The same engines as in separate processes; messages wait in one list and `pick` says which is delivered next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mpc.dealing import Correction, run_dealer
from mpc.engine import run_party
from mpc.errors import MpcError
from mpc.exchange import Array, Draw, Exchange
from mpc.lowering import Lowered
from mpc.prg import DealerEntropy, PartyEntropy, fresh_entropy

__all__ = ["Emulation", "run_in_memory"]


@dataclass
class Emulation:
    """What a run in one process gave: results by party, and the measured cost.

    `views[p]` is all that party p received, only if asked for; `transcripts[p]` the sha256 of all that it sent.
    """

    results_of: dict[str, dict[str, Any]]
    rounds: int
    bytes_sent: dict[str, int]
    dealt_bytes: dict[str, int]
    transcripts: dict[str, str]
    views: dict[str, list[Array]] = field(default_factory=dict, repr=False)

    @property
    def results(self) -> dict[str, Any]:
        """Everything that anybody was shown."""
        merged: dict[str, Any] = {}
        for known in self.results_of.values():
            merged |= known
        return merged


@dataclass
class _Message:
    source: int
    to: int
    number: int
    arrays: list[Array] = field(repr=False)


class _World:
    def __init__(
        self, lowered: Lowered, inputs: list[dict[str, Any]], dealer: DealerEntropy, parties: list[PartyEntropy]
    ) -> None:
        self.names = lowered.parties
        self.n = len(self.names)
        self.runs = [run_party(lowered, i, inputs[i], parties[i]) for i in range(self.n)]
        self.waiting: list[Exchange | Draw | None] = [None] * self.n
        self.results: dict[int, dict[str, Any]] = {}
        self.flying: list[_Message] = []
        self.arrived: dict[tuple[int, int], dict[int, list[Array]]] = {}
        self.corrections: list[list[Correction]] = [[] for _ in range(self.n)]
        self.dealer = run_dealer(lowered, dealer)
        self.rounds = [0] * self.n
        self.sent, self.dealt = [0] * self.n, [0] * self.n
        self.hashes = [hashlib.sha256() for _ in range(self.n)]
        self.views: list[list[Array]] = [[] for _ in range(self.n)]

    def advance(self, p: int, answer: Any) -> None:
        """Resume party p and post what it sends."""
        try:
            request = self.runs[p].send(answer)
        except StopIteration as stop:
            self.waiting[p], self.results[p] = None, stop.value
            return
        self.waiting[p] = request
        if isinstance(request, Exchange):
            self.rounds[p] = request.number
            for to, arrays in sorted(request.send.items()):
                self.sent[p] += sum(a.nbytes for a in arrays)
                for a in arrays:
                    self.hashes[p].update(a.tobytes())
                self.flying.append(_Message(p, to, request.number, arrays))

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
            while not self.corrections[p]:
                correction = next(self.dealer)
                self.corrections[correction.party].append(correction)
            arrays = self.corrections[p].pop(0).arrays
            self.dealt[p] += sum(a.nbytes for a in arrays)
            self.views[p].extend(arrays)
            self.advance(p, arrays)
        elif isinstance(request, Exchange):
            got = self.arrived.pop((p, request.number), {})
            self.views[p].extend(a for peer in sorted(got) for a in got[peer])
            self.advance(p, got)

    def deliver(self, index: int) -> None:
        m = self.flying.pop(index)
        self.arrived.setdefault((m.to, m.number), {})[m.source] = m.arrays


def run_in_memory(
    lowered: Lowered,
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    entropy: tuple[DealerEntropy, list[PartyEntropy]] | None = None,
    pick: Callable[[int], int] | None = None,
) -> Emulation:
    """Run a lowered program with all parties in this thread.

    inputs: {name: {party: Table or array}}. entropy: fresh unless a test gives its own. pick(k): which of k possible
    deliveries and resumptions is next; the first unless given. Raises what a party raises; MpcError if all parties wait
    for ever (a bug in a rule or in the engine).
    """
    names = lowered.parties
    own = [{name: given[p] for name, given in inputs.items() if p in given} for p in names]
    dealer, parties = entropy or fresh_entropy(len(names))
    world = _World(lowered, own, dealer, parties)
    for p in range(world.n):
        world.advance(p, None)
    choose = pick or (lambda _: 0)
    while len(world.results) < world.n:
        ready = world.ready()
        moves = len(world.flying) + len(ready)
        if not moves:
            raise MpcError(f"no party can go on: {', '.join(names[p] for p in range(world.n) if world.waiting[p])}")
        move = choose(moves)
        if move < len(world.flying):
            world.deliver(move)
        else:
            world.answer(ready[move - len(world.flying)])
    return Emulation(
        {names[p]: world.results[p] for p in range(world.n)},
        max(world.rounds),
        dict(zip(names, world.sent, strict=True)),
        dict(zip(names, world.dealt, strict=True)),
        {names[p]: world.hashes[p].hexdigest() for p in range(world.n)},
        dict(zip(names, world.views, strict=True)),
    )


def names_of(parties: int | Sequence[str]) -> list[str]:
    """Party names from a number or a list."""
    if not isinstance(parties, int):
        return list(parties)
    return [*DEFAULT_NAMES, *(f"p{i}" for i in range(len(DEFAULT_NAMES) + 1, parties + 1))][:parties]


DEFAULT_NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
