"""What goes wrong in a simulated run, decided by its seed before the run begins, so that a part of it can be left out.

Mild faults are those that a run has to survive without a word: connections that break or stand still, processes that
stop, all for less time than death takes. Hard faults end an attempt, which may then be resumed. Lasting ones never end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from parties.cluster import COORDINATOR, DEALER
from parties.simulation.dice import Dice

__all__ = ["Fault", "Plan", "make_plan"]

FOR_EVER = 1e9
TOLERATED = 2.6  # seconds of silence that nobody may call a death, with the time that a connection takes to come back
_NAMES = ("alice", "bob", "carol", "dave", "erin")


@dataclass(frozen=True)
class Fault:
    """One fault. who: the actor, or both ends of a connection.

    kind: `crash` (at is the number of the instruction at which the process dies), or at a time: `stall` (the process
    stands still), `reset` (the data connection of a pair breaks), `severed` (the same, for long, while signs of life go
    on), `moved` (another connection takes over, and what is under way on the first one still comes), `cut` (nothing
    gets through between two actors), `full` (its disk). seconds: how long it lasts.
    """

    kind: str
    who: tuple[int, ...]
    at: float
    seconds: float

    def __str__(self) -> str:
        names = " and ".join(call(a) for a in self.who)
        when = f"at its instruction {self.at:g}" if self.kind == "crash" else f"at {self.at:.3f} s"
        return f"{self.kind} of {names} {when} for {'ever' if self.for_ever else f'{self.seconds:.2f} s'}"

    @property
    def for_ever(self) -> bool:
        """Whether it never ends."""
        return self.seconds >= FOR_EVER

    @property
    def mild(self) -> bool:
        """Whether every run has to survive it without a word."""
        return self.kind in {"stall", "reset", "severed", "moved", "cut"} and self.seconds <= TOLERATED


@dataclass(frozen=True)
class Plan:
    """All that a seed decides besides the order of things. numbers[i]: which of the seed's faults faults[i] is."""

    seed: int
    program: str
    parties: int
    faults: tuple[Fault, ...]
    numbers: tuple[int, ...]
    delay: float
    twice: float
    lost: float

    def only(self, numbers: Collection[int]) -> Plan:
        """The same with some of its faults."""
        chosen = [(n, f) for n, f in zip(self.numbers, self.faults, strict=True) if n in numbers]
        return replace(self, numbers=tuple(n for n, _ in chosen), faults=tuple(f for _, f in chosen))

    @property
    def mild(self) -> bool:
        """Whether the first attempt has to succeed."""
        return all(f.mild for f in self.faults)

    @property
    def bounded(self) -> bool:
        """Whether the run has to succeed in the end."""
        return not any(f.for_ever for f in self.faults)


def call(actor: int) -> str:
    """An actor's name here."""
    return {DEALER: "dealer", COORDINATOR: "coordinator"}.get(actor) or _NAMES[actor]


def make_plan(seed: int, programs: list[str], parties: int | None = None) -> Plan:
    """The plan of a seed. parties: 2 or 3 unless given."""
    dice = Dice(seed, "plan")
    program = dice.one_of(programs)
    usual = dice.one_of([2, 2, 2, 2, 3])
    n = parties or usual
    actors = [*range(n), DEALER, COORDINATOR]
    severity = dice.one_of(["none", *["mild"] * 8, *["hard"] * 8, *["lasting"] * 3])
    count = 0 if severity == "none" else 1 + dice.below(4 if severity == "mild" else 3)
    delay = dice.one_of([0.001, 0.01, 0.05])
    span = delay * dice.between(5, 60)
    faults = [
        _fault(dice, actors, span, "mild" if severity == "mild" or dice.chance(0.3) else "hard") for _ in range(count)
    ]
    if severity == "lasting":
        faults[-1] = _lasting(_fault(dice, actors, span, "hard"))
    rare = Dice(seed, "severed")  # of its own, so that seeds keep the faults that they had before there was this one
    if severity not in {"none", "mild"} and rare.chance(0.1):
        faults.append(_severed(rare, actors, span))
    moved = Dice(seed, "moved")  # as two actors do that come to have a direct connection
    if moved.chance(0.3):
        faults += [_moved(moved, range(n), span) for _ in range(1 + moved.below(3))]
    dealt = Dice(seed, "moved to the dealer")
    if dealt.chance(0.2):
        faults.append(_moved(dealt, (dealt.below(n), DEALER), span))
    return Plan(
        seed, program, n, tuple(faults), tuple(range(len(faults))),
        delay, dice.one_of([0.0, 0.02, 0.1]), dice.one_of([0.0, 0.05, 0.2]),
    )  # fmt: skip


def _lasting(fault: Fault) -> Fault:
    """A disk may be full for ever too, and that ends no run that takes no checkpoints; any fault will do."""
    return replace(fault, seconds=FOR_EVER)


def _severed(dice: Dice, actors: list[int], span: float) -> Fault:
    first = dice.one_of(actors)
    second = dice.one_of([a for a in actors if a != first])
    seconds = FOR_EVER if dice.chance(0.2) else dice.between(1.0, 60.0)
    return Fault("severed", (first, second), dice.between(0, span), seconds)


def _moved(dice: Dice, actors: Sequence[int], span: float) -> Fault:
    first = dice.one_of(list(actors))
    second = dice.one_of([a for a in actors if a != first])
    return Fault("moved", (first, second), dice.between(0, span), 0.001)


def _fault(dice: Dice, actors: list[int], span: float, severity: str) -> Fault:
    at = dice.between(0, span)
    first = dice.one_of(actors)
    second = dice.one_of([a for a in actors if a != first])
    if severity == "mild":
        kind = dice.one_of(["reset", "reset", "cut", "stall"])
        seconds = dice.between(0.001, TOLERATED) * dice.one_of([0.05, 0.3, 1.0])
    else:
        kind = dice.one_of(["crash", "crash", "crash", "stall", "cut", "full"])
        seconds = dice.between(0.01, 9.0)
    if kind == "crash":
        return Fault(kind, (first,), 1 + dice.below(60), seconds)
    if kind == "full":
        return Fault(kind, (dice.one_of([a for a in actors if a < DEALER]),), at, seconds)
    return Fault(kind, (first,) if kind == "stall" else (first, second), at, seconds)
