"""A round at one party: what it sends of an opening, a reveal or an input, to whom, and what it makes of the answers.

What is the same at every step of a loop is looked up once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpc.alone import Alone
from mpc.errors import PeerError
from mpc.exchange import Array, Draw, Exchange, Frame, Save
from mpc.ir import Equation, spoken
from mpc.lowering import Lowered
from mpc.openings import frame_of, packing, recipients, unpacking
from mpc.prg import PartyEntropy, Position
from mpc.programs import RANGES_HOLD

__all__ = ["Answer", "Request", "Round", "Rounds", "Run", "fits"]

_WORD = (1 << 64) - 1

Request = Exchange | Draw | Save
Answer = Any
Run = Generator[Request, Answer, None]


@dataclass(frozen=True, slots=True)
class Round:
    """A round, as far as the program fixes it: what it is in words, what goes to whom, what each peer owes.

    equations: what is opened, sent and revealed. parts: for each of these how this party's words are made, how they are
    packed, and to whom they go. joins: where each goes, and how it is made of this party's words and the answer.
    """

    equations: tuple[Equation, ...]
    words: str
    where: str
    parts: tuple[tuple[Callable[[int], Any], Callable[[Any], Array], list[int]], ...]
    joins: tuple[tuple[int, Callable[[Any, Answer], Any]], ...]
    expect: dict[int, tuple[Frame, ...]]
    reveals: tuple[str, ...]
    sharing: bool
    gates: bool


class Rounds(Alone):
    """One party's exchanges, beside what it computes alone."""

    def __init__(
        self, lowered: Lowered, me: int, inputs: dict[str, Any], entropy: PartyEntropy, kept: Mapping[str, Any]
    ) -> None:
        super().__init__(lowered, me, inputs, entropy, kept)
        self.exchanges = 0
        self.gate = lowered.outputs_by_name.get(RANGES_HOLD)
        self.rest = [i for i in range(self.n) if i != me]
        self.calls = [f"party {name}" for name in self.names]

    def exchange(self, fixed: Round, step: int) -> Run:
        """One round: every opening, sending and reveal of a slot together."""
        send: dict[int, list[Array]] = {}
        mine: list[Any] = []
        for made, packed, to in fixed.parts:
            words = made(step)
            mine.append(words)
            if to:
                array = packed(words)
                for peer in to:
                    send.setdefault(peer, []).append(array)
        self.exchanges += 1
        answer: Answer = {}
        if send or fixed.expect:
            answer = yield Exchange(self.exchanges, fixed.words, send, fixed.expect, fixed.reveals, fixed.sharing)
            for peer, frames in fixed.expect.items():
                fits(answer.get(peer, []), frames, self.calls[peer], fixed.where)
        for (out, joined), words in zip(fixed.joins, mine, strict=True):
            self.values[out] = joined(words, answer)
        if fixed.gates and self.gate is not None:
            self.lowered.program.require({RANGES_HOLD: int(self.values[self.gate.number])})

    def round_of(self, equations: list[Equation]) -> Round:
        """What of a round is the same at every step of a loop."""
        expect: dict[int, list[Frame]] = {}
        parts, joins = [], []
        for e in equations:
            width = e.params.get("width", self.of(e.output.type).bits)
            sources = self.sources(e)
            places = [(peer, len(expect.get(peer, ()))) for peer in sources]
            for peer in sources:
                expect.setdefault(peer, []).append(frame_of(e.output.type.shape, width))
            made, to = self.part(e)
            parts.append((made, packing(width), to))
            joins.append((e.output.number, self.joined(e, places)))
        owed = {peer: tuple(frames) for peer, frames in expect.items()}
        reveals = tuple(e.params["name"] for e in equations if e.op == "reveal")
        sharing = all(e.op == "send" for e in equations)
        gates = any(e.op == "reveal" and e.output is self.gate for e in equations)
        those, words, where = tuple(equations), spoken(equations[0]), equations[0].where
        return Round(those, words, where, tuple(parts), tuple(joins), owed, reveals, sharing, gates)

    def sources(self, e: Equation) -> list[int]:
        """From whom others' parts of one opening come."""
        if e.op == "send":
            owner = self.names.index(e.params["owner"])
            return [] if owner == self.me else [owner]
        return self.rest if e.op == "open" or self.me in recipients(e, self.names) else []

    def part(self, e: Equation) -> tuple[Callable[[int], Any], list[int]]:
        """How this party's contribution to one opening is made at a step, and whom it goes to."""
        values, domain, t = self.values, self.of(e.output.type), e.output.type
        if e.op == "open":
            number, width = e.inputs[0].number, e.params["width"]
            if width >= domain.bits:
                return lambda _: values[number], self.rest
            return lambda _: domain.low(values[number], width), self.rest
        if e.op == "reveal":
            number, name = e.inputs[0].number, e.params["id"]
            to = [p for p in recipients(e, self.names) if p != self.me]
            return lambda step: domain.add(
                np.asarray(values[number]), self.known(e, lambda: self.zero_share(Position(name, step), t))
            ), to  # fmt: skip
        if self.names.index(e.params["owner"]) != self.me:
            return lambda _: None, []

        def masked(step: int) -> Any:
            mask = self.before.pop(e, None)
            if mask is None:  # nobody here keeps the integers alive while blocks are added to them
                return self.ring.reduce(self.under(self.integers(e), e, step))
            return self.ring.reduce(np.add(self.integers(e), mask, out=mask))

        return masked, self.rest

    def under(self, words: Any, e: Equation, step: int) -> Any:
        """Words and every party's block of the mask of an input of this party's, added up in place."""
        at = Position(e.params["mask"], step)
        for seed in self.entropy.own:
            block = self.blocks(seed, at, e.output.type)
            words = np.add(words, block, out=block if block.flags.writeable else None)  # nobody else has it
        return words

    def ahead(self, e: Equation) -> None:
        """What an exchange that runs once adds to words of this party, where that follows from streams alone."""
        if e.op == "send" and self.names.index(e.params["owner"]) == self.me and e.inputs[1] in self.fixed:
            self.before[e] = self.under(np.uint64(0), e, 0)
        elif e.op == "reveal" and self.room_for(e):
            self.before[e] = self.zero_share(Position(e.params["id"], 0), e.output.type)

    def joined(self, e: Equation, places: list[tuple[int, int]]) -> Callable[[Any, Answer], Any]:
        """How the value of an opening is made of this party's words and the others', which stand in these places."""
        domain = self.of(e.output.type)
        width = e.params.get("width", domain.bits)
        unpacked = unpacking(width, e.where)
        if e.op == "send" and not places:
            return lambda mine, _: mine
        if e.op == "send":
            ((owner, at),) = places
            return lambda _, answer: unpacked(answer[owner][at])
        if e.op == "reveal" and self.me not in recipients(e, self.names):
            return lambda _mine, _answer: None

        def opened(mine: Any, answer: Answer) -> Any:
            words = mine
            for peer, at in places:
                words = domain.add(words, unpacked(answer[peer][at]))
            return domain.low(words, width)

        def word(mine: Any, answer: Answer) -> Any:
            whole = mine.item()
            for peer, at in places:
                whole += answer[peer][at].item()
            return np.array(whole & _WORD, np.uint64)

        return word if domain is self.ring and e.output.type.shape == () and width == domain.bits == 64 else opened


def fits(arrays: list[Array], expect: tuple[Frame, ...], who: str, where: str) -> None:
    """Raise PeerError, with who sent them, for arrays of another number, type or shape."""
    right = len(arrays) == len(expect)
    for a, f in zip(arrays, expect, strict=False):
        right = right and a.shape == f.shape and a.dtype == f.kind
    if not right:
        raise PeerError(f"{who} sent arrays of the wrong number, type or shape ({where})")
