"""Where an actor's state lies: $PRIVITY_STATE, else $XDG_STATE_HOME/privity, else ~/.local/state/privity, and below it
<world>/<actor>. The world is `local` for local runs and that of the parties' keys otherwise (`parties.home.worlds`), so
that the alice of one cluster never meets the alice of another.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from mpc.errors import UsageError
from parties.home import disk
from parties.home.errors import disk_error

__all__ = ["LOCAL", "actor_directory", "private_directory", "state_root"]

LOCAL = "local"


def state_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory that holds the state of every actor of this user."""
    if own := environment.get("PRIVITY_STATE"):
        return Path(own).expanduser().absolute()
    shared = environment.get("XDG_STATE_HOME", "")
    if shared.startswith("/"):  # the XDG rules ignore a relative one
        return Path(shared) / "privity"
    return Path("~/.local/state/privity").expanduser()


def actor_directory(actor: str, root: Path | None = None) -> Path:
    """The directory of one actor of local runs."""
    return (root or state_root()) / LOCAL / actor


def private_directory(path: Path, *, create: bool) -> None:
    """Make it if need be, 0700 with all that is missing above it; refuse one that is not this user's alone."""
    try:
        if create:
            _make(path)
        status = path.stat()
    except FileNotFoundError:
        raise UsageError(f"{path}: nothing is kept here; was it another --party, --cluster or --state?") from None
    except OSError as error:
        raise disk_error(path, error) from None
    if not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path}: not a directory; move it away, or set PRIVITY_STATE to another place")
    if status.st_uid != os.geteuid():
        raise UsageError(f"{path}: belongs to another user; run as its owner, or set PRIVITY_STATE to another place")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path}: other users may enter this directory of secrets; run: chmod 700 {path}")


def _make(path: Path) -> None:
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue  # another process was faster
        disk.fsync_directory(directory.parent)
