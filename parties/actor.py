"""The body of an actor: the data mesh, a channel an actor, a watch for signs of life, durable state, and a clock.

    mesh (bytes) → channel (order, nothing lost) → brain (what to do) → channel → mesh
    watch (who lives) ↗                                ↘ home (what must be on disk first)

One thread drives it, and it is the one that computes: a round's messages leave before the engine goes on (of a long one
to a slow peer, what the connection takes), and no other thread is asked for anything in between. A brain is asked event
by event, and every instruction is performed before the next one is asked for; a `Swap` goes on while its answers come.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from mpc.errors import MpcError
from parties.agree import place
from parties.channel import Broken, Channel, Delivered, Differs, Joined, Left, Restarted
from parties.cluster import DEALER, SEATS, Cluster
from parties.control import Alarm, Alive, Lost, News
from parties.events import (
    RESTARTED,
    Arrived,
    Down,
    Event,
    Instruction,
    Keep,
    Note,
    Parts,
    Pump,
    Say,
    Send,
    Swap,
    Tell,
    Tick,
    Up,
    Write,
    Written,
)
from parties.liveness import Sign
from parties.mesh import Gone, Happening, Packet, Reached
from parties.network import dials
from parties.outline import difference, outline
from parties.version import VERSION
from parties.wire import Buffer, Message, Type

__all__ = ["Actor", "Brain", "Signs", "Transport"]

_RETRY_SECONDS = 0.002
_ROUND_SECONDS = 0.01  # between two looks at everything that is no message
_EMPTY_SEATS = 64  # coordinators that are silent and may yet wake up
_QUEUE_BYTES = 8 << 20  # above this, a brain that could go on dealing has to wait


class Brain(Protocol):
    """What a body needs of a brain."""

    me: int

    @property
    def deadline(self) -> float | None:
        """When it wants a Tick."""

    @property
    def pumping(self) -> bool:
        """Whether it wants a Pump."""

    @property
    def awaited(self) -> int:
        """The actor whose message is all that it can go on with; −1 if there is more than one, or none."""

    @property
    def sign(self) -> Sign:
        """How far it has come, for the others."""

    def room(self, m: Message) -> int | None:
        """How many bytes a message in pieces, this one the first, may have; None: it is not wanted any more."""

    def handle(self, event: Event) -> Iterator[Instruction]:
        """What to do about an event."""


class Transport(Protocol):
    """The data plane: `parties.mesh.Mesh`, or a simulated one."""

    def poll(self, seconds: float, awaited: int = -1) -> list[Happening]:
        """Wait for something to happen, at most so long; above all for a message of the actor that is awaited."""

    def at_once(self, peer: int) -> Packet | None:
        """The next message of an actor, if it comes before a core would rather sleep."""

    def send(self, peer: int, parts: Sequence[Buffer]) -> bool:
        """Hand over a message; False means not yet."""

    def trouble(self, peer: int) -> str:
        """Why an actor is not connected, in words; empty if it is."""

    def close(self, linger: float = 1.0) -> None:
        """Close everything."""


class Signs(Protocol):
    """The control plane: `parties.watch.Watch`, or a simulated one."""

    sign: Sign
    port: int

    def news(self) -> list[News]:
        """What has happened since the last call."""

    def joined(self, peer: int, port: int) -> None:
        """An actor has greeted and told its control port."""

    def alarm(self, message: Message) -> None:
        """Send a verdict ahead of the data."""

    def trouble(self, peer: int) -> str:
        """Why an actor that has greeted gives no sign of life, in words."""

    def close(self, linger: float) -> None:
        """Say goodbye and stop."""


class Actor:
    """One actor's body.

    incarnation: the number of this process, the same on both planes. watch: its control plane. home: durable state, for
    brains that write. `say`: public lines; `note`: lines of its log; `tell`: lines for the owner of the data, and what
    each is about; `keep`: its own results. clock, channel: others in simulations.
    """

    def __init__(
        self,
        mesh: Transport,
        brain: Brain,
        cluster: Cluster,
        incarnation: int,
        watch: Signs,
        *,
        home: Any = None,
        say: Callable[[str], None] = lambda _: None,
        note: Callable[[str], None] = lambda _: None,
        tell: Callable[[str, bytes], None] = lambda _text, _about: None,
        keep: Callable[[str, Any, bytes], None] = lambda _name, _value, _session: None,
        clock: Callable[[], float] = time.monotonic,
        channel: Callable[..., Channel] = Channel,
    ) -> None:
        self.mesh = mesh
        self.brain = brain
        self.watch = watch
        self._cluster = cluster
        self._home = home
        self._say = say
        self._note = note
        self._tell = tell
        self._keep = keep
        self._clock = clock
        me = brain.me
        hello = {"name": cluster.name(me), "version": VERSION, "cluster": outline(cluster), "control": watch.port}

        def fresh(i: int) -> Channel:
            return channel(me, i, incarnation, hello, dials=dials(me, i), prompt=i != DEALER, room=brain.room)

        self._fresh = fresh
        self._channels = {i: fresh(i) for i in cluster.actors() if i != me}
        self._joined: set[int] = set()
        self._alive: set[int] = set()
        self._differing: dict[int, str] = {}  # whose cluster file is another one, and in what
        self._written: deque[Written] = deque()
        self._untold: deque[Happening] = deque()  # what has come and waits for its turn
        self._undigested: deque[int] = deque()  # whose channel has something to say, since a brain was at work
        self._round_at = 0.0
        self._until = 0.0  # so long a brain may go from swap to swap

    # ------------------------------------------------------------------------------------------------ the loop

    def step(self, seconds: float) -> None:
        """Wait for something, at most so long, and deal with it.

        In the middle of a round only what is awaited counts, and the rest is looked after every few milliseconds.
        """
        awaited = self.brain.awaited if seconds else -1
        if awaited < 0:
            happened = self.mesh.poll(self.patience(seconds) if seconds else 0.0)
        else:
            happened = self.mesh.poll(seconds, awaited)
        self._untold.extend(happened)
        self._until = self._clock() + _ROUND_SECONDS
        while self._untold:
            self._transport(self._untold.popleft())
        if not seconds or not happened or self._clock() >= self._round_at:
            self._look_round()
            self._round_at = self._clock() + _ROUND_SECONDS
        while self._undigested:
            peer = self._undigested.popleft()
            self._go_through(peer, self._channels[peer])

    def _look_round(self) -> None:
        """Everything but messages: signs of life, deadlines, what waits to be sent."""
        for news in self.watch.news():
            self._heard(news)
        now = self._clock()
        for peer, channel in list(self._channels.items()):
            if channel.deadline is not None and now >= channel.deadline:
                channel.tick(now)
                self._digest(peer, channel)
            if channel.ready:
                self._flush(peer, channel)
        deadline = self.brain.deadline
        if deadline is not None and now >= deadline:
            self.perform(self.brain.handle(Tick()))
        if self.brain.pumping and self.backlog < _QUEUE_BYTES:
            self.perform(self.brain.handle(Pump()))
        self.watch.sign = self.brain.sign

    def patience(self, seconds: float) -> float:
        """How long it may wait before it has something to do by itself, at most so long."""
        if self.brain.pumping and self.backlog < _QUEUE_BYTES:
            return 0.0
        first = self.brain.deadline
        for channel in self._channels.values():
            if channel.ready:
                return min(seconds, _RETRY_SECONDS)
            when = channel.deadline
            if when is not None and (first is None or when < first):
                first = when
        return seconds if first is None else min(seconds, max(0.0, first - self._clock()))

    def run(self, until: Callable[[], bool], seconds: float = 0.25) -> None:
        """Step until a condition holds."""
        while not until():
            self.step(seconds)

    def perform(self, instructions: Iterator[Instruction]) -> None:
        """Do what a brain says, one by one; what it wanted written is reported to it afterwards."""
        self._perform(instructions)
        while self._written:
            self._perform(self.brain.handle(self._written.popleft()))

    def _perform(self, instructions: Iterator[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Swap():
                    self._swap(instruction)
                case Send():
                    m = instruction
                    self._send(m.to, m.type, m.session, m.step, m.meta, m.frames)
                case Say(text):
                    self._say(text)
                case Note(text):
                    self._note(text)
                case Tell(text, about):
                    self._tell(text, about)
                case Keep(name, value, session):
                    self._keep(name, value, session)
                case Write():
                    self._written.append(self._write(instruction))

    def _write(self, w: Write) -> Written:
        try:
            return Written(w.token, w.record.apply(self._home))
        except MpcError as error:
            return Written(w.token, None, self._shown(str(error)))
        except OSError as error:
            return Written(w.token, None, error.strerror or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - no peer's numbers may end a long-lived party
            return Written(w.token, None, f"{type(error).__name__} at {place(error)}")

    def _shown(self, text: str) -> str:
        """Others may learn which file it is, and not where on this host it lies."""
        place = getattr(self._home, "directory", None)
        return text if place is None else text.replace(f"{place}/", "")

    def close(self, seconds: float) -> None:
        """Say goodbye to everybody, give last words so long to arrive, and close."""
        for peer in self._joined & self._alive:
            self._channels[peer].send(Message(Type.BYE, self.brain.me, peer))
        self.drain(seconds)
        self.watch.close(min(seconds, 0.2))
        self.mesh.close(min(seconds, 0.2))

    def drain(self, seconds: float) -> None:
        """Until every actor that is there has acknowledged what it was sent, at most so long; nothing is answered.

        Whoever counts as dead is not waited for.
        """
        end = self._clock() + seconds
        while self._clock() < end and any(self._channels[p].unacknowledged for p in self._joined & self._alive):
            for happening in self.mesh.poll(_RETRY_SECONDS):
                self._transport(happening, heed=False)
            for peer, channel in list(self._channels.items()):
                self._flush(peer, channel)

    # ------------------------------------------------------------------------------------------------- sending

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent."""
        return sum(channel.unsent for channel in self._channels.values())

    def _send(
        self, to: int, kind: Type, session: bytes, step: int, meta: dict[str, Any], frames: Sequence[Buffer]
    ) -> None:
        channel = self._channels.get(to)
        if channel is None or not channel.again(kind, session, step, meta, frames):
            m = Message(kind, self.brain.me, to, session, step, meta, tuple(frames))
            if channel is not None:  # else: the last words to a coordinator that is gone
                channel.send(m)
            if kind is Type.ABORT and meta["final"]:
                self.watch.alarm(m)
        if channel is not None:
            self._flush(to, channel)

    def _swap(self, s: Swap) -> None:
        """Send, and hand over what is owed in return; again and again, while it comes before anything else is due."""
        following: tuple[int, Parts, Collection[int]] | None = (s.step, s.parts, s.owed)
        while following is not None:
            s.step, s.parts, s.owed = following
            for peer, frames in s.parts.items():
                self._send(peer, s.type, s.session, s.step, {}, frames)
            came = self._came(s)
            following = s.answered(came) if came else None
            del came  # this thread may look for the next for long

    def _came(self, s: Swap) -> Parts:
        """What is owed, as far as it comes at once."""
        came: Parts = {}
        now = self._clock()
        if self._untold or now >= self._until:
            return came
        for peer in s.owed:
            channel = self._channels[peer]
            packet = None if channel.events else self.mesh.at_once(peer)
            if packet is None:
                break
            frames = self._owed(channel, s, packet, now)
            if frames is None:
                self._undigested.append(peer)
                break
            came[peer] = frames
            if channel.ready:  # an acknowledgement, if nothing goes there
                self._flush(peer, channel)
        return came

    def _owed(self, channel: Channel, s: Swap, packet: Packet, now: float) -> Sequence[Buffer] | None:
        """The frames of what a peer owes in return, if this is that, and all that its channel has to say then."""
        if not packet.fresh:
            frame = channel.returned(packet.parts, now, s.type, s.session, s.step)
            if frame is not None:
                return (frame,)
        self._received(channel, packet)
        said = channel.events
        m = said[0].message if len(said) == 1 and isinstance(said[0], Delivered) else None
        if m is None or m.type is not s.type or m.step != s.step or m.session != s.session:
            return None
        said.clear()
        return m.frames

    def _flush(self, peer: int, channel: Channel) -> None:
        channel.flush(partial(self.mesh.send, peer))

    def _seated(self, peer: int) -> Channel:
        """The channel to an actor; that of a coordinator is made when it comes. The longest gone make room."""
        if peer not in self._channels:
            gone = [i for i in self._channels if i in SEATS and i not in self._joined & self._alive]
            for i in gone[: max(0, len(gone) - _EMPTY_SEATS)]:
                del self._channels[i]
            self._channels[peer] = self._fresh(peer)
        return self._channels[peer]

    # ----------------------------------------------------------------------------------------------- receiving

    def _transport(self, happening: Happening, *, heed: bool = True) -> None:
        channel = self._channels.get(happening.peer) or self._seated(happening.peer)
        match happening:
            case Packet():
                self._received(channel, happening)
            case Reached():
                channel.connected(self._clock())
            case Gone():
                channel.disconnected()
        if heed:
            self._go_through(happening.peer, channel)
        elif channel.ready:
            self._flush(happening.peer, channel)

    def _go_through(self, peer: int, channel: Channel) -> None:
        """What it has to say, and what it would send now."""
        self._digest(peer, channel)
        if channel.ready:
            self._flush(peer, channel)

    def _received(self, channel: Channel, packet: Packet) -> None:
        now = self._clock()
        if packet.fresh:
            channel.connected(now)
        channel.receive(packet.parts, now)

    def _digest(self, peer: int, channel: Channel) -> None:
        """What a channel has to say, in order."""
        while channel.events:
            match channel.events.popleft():
                case Delivered() as delivered:
                    self.perform(self.brain.handle(Arrived(delivered.message)))
                case Joined(port):
                    self._differing.pop(peer, None)
                    self.watch.joined(peer, port)
                    self._there(peer, joined=True)
                case Restarted():
                    self._lost(peer, RESTARTED)
                case Broken(reason):
                    self._lost(peer, reason)
                case Differs(theirs):
                    self._differs(peer, theirs)
                case Left():
                    self._lost(peer, "stopped")
                    if peer in SEATS:
                        self._flush(peer, channel)  # the acknowledgement of its goodbye
                        self._channels.pop(peer, None)

    def _differs(self, peer: int, theirs: str) -> None:
        """Say it here too: whoever runs this actor may be the one whose file is old."""
        cure = "copy one file to every host, and start again whoever has read another one"
        self._differing[peer] = f"its cluster file {difference(self._cluster, theirs)}; {cure}"
        self._say(f"{self._cluster.call(peer)} is not listened to: {self._differing[peer]}")
        self._lost(peer, "has another cluster file")

    def _heard(self, news: News) -> None:
        match news:
            case Alive(peer):
                self._there(peer, alive=True)
            case Lost(peer, reason):
                self._alive.discard(peer)
                self._down(peer, reason)
            case Alarm(message):
                self.perform(self.brain.handle(Arrived(message)))

    def _there(self, peer: int, *, joined: bool = False, alive: bool = False) -> None:
        """An actor is up when both planes have heard it."""
        was = self.present(peer)
        if joined:
            self._joined.add(peer)
        if alive:
            self._alive.add(peer)
        if not was and self.present(peer):
            self.perform(self.brain.handle(Up(peer)))

    def differs(self, peer: int) -> bool:
        """Whether an actor has greeted with another cluster file than this one's."""
        return peer in self._differing

    def present(self, peer: int) -> bool:
        """Whether an actor is up."""
        return peer in self._joined and peer in self._alive

    def _lost(self, peer: int, reason: str) -> None:
        self._joined.discard(peer)
        self._down(peer, reason)

    def _down(self, peer: int, reason: str) -> None:
        self.perform(self.brain.handle(Down(peer, reason)))

    def trouble(self, peer: int) -> str:
        """Why an actor is not up, in words; empty if it is."""
        if self.present(peer):
            return ""
        if peer in self._differing:
            return self._differing[peer]
        if peer in self._joined and not self.mesh.trouble(peer):
            return self.watch.trouble(peer)
        return self.mesh.trouble(peer) or "no greeting came back"
