"""The coordinator's body and the person's patience: who is there, what they answer, how a run ends."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

from mpc.errors import InputError, MpcError, PeerError, PolicyError, UsageError
from mpc.table import Schema
from parties.actor import Actor
from parties.agree import Verdict
from parties.answers import columns_of, holdings_of, labels_of, shape_of
from parties.cluster import DEALER, Cluster, take_seat
from parties.coordinator import Answer, CoordinatorBrain, Following
from parties.events import Down, question
from parties.interrupt import Interrupt
from parties.keys import KeyPair
from parties.limits import Limits
from parties.mesh import Mesh, Tap
from parties.network import dial
from parties.terms import Binding, Task
from parties.turns import Turns
from parties.watch import Watch
from parties.wire import BadMessage, Type

__all__ = ["Launcher", "Liaison"]

OnProgress = Callable[[str, int, int], None]
_PARTIES = frozenset({DEALER})  # who need not be there for a question to parties
_TURN = 0.05
_COMPARED = 1.0  # seconds until all who have another cluster file have said so
_STOPPED = 2.0  # seconds between two turns of a process that was not running
_KINDS: dict[str, type[MpcError]] = {
    "input": InputError,
    "policy": PolicyError,
    "program": MpcError,
    "internal": MpcError,
}


class Launcher(Protocol):
    """Local processes, as a session needs them; see `parties.launch.local`."""

    def offer(self, party: int, name: str, value: Any) -> None:
        """Give a party its own data."""

    def owner_text(self, party: int, about: bytes, seconds: float = 0.5) -> str:
        """What a party has to say to the owner of its data about a session or a question."""

    def results_of(self, party: int, session: bytes, names: Collection[str], seconds: float = 5.0) -> dict[str, Any]:
        """The results of a session that are a party's alone."""

    def dead(self) -> list[tuple[int, str]]:
        """Processes that ended, and how."""

    def pids(self) -> dict[str, int]:
        """Process ids by name."""

    def notes(self, actor: int | None = None) -> list[str]:
        """What processes wrote to standard error."""

    def close(self) -> None:
        """Stop them all."""


class Liaison:
    """What a session needs of the other actors. launcher: the processes of a local session.

    turns: whoever uses anything here is inside, but for `conclude`, which takes its turns itself. closing: set by
    `close`, so that whoever is inside and waits for an actor gives up.
    """

    def __init__(
        self, cluster: Cluster, keys: KeyPair, limits: Limits, launcher: Launcher | None, on_send: Tap | None
    ) -> None:
        self.cluster = cluster
        self.limits = limits
        self.launcher = launcher
        self.closing = False
        incarnation = secrets.randbits(63) + 1
        self._mesh = mesh = Mesh(keys, on_send)
        self.turns = Turns(mesh.wake)
        seat = take_seat()
        watch = Watch(Mesh(keys), 0, seat, cluster, incarnation, mesh.wake, limits)
        self.brain = CoordinatorBrain(cluster, time.monotonic, limits, watch.heard, seat)
        self._actor = Actor(mesh, self.brain, cluster, incarnation, watch)
        dial(mesh, cluster, seat)
        watch.start()

    def close(self) -> None:
        """Say goodbye, once everybody has the last words: whoever hears that a run is done still has to write it down.

        Runs that are on are ended. A local session's processes are gone afterwards.
        """
        self._actor.perform(self.brain.stop("the coordinator closed its session"))
        if self.launcher is None:
            self._actor.close(1.0)
            return
        if not self.launcher.dead():
            self._actor.drain(1.0)
        self.launcher.close()
        self._actor.close(0.0)

    # ------------------------------------------------------------------------------------------------ being there

    def connect(self, without: frozenset[int] = frozenset()) -> None:
        """Wait until everybody is there. PeerError that names whoever is not, and why."""
        began = looked = time.monotonic()
        wanted = {*range(len(self.cluster.parties)), DEALER} - without
        while missing := sorted(wanted - self.brain.connected):
            self._unless_closing()
            self._look_between_runs()
            self._actor.step(_TURN)
            now = time.monotonic()
            if now - looked > _STOPPED:
                began += now - looked  # this very process was stopped, and nobody else kept it waiting
            looked = now
            if now - began > self._patience(missing) and (missing := sorted(wanted - self.brain.connected)):
                others = [actor for actor in missing if self._actor.differs(actor)]
                raise PeerError("; ".join(self._unreachable(actor) for actor in others or missing))

    def _patience(self, missing: Iterable[int]) -> float:
        """How long to wait for these: less if it is plain that some will not come."""
        if any(self._actor.differs(actor) for actor in missing):
            return _COMPARED
        plain = all(self._mesh.refused(actor) for actor in missing)
        return min(self.limits.refusal, self.limits.startup) if plain else self.limits.startup

    def _unreachable(self, actor: int) -> str:
        if self._actor.differs(actor):
            return f"{self.cluster.call(actor)} cannot take part: {self._actor.trouble(actor)}"
        member = self.cluster.member(actor)
        return f"{self.cluster.call(actor)} cannot be reached at {member.address}: {self._actor.trouble(actor)}"

    def _look(self) -> None:
        """Local processes that ended are noticed here, before their silence is."""
        for actor, how in self.launcher.dead() if self.launcher is not None else []:
            self._actor.perform(self.brain.handle(Down(actor, how)))

    def _unless_closing(self) -> None:
        if self.closing:
            raise UsageError("this session is closed: another thread has closed it meanwhile")

    def _look_between_runs(self) -> None:
        for actor, how in self.launcher.dead() if self.launcher is not None else []:
            raise self.noted(PeerError(f"{self.cluster.call(actor)} {how}; start a new session"))

    # -------------------------------------------------------------------------------------------------- questions

    def schemas(self, wanted: Mapping[str, str], required: bool = True) -> dict[str, Schema]:
        """The schema of what each party offers under a name; {party: offer}."""
        self.connect(_PARTIES)
        numbers = {party: self._ask(party, Type.DESCRIBE, name=offer) for party, offer in wanted.items()}
        schemas = {}
        for party, number in numbers.items():
            answer = self._answer(number, self.cluster.index(party))
            if answer.refused:
                raise self.input_error(self.cluster.index(party), f"{party}: {answer.refused}", question(number))
            message = answer.message
            if message.meta["offered"]:
                with _bad(party):
                    columns, shape = columns_of(message), shape_of(message)
                schemas[party] = Schema(shape, columns, self._classes(party, wanted[party]))
            elif required:
                raise PolicyError(f"{party} offers no data named {wanted[party]!r}")
        return schemas

    def _classes(self, party: str, offer: str) -> Callable[[str], list[str]]:
        @cache  # a program is traced several times, and what an owner has told stands in its journal each time
        def ask(column: str) -> list[str]:
            with self.turns:  # tracing may ask from anywhere
                number = self._ask(party, Type.CLASSES, name=offer, column=column)
                answer = self._answer(number, self.cluster.index(party))
                if answer.refused:
                    raise self._refused(party, answer, question(number))
                with _bad(party):
                    return labels_of(answer.message)

        return ask

    def _refused(self, party: str, answer: Answer, about: bytes) -> MpcError:
        if answer.kind == "input":
            return self.input_error(self.cluster.index(party), f"{party}: {answer.refused}", about)
        return _KINDS.get(answer.kind, PeerError)(f"{party}: {answer.refused}")

    def holdings(self, run: str = "", task: Task | None = None) -> dict[str, dict[str, Any]]:
        """What each party keeps of a run, of material, for this task alone if one is named, and under names."""
        self.connect(_PARTIES)
        which = {"run": run, "lowered": task.lowered if task else "", "task": task.digest() if task else ""}
        numbers = {name: self._ask(name, Type.HELD, **which) for name in self.cluster.names}
        found = {}
        for name, number in numbers.items():
            answer = self._answer(number, self.cluster.index(name))
            if answer.refused:
                raise PeerError(f"{name}: {answer.refused}")
            with _bad(name):
                found[name] = holdings_of(answer.message)
        return found

    def drop(self, name: str) -> None:
        """Have every party give up a kept secret. UsageError if one of them has none of that name."""
        self.connect(_PARTIES)
        numbers = {party: self._ask(party, Type.DROP, name=name) for party in self.cluster.names}
        answers = {party: self._answer(number, self.cluster.index(party)) for party, number in numbers.items()}
        for party, answer in answers.items():
            if answer.refused:
                raise UsageError(f"{party}: {answer.refused}")

    def _ask(self, party: str, kind: Type, **meta: Any) -> int:
        number, question = self.brain.ask(self.cluster.index(party), kind, **meta)
        self._actor.perform(iter([question]))
        return number

    def _answer(self, number: int, actor: int) -> Answer:
        end = time.monotonic() + self.limits.stall
        while number not in self.brain.answers:
            self._unless_closing()
            self._look_between_runs()
            self._actor.step(_TURN)
            if actor not in self.brain.connected:
                raise PeerError(f"{self.cluster.call(actor)} lost its connection")
            if time.monotonic() > end:
                raise PeerError(f"{self.cluster.call(actor)} did not answer for {self.limits.stall:g} s")
        answer = self.brain.answers.pop(number)
        if answer.kind == "lost":
            raise PeerError(f"{self.cluster.call(actor)} {answer.refused}")
        return answer

    # ------------------------------------------------------------------------------------------------------- runs

    def begin(self, following: Following, text: str, binding: Binding) -> None:
        """Have a program prepared by everybody.

        Local parties are waited for: the next run's data comes through a pipe of its own, and would overtake.
        """
        self._actor.perform(self.brain.begin(following, text, binding))
        end = time.monotonic() + self.limits.stall
        while self.launcher is not None and not following.prepared and time.monotonic() < end:
            self._unless_closing()
            self._look()
            self._actor.step(_TURN)

    def conclude(self, following: Following, rounds: int, on_progress: OnProgress | None) -> None:
        """Wait for the end of an attempt; other attempts go on meanwhile. Raises what ended it."""
        told = -1

        def step() -> None:
            self._look()
            self._actor.step(_TURN)

        def look() -> None:
            nonlocal told
            if interrupt.caught and not following.over:
                with self.turns:
                    self._actor.perform(self.brain.stop("the coordinator was stopped"))
            if on_progress is not None and following.furthest[0] > told:
                told = following.furthest[0]
                on_progress("round", told, rounds)

        with Interrupt() as interrupt:
            self.turns.until(lambda: following.over, step, look)
            if interrupt.caught and following.outcome is None:
                self._settle()
                interrupt.go_on()
        if following.verdict is not None:
            raise self._failure(following, following.verdict)
        if on_progress is not None and told < rounds:
            on_progress("round", rounds, rounds)

    def _failure(self, following: Following, verdict: Verdict) -> MpcError:
        self._settle()
        if verdict.kind == "input" and verdict.origin < len(self.cluster.parties):
            return self.input_error(verdict.origin, verdict.sentence, following.id)
        return self.noted(_KINDS.get(verdict.kind, PeerError)(verdict.sentence))

    def _settle(self) -> None:
        """Let the verdict leave, unless whoever closed the session has done so."""
        with self.turns:
            if not self.closing:
                self._actor.step(0.01)
                self._actor.drain(0.2)

    def input_error(self, actor: int, public: str, about: bytes) -> InputError:
        """A refusal of data: with row and column if its owner sits at this terminal."""
        name = self.cluster.name(actor)
        text = self.launcher.owner_text(actor, about) if self.launcher is not None else ""
        return InputError(text.removeprefix(f"{name}: "), name) if text else InputError(public)

    def noted(self, error: MpcError) -> MpcError:
        """With what local processes wrote."""
        for note in self.launcher.notes() if self.launcher is not None else []:
            error.add_note(note)
        return error


@contextlib.contextmanager
def _bad(party: str) -> Iterator[None]:
    """A message of a party that is not what it must be ends what the person asked for, and the party is named."""
    try:
        yield
    except BadMessage as error:
        raise PeerError(f"party {party} sent a bad message ({error})") from None
