"""Simulated connections: what ZeroMQ and TCP do to messages, without either.

A connection delivers in order and with a delay. When it breaks, what is under way is lost or, at each end's luck, still
read later; each end notices after a while or when it next sends; messages given to a connection that is broken and does
not know it are lost without a word. A listener answers on the newest connection that it has heard something from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from parties.cluster import COORDINATOR
from parties.control import Control, News
from parties.liveness import Sign
from parties.mesh import Gone, Happening, Packet, Reached
from parties.network import dials
from parties.wire import BadMessage, Buffer, Message

if TYPE_CHECKING:
    from parties.simulation.world import Life, World

__all__ = ["Connection", "Pair", "Plane", "Vigil"]

HEARTBEAT = 3.0  # seconds of silence after which ZeroMQ gives a connection up
_NOTICED = 0.1


class Connection:
    """One TCP connection of the data plane. lost[i]: what is under way towards actor i was lost when it broke."""

    __slots__ = ("broken", "ends", "last", "lost")

    def __init__(self, ends: tuple[int, int]) -> None:
        self.ends = ends
        self.broken = False
        self.lost = dict.fromkeys(ends, False)
        self.last = dict.fromkeys(ends, 0.0)


class Pair:
    """All that joins two actors: who calls, the data connection, and until when nothing gets through."""

    def __init__(self, world: World, a: int, b: int) -> None:
        self.caller, self.listener = (a, b) if dials(a, b) else (b, a)
        self.now: Connection | None = None
        self.blocked = 0.0  # the time before which no connection can be made
        self.held = 0.0  # the time before which nothing is delivered
        self.made = 0
        self._world = world

    def call(self) -> None:
        """Make a connection if that is possible now."""
        world = self._world
        free = max(self.blocked, self.held)
        lives = [world.lives.get(a) for a in (self.caller, self.listener)]
        if self.now is not None or not all(x and x.awake for x in lives):
            return  # it will be tried again when one of them begins or goes on
        if world.now < free:
            world.later(free - world.now + 0.001, self.call)
            return
        self.now = Connection((self.caller, self.listener))
        self.made += 1
        world.later(world.delay(), self._stands, self.now)

    def _stands(self, connection: Connection) -> None:
        life = self._world.lives.get(self.caller)
        if connection.broken or life is None:
            return
        life.plane.routes[self.listener] = connection
        life.plane.inbox.append(Reached(self.listener))
        life.poke()

    def snap(self, seconds: float) -> None:
        """The connection breaks, and the next one comes after so many seconds."""
        world = self._world
        self.blocked = max(self.blocked, world.now + seconds)
        connection, self.now = self.now, None
        if connection is None:
            return
        connection.broken = True
        world.later(seconds + world.delay(), self.call)
        for actor in connection.ends:
            connection.lost[actor] = world.dice.chance(0.7)
        world.note("connection of {} and {} breaks", *connection.ends)
        life = world.lives.get(self.caller)
        if life is not None:
            world.later(world.dice.between(0, _NOTICED), life.plane.gone, connection, self.listener)

    def move(self) -> None:
        """Another connection takes over; what is under way on the first one still comes."""
        if self.now is not None:
            self.now = Connection((self.caller, self.listener))
            self._world.later(self._world.delay(), self._stands, self.now)

    def hold(self, seconds: float) -> None:
        """Nothing gets through for a while; a connection survives a short one."""
        self.held = max(self.held, self._world.now + seconds)
        if seconds > HEARTBEAT:
            self._world.later(HEARTBEAT, self.snap, seconds - HEARTBEAT)


class Plane:
    """One actor's end of all data connections: what `parties.mesh.Mesh` is to an `Actor`."""

    def __init__(self, world: World, me: int, poke: Callable[[], None]) -> None:
        self.routes: dict[int, Connection] = {}
        self.inbox: list[Happening] = []
        self._world = world
        self._me = me
        self._poke = poke
        self._retired: set[int] = set()

    def poll(self, seconds: float, awaited: int = -1) -> list[Happening]:  # noqa: ARG002 - the world knows when to look
        """The first thing that has come."""
        found, self.inbox = self.inbox[:1], self.inbox[1:]
        return found

    def at_once(self, peer: int) -> Packet | None:
        """What has come next of this actor, if it is a message."""
        first = next((happening for happening in self.inbox if happening.peer == peer), None)
        if not isinstance(first, Packet):
            return None
        self.inbox = [happening for happening in self.inbox if happening is not first]
        return first

    def send(self, peer: int, parts: Sequence[Buffer]) -> bool:
        """Hand over a message; False means not yet."""
        connection = self.routes.get(peer)
        if connection is None:
            return False
        world = self._world
        world.rules.posted(self._me, peer, parts)
        if connection.broken:
            calls = connection.ends[0] == self._me
            if not calls and world.dice.chance(0.5):
                self.gone(connection, peer)
                return False
            return True
        self._under_way(connection, peer, parts)
        return True

    def _under_way(self, connection: Connection, peer: int, parts: Sequence[Buffer]) -> None:
        world = self._world
        when = max(world.now + world.delay(), connection.last[peer], world.pair(self._me, peer).held)
        connection.last[peer] = when
        life = world.lives.get(peer)
        world.later(when - world.now, self._arrives, connection, peer, life, parts)
        if world.plan.twice and world.dice.chance(world.plan.twice):
            world.later(when - world.now + world.delay(), self._arrives, connection, peer, life, parts)

    def _arrives(self, connection: Connection, peer: int, life: Life | None, parts: Sequence[Buffer]) -> None:
        """What was under way to a process that is no more does not reach the next one."""
        world = self._world
        if life is None or world.lives.get(peer) is not life or (connection.broken and connection.lost[peer]):
            world.note("lost on the way from {} to {}", self._me, peer)
            return
        life.plane.take(connection, self._me, list(parts))

    def take(self, connection: Connection, peer: int, parts: list[Buffer]) -> None:
        """A message from an actor comes in."""
        fresh = False
        if connection.ends[1] == self._me and self.routes.get(peer) is not connection:
            fresh = peer not in self.routes or id(connection) not in self._retired
            if fresh:
                self._retire(peer)
                self.routes[peer] = connection
        self._world.rules.arrived(self._me, peer, parts)
        self.inbox.append(Packet(peer, parts, fresh))
        self._poke()

    def _retire(self, peer: int) -> None:
        old = self.routes.pop(peer, None)
        if old is not None:
            self._retired.add(id(old))
            self._world.keep_alive(old)

    def gone(self, connection: Connection, peer: int) -> None:
        """This end notices that a connection is broken."""
        if self.routes.get(peer) is connection:
            self._retire(peer)
            self.inbox.append(Gone(peer))
            self._poke()

    def trouble(self, peer: int) -> str:
        """Nothing that a simulation could say."""
        return "" if peer in self.routes else "no connection"

    def close(self, linger: float = 1.0) -> None:
        """Nothing to close."""


class Vigil:
    """One actor's control plane: what `parties.watch.Watch` is to an `Actor`. Signs may get lost, and are not resent.

    port: the number of this process, which stands for the port that a greeting tells.
    """

    def __init__(self, world: World, me: int, port: int, incarnation: int, poke: Callable[[], None]) -> None:
        peers = [a for a in world.cluster.actors() if a != me]
        self.port = port
        self.control = Control(me, peers, incarnation, world.limits)
        self.called: dict[int, int] = {}
        self._world = world
        self._me = me
        self._poke = poke
        self._news: list[News] = []

    @property
    def sign(self) -> Sign:
        """How far the computing thread has come."""
        return self.control.sign

    @sign.setter
    def sign(self, sign: Sign) -> None:
        self.control.sign = sign

    def news(self) -> list[News]:
        """What has happened since the last call."""
        found, self._news = self._news, []
        return found

    def heard(self, peer: int) -> Sign:
        """The latest that a peer said of itself."""
        return self.control.heard(peer)

    def trouble(self, peer: int) -> str:  # noqa: ARG002
        """Nothing that a simulation could say."""
        return "no sign of life came"

    def joined(self, peer: int, port: int) -> None:
        """An actor has greeted and told its port."""
        self.control.joined(peer, self._world.now)
        if dials(self._me, peer):
            self.called[peer] = port

    def alarm(self, message: Message) -> None:
        """Send a verdict ahead of the data."""
        self._send(self.control.stamped(message))

    def close(self, linger: float) -> None:
        """Nothing to close."""

    def turn(self) -> None:
        """Its thread looks around."""
        signs, lost = self.control.turn(self._world.now)
        for sign in signs:
            self._send(sign)
        self._tell(lost)
        for peer in self.control.doubtful(self._world.now):
            if peer in self.called:
                self._tell(self.control.knocked(peer, self._world.now, refused=self._refuses(peer)))

    def _refuses(self, peer: int) -> bool:
        """Whether nobody listens any more where this one called; over a link that is cut nothing comes back."""
        world = self._world
        life = world.lives.get(peer)
        there = life is not None and life.vigil.port == self.called[peer]
        return not there and world.pair(self._me, peer).held <= world.now

    def _tell(self, news: list[News]) -> None:
        if news:
            self._news += news
            self._poke()

    def _send(self, m: Message) -> None:
        world = self._world
        them = world.lives.get(m.dst)
        if them is None or not self._connected(them.vigil, m.dst) or world.dice.chance(world.plan.lost):
            return
        held = world.pair(self._me, m.dst).held
        if held > world.now + HEARTBEAT:
            return
        when = max(world.delay(), held - world.now)
        world.later(when, them.hears, self._me, m)

    def _connected(self, other: Vigil, peer: int) -> bool:
        if dials(self._me, peer):
            return self.called.get(peer) == other.port
        return other.called.get(self._me) == self.port

    def take(self, peer: int, m: Message) -> None:
        """A sign of life, or a verdict, comes in."""
        try:
            self._tell(self.control.take(peer, m, self._world.now))
        except BadMessage as error:
            raise AssertionError(f"{error} from {'the coordinator' if peer == COORDINATOR else peer}") from None
