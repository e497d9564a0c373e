"""The control plane of one actor on a thread and sockets of its own, so that it lives while the work thread computes.

What it says and hears is `parties.control`. The work thread reads `news` and leaves its own state in `sign`. Only a
port that this actor calls anyway is knocked at: from elsewhere a firewall may have refused it all along.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from parties.cluster import Cluster
from parties.control import Alarm, Alive, Control, News
from parties.knock import Knocks
from parties.limits import Limits
from parties.liveness import Sign
from parties.mesh import Happening, Mesh, Packet, Reached
from parties.network import control_address, dials
from parties.wire import Message, encode

__all__ = ["Watch"]

_TURN = 0.1
_MOST_UNTOLD = 1000


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
        self.port = port
        self._cluster = cluster
        self._addresses: dict[int, str] = {}
        self._news: SimpleQueue[News] = SimpleQueue()
        self._untold: Counter[int] = Counter()
        self._mesh = mesh
        self._me = me
        self._wake = wake
        self._control = Control(me, [actor for actor in cluster.actors() if actor != me], incarnation, limits)
        self._knocks = Knocks()
        self._orders: SimpleQueue[Message | tuple[int, str] | int] = SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    # ------------------------------------------------------------------------------- what the work thread may call

    @property
    def sign(self) -> Sign:
        """How far the work thread has come."""
        return self._control.sign

    @sign.setter
    def sign(self, sign: Sign) -> None:
        self._control.sign = sign

    def news(self) -> list[News]:
        """What has happened since the last call."""
        found: list[News] = []
        self._untold.clear()
        try:
            while True:
                found.append(self._news.get_nowait())
        except Empty:
            return found

    def heard(self, peer: int) -> Sign:
        """The latest that a peer said of itself."""
        return self._control.heard(peer)

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
        self._orders.put(peer)
        if dials(self._me, peer) and 0 < port < 65536:
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
                self._happened(happening)
            self._order()
            signs, lost = self._control.turn(time.monotonic())
            for sign in signs:
                self._send(sign)
            self._tell(lost)
            self._knock()
        self._order()
        for message in self._control.farewell():
            self._send(message)

    def _knock(self) -> None:
        for peer, refused in self._knocks.answers():
            self._tell(self._control.knocked(peer, time.monotonic(), refused=refused))
        for peer in self._control.doubtful(time.monotonic()):
            if peer in self._addresses:
                self._knocks.at(peer, self._addresses[peer])

    def _happened(self, happening: Happening) -> None:
        match happening:
            case Reached(peer):
                self._send(self._control.sign_for(peer))
            case Packet(peer, parts):
                news = self._control.receive(peer, parts, time.monotonic())
                if any(isinstance(one, Alive) for one in news):
                    self._send(self._control.sign_for(peer))
                self._tell(news)

    def _order(self) -> None:
        while not self._orders.empty():
            match self._orders.get():
                case Message() as message:
                    self._send(self._control.stamped(message))
                case int() as peer:
                    self._control.joined(peer, time.monotonic())
                case (peer, address):
                    self._mesh.dial(peer, address, self._cluster.member(peer).public)

    def _send(self, m: Message) -> None:
        """A sign that cannot be sent now is not kept: the next one says more."""
        self._mesh.send(m.dst, encode(m))

    def _tell(self, news: Iterable[News]) -> None:
        for one in news:
            peer = one.message.src if isinstance(one, Alarm) else one.peer
            self._untold[peer] += 1
            if self._untold[peer] <= _MOST_UNTOLD:  # a peer that says more while the work thread computes says nothing
                self._news.put(one)
                self._wake()
