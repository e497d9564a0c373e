"""What every actor does with a PREPARE before anything moves: check versions, parse, lower, check, hash for itself."""

from __future__ import annotations

import re
from typing import Any

from mpc.errors import MpcError
from parties.agree import short
from parties.cluster import Cluster
from parties.machinery import Machinery
from parties.terms import Binding, Terms
from parties.version import FORMAT
from parties.wire import BadMessage, Message, line, unpack

__all__ = ["MODES", "Refused", "lower", "read_terms", "ready"]


MODES = frozenset({"run", "deal"})
MOST_ATTEMPTS = 1 << 30  # so that the number of a checkpoint fits into 63 bits
_RUN = re.compile(r"[0-9a-f]{32}")
_MATERIAL = re.compile(r"([0-9a-f]{32})?")


class Refused(Exception):
    """This actor takes no part; `reason` is public, `owner_text` is for the owner of its data."""

    def __init__(self, kind: str, reason: str, owner_text: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = line(reason)
        self.owner_text = owner_text


def read_terms(
    m: Message, cluster: Cluster, machinery: Machinery, insecure: str, version: str
) -> tuple[Terms, Any, Any]:
    """Terms, program and lowered program, as this actor works them out. Raises Refused."""
    meta = m.meta
    if (meta["version"], meta["format"]) != (version, FORMAT):
        raise Refused(
            "peer",
            f"runs privity {version} (format {FORMAT}), the coordinator {meta['version']} (format {meta['format']}): "
            "install the same version everywhere",
        )
    if meta["cluster"] != cluster.digest():
        raise Refused(
            "peer",
            f"has another cluster file ({short(cluster.digest())}, the coordinator's is {short(meta['cluster'])}): "
            "copy one file to every host",
        )
    if meta["insecure"] != insecure:
        raise Refused("policy", "does not take part in insecure sessions")
    if meta["suite"] not in machinery.suites:
        raise Refused("program", f"has no suite {meta['suite']!r}; it has {', '.join(machinery.suites)}")
    try:
        text = bytes(m.frames[1]).decode("utf-8") if len(m.frames) == 2 else ""
        binding = Binding.parse(unpack(m.frames))
    except (BadMessage, UnicodeDecodeError):
        raise Refused("peer", "got a PREPARE message that it cannot read") from None
    if not _sensible(meta):
        raise Refused("peer", "got a PREPARE message that it cannot read")
    program, lowered = lower(text, meta["suite"], machinery)
    if list(program.parties) != cluster.names:
        raise Refused("program", "the program was made for other parties than the cluster's")
    if not binding.fits(program):
        raise Refused("program", "was told of data or kept secrets that the program does not take")
    which = {name: meta[name] for name in ("mode", "run", "attempt", "epoch", "material")}
    terms = Terms.of(
        cluster, program, lowered, meta["suite"], m.session, binding, insecure=insecure, version=version, **which
    )
    return terms, program, lowered


def ready(terms: Terms) -> dict[str, Any]:
    """What an actor answers: how it has read what it was told."""
    task = terms.task
    return {"version": task.version, "source": task.source, "lowered": task.lowered, "agreed": terms.digest()}


def _sensible(meta: dict[str, Any]) -> bool:
    """Whether a PREPARE names a run, an attempt, a checkpoint and material as there may be."""
    if meta["mode"] not in MODES or not _RUN.fullmatch(meta["run"]) or not _MATERIAL.fullmatch(meta["material"]):
        return False
    if meta["mode"] == "deal" and (meta["material"] or meta["epoch"]):
        return False
    attempt, epoch = int(meta["attempt"]), int(meta["epoch"])
    return 0 < attempt < MOST_ATTEMPTS and 0 <= epoch < attempt << 32


def lower(text: str, suite: str, machinery: Machinery) -> tuple[Any, Any]:
    """Parse, check and lower a program text. Raises Refused with the program's own words, which are public."""
    try:
        program = machinery.parse(text)
        program.check()
        lowered = program.lower(machinery.suites[suite])
        lowered.check()
        machinery.prepare(lowered)
    except MpcError as error:
        raise Refused("program", f"refuses the program: {error}") from None
    except Exception as error:  # noqa: BLE001 - a text from the network must not take a long-lived party down
        raise Refused("program", f"cannot read the program ({type(error).__name__})") from None
    return program, lowered
