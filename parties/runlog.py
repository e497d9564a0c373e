"""What a party's log and journal say of one attempt: who asks for which program on which data, and what is learnt.

A reveal is `intended` before this party's shares of it leave. It is `revealed` once it was opened here, or the run is
done everywhere. Of a run that ends before, the rest is `not opened`, with whom this party's shares had left to: whoever
has the others' too could open it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mpc.disclosures import taken
from parties.cluster import Cluster
from parties.escaping import line, quoted
from parties.home import Row
from parties.told import Coordinator, RunRefused

__all__ = ["Reveals", "RunLog"]

_MOST_COLUMNS = 1000  # that an entry lists
_MOST_SAID = 12  # that a line lists


@dataclass(eq=False)
class _Opening:
    """One reveal under way."""

    reveal: Mapping[str, Any]
    left: bool = False
    opened: bool = False


class Reveals:
    """What comes of an attempt's reveals, at one party. learnt: of those that are revealed, how often each was."""

    def __init__(self, listed: Sequence[Mapping[str, Any]], me: str, parties: Sequence[str]) -> None:
        self._listed, self._me, self._parties = listed, me, parties
        self._under_way: list[_Opening] = []
        self._written: list[_Opening] = []
        self._turns: Counter[str] = Counter()
        self.learnt: list[Mapping[str, Any]] = []
        self.unopened: list[Mapping[str, Any]] = []

    def intend(self, names: Iterable[str]) -> list[Row]:
        """Reveals of these names come next: what to write down before, which includes what was opened meanwhile."""
        self._written = [one for one in self._under_way if one.opened]
        coming = [_Opening(self._next(name)) for name in names]
        self._under_way += coming
        return [("revealed", one.reveal) for one in self._written] + [("intended", one.reveal) for one in coming]

    def _next(self, name: str) -> Mapping[str, Any]:
        """The reveal of this name whose turn it is: several may have one name."""
        named = [r for r in self._listed if r["name"] == name]
        self._turns[name] += 1
        return named[(self._turns[name] - 1) % len(named)]

    def leave(self) -> None:
        """That is written, and this party's shares have been sent."""
        self._under_way = [one for one in self._under_way if one not in self._written]
        self.learnt += [one.reveal for one in self._written]
        self._written = []
        for one in self._under_way:
            one.left = True

    def open(self) -> None:
        """All that this party waits for is here: it knows what it is a recipient of."""
        for one in self._under_way:
            one.opened = one.opened or (one.left and self._me in self._recipients(one.reveal))

    def settle(self, *, done: bool, reported: bool) -> list[Row]:
        """What to write down at the end. done: at every party. reported: the coordinator was given its results."""
        rest, self._under_way = self._under_way, []
        opened = [one.reveal for one in rest if one.opened or done]
        if not reported:
            opened = [{**r, "to": self._recipients(r)} for r in opened]
        unopened = [
            {**one.reveal, "left": [p for p in self._recipients(one.reveal) if p != self._me] if one.left else []}
            for one in rest
            if not (one.opened or done)
        ]
        self.learnt += opened
        self.unopened += unopened
        return [("revealed", r) for r in opened] + [("not opened", r) for r in unopened]

    def _recipients(self, reveal: Mapping[str, Any]) -> list[str]:
        to = reveal["to"]
        return [p for p in self._parties if to == "everyone" or p in to]


class RunLog:
    """The words for one attempt. source: the program's digest."""

    def __init__(self, cluster: Cluster, boss: int, me: str, program: Any, lowered: Any, terms: Any) -> None:
        self.whom = Coordinator.of(cluster, boss)
        self.reveals = Reveals(lowered.reveals, me, cluster.names)
        self._everyone = [*cluster.names, *([self.whom.name] if cluster.receives else [])]
        self._lowered = lowered
        self._program, self._terms = program, terms
        self._data = [_used(program, spec, bound) for spec, bound in zip(program.inputs, terms.data, strict=False)
                      if spec.owner == me]  # fmt: skip

    def begun(self) -> dict[str, Any]:
        """What the entry of the journal says beside the run and its program."""
        return {**self.whom.fields(), "text": self._program.text, "data": self._data}

    def refused(self, why: str) -> RunRefused:
        """What the journal says if it does not come to that."""
        t = self._terms
        return RunRefused(t.run, t.attempt, self._program.name, t.task.source, why, self.whom)

    def before(self) -> str:
        """A line before anything moves."""
        if self._terms.mode == "deal":
            return f"{self._run} asked for by {self.whom}: material for {self._named}, of which no data is needed"
        learnt = _said(self._lowered.reveals, self._everyone) or "nothing"
        return f"{self._run} asked for by {self.whom}: {self._about}; to be learnt: {learnt}; {self._look}"

    def after(self, how: str) -> str:
        """A line when it is over."""
        if self._terms.mode == "deal":
            return f"{self._run} {how}, asked for by {self.whom}: material for {self._named}"
        once = [
            {k: v for k, v in r.items() if k != "count"} for r in self.reveals.learnt
        ]  # each is one of a loop's steps
        said = f"learnt: {_said(once, self._everyone) or 'nothing'}"
        for r in self.reveals.unopened[:_MOST_SAID]:
            left = f"shares from here had left to {', '.join(r['left'])}" if r["left"] else "nothing of it had left"
            said += f"; not opened here: {_name(r)}, {left}"
        return f"{self._run} {how}, asked for by {self.whom}: {self._about}; {said}"

    @property
    def _run(self) -> str:
        again = f", attempt {self._terms.attempt}," if self._terms.attempt > 1 else ""
        return f"run {self._terms.run[:10]}{again}"

    @property
    def _named(self) -> str:
        return f"program {quoted(self._program.name)} (digest {self._terms.task.source[:12]})"

    @property
    def _about(self) -> str:
        used = [f"data {quoted(d['data'])} as {quoted(d['input'])}" + _columns(d["columns"]) for d in self._data]
        return f"{self._named}; {'; '.join(used) or 'no data of this party'}"

    @property
    def _look(self) -> str:
        return f"its text: privity journal --program {self._terms.task.source[:12]}"


def _used(program: Any, spec: Any, bound: Any) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for column, _ in taken(program, spec))) if spec.columns is not None else []
    more = [f"and {len(columns) - _MOST_COLUMNS} more"] if len(columns) > _MOST_COLUMNS else []
    shown = [line(column, 200) for column in columns[:_MOST_COLUMNS]]
    return {"input": line(spec.name, 200), "data": line(bound.data, 200), "columns": [*shown, *more]}


def _columns(columns: Sequence[str]) -> str:
    return f", columns {_few(list(map(quoted, columns)))}" if columns else ""


def _said(reveals: Iterable[Mapping[str, Any]], everyone: Sequence[str]) -> str:
    """By whom what is learnt: its name, and how many numbers in all."""
    learnt: dict[str, dict[str, int]] = {}
    for r in reveals:
        whom = ", ".join(everyone if r["to"] == "everyone" else r["to"])
        counts = learnt.setdefault(whom, {})
        counts[_name(r)] = counts.get(_name(r), 0) + int(r.get("count", prod(r.get("shape", ()))))
    return "; ".join(
        f"{_few([f'{name} ({_numbers(n)})' for name, n in counts.items()])} by {whom}"
        for whom, counts in learnt.items()
    )


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - _MOST_SAID} more" if len(words) > _MOST_SAID else ""
    return ", ".join(words[:_MOST_SAID]) + more


def _name(r: Mapping[str, Any]) -> str:
    return quoted(str(r["name"]))


def _numbers(n: int) -> str:
    return "one number" if n == 1 else f"{n:,} numbers"
