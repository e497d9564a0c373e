"""All that a coordinator can ask of a party before a run, and what it is told: the one list, as SECURITY.md has it.

A party answers what stands here and nothing else (`parties.party`), and a coordinator takes no other answer
(`parties.coordinator`). Whoever adds a question writes down here what it tells of an owner's data.
"""

from __future__ import annotations

from dataclasses import dataclass

from parties.wire import Type

__all__ = ["ANSWERS", "ASKED", "Question"]


@dataclass(frozen=True)
class Question:
    """One of them. asks, answers: the messages; None where nothing can be asked. noted: where the owner finds it."""

    name: str
    asks: Type | None
    answers: Type | None
    tells: str
    noted: str


ASKED = (
    Question(
        "schema",
        Type.DESCRIBE,
        Type.SCHEMA,
        "whether data is offered under a name, and whether its file can be read; its column names, in order, and how "
        "many rows and columns it has",
        "terminal, if the file has changed or cannot be read",
    ),
    Question(
        "classes",
        Type.CLASSES,
        Type.LABELS,
        "the distinct values of a column that its owner has declared a label or key, with its values or a cap; of any "
        "other column nothing, and beyond the cap not how many",
        "terminal and journal, also what is refused",
    ),
    Question(
        "facts",
        None,
        None,
        "nothing more: what a program states as facts, its coordinator has computed from schemas and classes",
        "in the program's text",
    ),
    Question(
        "holdings",
        Type.HELD,
        Type.HOLDS,
        "of a run: how often it was attempted, and its checkpoints' numbers; ids of unused material, of all or of what "
        "was dealt for a task that is named; of every kept secret its name, run, shape, scale, range and parties",
        "nowhere",
    ),
    Question(
        "drop",
        Type.DROP,
        Type.HOLDS,
        "the same, without the kept secret of this name, which is gone then",
        "terminal and journal",
    ),
    Question(
        "status",
        Type.PING,
        Type.PING,
        "that the process lives, how many requests its engines have answered, and whether all of them wait",
        "nowhere",
    ),
    Question(
        "prepare",
        Type.PREPARE,
        Type.READY,
        "whether the party takes part, and if not, why: version, digests, names, shapes, the fewest rows of a cell "
        "that it shows, whether data has changed since the run began",
        "terminal; journal, if it is refused or begins",
    ),
    Question(
        "journal",
        None,
        None,
        "nothing: it is read on the party's own host",
        "nowhere",
    ),
)
ANSWERS = {q.asks: q.answers for q in ASKED if q.asks is not None and q.answers is not None}
