"""What a party writes into its journal about questions: the values that it has told of a column, or has not.

As `parties.records`: brains make them, bodies apply them, and what is told leaves when that is on the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parties.cluster import Cluster
from parties.escaping import line
from parties.keys import fingerprint

__all__ = ["Coordinator", "RunRefused", "ValuesRefused", "ValuesTold"]

_NAME_LIMIT = 200


@dataclass(frozen=True)
class Coordinator:
    """Whoever asks: a name of the cluster file, and the fingerprint of the key that proved it."""

    name: str
    key: str

    @classmethod
    def of(cls, cluster: Cluster, actor: int) -> Coordinator:
        """The coordinator in this seat."""
        member = cluster.member(actor)
        return cls(member.name, fingerprint(member.public))

    def __str__(self) -> str:
        return f"{self.name} (key {self.key})"

    def fields(self) -> dict[str, str]:
        """As an entry of the journal has it."""
        return {"coordinator": self.name, "key": self.key}


@dataclass(frozen=True)
class RunRefused:
    """A run that did not begin here: which, as far as this party could make that out, and why; a cure is left out."""

    run: str
    attempt: int
    program: str
    digest: str
    why: str
    whom: Coordinator

    def apply(self, home: Any) -> None:
        """Append it to the journal."""
        program = {"program": line(self.program, _NAME_LIMIT), "digest": self.digest}
        why = line(self.why.partition(";")[0])
        about = {"run": self.run, "attempt": self.attempt, **program, "why": why, **self.whom.fields()}
        home.journal.append({"what": "run refused", **about})


@dataclass(frozen=True)
class ValuesTold:
    """Before the distinct values of a column leave: of which, how many, to whom."""

    data: str
    column: str
    count: int
    whom: Coordinator

    def apply(self, home: Any) -> None:
        """Append it to the journal."""
        home.journal.append({"what": "values told", "count": self.count, **_about(self)})


@dataclass(frozen=True)
class ValuesRefused:
    """Somebody has asked for the values of a column, and got none. why: with a cure, which is left out here."""

    data: str
    column: str
    why: str
    whom: Coordinator

    def apply(self, home: Any) -> None:
        """Append it to the journal."""
        home.journal.append({"what": "values refused", "why": line(self.why.partition(";")[0]), **_about(self)})


def _about(values: ValuesTold | ValuesRefused) -> dict[str, str]:
    """Of which column, and to whom."""
    names = {"data": line(values.data, _NAME_LIMIT), "column": line(values.column, _NAME_LIMIT)}
    return {**names, **values.whom.fields()}
