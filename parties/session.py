"""A session: parties that stand ready, and runs one after another. The person's side of the coordinator."""

from __future__ import annotations

import contextlib
import difflib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from mpc.define import ProgramFunction
from mpc.errors import InputError, MpcError, PeerError, PolicyError, UsageError
from mpc.table import Schema
from parties.actor import Actor
from parties.agree import Terms, Verdict
from parties.cluster import COORDINATOR, Cluster
from parties.coordinator import Answer, CoordinatorBrain, Outcome, columns_of
from parties.events import Down
from parties.keys import KeyPair
from parties.limits import Limits
from parties.machinery import Machinery
from parties.mesh import Mesh, Tap
from parties.network import dial
from parties.run import Run, report
from parties.version import FORMAT, VERSION
from parties.wire import BadMessage, Type, unpack

__all__ = ["Launcher", "OnProgress", "Run", "Session"]

OnProgress = Callable[[str, int, int], None]
_TURN = 0.05
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

    def owner_text(self, party: int, seconds: float = 0.5) -> str:
        """What a party has to say to the owner of its data."""

    def forget_owner_texts(self) -> None:
        """Drop what belongs to an earlier run."""

    def dead(self) -> list[tuple[int, str]]:
        """Processes that ended, and how."""

    def pids(self) -> dict[str, int]:
        """Process ids by name."""

    def notes(self, actor: int | None = None) -> list[str]:
        """What processes wrote to standard error."""

    def close(self) -> None:
        """Stop them all."""


class Session:
    """Use as a context manager, from a script, a notebook cell or a test.

    catalog: programs that `run` and `plan` know by name. launcher: the processes of a local session.
    """

    def __init__(
        self,
        cluster: Cluster,
        keys: KeyPair,
        machinery: Machinery,
        *,
        catalog: Mapping[str, ProgramFunction] | None = None,
        launcher: Launcher | None = None,
        insecure: str = "",
        limits: Limits | None = None,
        on_send: Tap | None = None,
    ) -> None:
        self._cluster = cluster
        self._machinery = machinery
        self._catalog = catalog or {}
        self._launcher = launcher
        self._insecure = insecure
        self._limits = limits or Limits()
        self._mesh = Mesh(keys, on_send)
        self._brain = CoordinatorBrain(cluster, time.monotonic, self._limits)
        self._actor = Actor(self._mesh, self._brain, cluster)
        self._closed = False
        dial(self._mesh, cluster, COORDINATOR)

    def __repr__(self) -> str:
        return f"<Session with {', '.join(self.parties)}{' (closed)' if self._closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def parties(self) -> list[str]:
        """The computing parties' names, in the cluster's order."""
        return self._cluster.names

    def pids(self) -> dict[str, int]:
        """Process ids of a local session's parties and dealer, by name."""
        return self._launcher.pids() if self._launcher is not None else {}

    def close(self) -> None:
        """End the session; a local one's processes are gone afterwards."""
        if self._closed:
            return
        self._closed = True
        if self._launcher is not None:
            self._launcher.close()
        else:
            self._actor.drain(0.5)
        self._mesh.close(0.0 if self._launcher is not None else 1.0)

    # ------------------------------------------------------------------------------------------------- running

    def run(
        self,
        target: Any,
        /,
        *,
        suite: Any = "masked",
        on_progress: OnProgress | None = None,
        verify_ranges: bool = False,
        **given: Any,
    ) -> Run:
        """Run a program on what the parties have, and return what is revealed to this coordinator.

        target: a function under `@mpc.program`, a traced `mpc.Program`, or a name of the catalogue. suite: `masked` or
        `beaver`. given: the program's settings, and for each input `{party: data}`: locally a CSV path, an array, a
        `Table` or a data frame; on separate hosts the name under which the party offers it (left out: the input's own
        name at every party that offers it). on_progress(stage, done, total) is told of rounds. verify_ranges: every
        `assume_range` is checked, and one bit revealed that says whether all held; if not, the run fails (MpcError).

        Raises UsageError, InputError (row and column if the data's owner is this terminal), ProgramError and its kinds,
        PolicyError, PeerError (a party, the dealer or the network failed; its notes have what processes wrote).
        """
        began = time.monotonic()
        self._usable()
        try:
            program, bound = self._program(self._named(target), given)
            program = program.verified() if verify_ranges else program
            lowered = program.lower(self._suite(suite))
            lowered.check()
            plan = lowered.cost()
            terms, session = self._terms(program, lowered, self._suite_name(suite))
            self._actor.perform(self._brain.begin(session, terms, program.text, bound))
            outcome = self._conclude(plan.rounds, on_progress)
        except KeyboardInterrupt:
            self._interrupted()
            raise
        return report(program, plan, outcome, time.monotonic() - began)

    def plan(self, target: Any, /, *, suite: Any = "masked", verify_ranges: bool = False, **given: Any) -> Any:
        """What a run would cost, exactly: `mpc.Plan`. Nothing is run; parties are asked for schemas only."""
        self._usable()
        program, _ = self._program(self._named(target), given)
        program = program.verified() if verify_ranges else program
        lowered = program.lower(self._suite(suite))
        lowered.check()
        return lowered.cost()

    def describe(self, name: str, parties: Iterable[str] | None = None) -> dict[str, Schema]:
        """The public schema of what each party offers under a name; parties that offer nothing are left out."""
        self._usable()
        wanted = dict.fromkeys(self.parties if parties is None else parties, name)
        return self._schemas(wanted, required=parties is not None)

    def schemas(self, target: Any, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Schema]]:
        """The schemas of a program's inputs, for tracing it here: {input: {party: Schema}}."""
        self._usable()
        function = self._named(target)
        names = [p.name for p in function.parameters.values() if p.kind != "setting"]
        offered = self._offers(function, {name: inputs[name] for name in inputs}, names)
        return {name: self._schemas(wanted) for name, wanted in offered.items()}

    # ------------------------------------------------------------------------------------- programs and inputs

    def _named(self, target: Any) -> Any:
        if not isinstance(target, str):
            return target if hasattr(target, "parameters") or hasattr(target, "digest") else ProgramFunction(target)
        if target not in self._catalog:
            known = ", ".join(self._catalog) or "nothing"
            raise UsageError(f"{target!r} is not in the catalogue{_nearest(target, self._catalog)} (it has {known})")
        return self._catalog[target]

    def _suite_name(self, suite: Any) -> str:
        name = suite if isinstance(suite, str) else str(suite.name)
        if name not in self._machinery.suites:
            known = list(self._machinery.suites)
            raise UsageError(f"there is no suite {name!r}{_nearest(name, known)} (there: {', '.join(known)})")
        return name

    def _suite(self, suite: Any) -> Any:
        return self._machinery.suites[self._suite_name(suite)]

    def _program(self, target: Any, given: Mapping[str, Any]) -> tuple[Any, dict[int, dict[str, str]]]:
        """The traced program, and for each party which of its data is which input."""
        function = hasattr(target, "parameters")
        if function:
            names = [p.name for p in target.parameters.values() if p.kind != "setting"]
        else:
            names = list(dict.fromkeys(spec.name for spec in target.inputs))
        settings = {key: value for key, value in given.items() if key not in names}
        if settings and not function:
            raise UsageError(f"a traced program takes inputs only, not {', '.join(settings)}; its settings are fixed")
        self._connect()
        offered = self._offers(target, {key: given[key] for key in given if key in names}, names)
        bound: dict[int, dict[str, str]] = {}
        for name, wanted in offered.items():
            for party, offer in wanted.items():
                bound.setdefault(self._cluster.index(party), {})[name] = offer
        if not function:
            return target, bound
        schemas = {name: self._schemas(wanted) for name, wanted in offered.items()}
        return target.trace(schemas, self.parties, settings), bound

    def _offers(self, target: Any, given: Mapping[str, Any], names: list[str]) -> dict[str, dict[str, str]]:
        """{input: {party: the name of its offer}}; local data goes to its owner here."""
        self._check_owners(target, given)
        if self._launcher is None:
            self._connect()
            return {name: self._offered(name, given.get(name)) for name in names}
        self._launcher.forget_owner_texts()
        for name in names:
            if not given.get(name):
                raise UsageError(f"input {name} is missing: {name}={{{self.parties[0]!r}: data, ...}}")
            for party, value in given[name].items():
                self._launcher.offer(self._cluster.index(party), name, value)
        return {name: dict.fromkeys(given[name], name) for name in names}

    def _check_owners(self, target: Any, given: Mapping[str, Any]) -> None:
        for name, by_party in given.items():
            if not isinstance(by_party, Mapping):
                raise UsageError(f"input {name} says who owns what: {name}={{{self.parties[0]!r}: data, ...}}")
            for party in by_party:
                if party not in self.parties:
                    near = _nearest(str(party), self.parties)
                    raise UsageError(f"unknown party {party!r}{near} (the parties are {', '.join(self.parties)})")
        for p in getattr(target, "parameters", {}).values():
            if p.kind == "private" and len(given.get(p.name, {})) > 1:
                owners = ", ".join(given[p.name])
                raise UsageError(f"input {p.name} has one owner, and {len(given[p.name])} are given: {owners}")

    def _offered(self, name: str, given: Mapping[str, Any] | None) -> dict[str, str]:
        """On separate hosts: the offers meant, or whoever offers the input's own name."""
        if given:
            for party, offer in given.items():
                if not isinstance(offer, str):
                    raise UsageError(
                        f"input {name} of {party}: on separate hosts data is named, as the party offers it"
                    )
            return dict(given)
        found = self._schemas(dict.fromkeys(self.parties, name), required=False)
        if not found:
            raise UsageError(f"no party offers {name!r}: start one with --data {name}=FILE.csv, or name another offer")
        return dict.fromkeys(found, name)

    def _schemas(self, wanted: Mapping[str, str], required: bool = True) -> dict[str, Schema]:
        self._connect()
        numbers = {}
        for party, offer in wanted.items():
            numbers[party], question = self._brain.ask(self._cluster.index(party), Type.DESCRIBE, name=offer)
            self._actor.perform(iter([question]))
        schemas = {}
        for party, number in numbers.items():
            message = self._answer(number, self._cluster.index(party)).message
            if message.meta["offered"]:
                try:
                    columns = columns_of(message)
                except BadMessage as error:
                    raise PeerError(f"party {party} sent a bad message ({error})") from None
                schemas[party] = Schema(tuple(message.meta["shape"]), columns, self._classes(party, wanted[party]))
            elif required:
                raise PolicyError(f"{party} offers no data named {wanted[party]!r}")
        return schemas

    def _classes(self, party: str, offer: str) -> Callable[[str], list[str]]:
        def ask(column: str) -> list[str]:
            actor = self._cluster.index(party)
            number, question = self._brain.ask(actor, Type.CLASSES, name=offer, column=column)
            self._actor.perform(iter([question]))
            answer = self._answer(number, actor)
            if answer.refused:
                raise self._input_error(actor, f"{party}: {answer.refused}")
            labels = unpack(answer.message.frames)
            return [str(label) for label in labels]

        return ask

    def _answer(self, number: int, actor: int) -> Answer:
        end = time.monotonic() + self._limits.stall
        while number not in self._brain.answers:
            self._look_between_runs()
            self._actor.step(_TURN)
            if actor not in self._brain.connected:
                raise PeerError(f"{self._cluster.call(actor)} lost its connection")
            if time.monotonic() > end:
                raise PeerError(f"{self._cluster.call(actor)} did not answer for {self._limits.stall:g} s")
        return self._brain.answers.pop(number)

    # ------------------------------------------------------------------------------------------ the conversation

    def _usable(self) -> None:
        if self._closed:
            raise UsageError("this session is closed")

    def _connect(self) -> None:
        """Wait until everybody is there."""
        began = time.monotonic()
        while missing := sorted(set(self._brain.actors) - self._brain.connected):
            self._look_between_runs()
            self._actor.step(_TURN)
            plain = all(self._mesh.refused(actor) for actor in missing)
            patience = min(self._limits.refusal, self._limits.startup) if plain else self._limits.startup
            if time.monotonic() - began > patience:
                raise PeerError("; ".join(self._unreachable(actor) for actor in missing))

    def _unreachable(self, actor: int) -> str:
        member = self._cluster.member(actor)
        trouble = self._mesh.trouble(actor) or "no greeting came back"
        return f"{self._cluster.call(actor)} cannot be reached at {member.address}: {trouble}"

    def _look(self) -> None:
        """Local processes that ended are noticed here, before their sockets say so."""
        for actor, how in self._launcher.dead() if self._launcher is not None else []:
            self._actor.perform(self._brain.handle(Down(actor, how)))

    def _look_between_runs(self) -> None:
        for actor, how in self._launcher.dead() if self._launcher is not None else []:
            raise self._noted(PeerError(f"{self._cluster.call(actor)} {how}; start a new session"))

    def _terms(self, program: Any, lowered: Any, suite: str) -> tuple[Terms, bytes]:
        session = secrets.token_bytes(16)
        terms = Terms(
            VERSION,
            FORMAT,
            program.digest,
            lowered.digest,
            suite,
            tuple(self.parties),
            self._cluster.digest(),
            session.hex(),
            self._insecure,
        )
        return terms, session

    def _conclude(self, rounds: int, on_progress: OnProgress | None) -> Outcome:
        told = -1
        while self._brain.outcome is None and self._brain.verdict is None:
            self._look()
            self._actor.step(_TURN)
            if on_progress is not None and self._brain.round > told:
                told = self._brain.round
                on_progress("round", told, rounds)
        if self._brain.verdict is not None:
            raise self._failure(self._brain.verdict)
        if on_progress is not None and told < rounds:
            on_progress("round", rounds, rounds)
        assert self._brain.outcome is not None
        return self._brain.outcome

    def _failure(self, verdict: Verdict) -> MpcError:
        self._settle()
        if verdict.kind == "input" and verdict.origin < len(self.parties):
            return self._input_error(verdict.origin, verdict.sentence)
        error = _KINDS.get(verdict.kind, PeerError)(verdict.sentence)
        return self._noted(error)

    def _settle(self) -> None:
        """Let the verdict leave."""
        with contextlib.suppress(KeyboardInterrupt):
            self._actor.step(0.01)
            self._actor.drain(0.2)

    def _input_error(self, actor: int, public: str) -> InputError:
        name = self._cluster.name(actor)
        text = self._launcher.owner_text(actor) if self._launcher is not None else ""
        return InputError(text.removeprefix(f"{name}: "), name) if text else InputError(public)

    def _noted(self, error: MpcError) -> MpcError:
        for note in self._launcher.notes() if self._launcher is not None else []:
            error.add_note(note)
        return error

    def _interrupted(self) -> None:
        self._actor.perform(self._brain.stop("stopped by the coordinator"))
        self._settle()
        self.close()


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
