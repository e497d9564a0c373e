"""The part of `mpc` that an actor needs, handed in from above, so that brains are tested with a scripted engine too."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from mpc.exchange import Array, Draw, Exchange, Save
from mpc.prg import DealerEntropy, Entropy, PartyEntropy

__all__ = ["Engine", "Machinery", "insecure_label", "randomness", "real"]

_LABEL = "deterministic entropy "
Engine = Generator[Exchange | Draw | Save, Any, dict[str, Any]]


@dataclass(frozen=True)
class Machinery:
    """How texts become programs, and programs runs. suites: the rules, by name. prepare: before a run, never in it.

    withholding: the names of programs that withhold cells of fewer rows than a minimum, which is among their facts.
    """

    suites: Mapping[str, Any]
    parse: Callable[[str], Any]
    run_party: Callable[[Any, int, dict[str, Any], PartyEntropy, dict[str, Array | None]], Engine]
    run_dealer: Callable[[Any, DealerEntropy], Iterator[Any]]
    prepare: Callable[[Any], None] = lambda _lowered: None
    withholding: frozenset[str] = frozenset()


def real(suites: Mapping[str, Any], catalog: Mapping[str, Any] = MappingProxyType({})) -> Machinery:
    """The real one. catalog: the programs that are installed here."""
    from mpc.dealing import run_dealer
    from mpc.engine import run_party
    from mpc.programs import Program as Parsed
    from parties.kernels import prepare

    withholding = frozenset(p.name for p in catalog.values() if "minimum" in p.parameters)
    return Machinery(suites, Parsed.parse, cast("Any", run_party), run_dealer, prepare, withholding)


def randomness(insecure: str) -> Entropy:
    """The operating system's randomness; with an `insecure` label (`insecure_label`), the tests' deterministic one."""
    if not insecure:
        return secrets.token_bytes
    from mpc.testing import Deterministic

    return Deterministic(int(insecure.removeprefix(_LABEL)))


def insecure_label(seed: int | None) -> str:
    """The mark of a session under test entropy; empty without one."""
    return "" if seed is None else f"{_LABEL}{seed}"
