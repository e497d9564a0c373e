"""The person at the coordinator: starts a run, resumes it when it was stopped. `parties.session` as a state machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from parties.agree import RESUMABLE
from parties.cluster import DEALER
from parties.coordinator import CoordinatorBrain, Following
from parties.events import Instruction, Send
from parties.session import latest
from parties.simulation.dice import Dice
from parties.simulation.faults import FOR_EVER
from parties.terms import Binding, Terms
from parties.wire import Type, unpack

if TYPE_CHECKING:
    from parties.simulation.world import World

__all__ = ["Person"]

SUITE = "masked"
_TURN = 1.0
_STOPPED = 2.0  # seconds between two turns of a process that was not running


class Person:
    """final: how it ended, empty while it goes on. attempts: how many were made; what became of each."""

    def __init__(self, world: World) -> None:
        self.doing = "away"
        self.final: str | None = None
        self.history: list[str] = []
        self._world = world
        self._dice = Dice(world.plan.seed, "person")
        self._brain: CoordinatorBrain | None = None
        self._run = self._dice(16).hex()
        self._began = False
        self._deals = world.plan.program == "stocked"
        self._material = ""
        self._asked: dict[int, int] = {}
        self._following: Following | None = None
        self._deadline = FOR_EVER
        self._patient = self._looked = 0.0

    @property
    def attempts(self) -> int:
        """How many attempts were begun."""
        return len(self.history)

    @property
    def patience(self) -> float:
        """Seconds until this person wants to look again by itself."""
        left = max(0.0, self._deadline - self._world.now)
        return min(left, _TURN) if self.doing == "connecting" else left

    def sits_down(self, brain: CoordinatorBrain) -> None:
        """At a new coordinator."""
        self._brain = brain
        self._connect()

    def is_alone(self) -> None:
        """The coordinator has died."""
        if self._following is not None:
            self.history.append("the coordinator died")
        self._brain = self._following = None
        self.doing, self._deadline = "away", FOR_EVER
        if any(f.for_ever for f in self._world.rules.faults):
            self.final = "nobody at the coordinator"

    def _connect(self) -> None:
        self._following = None
        self.doing, self._deadline = "connecting", self._world.now + self._world.limits.startup
        self._looked = self._world.now
        self._patient = self._world.now + self._dice.between(0, 2 if self._began else 0)

    def turn(self) -> Iterator[Instruction]:
        """Look at what has happened, and do the next thing."""
        if self._brain is None or self.final is not None:
            return
        if self.doing == "connecting":
            yield from self._connecting(self._brain)
        if self.doing == "asking":
            yield from self._asking(self._brain)
        if self.doing == "running":
            self._running()

    def _connecting(self, brain: CoordinatorBrain) -> Iterator[Instruction]:
        world = self._world
        missing = [a for a in (*range(world.plan.parties), DEALER) if a not in brain.connected]
        if missing:
            if world.now - self._looked > _STOPPED:
                self._deadline += world.now - self._looked  # nobody else kept it waiting
            self._looked = world.now
            if world.now >= self._deadline - 1e-9:
                world.rules.unreachable(missing)
                self._stop_or_go_on("unreachable")
            return
        if world.now < self._patient - 1e-9:
            self._deadline = self._patient
            return
        self._deadline = FOR_EVER
        if self._deals and not self._material:
            yield from self._begin(brain, 1, (0, -1, 0), "deal")
            return
        if not self._began:
            self._began = True
            yield from self._begin(brain, 1, (0, -1, 0), material=self._material)
            return
        self.doing, self._asked = "asking", {}
        self._deadline = world.now + world.limits.stall
        questions: list[Send] = []
        for party in range(world.plan.parties):
            number, question = brain.ask(party, Type.HELD, run=self._run, lowered="", task="")
            self._asked[party] = number
            questions.append(question)
        yield from questions

    def _asking(self, brain: CoordinatorBrain) -> Iterator[Instruction]:
        silent = [party for party, number in self._asked.items() if number not in brain.answers]
        if silent and self._world.now >= self._deadline - 1e-9:
            self._world.rules.unreachable(silent)
            self._stop_or_go_on("unreachable")
        if silent:
            return
        self._deadline = FOR_EVER
        held: list[Any] = []
        for number in self._asked.values():
            answer = brain.answers.pop(number)
            if answer.kind == "lost":
                self._connect()
                return
            held.append(unpack(answer.message.frames))
        at = latest([h["checkpoints"] for h in held])
        self._world.rules.resumes(at[0])
        yield from self._begin(brain, 1 + max(h["attempts"] for h in held), at)

    def _begin(
        self, brain: CoordinatorBrain, attempt: int, at: tuple[int, int, int], mode: str = "run", material: str = ""
    ) -> Iterator[Instruction]:
        world = self._world
        epoch, site, iteration = at
        program = world.case.program.continued(site, iteration) if epoch else world.case.program
        session = self._dice(16)
        lowered = program.lower(world.library.suites[SUITE])
        run = self._run if mode == "run" else session.hex()
        terms = Terms.of(
            world.cluster, program, lowered, SUITE, session, Binding(), mode=mode, run=run, attempt=attempt,
            epoch=epoch, material=material,
        )  # fmt: skip
        self.doing = "running"
        self._following = following = brain.follow(session, terms)
        world.note(f"attempt {attempt} begins at {f'step {iteration}' if epoch else 'the beginning'}")
        world.rules.begins()
        yield from brain.begin(following, program.text, Binding())

    def _running(self) -> None:
        following, rules = self._following, self._world.rules
        if following is None:
            return
        rules.watches(following)
        if following.outcome is not None and following.terms.mode == "deal":
            self._world.note("material is stored")
            self._material = following.outcome.material
            self._connect()
        elif following.outcome is not None:
            self._world.note("done")
            self.history.append("done")
            self.final, self.doing = "right", "gone"
            rules.done(following)
        elif following.verdict is not None:
            self._world.note(following.verdict.sentence.replace("{", "(").replace("}", ")"))
            self.history.append(following.verdict.kind)
            rules.stopped(following)
            self._stop_or_go_on(following.verdict.kind)

    def _stop_or_go_on(self, kind: str) -> None:
        """Resume, unless something is broken for good."""
        for_good = kind not in RESUMABLE | {"unreachable"}
        if for_good or any(f.for_ever for f in self._world.rules.faults):
            self.final = kind
        else:
            self._connect()
