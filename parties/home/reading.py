"""`privity journal`: what actors of this user have let out, for people and as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.home.home import Home
from parties.home.journal import KINDS
from parties.home.programs import one_of
from parties.keys import NAME
from parties.report import Block, Grid, Line

__all__ = ["actors_of", "journal_report", "journals", "program_text"]


def journals(world: Path, party: str | None, run: str | None, head: str | None) -> list[dict[str, Any]]:
    """The journals of one world, verified: of one actor, or of all that keep one there.

    Opening a home also ends the attempts of dead processes, which adds entries and changes none.

    run: the beginning of a run's id; only its entries are listed. head: `NUMBER:HASH` kept from earlier, for one actor.
    Raises UsageError (no such actor or run, an ambiguous beginning) and HomeError (a ledger that cannot be read).
    """
    names = actors_of(world, party)
    if head and len(names) != 1:
        raise UsageError(f"a head belongs to one journal: add --party, one of {', '.join(names)}")
    found = [_read(world / name, name, head) for name in names]
    if run:
        whole = _whole_id(run, [entry for one in found for entry in one["entries"]])
        for one in found:
            one["entries"] = [entry for entry in one["entries"] if entry.get("run") == whole]
    return found


def program_text(world: Path, party: str | None, prefix: str) -> dict[str, Any]:
    """The text of a program that actors of one world took part in: `digest`, `text`, `parties` that keep it.

    prefix: the beginning of its digest, as journals show it. Raises UsageError (unknown, ambiguous) and HomeError (the
    text was edited).
    """
    keepers: dict[str, list[str]] = {}
    for name in actors_of(world, party):
        with Home.open(world / name, name, create=False) as home:
            for digest in home.programs.digests():
                keepers.setdefault(digest, []).append(name)
    digest = one_of(keepers, prefix)
    first = keepers[digest][0]
    with Home.open(world / first, first, create=False) as home:
        return {"digest": digest, "text": home.programs.text(digest), "parties": keepers[digest]}


def actors_of(directory: Path, party: str | None) -> list[str]:
    """The actors that keep something in a world, or the one that is asked for. Raises UsageError if there is none."""
    if party is not None and not NAME.fullmatch(party):
        raise UsageError(f"{party!r} is not a name: small letters, digits, - and _")
    there = sorted(p.parent.name for p in directory.glob("*/ledger.sqlite"))
    if not there:
        raise UsageError(f"{directory}: nothing is kept here; was it another --cluster or --state?")
    if party is None:
        return there
    if party not in there:
        near = difflib.get_close_matches(party, there, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"{directory}: no journal of {party!r}; {hint}there is {', '.join(there)}")
    return [party]


def _read(directory: Path, name: str, head: str | None) -> dict[str, Any]:
    with Home.open(directory, name, create=False) as home:
        verdict = home.journal.verify(head)
        entries = home.journal.entries()
    return {
        "party": name,
        "directory": str(directory),
        "ok": verdict.holds,
        "count": verdict.count,
        "head": verdict.head,
        **({} if verdict.holds else {"place": verdict.place, "reason": verdict.reason}),
        "entries": entries,
    }


def _whole_id(prefix: str, entries: Sequence[Mapping[str, Any]]) -> str:
    ids = sorted({str(entry["run"]) for entry in entries if "run" in entry})
    fitting = [run for run in ids if run.startswith(prefix.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{prefix!r} begins several runs: {', '.join(r[:8] for r in fitting)}; give more digits")
    known = ", ".join(run[:8] for run in ids) or "none"
    raise UsageError(f"no run begins with {prefix!r}; the journal has {known}")


def journal_report(found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A table of each journal, and whether its chain holds."""
    blocks: list[Block] = []
    for one in found:
        rows = [
            (str(e["number"]), str(e["at"])[:19].replace("T", " "), str(e.get("run", ""))[:8], str(e["what"]), _told(e))
            for e in one["entries"]
        ]
        title = f"journal of {one['party']}"
        blocks.append(Grid(title, (">entry", "when (UTC)", "run", "what", "of what"), rows))
        blocks += [Line(""), _sentence(one)]
    return blocks


def _sentence(one: Mapping[str, Any]) -> Line:
    who = f"{one['party']}: "
    if one["ok"]:
        entries = "1 entry" if one["count"] == 1 else f"{one['count']} entries"
        return Line(f"{who}the chain of {entries} holds; head {one['head']}", "good")
    return Line(
        f"{who}entry {one['place']} does not fit: {one['reason']}; up to entry {one['count']} the chain holds",
        "warning",
    )


def _told(entry: Mapping[str, Any]) -> str:
    """The entry's own fields as a sentence; one that was tampered with may lack some."""
    field = {name: entry.get(name, "?") for name in (*entry, *_NEEDED)}
    return _SENTENCES.get(str(entry["what"]), _anything)(field)


def _revealed(e: Mapping[str, Any]) -> str:
    bits = f", {e['bits']} bits" if isinstance(e["bits"], int) else ""
    where = f", {e['where']}" if e["where"] else ""
    return f"{e['program']}: {e['name']} ({_shape(e['shape'])}) to {_names(e['to'])}{bits}{where}"


def _program(e: Mapping[str, Any]) -> str:
    return f"{e['program']} (digest {str(e['digest'])[:12]})"


def _columns(columns: Any) -> str:
    return f", columns {_names(columns)}" if columns else ""


def _names(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)


def _shape(shape: Any) -> str:
    return ("×".join(map(str, shape)) or "one number") if isinstance(shape, list) else str(shape)


def _whom(e: Mapping[str, Any]) -> str:
    return f"{e['coordinator']} (key {e['key']})"


def _anything(entry: Mapping[str, Any]) -> str:
    return ""


_NEEDED = sorted({name for fields in KINDS.values() for name in fields})
_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "run begun": lambda e: f"{_program(e)} as {e['role']}, attempt {e['attempt']}, asked for by {_whom(e)}",
    "run refused": lambda e: f"{_program(e)}, attempt {e['attempt']}, asked for by {_whom(e)}: {e['why']}",
    "data used": lambda e: f"{e['data']} as {e['input']}{_columns(e['columns'])}",
    "run ended": lambda e: f"attempt {e['attempt']} {e['how']}" + (f": {e['sentence']}" if e["sentence"] else ""),
    "intended": _revealed,
    "revealed": _revealed,
    "not opened": lambda e: f"{_revealed(e)}; this party's shares had left to {_names(e['left']) or 'nobody'}",
    "values told": lambda e: f"{e['count']} values of {e['column']} of {e['data']} to {_whom(e)}",
    "values refused": lambda e: f"of {e['column']} of {e['data']} to {_whom(e)}: {e['why']}",
    "handle kept": lambda e: f"{e['handle']} ({_shape(e['shape'])})",
    "handle dropped": lambda e: str(e["handle"]),
    "material taken": lambda e: f"{str(e['material'])[:8]} by attempt {e['attempt']}",
    "material burnt": lambda e: f"{str(e['material'])[:8]}: {e['why']}",
    "checkpoint restored": lambda e: f"epoch {e['epoch']}, iteration {e['iteration']}, for attempt {e['attempt']}",
}
