"""What all actors agree on before an input moves, and the seeds that two parties have and the dealer never.

The agreed digest covers source, lowered program, suite, versions, parties, cluster file, session and the mark of an
insecure session. Pairwise seeds: X25519 with a fresh key per session, sent over the CURVE link, then HKDF-SHA256 bound
to the agreed digest, both names and the purpose.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.prg import SEED_BYTES
from parties.wire import BadMessage

__all__ = ["PURPOSES", "RESUMABLE", "Terms", "Verdict", "pair_seed", "place", "sentence", "short", "short_run"]

PURPOSES = ("input", "zero")


@dataclass(frozen=True)
class Terms:
    """Everything that must be the same at every actor of a session.

    mode: `run`, or `deal` (material for later). run, attempt: the same run may be attempted again, each attempt in a
    session of its own. epoch: the checkpoint that it goes on from, 0 for the beginning. material: the id of what was
    dealt beforehand, empty if the dealer takes part.
    """

    version: str
    format: int
    source: str
    lowered: str
    suite: str
    parties: tuple[str, ...]
    cluster: str
    session: str
    insecure: str
    mode: str = "run"
    run: str = ""
    attempt: int = 1
    epoch: int = 0
    material: str = ""

    def digest(self) -> str:
        """SHA-256 of the canonical text."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """Why a run ended: the actor at fault, the kind of fault, and the one sentence that everybody prints.

    While evidence is collected `sentence` is the reason alone; `reporter` is who gave it.
    """

    origin: int
    kind: str
    sentence: str
    round: int = 0
    where: str = ""
    reporter: int = -1


RESUMABLE = frozenset({"dead", "stall", "stopped", "peer", "internal"})  # what may be otherwise at the next attempt


def sentence(verdict: Verdict, reporter: str, run: str) -> str:
    """The one line about a run that ended: who, in which round, at which line, who says so, and how to go on.

    reporter: its name if it speaks of somebody else, else empty. run: the id to resume it by, empty if it cannot be.
    """
    text = f"run stopped: {verdict.sentence}"
    if verdict.round and verdict.kind in RESUMABLE:
        text += f" in round {verdict.round}"
        text += f" ({verdict.where})" if verdict.where else ""
    text += f"; reported by {reporter}" if reporter else ""
    return text + (f"; resume with: privity resume {short_run(run)}" if run and verdict.kind in RESUMABLE else "")


def short_run(run: str) -> str:
    """The first digits of a run's id: enough to name it."""
    return run[:10]


def pair_seed(mine: X25519PrivateKey, theirs: bytes, agreed: str, names: tuple[str, str], purpose: str) -> bytes:
    """The seed of two parties for one purpose; `names` in the cluster's order."""
    try:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(theirs))
    except (ValueError, InvalidKey):
        raise BadMessage("not a key") from None
    info = json.dumps(["privity", 1, agreed, list(names), purpose], separators=(",", ":")).encode()
    return HKDF(SHA256(), SEED_BYTES, None, info).derive(shared)


def short(digest: str) -> str:
    """The first twelve digits: enough to compare by eye."""
    return digest[:12]


def place(error: BaseException) -> str:
    """File and line of a failure; its message may hold a value."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
