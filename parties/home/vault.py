"""Sealed files of named arrays: shares that outlive their process.

    magic 8 · salt 32 · length of the header 4 · sealed header · sealed chunks of each array, in the header's order

Each file has a key of its own, HKDF-SHA256 of the vault's key and the fresh salt, and is sealed in chunks of 256 KiB
with AES-256-GCM in the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizár, CRYPTO 2015): the nonce is the
chunk's number and a flag on the last, the associated data are the blob's name and header. So a chunk that is cut off,
moved, repeated, or brought from another blob is noticed, and no nonce serves twice under one key.

A file is written beside the old one, fsynced and renamed over it. Whatever interrupts that, the old blob or the new
one is there, whole. Nothing is returned before every chunk of it was found genuine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mpc.exchange import Array
from parties.home import disk
from parties.home.errors import HomeError, disk_error

__all__ = ["Vault"]

_Layout = list[tuple[str, str | None, tuple[int, ...]]]

_MAGIC = b"privity\x01"
_SALT, _TAG, _LENGTH = 32, 16, 4
_CHUNK = 1 << 18
_HEADER_MOST = 1 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,150}")
_CODES: dict[str, np.dtype[Any]] = {"<u8": np.dtype("<u8"), "u1": np.dtype("u1")}
_SUFFIX = ".sealed"
_PART = ".part"


class Vault:
    """The sealed files of one actor. Names are small letters, digits and `._-`.

    token: marks this process's temporary files.
    """

    def __init__(self, directory: Path, key: bytes, token: str, entropy: Callable[[int], bytes]) -> None:
        self._directory = directory
        self._key = key
        self._token = token
        self._entropy = entropy
        self._parts = 0
        directory.mkdir(mode=0o700, exist_ok=True)

    def __repr__(self) -> str:
        return f"<Vault {self._directory}>"

    def __reduce__(self) -> str:
        raise TypeError("key material is never serialised")

    # ------------------------------------------------------------------------------------------------- the verbs

    def put(self, name: str, header: Mapping[str, Any], arrays: Mapping[str, Array | None]) -> None:
        """Seal under this name, in the place of what was there. Durable when it returns.

        header: small and JSON. arrays: uint64 or uint8 of any shape, or None, which stays None. Raises HomeError; the
        earlier blob of that name is intact then, and no temporary file is left.
        """
        path = self._path(name)
        self._parts += 1
        part = self._directory / f"{self._token}.{self._parts}{_PART}"
        try:
            self._write(part, name, header, arrays)
            disk.rename(part, path)
            disk.fsync_directory(self._directory)
        except OSError as error:
            _remove(part)
            raise disk_error(path, error) from None
        except BaseException:
            _remove(part)
            raise

    def get(self, name: str) -> tuple[dict[str, Any], dict[str, Array | None]]:
        """What was put, or HomeError if it is missing, damaged, cut short, another's, or of a newer version."""
        return self._open(name, whole=True)

    def header(self, name: str) -> dict[str, Any]:
        """The header alone, as `get`: of the arrays only the length is looked at."""
        return self._open(name, whole=False)[0]

    def _open(self, name: str, *, whole: bool) -> tuple[dict[str, Any], dict[str, Array | None]]:
        path = self._path(name)
        try:
            with os.fdopen(disk.open_read(path), "rb") as file:
                return self._read(file, name, path, whole)
        except FileNotFoundError:
            raise HomeError(f"{path}: missing; was the directory restored from a backup, or tidied by hand?") from None
        except OSError as error:
            raise disk_error(path, error) from None

    def drop(self, name: str) -> bool:
        """Remove a blob; whether there was one."""
        path = self._path(name)
        try:
            found = disk.unlink(path)
            disk.fsync_directory(self._directory)
        except OSError as error:
            raise disk_error(path, error) from None
        return found

    def keyed(self, text: str) -> str:
        """HMAC-SHA256 of a text under a key of its own: only whoever has the vault's key can tell it again.

        For what stands in the ledger and is a function of data: a plain hash of a few bits gives them to who tries all.
        """
        key = HKDF(SHA256(), 32, None, b"privity vault: texts in the ledger").derive(self._key)
        return hmac.digest(key, text.encode(), "sha256").hex()

    def names(self) -> list[str]:
        """Every blob, in alphabetical order."""
        return sorted(p.name.removesuffix(_SUFFIX) for p in self._directory.glob(f"*{_SUFFIX}"))

    def fresh_name(self, kind: str) -> str:
        """A name that no blob ever had: `kind-<32 random digits>`."""
        return f"{kind}-{self._entropy(16).hex()}"

    def clear(self, alive: Callable[[str], bool]) -> None:
        """Remove the temporary files of processes that are no longer alive."""
        try:
            for part in self._directory.glob(f"*{_PART}"):
                if not alive(part.name.split(".")[0]):
                    disk.unlink(part)
        except OSError as error:
            raise disk_error(self._directory, error) from None

    # ---------------------------------------------------------------------------------------------- the file form

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HomeError(f"{name!r} is no name for a sealed file: small letters, digits, dots, - and _")
        return self._directory / f"{name}{_SUFFIX}"

    def _write(self, part: Path, name: str, header: Mapping[str, Any], arrays: Mapping[str, Array | None]) -> None:
        layout: _Layout = [(key, *_form(key, value)) for key, value in arrays.items()]
        text = json.dumps([header, layout], separators=(",", ":"), allow_nan=False).encode()
        if len(text) > _HEADER_MOST:
            raise HomeError(f"{name}: a header of {len(text)} bytes; at most {_HEADER_MOST}")
        preamble = _MAGIC + self._entropy(_SALT) + len(text).to_bytes(_LENGTH, "big")
        seal = _Seal(self._key, preamble, name)
        left = _chunks(layout)
        handle = disk.create(part)
        try:
            disk.write(handle, preamble)
            disk.write(handle, seal.close(text, last=not left))
            seal.bind(text)
            for value in arrays.values():
                for piece in _pieces(value):
                    left -= 1
                    disk.write(handle, seal.close(piece, last=not left))
            disk.fsync(handle)
        finally:
            os.close(handle)

    def _read(
        self, file: BufferedReader, name: str, path: Path, whole: bool
    ) -> tuple[dict[str, Any], dict[str, Array | None]]:
        size = os.fstat(file.fileno()).st_size
        preamble = file.read(len(_MAGIC) + _SALT + _LENGTH)
        if preamble[:7] == _MAGIC[:7] and preamble[7:8] > _MAGIC[7:]:
            raise HomeError(f"{path}: written by a newer privity; upgrade this one")
        if len(preamble) < len(_MAGIC) + _SALT + _LENGTH or not preamble.startswith(_MAGIC):
            raise _damaged(path)
        length = int.from_bytes(preamble[-_LENGTH:], "big")
        body = len(preamble) + length + _TAG
        if length > _HEADER_MOST or size < body:
            raise _damaged(path)
        seal = _Seal(self._key, preamble, name)
        try:
            text = seal.open(file.read(length + _TAG), last=size == body)
            seal.bind(text)
            header, layout = json.loads(text)
            if size != body + _sealed_size(layout):
                raise _damaged(path)
            return header, _open_arrays(file, seal, layout) if whole else {}
        except InvalidTag:
            raise _damaged(path) from None


class _Seal:
    """The chunks of one file, in order."""

    def __init__(self, key: bytes, preamble: bytes, name: str) -> None:
        salt = preamble[len(_MAGIC) : len(_MAGIC) + _SALT]
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt, b"privity vault: one file").derive(key))
        self._bound = preamble + name.encode()
        self._number = 0

    def bind(self, header: bytes) -> None:
        """From here on the header is associated data too."""
        self._bound = hashlib.sha256(self._bound + b"\0" + header).digest()

    def _nonce(self, last: bool) -> bytes:
        self._number += 1
        return self._number.to_bytes(11, "big") + bytes([last])

    def close(self, chunk: bytes | memoryview, *, last: bool) -> bytes:
        return self._cipher.encrypt(self._nonce(last), chunk, self._bound)

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        return self._cipher.decrypt(self._nonce(last), sealed, self._bound)


# ------------------------------------------------------------------------------------------------- arrays and chunks


def _form(name: str, array: Array | None) -> tuple[str | None, tuple[int, ...]]:
    if array is None:
        return None, ()
    if array.dtype not in (np.uint64, np.uint8):
        raise HomeError(f"array {name!r} has type {array.dtype}; sealed files hold uint64 and uint8")
    return "<u8" if array.dtype.itemsize == 8 else "u1", array.shape


def _sizes(layout: _Layout) -> Iterator[int]:
    """Bytes of each array."""
    return (prod(shape) * _CODES[code].itemsize for _, code, shape in layout if code is not None)


def _chunks(layout: _Layout) -> int:
    return sum(-(-size // _CHUNK) for size in _sizes(layout))


def _sealed_size(layout: _Layout) -> int:
    return sum(_sizes(layout)) + _TAG * _chunks(layout)


def _pieces(array: Array | None) -> Iterator[memoryview]:
    """The array's bytes in C order, chunk by chunk; one that is not contiguous is never copied whole."""
    if array is None:
        return
    code = "<u8" if array.dtype.itemsize == 8 else "u1"
    flat: Any = array.reshape(-1) if array.flags.c_contiguous else array.flat
    step = _CHUNK // array.dtype.itemsize
    for start in range(0, array.size, step):
        yield np.ascontiguousarray(flat[start : start + step], code).view(np.uint8).data


def _open_arrays(file: BufferedReader, seal: _Seal, layout: _Layout) -> dict[str, Array | None]:
    arrays: dict[str, Array | None] = {}
    left = _chunks(layout)
    for name, code, shape in layout:
        if code is None:
            arrays[name] = None
            continue
        array = np.empty(tuple(shape), _CODES[code])
        flat = array.reshape(-1).view(np.uint8)
        for start in range(0, flat.size, _CHUNK):
            left -= 1
            piece = flat[start : start + _CHUNK]
            piece[:] = np.frombuffer(seal.open(file.read(piece.size + _TAG), last=not left), np.uint8)
        arrays[name] = array
    return arrays


def _damaged(path: Path) -> HomeError:
    return HomeError(
        f"{path}: damaged, or not of this vault and name; usual causes: a file copied or restored by itself, a disk "
        f"fault; restore the whole directory from one backup, or remove this file and do without it"
    )


def _remove(part: Path) -> None:
    try:
        disk.unlink(part)
    except OSError:
        return  # the next opener clears it away; the error that led here is the one to tell
