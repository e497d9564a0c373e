"""A party or the dealer on its own host (`privity party`, `privity dealer`), serving runs until it is stopped."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from mpc.errors import UsageError
from parties import harden
from parties.actor import Actor
from parties.body import Body
from parties.cluster import DEALER, Cluster, load
from parties.data import read_csv
from parties.dealer import DealerBrain
from parties.early import loading
from parties.escaping import printable
from parties.home import Home, party_directory, settled
from parties.keys import KeyPair, fingerprint, load_secret
from parties.launch.declaring import Declaring
from parties.limits import Limits
from parties.machinery import Machinery
from parties.mesh import Mesh
from parties.party import PartyBrain
from parties.store import Store

__all__ = ["serve_dealer", "serve_party"]

_FAREWELL_SECONDS = 1.0
PROMISE = "semi-honest; dealer plus any one party together would see everything"


class _Operator:
    """What the operator's signals leave behind: an exception from a handler can get lost inside libzmq's calls.

    A second signal does not wait for the loop.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number


def serve_party(
    cluster_path: Path,
    name: str,
    key_path: Path,
    data: dict[str, Path],
    machinery: Machinery | None = None,
    limits: Limits | None = None,
    state: Path | None = None,
    schema: Path | None = None,
) -> int:
    """Be a party until stopped. `data`: what it offers, by name; every file is read before the port opens.

    schema: what is declared of columns; without one, no values of any column are told. state: the directory for what
    outlives this process (default: $PRIVITY_STATE, or privity under $XDG_STATE_HOME).

    Returns an exit code. Raises UsageError, InputError (full text: the owner starts this process), PeerError.
    """
    harden.harden()
    harden.keep_memory()
    cluster = load(cluster_path)
    me = cluster.index(name)
    pair = load_secret(key_path)
    _own(cluster, me, pair, key_path)
    store = Store(name, read_csv, _line(name, sys.stderr))
    for offered, path in data.items():
        store.offer_file(offered, path)
    declaring = Declaring(schema, _line(name, sys.stderr), store)
    world = settled(state, cluster.keys, cluster.digest())
    with Home.open(party_directory(world, name, pair.public), name) as home:
        body = Body(Mesh(pair), pair, cluster, me, limits or Limits())
        brain = PartyBrain(
            me,
            cluster,
            store,
            machinery or _machinery(),
            time.monotonic,
            limits=limits,
            trouble=body.trouble,
            heard=body.heard,
            memory=harden.peak_rss,
            declared=declaring.declared,
        )
        what = f"party {name}, offering {', '.join(data) or 'no data'}"
        return _serve(cluster, body, brain, what, pair, home, lambda: declaring.look(brain.declare))


def serve_dealer(cluster_path: Path, key_path: Path, machinery: Machinery | None = None) -> int:
    """Be the dealer until stopped. Returns an exit code. Raises UsageError, PeerError."""
    harden.harden()
    harden.keep_memory()
    cluster, pair = load(cluster_path), load_secret(key_path)
    _own(cluster, DEALER, pair, key_path)
    body = Body(Mesh(pair), pair, cluster, DEALER, Limits())
    brain = DealerBrain(cluster, machinery or _machinery(), time.monotonic)
    return _serve(cluster, body, brain, "dealer", pair, None)


def _machinery() -> Machinery:
    with loading():
        from parties.api import real_machinery

        return real_machinery()


def _own(cluster: Cluster, me: int, pair: KeyPair, key_path: Path) -> None:
    listed = cluster.member(me).public
    if listed != pair.public:
        raise UsageError(
            f"{key_path}: this key is {fingerprint(pair.public)}, but the cluster file lists {fingerprint(listed)} for "
            f"{cluster.name(me)}; put the right public key into the cluster file, on every host"
        )


def _serve(
    cluster: Cluster,
    body: Body,
    brain: Any,
    what: str,
    pair: KeyPair,
    home: Home | None,
    look: Callable[[], None] = lambda: None,
) -> int:
    """look: is called all the time."""
    label = cluster.name(brain.me)
    to_owner = _line(label, sys.stderr)
    operator = _Operator()
    before = {number: signal.signal(number, operator) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        port = body.listen()
        actor = body.inhabit(
            brain,
            home=home,
            say=_line(label, sys.stdout),
            note=_noted(label),
            tell=lambda text, _about: to_owner(text.removeprefix(f"{label}: ")),
            keep=_keep(label),
        )
        _line(label, sys.stdout)(
            f"{what}: listening on port {port}, key {fingerprint(pair.public)} (control port {body.control_port}; "
            f"{PROMISE})"
        )
        rest = harden.Rest()

        def over() -> bool:
            rest(brain.busy)
            look()
            return operator.signal != 0

        actor.run(over)
        actor.perform(brain.stop("stopped by its operator"))
        _last_words(actor, brain)
    finally:
        body.close(0.5)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if operator.signal == signal.SIGINT else 0


def _last_words(actor: Actor, brain: Any) -> None:
    """Stay until the coordinator has heard and given its verdict: a closed connection drops what was not read yet."""
    end = time.monotonic() + _FAREWELL_SECONDS
    actor.run(lambda: not brain.busy or time.monotonic() > end, 0.02)


def _line(label: str, stream: Any) -> Callable[[str], None]:
    def line(text: str) -> None:
        stream.write(f"{label}: {printable(text)}\n")
        stream.flush()

    return line


def _noted(label: str) -> Callable[[str], None]:
    """What its owner may want to look up later, with the time."""
    line = _line(label, sys.stdout)
    return lambda text: line(f"{datetime.now(UTC).isoformat(' ', 'seconds').removesuffix('+00:00')} UTC {text}")


def _keep(label: str) -> Callable[[str, Any, bytes], None]:
    """A result that only this party receives is shown to whoever runs it, and to nobody else."""
    line = _line(label, sys.stdout)

    def show(name: str, value: Any, _session: bytes) -> None:
        plain = value.tolist() if hasattr(value, "tolist") else value
        line(f"result {name} = {json.dumps(plain)}")

    return show
