"""The seeds that follow from what all actors agree on, and how a run that ends is told.

A seed is drawn from only through HKDF-SHA256 that is bound to the terms of the one who derives it: actors whose terms
differ (`parties.terms`) have streams that have nothing to do with one another, also where nobody has noticed. Pairwise
seeds, which the dealer never has: X25519 with a fresh key per session, sent over the CURVE link, bound to the digest of
the run, both names and the purpose. The dealer's: what it sent, bound to the digest of the run; of material for later,
which serves a run that is not known yet, to the digest of its task and the dealer's nonce.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.prg import SEED_BYTES
from parties.terms import Task
from parties.wire import BadMessage

__all__ = [
    "PURPOSES", "RESUMABLE", "Verdict", "dealt_seed", "pair_seed", "place", "sentence", "short", "short_run",
    "stock_of",
]  # fmt: skip

PURPOSES = ("input", "zero")


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
    """The seed of two parties for one purpose. agreed: the digest of the run. names: in the cluster's order."""
    try:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(theirs))
    except (ValueError, InvalidKey):
        raise BadMessage("not a key") from None
    return _derived(shared, "pair", agreed, *names, purpose)


def dealt_seed(seed: bytes, agreed: str) -> bytes:
    """What is drawn from for a seed of the dealer's. agreed: the digest of the run, or of material, `stock_of`."""
    return _derived(seed, "dealt", agreed)


def stock_of(task: Task, nonce: bytes) -> str:
    """What the seeds of material for later are bound to."""
    return f"{task.digest()} {nonce.hex()}"


def _derived(secret: bytes, *bound_to: str) -> bytes:
    info = json.dumps(["privity", 2, *bound_to], separators=(",", ":")).encode()
    return HKDF(SHA256(), SEED_BYTES, None, info).derive(secret)


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
