"""What a finished run is to the person who asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parties.coordinator import Following

__all__ = ["Run", "report"]


@dataclass(frozen=True)
class Run:
    """What a run gave and what it cost. Bytes and memory by party; seconds of the slowest party.

    input_seconds: the part of the online seconds until all inputs were shared.
    results: all that whoever asked may see. results_of: of a local run, which one person has started, what was shown to
    a party alone; it is among the results too. checkpoint: the step before which the last checkpoint was taken, 0 if
    none was. warnings: what a person should know.
    """

    id: str
    digest: str
    parties: list[str]
    results: dict[str, Any]
    rounds: int
    online_seconds: float
    input_seconds: float
    preprocessing_seconds: float
    total_seconds: float
    bytes_sent: dict[str, int]
    input_bytes: dict[str, int]
    dealt_bytes: dict[str, int]
    peak_rss_bytes: dict[str, int]
    reveals: list[dict[str, Any]]
    checkpoint: int = 0
    warnings: list[str] = field(default_factory=list)
    transcripts: dict[str, str] = field(default_factory=dict, repr=False)
    results_of: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the call to the result."""
        return self.total_seconds


def report(
    run: str, program: Any, plan: Any, following: Following, seconds: float, own: dict[str, dict[str, Any]]
) -> Run:
    """Results in the program's order, measures by party, and what only the plan says. own: what parties alone have."""
    outcome = following.outcome
    assert outcome is not None

    def each(what: str) -> dict[str, Any]:
        return {party: measured.get(what, 0) for party, measured in outcome.measures.items()}

    known = outcome.results | {name: value for values in own.values() for name, value in values.items()}
    order = list(getattr(program, "order", known))
    results = {name: known[name] for name in order if name in known}
    return Run(
        run,
        program.digest,
        list(program.parties),
        results | known,
        max(each("rounds").values()),
        max(each("online_seconds").values()),
        max(each("input_seconds").values()),
        outcome.preprocessing_seconds,
        seconds,
        each("bytes_sent"),
        dict(plan.input_bytes),
        each("dealt_bytes"),
        each("peak_rss_bytes"),
        list(plan.reveals),
        following.committed[1] if following.committed else 0,
        [*following.troubles, *_withheld(results)],
        {party: text for party, text in each("transcript").items() if text},
        own,
    )


def _withheld(results: Mapping[str, Any]) -> list[str]:
    """What to say if cells of few rows were withheld: how many, by which rule, and how they are shown."""
    match results:
        case {"shown": shown, "minimum": int(minimum)} if not all(shown):
            text = (
                f"{len(shown) - sum(map(bool, shown))} of {len(shown)} cells are withheld: of each owner 0 or at least "
                f"{minimum} rows are in a cell that is shown, and in all the others; show them with --set minimum=1 "
                "(on a cluster no less than the floor of every owner)"
            )
            return [text]
    return []
