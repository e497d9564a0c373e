"""What all actors agree on before an input moves, and the seeds that two parties have and the dealer never.

The agreed digest covers source, lowered program, suite, versions, parties, cluster file, session and the mark of an
insecure session. Pairwise seeds: X25519 with a fresh key per session, sent over the CURVE link, then HKDF-SHA256 bound
to the agreed digest, both names and the purpose.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.prg import SEED_BYTES
from parties.wire import BadMessage

__all__ = ["PURPOSES", "Terms", "Verdict", "pair_seed", "short"]

PURPOSES = ("input", "zero")


@dataclass(frozen=True)
class Terms:
    """Everything that must be the same at every actor of a session."""

    version: str
    format: int
    source: str
    lowered: str
    suite: str
    parties: tuple[str, ...]
    cluster: str
    session: str
    insecure: str

    def digest(self) -> str:
        """SHA-256 of the canonical text."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """Why a run ended: the actor at fault, the kind of fault, and the one sentence that everybody prints."""

    origin: int
    kind: str
    sentence: str
    round: int = 0
    where: str = ""


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
