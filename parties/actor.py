"""The body of an actor: the mesh, one link an actor, queues of what is not sent yet, and a clock. One thread.

    mesh (bytes) → wire (decode) → link (order) → brain (what to do) → link → wire → mesh

A brain is asked event by event and every instruction is performed before the next one is asked for, so that a round's
messages leave before the engine goes on.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from parties.cluster import Cluster
from parties.events import Arrived, Down, Event, Instruction, Keep, Pump, Say, Send, Tell, Tick, Up
from parties.link import Link
from parties.mesh import Gone, Mesh, Packet, Reached
from parties.version import VERSION
from parties.wire import BadMessage, Message, Type, decode, encode, split

__all__ = ["Actor", "Brain"]

_PROBE_SECONDS = 0.1
_UNANSWERED = 8  # pings to a peer that is busy; more would fill its queue
_RETRY_SECONDS = 0.002
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

    def handle(self, event: Event) -> Iterator[Instruction]:
        """What to do about an event."""


class _Queue:
    """What waits to be sent to one actor."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.size = 0

    def push(self, message: Message) -> None:
        self.messages.append(message)
        self.size += message.payload + 256

    def pop(self) -> None:
        self.size -= self.messages.popleft().payload + 256

    def clear(self) -> None:
        self.messages.clear()
        self.size = 0


class Actor:
    """One actor's body. `say`: public lines; `tell`: lines for the owner of the data; `keep`: its own results."""

    def __init__(
        self,
        mesh: Mesh,
        brain: Brain,
        cluster: Cluster,
        *,
        say: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
        keep: Callable[[str, Any], None] = lambda _name, _value: None,
    ) -> None:
        self.mesh = mesh
        self.brain = brain
        self._cluster = cluster
        self._say = say
        self._tell = tell
        self._keep = keep
        incarnation = secrets.randbits(63)
        peers = [i for i in cluster.actors() if i != brain.me]
        self._links = {i: Link(brain.me, i, incarnation) for i in peers}
        self._queues = {i: _Queue() for i in peers}
        self._to_greet: set[int] = set()
        self._pings = dict.fromkeys(peers, 0)
        self._probed = 0.0
        hello = {"name": cluster.name(brain.me), "version": VERSION, "cluster": cluster.digest()}
        self._hello = hello

    # ------------------------------------------------------------------------------------------------ the loop

    def step(self, seconds: float) -> None:
        """Wait for something, at most so long, and deal with it."""
        timeout = self._timeout(seconds)
        for happening in self.mesh.poll(timeout):
            match happening:
                case Reached(peer):
                    self._reached(peer)
                case Gone(peer):
                    self._gone(peer, "died or lost its connection")
                case Packet(peer, parts, fresh):
                    self._packet(peer, parts, fresh)
        self._flush()
        now = time.monotonic()
        if self.brain.deadline is not None and now >= self.brain.deadline:
            self.perform(self.brain.handle(Tick()))
        if self.mesh.suspicious and now - self._probed >= _PROBE_SECONDS:
            self._probe(now)
        if self.brain.pumping and self._backlog < _QUEUE_BYTES:
            self.perform(self.brain.handle(Pump()))

    def _timeout(self, seconds: float) -> float:
        if self._to_greet or any(q.messages and self._links[p].up for p, q in self._queues.items()):
            return min(seconds, _RETRY_SECONDS)
        if self.brain.pumping and self._backlog < _QUEUE_BYTES:
            return 0.0
        wait = min(seconds, _PROBE_SECONDS) if self.mesh.suspicious else seconds
        if self.brain.deadline is not None:
            wait = min(wait, max(0.0, self.brain.deadline - time.monotonic()))
        return wait

    def run(self, until: Callable[[], bool], seconds: float = 0.25) -> None:
        """Step until a condition holds."""
        while not until():
            self.step(seconds)

    def perform(self, instructions: Iterator[Instruction]) -> None:
        """Do what a brain says, one by one."""
        for instruction in instructions:
            match instruction:
                case Send():
                    self._send(instruction)
                case Say(text):
                    self._say(text)
                case Tell(text):
                    self._tell(text)
                case Keep(name, value):
                    self._keep(name, value)

    def drain(self, seconds: float) -> None:
        """Give queued last words a moment."""
        end = time.monotonic() + seconds
        while self._backlog and time.monotonic() < end:
            self._flush()
            time.sleep(_RETRY_SECONDS)

    # ------------------------------------------------------------------------------------------------- sending

    @property
    def _backlog(self) -> int:
        return sum(q.size for q in self._queues.values())

    def _send(self, s: Send) -> None:
        message = Message(s.type, self.brain.me, s.to, s.session, s.step, s.meta, tuple(s.frames))
        queue = self._queues[s.to]
        for piece in split(message):
            if queue.messages or not self._links[s.to].up or not self._post(piece):
                queue.push(piece)

    def _post(self, message: Message) -> bool:
        link = self._links[message.dst]
        if self.mesh.send(message.dst, encode(link.stamp(message))):
            return True
        link.unstamp()
        return False

    def _flush(self) -> None:
        for peer in list(self._to_greet):
            if self._post(Message(Type.HELLO, self.brain.me, peer, meta=self._hello)):
                self._to_greet.discard(peer)
        for peer, queue in self._queues.items():
            if not self._links[peer].up:
                continue
            while queue.messages and self._post(queue.messages[0]):
                queue.pop()

    def _probe(self, now: float) -> None:
        """Some caller vanished; which one is noticed by sending to it."""
        self._probed = now
        for peer in self.mesh.callers():
            if self._links[peer].up and not self._queues[peer].messages and self._pings[peer] < _UNANSWERED:
                self._pings[peer] += self._post(Message(Type.PING, self.brain.me, peer))

    # ----------------------------------------------------------------------------------------------- receiving

    def _reached(self, peer: int) -> None:
        self._gone(peer, "lost its connection")
        self._to_greet.add(peer)

    def _gone(self, peer: int, reason: str) -> None:
        link, was_up = self._links[peer], self._links[peer].up
        link.reset()
        self._pings[peer] = 0
        if was_up:
            self._queues[peer].clear()
            self.perform(self.brain.handle(Down(peer, reason)))

    def _packet(self, peer: int, parts: list[Any], fresh: bool) -> None:
        link = self._links[peer]
        if fresh:
            self._gone(peer, "restarted or reconnected")
        try:
            message = decode(parts)
            whole = link.accept(message)
        except BadMessage as error:
            self._gone(peer, f"sent a malformed message ({error})")
            return
        if whole is None:
            return
        if whole.type is Type.HELLO:
            self._post(Message(Type.WELCOME, self.brain.me, peer, meta=self._hello))
            self._up(peer)
        elif whole.type is Type.WELCOME:
            self._up(peer)
        elif whole.type is Type.PING:
            self._send(Send(peer, Type.PONG))
        elif whole.type is Type.PONG:
            self._pings[peer] = 0
        else:
            self.perform(self.brain.handle(Arrived(whole)))

    def _up(self, peer: int) -> None:
        self._links[peer].up = True
        self.perform(self.brain.handle(Up(peer)))
        self._flush()
