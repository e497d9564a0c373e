"""The control plane of one actor: a thread and sockets of its own, so that it lives while the work thread computes.

It says every half second that this actor lives and how far it has come, hears the same of the others, and passes on
what must not wait behind data: who is silent, and verdicts. The work thread reads `news` and leaves its own state in
`sign`.
Nothing of a program or its data goes this way; to the dealer not even the progress (page 7, rule 5).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from parties.cluster import COORDINATOR, DEALER, Cluster
from parties.limits import Limits
from parties.liveness import Liveness, Sign, Silent
from parties.mesh import Mesh, Packet
from parties.network import control_address, dials
from parties.wire import BadMessage, Message, Type, decode, encode

__all__ = ["Alarm", "Alive", "Lost", "News", "Watch"]

_TURN = 0.1
_SILENT = Sign()


@dataclass(frozen=True, slots=True)
class Alive:
    """The first sign of life of an actor, or of its new process."""

    peer: int


@dataclass(frozen=True, slots=True)
class Lost:
    """An actor counts as dead; `reason` continues the sentence "party bob ..."."""

    peer: int
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """A verdict that came ahead of the data."""

    message: Message


News = Alive | Lost | Alarm


class Watch:
    """Start it when the mesh listens, at `port` (0: nowhere); `wake` ends the work thread's waiting."""

    def __init__(
        self,
        mesh: Mesh,
        port: int,
        me: int,
        cluster: Cluster,
        incarnation: int,
        wake: Callable[[], None],
        limits: Limits,
    ) -> None:
        self.sign = _SILENT
        self.port = port
        self._cluster = cluster
        self._addresses: dict[int, str] = {}
        self._news: SimpleQueue[News] = SimpleQueue()
        self._mesh = mesh
        self._me = me
        self._peers = [actor for actor in cluster.actors() if actor != me]
        self._incarnation = incarnation
        self._theirs: dict[int, int] = {}
        self._wake = wake
        self._liveness = Liveness(self._peers, limits.dead)
        self._orders: SimpleQueue[Message | tuple[int, str]] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    # ------------------------------------------------------------------------------- what the work thread may call

    def news(self) -> list[News]:
        """What has happened since the last call."""
        found: list[News] = []
        try:
            while True:
                found.append(self._news.get_nowait())
        except Empty:
            return found

    def heard(self, peer: int) -> Sign:
        """The latest that a peer said of itself."""
        return self._liveness.sign(peer)

    def trouble(self, peer: int) -> str:
        """Why an actor that has greeted gives no sign of life, in words."""
        if peer not in self._addresses:
            return "no sign of life came"
        why = self._mesh.trouble(peer) or "no sign of life came"
        return (
            f"its control port {self._addresses[peer]} cannot be reached: {why}; open that port, or fix another with "
            "control = 'host:port' in the cluster file"
        )

    def joined(self, peer: int, port: int) -> None:
        """An actor has greeted and told its control port: call it, if calling is up to this one."""
        if dials(self._me, peer) and port < 65536:
            address = control_address(self._cluster.member(peer), port)
            self._addresses[peer] = address
            self._orders.put((peer, address))
            self._mesh.wake()

    def alarm(self, message: Message) -> None:
        """Send a verdict ahead of the data."""
        self._orders.put(message)
        self._mesh.wake()

    def close(self, linger: float) -> None:
        """Say goodbye and stop."""
        self._stop.set()
        self._mesh.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._mesh.close(linger)

    # --------------------------------------------------------------------------------------------- the thread itself

    def _serve(self) -> None:
        while not self._stop.is_set():
            for happening in self._mesh.poll(_TURN):
                if isinstance(happening, Packet):
                    self._packet(happening)
            self._order()
            now = time.monotonic()
            if self._liveness.due(now):
                self._ping()
            for finding in self._liveness.tick(now):
                if isinstance(finding, Silent):
                    self._tell(Lost(finding.peer, f"died (no sign of life for {finding.seconds:g} s)"))
        self._order()
        for peer in self._peers:
            self._send(Message(Type.BYE, self._me, peer))

    def _order(self) -> None:
        while not self._orders.empty():
            match self._orders.get():
                case Message() as message:
                    self._send(message)
                case (peer, address):
                    self._mesh.dial(peer, address, self._cluster.member(peer).public)

    def _ping(self) -> None:
        sign = self.sign
        for peer in self._peers:
            shown = _SILENT if peer == DEALER else sign
            meta = {"progress": shown.progress, "waiting": shown.waiting}
            self._send(Message(Type.PING, self._me, peer, meta=meta))

    def _send(self, m: Message) -> None:
        """A sign that cannot be sent now is not kept: the next one says more."""
        stamped = Message(m.type, m.src, m.dst, m.session, m.step, m.meta, m.frames, 0, self._incarnation)
        self._mesh.send(m.dst, encode(stamped))

    def _packet(self, packet: Packet) -> None:
        peer = packet.peer
        try:
            m = decode(packet.parts)
            if m.src != peer or m.dst != self._me or m.type not in {Type.PING, Type.ABORT, Type.BYE}:
                raise BadMessage("what does not belong on a control connection")  # noqa: TRY301
        except BadMessage as error:
            self._tell(Lost(peer, f"sent a malformed message ({error})"))
            return
        if m.type is Type.ABORT:
            if peer == COORDINATOR:
                self._tell(Alarm(m))
        elif m.type is Type.BYE:
            if m.incarnation == self._theirs.get(peer):
                self._liveness.forget(peer)
        else:
            self._heard(peer, m)

    def _heard(self, peer: int, m: Message) -> None:
        if self._theirs.get(peer) != m.incarnation:
            self._theirs[peer] = m.incarnation
            self._liveness.forget(peer)
        new = not self._liveness.alive(peer)
        self._liveness.heard(peer, time.monotonic(), Sign(m.meta["progress"], m.meta["waiting"]))
        if new:
            self._tell(Alive(peer))

    def _tell(self, news: News) -> None:
        self._news.put(news)
        self._wake()
