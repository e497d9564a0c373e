"""From what a person gives to what each party is asked for: owners, offers, kept secrets, and the traced program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from mpc.handles import HandleSpec
from mpc.table import Schema
from parties.home import StoredRun
from parties.liaison import Launcher, Liaison
from parties.target import nearest
from parties.terms import Binding, in_words

__all__ = ["Inputs"]

_NOTHING: frozenset[int] = frozenset()


class Inputs:
    """The inputs of one session. Local data goes to its owner here; on separate hosts offers are named."""

    def __init__(self, liaison: Liaison, launcher: Launcher | None) -> None:
        self._liaison = liaison
        self._launcher = launcher
        self._cluster = liaison.cluster

    def program(self, target: Any, given: Mapping[str, Any], without: frozenset[int] = _NOTHING) -> tuple[Any, Binding]:
        """The traced program, and which data is which input. without: actors not waited for."""
        function = hasattr(target, "parameters")
        names, secrets = _inputs_of(target), _secrets_of(target)
        settings = {key: value for key, value in given.items() if key not in {*names, *secrets}}
        if settings and not function:
            raise UsageError(f"a traced program takes inputs only, not {', '.join(settings)}; its settings are fixed")
        self._liaison.connect(without)
        offered = self._offers(target, {key: given[key] for key in given if key in names}, names)
        kept = {name: self._name_of(name, given.get(name)) for name in secrets}
        held = self._held(kept)
        program = target
        if function:
            schemas = {name: self._liaison.schemas(wanted) for name, wanted in offered.items()}
            specs = {parameter: spec for parameter, (_, spec) in held.items()}
            program = target.trace({**schemas, **specs}, self._cluster.names, settings)
        defaults = {p.name: p.default for p in target.parameters.values() if p.kind == "setting"} if function else {}
        handles = {parameter: (name, held[parameter][0]) for parameter, name in kept.items()}
        return program, _binding(program, offered, handles, in_words(defaults | settings))

    def _name_of(self, parameter: str, given: Any) -> str:
        if given is not None and not isinstance(given, str):
            raise UsageError(f"{parameter} takes a kept secret: give the name under which it is kept")
        return given or parameter

    def specs(self, kept: Mapping[str, str]) -> dict[str, HandleSpec]:
        """What the parties keep under these names."""
        return {parameter: spec for parameter, (_, spec) in self._held(kept).items()}

    def _held(self, kept: Mapping[str, str]) -> dict[str, tuple[str, HandleSpec]]:
        """What the parties keep under these names, and the run that made it; the same at all of them."""
        if not kept:
            return {}
        held = {party: {h[1]["name"]: h for h in found["handles"]} for party, found in self._liaison.holdings().items()}
        specs = {}
        for parameter, name in kept.items():
            for party, handles in held.items():
                if name not in handles:
                    known = list(handles)
                    raise UsageError(
                        f"{party} keeps no secret under the name {name!r}{nearest(name, known)} "
                        f"(it keeps {', '.join(known) or 'none'})"
                    )
            found = [handles[name] for handles in held.values()]
            if any(other != found[0] for other in found):
                raise UsageError(
                    f"the parties keep different secrets under the name {name!r}; drop it and keep it anew"
                )
            specs[parameter] = (found[0][0], HandleSpec.parse(found[0][1]))
        return specs

    def again(self, program: Any, stored: StoredRun, given: Mapping[str, Any]) -> Binding:
        """The inputs of a run that is resumed: those that the rest of it still needs, as they were given."""
        needed: dict[str, dict[str, Any]] = {}
        for spec in program.inputs:
            source = given.get(spec.name, stored.inputs.get(spec.name, {})).get(spec.owner)
            if source is None and self._launcher is None:
                source = spec.name  # what was left out was found under the input's own name
            if source is None:
                raise UsageError(
                    f"input {spec.name} of {spec.owner} was not a file, so it is not kept: give it to resume again"
                )
            needed.setdefault(spec.name, {})[spec.owner] = source
        handles = {parameter: (name, made) for parameter, (name, made) in stored.more.get("handles", {}).items()}
        if any(spec.name not in handles for spec in program.handles):
            raise UsageError(f"run {stored.run[:10]} was begun by an earlier privity, with kept secrets: begin it anew")
        offered = self._offers(program, needed, list(needed))
        return _binding(program, offered, handles, stored.more.get("settings", "{}"))

    def remembered(self, given: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
        """What of the inputs may be written down: paths and names of offers, no data."""
        found: dict[str, dict[str, str | None]] = {}
        for name, by_party in given.items():
            if isinstance(by_party, Mapping):
                found[name] = {
                    party: str(Path(value).absolute() if self._launcher is not None else value)
                    if isinstance(value, str | Path)
                    else None
                    for party, value in by_party.items()
                }
        return found

    def schemas(self, target: Any, inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Schema]]:
        """The schemas of a program's inputs: {input: {party: Schema}}."""
        offered = self._offers(target, dict(inputs), _inputs_of(target))
        return {name: self._liaison.schemas(wanted) for name, wanted in offered.items()}

    def _offers(self, target: Any, given: Mapping[str, Any], names: list[str]) -> dict[str, dict[str, str]]:
        """{input: {party: the name of its offer}}; local data goes to its owner here."""
        self._check_owners(target, given)
        if self._launcher is None:
            return {name: self._offered(name, given.get(name)) for name in names}
        for name in names:
            if not given.get(name):
                raise UsageError(f"input {name} is missing: {name}={{{self._cluster.names[0]!r}: data, ...}}")
            for party, value in given[name].items():
                self._launcher.offer(self._cluster.index(party), name, value)
        return {name: dict.fromkeys(given[name], name) for name in names}

    def _check_owners(self, target: Any, given: Mapping[str, Any]) -> None:
        parties = self._cluster.names
        for name, by_party in given.items():
            if not isinstance(by_party, Mapping):
                raise UsageError(f"input {name} says who owns what: {name}={{{parties[0]!r}: data, ...}}")
            for party in by_party:
                if party not in parties:
                    near = nearest(str(party), parties)
                    raise UsageError(f"unknown party {party!r}{near} (the parties are {', '.join(parties)})")
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
        found = self._liaison.schemas(dict.fromkeys(self._cluster.names, name), required=False)
        if not found:
            raise UsageError(f"no party offers {name!r}: start one with --data {name}=FILE.csv, or name another offer")
        return dict.fromkeys(found, name)


def _binding(
    program: Any, offered: Mapping[str, Mapping[str, str]], handles: Mapping[str, tuple[str, str]], settings: str
) -> Binding:
    """Of what was given that which the program takes: it may have no use for all of it."""
    inputs: dict[str, dict[str, str]] = {}
    for spec in program.inputs:
        inputs.setdefault(spec.name, {})[spec.owner] = offered[spec.name][spec.owner]
    return Binding(inputs, {spec.name: handles[spec.name] for spec in program.handles}, settings)


def _inputs_of(target: Any) -> list[str]:
    if hasattr(target, "parameters"):
        return [p.name for p in target.parameters.values() if p.kind not in {"setting", "secret"}]
    return list(dict.fromkeys(spec.name for spec in target.inputs))


def _secrets_of(target: Any) -> list[str]:
    if hasattr(target, "parameters"):
        return [p.name for p in target.parameters.values() if p.kind == "secret"]
    return [spec.name for spec in target.handles]
