"""What stands on the command line, made exact: inputs, settings, who the parties are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from mpc import ProgramFunction
from mpc.errors import UsageError
from mpc.memory import names_of
from parties.target import nearest

__all__ = [
    "InputArgument",
    "choose_parties",
    "inputs_of",
    "parse_input",
    "parse_offers",
    "require_inputs",
    "secrets_of",
    "settings_of",
]

_INPUT = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<party>[A-Za-z][\w-]*)(?::(?P<source>.+))?", re.DOTALL)


@dataclass(frozen=True)
class InputArgument:
    """One `--input`: the parameter (empty if left out), the party, its file (in a cluster, the name of its offer)."""

    name: str
    party: str
    source: str


def parse_input(text: str, cluster: bool = False) -> InputArgument:
    """`NAME=PARTY:FILE`, or `PARTY:FILE` where the program has one input; in a cluster `NAME=PARTY[:OFFERED NAME]`."""
    match = _INPUT.fullmatch(text)
    if match is None or not (match["source"] or cluster):
        raise UsageError(f"--input {text!r} is not NAME=PARTY:FILE.csv, for example patients=alice:a.csv")
    return InputArgument(match["name"] or "", match["party"], match["source"] or match["name"] or "")


def parse_offers(given: Sequence[str]) -> dict[str, Path]:
    """{offered name: file} of `NAME=FILE` texts. Raises UsageError."""
    offers: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path or not name.isidentifier():
            raise UsageError(f"--data {text!r} is not NAME=FILE.csv, for example patients=a.csv")
        if name in offers:
            raise UsageError(f"--data {name} is given twice")
        offers[name] = Path(path)
    return offers


def secrets_of(program: ProgramFunction, given: Sequence[str]) -> dict[str, str]:
    """{parameter: the name under which its secret is kept}: of `PARAMETER=NAME` texts, and by default its own name."""
    wanted = {p.name: p.name for p in program.parameters.values() if p.kind == "secret"}
    for text in given:
        parameter, equals, name = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--kept {text!r} is not PARAMETER=NAME, for example model=credit-model")
        if parameter not in wanted:
            known = ", ".join(wanted) or "none"
            near = nearest(parameter, list(wanted))
            raise UsageError(f"{program.name} takes no kept secret as {parameter!r}{near} (it takes: {known})")
        wanted[parameter] = name
    return wanted


def _brought(program: ProgramFunction) -> list[str]:
    return [p.name for p in program.parameters.values() if p.kind not in {"setting", "secret"}]


def inputs_of(program: ProgramFunction, given: Sequence[InputArgument]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """{parameter: {party: file}}, and remarks for the person. Raises UsageError for an input that cannot be meant."""
    parameters = _brought(program)
    inputs: dict[str, dict[str, str]] = {}
    notes: list[str] = []
    for argument in given:
        name = argument.name
        if name not in parameters:
            if len(parameters) != 1:
                listed = ", ".join(parameters) or "none"
                what = f"has no input {name!r}{nearest(name, parameters)}" if name else "has several inputs: say which"
                raise UsageError(f"{program.name} {what} (its inputs: {listed})")
            note = f"{program.name} has one input, {parameters[0]!r}: {name!r} is taken to mean it"
            if name and note not in notes:
                notes.append(note)
            name = parameters[0]
        by_party = inputs.setdefault(name, {})
        if argument.party in by_party:
            raise UsageError(f"--input {name} is given twice for {argument.party}; one file for each party and input")
        by_party[argument.party] = argument.source
    return inputs, notes


def require_inputs(program: ProgramFunction, inputs: Mapping[str, Mapping[str, str]]) -> None:
    """Raises UsageError if a parameter has nobody to bring it."""
    for name in _brought(program):
        if name not in inputs:
            raise UsageError(f"{program.name} needs the input {name!r}: --input {name}=PARTY:FILE.csv")


def choose_parties(n: int | None, inputs: Mapping[str, Mapping[str, str]], holders: Sequence[str] = ()) -> list[str]:
    """Who computes. With n: the first n default names. Without: those whom the inputs name, and at least two.

    holders: who holds a kept secret that the program takes; then it is they, in their order.
    """
    owners = list(dict.fromkeys(party for by_party in inputs.values() for party in by_party))
    if holders:
        others = [name for name in owners if name not in holders]
        if others or n not in {None, len(holders)}:
            who = f"{others[0]} is none of them" if others else f"not {n}"
            raise UsageError(
                f"the kept secret is held by {', '.join(holders)}, who must all take part; {who}: leave --parties out, "
                "or keep the secret anew with other parties"
            )
        return list(holders)
    if n is not None:
        if n < 2:
            raise UsageError(f"--parties {n}: at least 2 parties are needed; with one there is nobody to hide from")
        names = names_of(n)
        for owner in owners:
            if owner not in names:
                raise UsageError(
                    f"unknown party {owner!r}{nearest(owner, names)} (with --parties {n} they are {', '.join(names)}; "
                    "leave --parties out to take the names from --input)"
                )
        return names
    ranks = {name: i for i, name in enumerate(names_of(64))}
    spare = (name for name in ranks if name not in owners)
    while len(owners) < 2:
        owners.append(next(spare))
    return sorted(owners, key=ranks.__getitem__) if all(owner in ranks for owner in owners) else owners


def settings_of(program: ProgramFunction, given: Sequence[str]) -> dict[str, Any]:
    """{setting: value} of `KEY=VALUE` texts. Values are TOML; what is not TOML is text. Raises UsageError."""
    known = {p.name: p for p in program.parameters.values() if p.kind == "setting"}
    settings: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals:
            raise UsageError(f"--set {text!r} is not KEY=VALUE, for example steps=100")
        if key not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"{program.name} has no setting {key!r}{nearest(key, known)} (its settings: {listed})")
        if key in settings:
            raise UsageError(f"--set {key} is given twice")
        parsed = toml_value(value)
        wants_text = known[key].annotation in (str, "str")  # a column may be called 1
        settings[key] = value if wants_text and not isinstance(parsed, str) else parsed
    return settings


def toml_value(text: str) -> Any:
    """`100`, `0.5`, `true`, `[1, 2]`, `"text"`, and a bare word for a text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return _number_or_text(text)
    value = parsed["value"]
    if len(parsed) != 1 or isinstance(value, date | time | datetime):
        return text
    return value


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)  # `.5` and `5.` are numbers to people, if not to TOML
    except ValueError:
        return text
