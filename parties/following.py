"""One attempt as the coordinator sees it, and what an actor may say about it; its brain alone changes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from parties.agree import RESUMABLE, Verdict
from parties.cluster import DEALER
from parties.pieces import JOIN_LIMIT
from parties.terms import Terms
from parties.wire import BadMessage, Message

__all__ = [
    "ENDING",
    "LATER",
    "PREPARING",
    "RUNNING",
    "STOCKING",
    "Answer",
    "Following",
    "Outcome",
    "known",
    "measured",
    "once",
    "possible",
]

PREPARING, STOCKING, RUNNING, ENDING = "preparing", "stocking", "running", "ending"
LATER = (STOCKING, RUNNING)
_COUNTS = ("rounds", "bytes_sent", "dealt_bytes", "peak_rss_bytes")
_KINDS = RESUMABLE | {"input", "policy", "program", "terms"}


@dataclass(frozen=True)
class Answer:
    """What an actor answered to a question: `refused` holds its public reason, or the question's answer.

    kind `lost`: it will not answer any more.
    """

    peer: int
    message: Message
    refused: str = ""
    kind: str = ""


@dataclass
class Outcome:
    """What a finished run left at the coordinator. material: the id of what was dealt for later, if that was it."""

    results: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    preprocessing_seconds: float = 0.0
    material: str = ""


@dataclass
class Following:
    """One attempt, as the coordinator sees it. It ends with an outcome or a verdict.

    most: rounds of its program. room: bytes of its results. committed: epoch and step of the last checkpoint that every
    party has written. troubles: about what some party could not write. dealer_waits: for whom, if a party takes nothing
    of what the dealer has for it. ending: the outcome, while parties write that the run is done. ended: who has, and of
    whom else nothing more is expected, with the reason.
    """

    id: bytes
    terms: Terms
    actors: list[int]
    most: int = 0xFFFFFFFF
    room: int = JOIN_LIMIT
    outcome: Outcome | None = None
    verdict: Verdict | None = None
    committed: tuple[int, int] | None = None
    troubles: list[str] = field(default_factory=list)
    ready: set[int] = field(default_factory=set)
    stocked: dict[int, bool] = field(default_factory=dict)
    done: dict[int, dict[str, Any]] = field(default_factory=dict)
    rounds: dict[int, tuple[int, str]] = field(default_factory=dict)
    saved: dict[int, set[int]] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    started: float = 0.0
    went: float | None = None
    dealing: float | None = None
    material: str = ""
    evidence: list[tuple[int, Verdict]] = field(default_factory=list)
    deadline: float | None = None
    patience: float | None = None
    seen: dict[int, int] = field(default_factory=dict)
    dealer_waits: int | None = None
    ending: Outcome | None = None
    ended: dict[int, str] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """What it waits for, of those that are `missing`."""
        if self.phase == STOCKING and self.terms.mode == "run":
            return "stocked"
        return "ready" if self.phase == PREPARING else "done"

    def missing(self) -> list[int]:
        """Who has not said what it waits for."""
        if self.wanted == "ready":
            return [a for a in self.actors if a not in self.ready]
        there = self.stocked if self.wanted == "stocked" else self.done
        deals = self.wanted == "stocked" or self.terms.mode == "deal"
        missing = [p for p in self.parties if p not in there]
        return missing or [a for a in self.actors if a == DEALER and deals and self.dealing is None]

    @property
    def parties(self) -> list[int]:
        """The computing parties among its actors."""
        return [a for a in self.actors if a != DEALER]

    @property
    def phase(self) -> str:
        """What it waits for: that everybody is ready, stocked, done, that every party has written the end."""
        if self.ending is not None:
            return ENDING
        if len(self.ready) < len(self.actors):
            return PREPARING
        return STOCKING if self.went is None else RUNNING

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.verdict is not None or self.outcome is not None

    @property
    def prepared(self) -> bool:
        """Whether everybody has taken its data for it, or it is over."""
        return len(self.ready) == len(self.actors) or self.over

    @property
    def unwritten(self) -> list[str]:
        """Of every party that may not have written that the run is done: why."""
        return [why for _, why in sorted(self.ended.items()) if why]

    def behind(self, told: Sequence[Verdict], verdict: Verdict) -> Verdict:
        """The dealer is waited for, and may wait itself: for a party that takes nothing, or waits for another one."""
        party = self.dealer_waits
        if party is None:
            return verdict
        for v in told:
            if v.reporter == party and v.origin not in {DEALER, party}:
                return v
        text = f"party {self.terms.task.parties[party]} takes nothing of what the dealer has for it"
        return Verdict(party, "stall", text, verdict.round, verdict.where, DEALER)

    @property
    def furthest(self) -> tuple[int, str]:
        """The latest round that a party has told of, and its line."""
        return max(self.rounds.values(), default=(0, ""))


def once(first: bool) -> None:
    """Refuse what was said before."""
    if not first:
        raise BadMessage("said before")


def possible(s: Following, number: int) -> None:
    """Refuse the number of a round that the program does not have."""
    if not 0 <= number <= s.most:
        raise BadMessage("a round that the program does not have")


def measured(measures: dict[str, Any]) -> bool:
    """Whether these are a party's measures: numbers, and the hash of its transcript."""
    wanted = dict.fromkeys(_COUNTS, int) | {
        "online_seconds": float, "input_seconds": float, "transcript": str,
    }  # fmt: skip
    return {name: type(value) for name, value in measures.items()} == wanted and len(measures["transcript"]) <= 64


def known(kind: str) -> str:
    """The kind of a fault, if there is such a one."""
    if kind not in _KINDS:
        raise BadMessage("an unknown kind of fault")
    return kind
