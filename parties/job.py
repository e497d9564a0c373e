"""One command's work: which program, whose data, which parties, and where they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc import Program, ProgramFunction
from mpc.errors import UsageError
from parties.arguments import choose_parties, inputs_of, parse_input, require_inputs, secrets_of, settings_of
from parties.declared import Declared
from parties.home import state_root
from parties.offline import Compiled, compile_program, holders_of, local_schemas, local_secrets
from parties.schema import load_schema
from parties.target import blaming, load_target, nearest

if TYPE_CHECKING:
    from parties.api import Run, Session

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """The arguments of run, plan, check and show, made exact. `inputs`: {parameter: {party: file or offered name}}."""

    title: str
    function: ProgramFunction
    suite_name: str
    suite: Any
    inputs: dict[str, dict[str, str]]
    settings: dict[str, Any]
    parties: list[str]
    cluster: Path | None = None
    key: Path | None = None
    notes: list[str] = field(default_factory=list)
    verify_ranges: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    checkpoint_every: int = 0
    state: Path | None = None
    stocked: bool = False
    declared: Declared = field(default_factory=Declared)

    @classmethod
    def from_arguments(
        cls,
        target: str,
        count: int | None,
        cluster: Path | None,
        key: Path | None,
        inputs: Sequence[str],
        settings: Sequence[str],
        suite: str,
        verify_ranges: bool = False,
        schema: Path | None = None,
        *,
        kept: Sequence[str] = (),
        checkpoint_every: int = 0,
        state: Path | None = None,
        stocked: bool = False,
        catalog: Mapping[str, ProgramFunction],
        suites: Mapping[str, Any],
    ) -> Job:
        """Refuse every mistake that can be seen before a process starts. Raises UsageError, ProgramError."""
        if cluster is not None and count is not None:
            raise UsageError("--parties is for local runs; with --cluster the file says who the parties are")
        if suite not in suites:
            raise UsageError(f"there is no suite {suite!r}{nearest(suite, list(suites))} (there: {', '.join(suites)})")
        function = load_target(target, catalog)
        declared = load_schema(schema) if schema is not None else Declared()
        if declared.ranges:
            function = function.declaring(declared.ranges)
        files, notes = inputs_of(function, [parse_input(text, cluster is not None) for text in inputs])
        chosen, taken = settings_of(function, settings), secrets_of(function, kept)
        if cluster is None:
            names = choose_parties(count, files, holders_of(taken, state))
            require_inputs(function, files)
        else:
            names = _cluster_names(cluster, files)
            if declared.minimum or any(column.role for column in declared.columns.values()):
                notes.append(
                    f"{schema}: minimum, as, values and at_most count in the schema that a party's owner starts with"
                )
        title = target if target in catalog else function.name
        return cls(
            title, function, suite, suites[suite], files, chosen, names, cluster, key, notes, verify_ranges,
            taken, checkpoint_every, state, stocked, replace(declared, local=cluster is None),
        )  # fmt: skip

    def compile(self, *, check: bool = True) -> Compiled:
        """Trace, lower, check and price; local files are read in this process, a cluster's parties are asked."""

        def compiled(schemas: dict[str, Any]) -> Compiled:
            how: dict[str, Any] = {"verify_ranges": self.verify_ranges, "checkpoint_every": self.checkpoint_every}
            return compile_program(self.function, schemas, self.parties, self.settings, self.suite, check=check, **how)

        if self.cluster is None:
            kept = local_secrets(self.kept, self.parties, self.state)
            return compiled({**local_schemas(self.inputs, self.declared), **kept})
        with self._session() as session:  # open while tracing, which may ask for the classes of a label
            return compiled({**session.schemas(self.function, self.inputs), **session.specs(self.kept)})

    def run(self, on_progress: Callable[..., None], on_program: Callable[[Program], None] = lambda _: None) -> Run:
        """Run it with every party a process of its own. `total_seconds` counts from here: processes are started too.

        on_program is given the traced program once it is under way.
        """
        began = time.monotonic()
        with self._session() as session, blaming(self.function.function.__code__.co_filename):
            given: dict[str, Any] = {**self.settings, **self.inputs, **self.kept}
            pending = session.start(
                self.function,
                suite=self.suite_name,
                verify_ranges=self.verify_ranges,
                checkpoint_every=self.checkpoint_every,
                material=self.stocked,
                **given,
            )
            on_program(pending.program)
            done = pending.result(on_progress)
        return replace(done, total_seconds=time.monotonic() - began)

    def deal(self, times: int) -> list[str]:
        """Have material made and stored for so many runs; its ids."""
        given: dict[str, Any] = {**self.settings, **self.inputs, **self.kept}
        how: dict[str, Any] = {"verify_ranges": self.verify_ranges, "checkpoint_every": self.checkpoint_every}
        with self._session() as session, blaming(self.function.function.__code__.co_filename):
            return [session.deal(self.function, suite=self.suite_name, **how, **given) for _ in range(times)]

    def _session(self) -> Session:
        from parties.api import connect, local

        if self.cluster is None:
            return local(self.parties, state=self.state or state_root(), schema=self.declared)
        return connect(self.cluster, key=self.key, state=self.state)


def _cluster_names(path: Path, inputs: Mapping[str, Mapping[str, str]]) -> list[str]:
    from parties.cluster import load

    names = load(path).names
    for by_party in inputs.values():
        for party in by_party:
            if party not in names:
                raise UsageError(f"unknown party {party!r}{nearest(party, names)} ({path} has {', '.join(names)})")
    return names
