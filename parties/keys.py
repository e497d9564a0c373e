"""CURVE keys: made on the host that uses them, the secret half in a file that only its owner can read.

A CURVE key is an X25519 key in the Z85 text form (ZeroMQ RFC 32). Identity is the public key, never an address or a
routing id. `zmq.auth.create_certificates` is not used: it leaves the secret readable by everybody.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mpc.errors import UsageError

__all__ = [
    "NAME",
    "KeyPair",
    "fingerprint",
    "fresh",
    "is_public",
    "keygen",
    "load_public",
    "load_secret",
    "unz85",
    "z85",
]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ALPHABET = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_VALUE = {c: i for i, c in enumerate(_ALPHABET)}


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair in Z85; the secret half is never printed."""

    public: str
    secret: str = field(repr=False)

    def __reduce__(self) -> str:
        raise TypeError("key material is never serialised")


def z85(raw: bytes) -> str:
    """32 bytes as 40 characters (RFC 32)."""
    out = bytearray()
    for start in range(0, len(raw), 4):
        word = int.from_bytes(raw[start : start + 4], "big")
        out += bytes(_ALPHABET[word // 85**k % 85] for k in (4, 3, 2, 1, 0))
    return out.decode("ascii")


def unz85(text: str) -> bytes:
    """The inverse of `z85`; ValueError for anything that is not 40 characters of 32 bytes."""
    symbols = text.encode("utf-8")
    if len(symbols) != 40 or any(c not in _VALUE for c in symbols):
        raise ValueError("a key is 40 characters of Z85")
    words = []
    for start in range(0, 40, 5):
        word = 0
        for c in symbols[start : start + 5]:
            word = word * 85 + _VALUE[c]
        if word >> 32:
            raise ValueError("a key is 40 characters of Z85")
        words.append(word.to_bytes(4, "big"))
    return b"".join(words)


def is_public(text: object) -> bool:
    """Whether it is a public key in Z85 (and not one of the points that make every secret the same)."""
    if not isinstance(text, str):
        return False
    try:
        raw = unz85(text)
    except ValueError:
        return False
    return any(raw)


def fresh() -> KeyPair:
    """A new key pair from the operating system's randomness."""
    key = X25519PrivateKey.generate()
    return KeyPair(z85(key.public_key().public_bytes_raw()), z85(key.private_bytes_raw()))


def fingerprint(public: str) -> str:
    """Sixteen hexadecimal digits of the public key's SHA-256, to read aloud: `3f2a-91c0-77de-0b45`."""
    digits = hashlib.sha256(unz85(public)).hexdigest()[:16]
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))


def keygen(name: str, directory: Path) -> tuple[Path, Path]:
    """Make `NAME.secret` (mode 0600) and `NAME.public` in `directory`; neither is ever overwritten.

    Returns both paths, the secret one first.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name: use small letters, digits, - and _, starting with a letter")
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory; make it first")
    secret, public = directory / f"{name}.secret", directory / f"{name}.public"
    for path in (secret, public):
        if path.exists():
            raise UsageError(f"{path} exists already and keys are never overwritten; move it away first")
    pair = fresh()
    head = f'format = 1\nname = "{name}"\npublic = "{pair.public}"\n'
    _write(secret, 0o600, f'# The secret key of {name}. Never leaves this host.\n{head}secret = "{pair.secret}"\n')
    _write(public, 0o644, f"# The public key of {name}, fingerprint {fingerprint(pair.public)}.\n{head}")
    return secret, public


def _write(path: Path, mode: int, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> dict[str, object]:
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such key file; make one with: privity keygen {path.stem}") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise UsageError(f"{path}: not a privity key file") from None
    if fields.get("format") != 1 or not is_public(fields.get("public")):
        raise UsageError(f"{path}: not a privity key file of format 1")
    return fields


def load_public(path: Path) -> str:
    """The public key in a `.public` or `.secret` file."""
    return str(_read(path)["public"])


def load_secret(path: Path) -> KeyPair:
    """The key pair in a `.secret` file, refused if anybody but its owner may read it."""
    fields = _read(path)
    public, secret = str(fields["public"]), fields.get("secret")
    if not isinstance(secret, str):
        raise UsageError(f"{path}: holds no secret key; give the .secret file, not the .public one")
    mode = path.stat().st_mode
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"{path}: other users may read this secret key; run: chmod 600 {path}")
    try:
        raw = unz85(secret)
    except ValueError:
        raise UsageError(f"{path}: the secret key is damaged") from None
    if z85(X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()) != public:
        raise UsageError(f"{path}: secret and public key do not belong together")
    return KeyPair(public, secret)
