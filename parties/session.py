"""A session: parties that stand ready, and runs one after another or several at once, for whoever coordinates."""

from __future__ import annotations

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from mpc.define import ProgramFunction
from mpc.errors import UsageError
from mpc.handles import HandleSpec
from mpc.table import Schema
from parties.cluster import DEALER, Cluster
from parties.coordinator import Following
from parties.home import Home, HomeError, StoredRun
from parties.inputs import Inputs
from parties.keys import KeyPair
from parties.liaison import Launcher, Liaison, OnProgress
from parties.limits import Limits
from parties.machinery import Machinery
from parties.mesh import Tap
from parties.run import Run, report
from parties.target import nearest
from parties.terms import Binding, Task, Terms
from parties.version import VERSION
from parties.wire import BODY_LIMIT

__all__ = ["Launcher", "OnProgress", "Pending", "Run", "Session", "latest"]


P = ParamSpec("P")
R = TypeVar("R")


def _in_turn(method: Callable[Concatenate[Session, P], R]) -> Callable[Concatenate[Session, P], R]:
    """What uses the sockets or the home of an open session: one thread at a time."""

    @functools.wraps(method)
    def taken(self: Session, /, *given: P.args, **named: P.kwargs) -> R:
        with self._liaison.turns:
            self._usable()
            return method(self, *given, **named)

    return taken


@dataclass
class Pending:
    """A run that has been started: `result()` waits for it. Others go on meanwhile."""

    id: str
    _session: Session
    program: Any  # as it was traced
    _plan: Any
    _following: Following
    _began: float

    def result(self, on_progress: OnProgress | None = None) -> Run:
        """What the run gave. Raises what ended it, as `Session.run` does."""
        return self._session._finish(self, on_progress)


class Session:
    """Use as a context manager, from a script, a notebook cell or a test; from several threads, if you like.

    Runs of several threads go on side by side; what else a session is asked for waits for its turn. `close` ends the
    runs that are on, each with an error that says so.

    catalog: programs that `run` and `plan` know by name. launcher: the processes of a local session. home: where runs
    are remembered, so that they can be resumed. origin: what is remembered with them of how this session was opened.
    """

    def __init__(
        self,
        cluster: Cluster,
        keys: KeyPair,
        machinery: Machinery,
        *,
        home: Home,
        catalog: Mapping[str, ProgramFunction] | None = None,
        launcher: Launcher | None = None,
        insecure: str = "",
        limits: Limits | None = None,
        on_send: Tap | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._origin = dict(origin or {})
        self._machinery = machinery
        self._catalog = catalog or {}
        self._launcher = launcher
        self._home = home
        self._insecure = insecure
        self._closed = False
        self._on: dict[str, Pending] = {}
        self._liaison = Liaison(cluster, keys, limits or Limits(), launcher, on_send)
        self._inputs = Inputs(self._liaison, launcher)

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
        self._liaison.closing = True
        with self._liaison.turns:
            if not self._closed:
                self._closed = True
                self._liaison.close()
                for pending in list(self._on.values()):
                    self._ended(pending)
                self._home.close()

    # ------------------------------------------------------------------------------------------------- running

    def run(
        self,
        target: Any,
        /,
        *,
        suite: Any = "masked",
        on_progress: OnProgress | None = None,
        verify_ranges: bool = False,
        checkpoint_every: int = 0,
        material: str | bool = False,
        **given: Any,
    ) -> Run:
        """Run a program on what the parties have, and return what is revealed to this coordinator.

        In a local session, whose data are all its caller's, also what is revealed to single parties (`Run.results_of`).

        target: a function under `@mpc.program`, a traced `mpc.Program`, or a name of the catalogue. suite: `masked` or
        `beaver`. given: the program's settings, and for each input `{party: data}`: locally a CSV path, an array,
        columns by name or a data frame; on separate hosts the name under which the party offers it (left out: the
        input's own name at every party that offers it). A parameter that takes a kept secret is given its name.
        on_progress(stage, done, total) is told of rounds. verify_ranges: every `assume_range` is checked, and one bit
        revealed that says whether all held; if not, the run fails (MpcError). checkpoint_every: steps of a loop between
        two checkpoints, from which `resume` goes on; 0: none. material: use what `deal` has stored at the parties, and
        no dealer (True, or its id).

        Raises UsageError, InputError (row and column if the data's owner is this terminal), ProgramError and its kinds,
        PolicyError, PeerError (a party, the dealer or the network failed; its notes have what processes wrote).
        """
        options = {"suite": suite, "verify_ranges": verify_ranges, "checkpoint_every": checkpoint_every}
        return self.start(target, **options, material=material, **given).result(on_progress)

    @_in_turn
    def start(
        self,
        target: Any,
        /,
        *,
        suite: Any = "masked",
        verify_ranges: bool = False,
        checkpoint_every: int = 0,
        material: str | bool = False,
        **given: Any,
    ) -> Pending:
        """Begin a run, as `run` does, without waiting for its end; several may be on at once."""
        began = time.monotonic()
        with self._unless_interrupted():
            without = frozenset({DEALER}) if material else frozenset[int]()
            program, binding = self._inputs.program(self._named(target), given, without)
            program = _with(program, verify_ranges, checkpoint_every)
            run = secrets.token_hex(16)
            name = self._suite_name(suite)
            found = self._material(material, program, name, binding)
            self._home.runs.add(
                StoredRun(
                    run,
                    program.name,
                    program.text,
                    program.digest,
                    name,
                    self._inputs.remembered(given),
                    every=checkpoint_every,
                    more={
                        **self._origin,
                        "parties": self.parties,
                        "handles": binding.handles,
                        "settings": binding.settings,
                    },
                )
            )
            return self._attempt(run, 1, 0, program, name, binding, began, found)

    def resume(self, run: str, /, *, on_progress: OnProgress | None = None, **given: Any) -> Run:
        """Go on with a run that was stopped, from the last checkpoint that every party has, else from its beginning.

        run: its id or the first digits of it. given: inputs that were arrays and not files, again. The result is the
        uninterrupted run's, up to units of truncation. Raises UsageError for a run that is unknown, or done at every
        party, and what `run` raises.
        """
        return self._resumed(run, given).result(on_progress)

    @_in_turn
    def _resumed(self, run: str, given: Mapping[str, Any]) -> Pending:
        began = time.monotonic()
        stored = self._home.runs.find(run)
        if stored.status == "done" and not stored.sentence:
            raise UsageError(f"run {stored.run[:10]} ({stored.program}) is done; there is nothing to resume")
        if stored.more["parties"] != self.parties:
            raise UsageError(f"run {stored.run[:10]} is one of {', '.join(stored.more['parties'])}")
        with self._unless_interrupted():
            original = self._machinery.parse(stored.text)
            held = self._liaison.holdings(run=stored.run)
            epoch, site, iteration = latest([h["checkpoints"] for h in held.values()])
            program = original.continued(site, iteration) if epoch else original
            binding = self._inputs.again(program, stored, given)
            attempt = 1 + max(h["attempts"] for h in held.values())
            pending = self._attempt(stored.run, attempt, epoch, program, stored.suite, binding, began, "")
        self._home.runs.set_status(stored.run, "running")
        return pending

    def deal(
        self,
        target: Any,
        /,
        *,
        suite: Any = "masked",
        verify_ranges: bool = False,
        checkpoint_every: int = 0,
        **given: Any,
    ) -> str:
        """Have the dealer make the material for one run of a program ahead of time, into each party's store; its id.

        given: as for `run`; only the shapes of inputs matter. The material serves every run of the same program on
        inputs of the same shapes, once.
        """
        following = self._dealing(target, suite, verify_ranges, checkpoint_every, given)._following
        self._liaison.conclude(following, 0, None)
        assert following.outcome is not None
        return following.outcome.material

    @_in_turn
    def _dealing(
        self, target: Any, suite: Any, verify_ranges: bool, checkpoint_every: int, given: Mapping[str, Any]
    ) -> Pending:
        began = time.monotonic()
        with self._unless_interrupted():
            program, binding = self._inputs.program(self._named(target), given)
            program = _with(program, verify_ranges, checkpoint_every)
            name, alone = self._suite_name(suite), Binding(settings=binding.settings)
            return self._attempt(secrets.token_hex(16), 1, 0, program, name, alone, began, "", mode="deal")

    @_in_turn
    def specs(self, kept: Mapping[str, str]) -> dict[str, HandleSpec]:
        """What the parties keep, for tracing here: {parameter: name} to {parameter: spec}."""
        return self._inputs.specs(kept)

    @_in_turn
    def kept(self) -> list[HandleSpec]:
        """The secrets that every party keeps for later programs, by name."""
        held = [{h[1]["name"]: h for h in found["handles"]} for found in self._liaison.holdings().values()]
        names = [name for name in held[0] if all(name in h and h[name] == held[0][name] for h in held)]
        return [HandleSpec.parse(held[0][name][1]) for name in names]

    @_in_turn
    def drop(self, name: str) -> None:
        """Have every party give up a kept secret, for good. UsageError if there is none of that name."""
        self._liaison.drop(name)

    @_in_turn
    def stock(self) -> dict[str, list[str]]:
        """The ids of unused material, by party."""
        return {name: sorted(h["materials"]) for name, h in self._liaison.holdings().items()}

    def _attempt(
        self,
        run: str,
        attempt: int,
        epoch: int,
        program: Any,
        suite: str,
        binding: Binding,
        began: float,
        material: str,
        mode: str = "run",
    ) -> Pending:
        lowered = program.lower(self._machinery.suites[suite])
        lowered.check()
        self._liaison.connect(frozenset({DEALER}) if material else frozenset())
        session = secrets.token_bytes(16)
        terms = Terms.of(
            self._cluster, program, lowered, suite, session, binding, insecure=self._insecure, mode=mode, run=run,
            attempt=attempt, epoch=epoch, material=material,
        )  # fmt: skip
        plan = lowered.cost()
        following = self._liaison.brain.follow(session, terms, plan.rounds, most_bytes(program))
        pending = Pending(run, self, program, plan, following, began)
        if mode == "run":
            self._on[run] = pending
        self._liaison.begin(following, program.text, binding)
        return pending

    def _finish(self, pending: Pending, on_progress: OnProgress | None) -> Run:
        following = pending._following
        try:
            self._liaison.conclude(following, pending._plan.rounds, on_progress)
        except BaseException as error:
            self._ended(pending)
            if isinstance(error, KeyboardInterrupt):
                self.close()
            raise
        self._ended(pending)
        own = self._results_of(pending.program, following)
        seconds = time.monotonic() - pending._began
        return report(pending.id, pending.program, pending._plan, following, seconds, own)

    def _results_of(self, program: Any, following: Following) -> dict[str, dict[str, Any]]:
        """{party: results that it alone was shown}, of a local run, where all owners are whoever started it."""
        if self._launcher is None:
            return {}
        own: dict[str, list[str]] = {}
        for output in program.outputs:
            for party in () if output.to == "everyone" or "coordinator" in output.to else output.to:
                own.setdefault(party, []).append(output.name)
        found = {}
        for party, names in own.items():
            found[party] = self._launcher.results_of(self._cluster.index(party), following.id, names)
            lost = [name for name in names if name not in found[party]]
            following.troubles += [f"{party} was shown {name!r} and ended before it could hand it on" for name in lost]
        return found

    def _ended(self, pending: Pending) -> None:
        """Remember how a run ended, unless that is done."""
        following = pending._following
        with self._liaison.turns:
            if self._on.pop(pending.id, None) is None:
                return
            status, sentence = "done", "; ".join(following.unwritten)
            if following.outcome is None:
                status, sentence = "stopped", following.verdict.sentence if following.verdict is not None else ""
            with contextlib.suppress(UsageError, HomeError):  # the run's own end matters more than the note of it
                self._home.runs.set_status(pending.id, status, sentence)

    # ----------------------------------------------------------------------------------------------- nothing runs

    @_in_turn
    def plan(
        self,
        target: Any,
        /,
        *,
        suite: Any = "masked",
        verify_ranges: bool = False,
        checkpoint_every: int = 0,
        **given: Any,
    ) -> Any:
        """What a run would cost, exactly: `mpc.Plan`. Nothing is run; parties are asked for schemas only."""
        program, _ = self._inputs.program(self._named(target), given, frozenset({DEALER}))
        lowered = _with(program, verify_ranges, checkpoint_every).lower(self._machinery.suites[self._suite_name(suite)])
        lowered.check()
        return lowered.cost()

    @_in_turn
    def describe(self, name: str, parties: Iterable[str] | None = None) -> dict[str, Schema]:
        """The public schema of what each party offers under a name; parties that offer nothing are left out."""
        wanted = dict.fromkeys(self.parties if parties is None else parties, name)
        return self._liaison.schemas(wanted, required=parties is not None)

    @_in_turn
    def schemas(self, target: Any, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Schema]]:
        """The schemas of a program's inputs, for tracing it here: {input: {party: Schema}}."""
        return self._inputs.schemas(self._named(target), inputs)

    def _named(self, target: Any) -> Any:
        if not isinstance(target, str):
            return target if hasattr(target, "parameters") or hasattr(target, "digest") else ProgramFunction(target)
        if target not in self._catalog:
            known = ", ".join(self._catalog) or "nothing"
            raise UsageError(f"{target!r} is not in the catalogue{nearest(target, self._catalog)} (it has {known})")
        return self._catalog[target]

    def _suite_name(self, suite: Any) -> str:
        name = suite if isinstance(suite, str) else str(suite.name)
        if name not in self._machinery.suites:
            known = list(self._machinery.suites)
            raise UsageError(f"there is no suite {name!r}{nearest(name, known)} (there: {', '.join(known)})")
        return name

    def _material(self, wanted: str | bool, program: Any, suite: str, binding: Binding) -> str:
        """The id of unused material that every party has.

        The first for this task; if there is none, the latest of all, which they refuse and say what it was dealt for.
        """
        if not wanted:
            return ""
        named = wanted if isinstance(wanted, str) else ""
        lowered = program.lower(self._machinery.suites[suite])
        about = {"settings": binding.settings, "insecure": self._insecure, "version": VERSION}
        fitting = self._stocked(Task.of(self._cluster, program, lowered, suite, **about), named)
        others = [] if fitting else self._stocked(None, named)
        if not (fitting or others):
            which = f" with an id that begins with {named!r}" if named else ""
            raise UsageError(
                f"no unused material{which} is stored at every party; make some with: privity deal, with the same "
                "arguments"
            )
        return fitting[0] if fitting else others[-1]

    def _stocked(self, task: Task | None, named: str) -> list[str]:
        """Unused material that every party has, of those whose id begins so; the latest last."""
        held = [h["materials"] for h in self._liaison.holdings(task=task).values()]
        return [m for m in held[0] if m.startswith(named) and all(m in other for other in held)]

    def _usable(self) -> None:
        if self._closed:
            raise UsageError("this session is closed")

    @contextlib.contextmanager
    def _unless_interrupted(self) -> Any:
        try:
            yield
        except KeyboardInterrupt:
            self.close()
            raise


def _with(program: Any, verify_ranges: bool, checkpoint_every: int) -> Any:
    if checkpoint_every < 0:
        raise UsageError(f"checkpoints come every 1 or more steps (0: none), not {checkpoint_every}")
    program = program.verified() if verify_ranges else program
    return program.with_checkpoints(checkpoint_every) if checkpoint_every else program


def most_bytes(program: Any) -> int:
    """How much a party's results can be: a document, and eight bytes a number."""
    return BODY_LIMIT + 8 * sum(int(prod(output.shape)) for output in program.outputs)


def latest(held: list[list[list[int]]]) -> tuple[int, int, int]:
    """Epoch, site and step of the last checkpoint that is in every list; zeros if there is none."""
    common = set.intersection(*({tuple(c) for c in by_party} for by_party in held))
    return max(common, default=(0, -1, 0))  # type: ignore[return-value] # three numbers each, as `records` makes them
