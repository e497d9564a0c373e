"""Where the state of a cluster's actors lies: found by the parties' keys, whatever else the cluster file says.

<root>/keys-<32 digits>/<name>, the digits of a hash of the parties' public keys, in no order. So an edited address,
another dealer or coordinator, another order hide nothing, and other parties are another world. A party that has another
name than before is found by its key, and its directory gets the new name. An earlier version named the world after the
whole cluster file; what lies there is moved, once.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from mpc.errors import UsageError
from parties.home import disk
from parties.home.errors import disk_error
from parties.home.home import Home
from parties.home.places import private_directory, state_root
from parties.home.presence import in_use

__all__ = ["party_directory", "settled", "world_of"]

_KEY = "public"  # the file that says whose directory it is


def world_of(keys: Iterable[str]) -> str:
    """The name of the world of the parties with these public keys."""
    digits = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
    return f"keys-{digits[:32]}"


def settled(root: Path | None, keys: Iterable[str], file_digest: str) -> Path:
    """The directory of a cluster's world; what an earlier version kept of this very cluster file is moved there.

    Raises UsageError if a process of that version still has it open, HomeError if it cannot be moved.
    """
    root = (root or state_root()).absolute()
    world, old = root / world_of(keys), root / file_digest[:16]
    if not world.exists() and old.is_dir():
        for actor in old.iterdir():
            if in_use(actor):
                raise UsageError(
                    f"{actor}: an earlier version of privity has it open, and this one has to move it to {world}: "
                    "stop that process first"
                )
        _rename(old, world)
    return world


def party_directory(world: Path, name: str, public: str) -> Path:
    """The directory of the party with this key, made if there is none.

    Raises UsageError if the name is another party's here, or has changed while it is in use; HomeError of the disk.
    """
    private_directory(world, create=True)
    mine, owner = world / name, _owner(world / name)
    if owner != public:
        before = next((other.name for other in sorted(world.iterdir()) if _owner(other) == public), "")
        if owner or (before and mine.exists()):
            raise UsageError(
                f"{mine}: is the state of another party, which was called {name} before; call this one "
                f"{before or 'otherwise'} in the cluster file, or move that directory away"
            )
        if before:
            _renamed(world / before, mine)
        private_directory(mine, create=True)
        _mark(mine, public)
    return mine


def _renamed(old: Path, new: Path) -> None:
    if in_use(old):
        raise UsageError(f"{old}: is the state of {new.name} from before it had this name, and in use: stop it first")
    with Home.open(old, old.name, create=False) as home:
        home.rename(new.name)
    _rename(old, new)


def _rename(old: Path, new: Path) -> None:
    try:
        disk.rename(old, new)
        disk.fsync_directory(new.parent)
    except OSError as error:
        if not old.exists() and new.exists():
            return  # another process was faster
        raise disk_error(old, error) from None


def _owner(directory: Path) -> str:
    try:
        return (directory / _KEY).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _mark(directory: Path, public: str) -> None:
    part = directory / f"{_KEY}.{secrets.token_hex(8)}.part"
    try:
        handle = disk.create(part)
        disk.write(handle, f"{public}\n".encode())
        disk.fsync(handle)
        os.close(handle)
        disk.rename(part, directory / _KEY)
        disk.fsync_directory(directory)
    except OSError as error:
        raise disk_error(directory, error) from None
