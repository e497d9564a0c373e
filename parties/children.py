"""The processes that `parties.local` starts: `python -m parties --child party alice`, `... --child dealer`.

Everything but role and name comes through the standard input of the child, which ends when the launcher does; the
secret key is made here and never leaves this process. Standard output carries records for the launcher only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from parties import harden, keys
from parties.early import loading
from parties.launch.pipe import Buffer, read_record, unpack_value, write_record

__all__ = ["main"]


class _Launcher:
    """The launcher, seen from a child."""

    def __init__(self) -> None:
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb")
        self._lock = threading.Lock()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)  # whatever a library prints must not mix with the records

    def tell(self, event: str, blobs: Sequence[Buffer] = (), **fields: Any) -> None:
        """Report to the launcher."""
        try:
            with self._lock:
                write_record(self._out, {"event": event, **fields}, blobs)
        except BrokenPipeError:
            os._exit(0)

    def next(self) -> tuple[dict[str, Any], list[bytes]]:
        """The next record; the launcher's end is the child's end, whatever it is doing."""
        record = read_record(self._in)
        if record is None:
            os._exit(0)
        return record


def main(argv: Sequence[str]) -> int:
    """Be a party or the dealer of a local run. argv: `party NAME` or `dealer`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the launcher
    harden.harden()
    harden.keep_memory()
    launcher = _Launcher()
    config, _ = launcher.next()
    if config["die_with_parent"]:
        harden.die_with_parent()
    with loading():
        from parties.mesh import Mesh

    pair = keys.fresh()
    mesh = Mesh(pair)
    port = mesh.listen("tcp://127.0.0.1:*", {})
    launcher.tell("listening", port=port, public=pair.public)
    serve = _party if argv[0] == "party" else _dealer
    serve(launcher, mesh, pair, config, *argv[1:])
    return 0


def _machinery() -> Any:
    with loading():
        from parties.machinery import real
        from protocols import catalog, suites

    return real(suites, catalog)


def _party(launcher: _Launcher, mesh: Any, pair: keys.KeyPair, config: dict[str, Any], name: str) -> None:
    with loading():
        from parties import cluster as clusters
        from parties.body import Body
        from parties.data import read_csv
        from parties.declared import Declared
        from parties.home import Home, actor_directory
        from parties.limits import Limits
        from parties.party import PartyBrain
        from parties.schema import parse_columns
        from parties.store import Store

    machinery = _machinery()
    store = Store(name, read_csv)
    cluster = replace(clusters.parse(launcher.next()[0]["cluster"]), ephemeral=True)
    me = cluster.index(name)
    limits = Limits(**config["limits"])
    body = Body(mesh, pair, cluster, me, limits)
    brain = PartyBrain(
        me,
        cluster,
        store,
        machinery,
        time.monotonic,
        insecure=config["insecure"],
        limits=limits,
        trouble=body.trouble,
        heard=body.heard,
        memory=harden.peak_rss,
        declared=Declared(parse_columns("schema", config["columns"]), local=True, minimum=config["minimum"]),
    )
    home = Home.open(actor_directory(name, Path(config["state"])), name)
    _join(launcher, body, brain, store, home)


def _dealer(launcher: _Launcher, mesh: Any, pair: keys.KeyPair, config: dict[str, Any]) -> None:
    with loading():
        from parties import cluster as clusters
        from parties.body import Body
        from parties.dealer import DealerBrain
        from parties.limits import Limits

    machinery = _machinery()
    cluster = replace(clusters.parse(launcher.next()[0]["cluster"]), ephemeral=True)
    limits = Limits(**config["limits"])
    body = Body(mesh, pair, cluster, clusters.DEALER, limits)
    brain = DealerBrain(cluster, machinery, time.monotonic, insecure=config["insecure"], limits=limits)
    _join(launcher, body, brain, None, None)


def _join(launcher: _Launcher, body: Any, brain: Any, store: Any, home: Any) -> None:
    from parties.values import pack_values

    launcher.tell("ready")
    launcher.next()
    actor = body.inhabit(
        brain,
        home=home,
        say=lambda text: launcher.tell("say", text=text),
        tell=lambda text, about: launcher.tell("owner", text=text, about=about.hex()),
        keep=lambda name, value, session: launcher.tell("kept", pack_values({name: value}), about=session.hex()),
    )
    threading.Thread(target=_offers, args=(launcher, store), name="offers", daemon=True).start()
    rest = harden.Rest()
    while True:
        actor.step(0.25)
        rest(brain.busy)


def _offers(launcher: _Launcher, store: Any) -> None:
    """Take data from the launcher; its text of a refusal goes back to the launcher, who is the owner here."""
    from mpc.errors import MpcError

    while True:
        head, blobs = launcher.next()
        name = head["name"]
        try:
            if "path" in head:
                store.offer_file(name, Path(head["path"]))
            else:
                store.offer(name, unpack_value(head, blobs))
            launcher.tell("offered", name=name, refused="")
        except MpcError as refusal:
            launcher.tell("offered", name=name, refused=str(refusal))
        except Exception as error:  # noqa: BLE001 - the launcher waits for an answer, and the text may hold data
            launcher.tell("offered", name=name, refused=f"{type(error).__name__} while reading {name!r}")
        del head, blobs
        harden.give_back(harden.peak_rss())  # what reading took, and the data before, lie in pieces between the rest


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
