"""A reliable channel between two actors above a transport that loses messages. Sans-IO: no socket, no clock, no thread.

ZeroMQ alone drops what was under way when a connection breaks, and says nothing. Here every message of one pair of
actors is numbered, kept until the other end has acknowledged it, and after a reconnection sent again *as the stored
bytes*; the receiver takes the next number and no other. So between two incarnations (processes) each message arrives
exactly once and in order, however often the connection breaks, or the channel says what is wrong:

    down --connected--> greeting --HELLO/WELCOME--> up --disconnected--> down ...
    any --another incarnation--> Restarted, and all numbers begin again
    any --malformed, a lasting gap--> Broken, and nothing more is heard of this incarnation
    any --a greeting with another cluster file--> Differs, and likewise

HELLO (from the end that dialled), WELCOME, ACK and PING carry no number. A greeting says which incarnation of the
other end it knows and how much it has received of it; what is stored beyond that goes out again. A message that arrives
twice is dropped, and so is one that leaves a gap: on a fresh connection it can overtake the greeting, and it will come
again after it, however long the other end computes before it reads a greeting. A gap that lasts when both have greeted
is a fault of the peer. The end that dialled greets again when it has heard nothing for a while: the other one may have
answered on a connection that is no more (what that one left behind was read after the new one's greeting), and has no
other way back.

Frames are kept by reference until they are acknowledged: whoever sends an array may not write to it afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from parties.channel_events import Broken, Delivered, Differs, Happening, Joined, Left, Restarted
from parties.outline import same
from parties.pieces import Joiner, Room, split, unbounded
from parties.wire import (
    CHUNK,
    FIXED,
    HEADER,
    NO_META,
    NUMBERS,
    WITH_FRAMES,
    BadMessage,
    Buffer,
    Message,
    Type,
    decode,
    encode,
    fixed_part,
)

__all__ = ["Broken", "Channel", "Delivered", "Differs", "Joined", "Left", "Restarted"]

WINDOW_MESSAGES = 64  # as many as a socket's high-water mark, so that a full window never fills a socket
WINDOW_BYTES = 256 << 20
ACK_MESSAGES = 16
ACK_BYTES = 8 << 20
ACK_SECONDS = 0.05
GAP_SECONDS = 2.0
ANSWERS_BYTES = 64 << 20  # to questions of a peer that does not take them and asks on
UNHEEDED_MESSAGES = 4096  # of a peer that goes on talking and takes nothing of what it is sent
QUIET_SECONDS = 3.0  # heard nothing for so long: greet again, and then at growing intervals
_QUIETEST_SECONDS = 48.0
_PAST = 16  # former incarnations of the peer whose last words are not listened to
_GREETINGS = frozenset({Type.HELLO, Type.WELCOME})
_ANSWERS = frozenset({Type.SCHEMA, Type.LABELS, Type.HOLDS, Type.REFUSED})
_UNNUMBERED = _GREETINGS | {Type.ACK, Type.PING}
_BARE = HEADER.size + len(NO_META)
_MISNUMBERED = "a number where none belongs, or none where one does"

_Numbers = tuple[int, int, int, int, int]
Post = Callable[[Sequence[Buffer]], bool]


@dataclass(slots=True)  # not frozen: one is made for each message, and that takes much longer
class _Stored:
    seq: int
    size: int
    parts: list[Buffer] = field(repr=False)
    answer: int  # its size, if it is one, or 0


class Channel:
    """One end. `greeting`: meta of HELLO and WELCOME. `prompt`: whether time alone may send an acknowledgement. room:
    how long a message may be (`parties.pieces`).

    The dealer's channels are not prompt: acknowledgements to it follow from what it sent, and nothing else.
    """

    def __init__(
        self,
        me: int,
        peer: int,
        incarnation: int,
        greeting: dict[str, Any],
        *,
        dials: bool,
        prompt: bool = True,
        room: Room = unbounded,
    ) -> None:
        self.me = me
        self.peer = peer
        self.dials = dials
        self.up = False
        self.events: deque[Happening] = deque()
        self._incarnation = incarnation
        self._greeting = greeting
        self._prompt = prompt
        self._room = room
        self._theirs: int | None = None
        self._shut: int | None = None  # the incarnation that is not listened to any more; 0: whoever it was
        self._past: deque[int] = deque(maxlen=_PAST)
        self._quiet_since: float | None = None  # of a connection that this end has dialled
        self._patience = QUIET_SECONDS
        self._unnumbered: deque[list[Buffer]] = deque()
        self._last_ack: list[Buffer] = []
        self._alike: tuple[Type | None, bytes, bytes] = (None, b"", b"")  # type, session, fixed part of what was said
        self._asked = False  # whether a greeting of this end waits for its answer
        self._reset()

    def _reset(self) -> None:
        """Numbers from one in both directions."""
        self._sent = self._received = self._acked = 0
        self._queue: deque[_Stored] = deque()  # not on the wire, or not on this connection
        self._flying: deque[_Stored] = deque()  # on the wire, not acknowledged
        self._flying_bytes = 0
        self._joiner = Joiner(room=self._room)
        self._owed = self._owed_bytes = 0  # received since the last acknowledgement
        self._owed_since = 0.0
        self._gap_since: float | None = None
        self._answers = 0  # bytes of answers that the peer has not acknowledged
        self._unheeded = 0  # received since the peer last acknowledged something, while it had something to acknowledge
        self._before: tuple[bytes, Type, bytes] | None = None  # of the last message: fixed part, type, session

    def __repr__(self) -> str:
        state = "up" if self.up else "down"
        return f"<Channel {self.me}-{self.peer} {state}, {len(self._flying)} flying, {len(self._queue)} waiting>"

    @property
    def unsent(self) -> int:
        """Bytes that wait for the wire or for the window."""
        return sum(s.size for s in self._queue)

    @property
    def unacknowledged(self) -> int:
        """Messages that the peer has not acknowledged."""
        return len(self._queue) + len(self._flying)

    @property
    def ready(self) -> bool:
        """Whether `flush` has something that may go."""
        if self._unnumbered or not self._queue:
            return bool(self._unnumbered)
        return self.up and (not self._flying or self._fits(self._queue[0]))

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        first = self._owed_since + ACK_SECONDS if self._owed and self._prompt and self.up else inf
        if self._gap_since is not None:
            first = min(first, self._gap_since + GAP_SECONDS)
        if self._quiet_since is not None:
            first = min(first, self._quiet_since + self._patience)
        return None if first == inf else first

    # ------------------------------------------------------------------------------------------------ transport

    def connected(self, now: float) -> None:
        """The transport has a fresh connection; the end that dialled greets."""
        self._down()
        if self.dials:
            self._quiet_since, self._patience = now, QUIET_SECONDS
            self._greet(Type.HELLO)

    def disconnected(self) -> None:
        """The transport has lost its connection. Nothing is lost here."""
        self._down()
        self._quiet_since = None

    def _down(self) -> None:
        self.up = False
        self._unnumbered.clear()
        self._gap_since = None
        self._requeue()

    def _requeue(self) -> None:
        self._queue.extendleft(reversed(self._flying))
        self._flying.clear()
        self._flying_bytes = 0

    def flush(self, post: Post) -> None:
        """Put on the wire what may go now; `post` returns False for "not yet"."""
        while self._unnumbered:
            if not post(self._unnumbered[0]):
                return
            self._unnumbered.popleft()
        queue, flying = self._queue, self._flying
        while queue and self.up:
            stored = queue[0]
            if (flying and not self._fits(stored)) or not post(stored.parts):
                return
            flying.append(queue.popleft())
            self._flying_bytes += stored.size

    def _fits(self, stored: _Stored) -> bool:
        return len(self._flying) < WINDOW_MESSAGES and self._flying_bytes + stored.size <= WINDOW_BYTES

    # ------------------------------------------------------------------------------------------------- sending

    def send(self, message: Message) -> None:
        """Number a message and keep it until the peer has it; long ones go in pieces. Raises BadMessage (meta)."""
        m = message
        if self._shut is None and (m.flags or not self.again(m.type, m.session, m.step, m.meta, m.frames)):
            self._say(m)

    def again(self, kind: Type, session: bytes, step: int, meta: Any, frames: Sequence[Buffer]) -> bool:
        """Send a message that has the header of the one before but for the numbers; False if it is not like that."""
        alike, before, fixed = self._alike
        if kind is not alike or meta or len(frames) != 1 or session != before or (size := len(frames[0])) > CHUNK:
            return False
        seq = self._sent = self._sent + 1
        header = fixed + NUMBERS.pack(seq, self._received, step, 1, size)
        self._queue.append(_Stored(seq, _BARE + size, [header, NO_META, frames[0]], 0))
        self._paid()
        return True

    def _say(self, message: Message) -> None:
        for piece in split(message):
            seq = self._sent + 1
            parts = self._stamped(piece, seq)
            self._sent = seq
            size = sum(map(len, parts))
            answer = size if message.type in _ANSWERS else 0
            self._answers += answer
            self._queue.append(_Stored(seq, size, parts, answer))
        if not message.meta and not message.flags and message.type not in _ANSWERS:
            self._alike = message.type, message.session, bytes(self._queue[-1].parts[0][:FIXED])
        self._paid()

    def _stamped(self, m: Message, seq: int) -> list[Buffer]:
        return encode(m, (self.me, self.peer, self._incarnation, seq, self._received))

    def _greet(self, kind: Type) -> None:
        self._asked = kind is Type.HELLO
        meta = {**self._greeting, "knows": self._theirs or 0}
        self._unnumbered.append(self._stamped(Message(kind, self.me, self.peer, meta=meta), 0))
        self._paid()

    def _paid(self) -> None:
        self._owed = self._owed_bytes = 0

    # ----------------------------------------------------------------------------------------------- receiving

    def receive(self, parts: Sequence[Buffer], now: float) -> None:
        """What an authenticated peer sent. What there is to say about it is in `events`."""
        try:
            if not self._predicted(parts, now):
                self._heard(now)
                self._accept(decode(parts), now)
        except BadMessage as error:
            self._break(f"sent a malformed message ({error})")

    def _predicted(self, parts: Sequence[Buffer], now: float) -> bool:
        """Take a message that is the next one, with one frame, and otherwise like the one before, as most are.

        All that `_accept` would find out about it is known then; whatever else there is to say, it says. Source: the
        header prediction of Jacobson, 1990, for TCP.
        """
        numbers = self._likely(parts)
        if numbers is None:
            return False
        self._take(numbers, now)
        assert self._before is not None
        assert self._theirs is not None
        (_, kind, session), (seq, ack, step, *_) = self._before, numbers
        m = Message(kind, self.peer, self.me, session, step, {}, (parts[2],), 0, self._theirs, seq, ack)
        self.events.append(Delivered(m))
        return True

    def returned(self, parts: Sequence[Buffer], now: float, kind: Type, session: bytes, step: int) -> Buffer | None:
        """The frame of a message that `_predicted` would take, if it is of this kind, session and step.

        Else nothing is done, and `receive` is to look at it.
        """
        numbers = self._likely(parts)
        if numbers is None or numbers[2] != step:
            return None
        assert self._before is not None
        if self._before[1] is not kind or self._before[2] != session:
            return None
        self._take(numbers, now)
        return parts[2]

    def _likely(self, parts: Sequence[Buffer]) -> _Numbers | None:
        """What differs from the message before, if this is the next one and like it, and nothing is wrong with it."""
        if self._before is None or len(parts) != 3:
            return None
        header, meta, frame = parts
        if len(header) != HEADER.size or header[:FIXED] != self._before[0] or meta != NO_META:
            return None
        numbers: _Numbers = NUMBERS.unpack_from(header, FIXED)
        seq, ack, _, nframes, length = numbers
        if seq != self._received + 1 or nframes != 1 or length != len(frame) or ack > self._sent:
            return None
        return None if self._unheeded >= UNHEEDED_MESSAGES or self._answers > ANSWERS_BYTES else numbers

    def _take(self, numbers: _Numbers, now: float) -> None:
        seq, ack, _, _, length = numbers
        if self._quiet_since is not None:
            self._heard(now)
        if ack > self._acked:
            self._acknowledged(ack)
        if self._flying or self._queue:
            self._unheeded += 1
        self._received, self._gap_since = seq, None
        self._owe(length, now)

    def _heard(self, now: float) -> None:
        if self._quiet_since is not None:
            self._quiet_since, self._patience = now, QUIET_SECONDS

    def _accept(self, m: Message, now: float) -> None:
        if m.incarnation == self._shut:
            return
        if m.type in _GREETINGS and m.incarnation and not same(m.meta["cluster"], self._greeting["cluster"]):
            self._differs(m)
            return
        if m.src != self.peer or m.dst != self.me:
            raise BadMessage("a message under another actor's name")
        if (m.seq == 0) != (m.type in _UNNUMBERED):
            raise BadMessage(_MISNUMBERED)
        if m.frames and m.type not in WITH_FRAMES:
            raise BadMessage("frames where none belong")
        if m.type in _GREETINGS:
            self._greeted(m)
        elif m.incarnation == self._theirs:  # else: somebody's last words, or the first before the greeting
            self._acknowledged(m.ack)
            if m.seq:
                self._numbered(m, now)

    def _differs(self, m: Message) -> None:
        """The peer has to hear it too: it is greeted once, and not heard any more until it is another process."""
        if m.incarnation in self._past:
            return
        if self._theirs not in {None, m.incarnation}:
            self._forget_process()
        self._theirs = m.incarnation
        self._down()
        if m.type is Type.HELLO:
            self._greet(Type.WELCOME)
        self._listen_no_more()
        self._quiet_since = None
        self.events.append(Differs(m.meta["cluster"]))

    def _forget_process(self) -> None:
        """Another process has taken the peer's place."""
        assert self._theirs is not None
        self._past.append(self._theirs)
        self._reset()
        self.events.append(Restarted())

    def _greeted(self, m: Message) -> None:
        if (m.type is Type.HELLO) == self.dials:
            raise BadMessage("a greeting from the wrong side")
        if m.incarnation == 0:
            raise BadMessage("a greeting without an incarnation")
        if m.incarnation in self._past:
            return
        new = m.incarnation != self._theirs
        if new and self._theirs is not None:
            self._forget_process()
        self._theirs, self._shut = m.incarnation, None
        if m.type is Type.HELLO or self._asked:  # an answer that was not asked for has nothing sent again
            self._requeue()
        self._asked = False
        if m.meta["knows"] == self._incarnation:
            self._acknowledged(m.ack)
        if m.type is Type.HELLO:
            self._unnumbered.clear()
            self._greet(Type.WELCOME)
        self.up = True
        self._gap_since = None
        if new:
            self.events.append(Joined(m.meta["control"]))

    def _acknowledged(self, ack: int) -> None:
        if ack > self._sent:
            raise BadMessage("an acknowledgement of something never sent")
        if ack <= self._acked:
            return
        self._acked, self._unheeded = ack, 0
        while self._flying and self._flying[0].seq <= ack:
            taken = self._flying.popleft()
            self._flying_bytes -= taken.size
            self._answers -= taken.answer
        while self._queue and self._queue[0].seq <= ack:
            self._answers -= self._queue.popleft().answer

    def _numbered(self, m: Message, now: float) -> None:
        if m.seq > self._received + 1:
            if self._gap_since is None and self.up:
                self._gap_since = now
            return
        new = m.seq > self._received
        if new:
            self._received, self._gap_since = m.seq, None
        self._owe(m.payload, now)
        if not new:
            return
        if self._flying or self._queue:
            self._unheeded += 1
            if self._unheeded > UNHEEDED_MESSAGES:
                raise BadMessage("talks on and takes nothing of what it is sent")
        if self._answers > ANSWERS_BYTES:
            raise BadMessage("asks on and takes none of the answers")
        whole = self._joiner.add(m)
        alike = whole is not None and m.type in WITH_FRAMES and not m.meta
        self._before = (fixed_part(m), m.type, m.session) if alike else None
        if whole is None:
            return
        if whole.type is Type.BYE:
            self._acknowledge()
            self._listen_no_more()
            self.events.append(Left())
        else:
            self.events.append(Delivered(whole))

    def _owe(self, size: int, now: float) -> None:
        if not self._owed:
            self._owed_since = now
        self._owed += 1
        self._owed_bytes += size
        if self._owed >= ACK_MESSAGES or self._owed_bytes >= ACK_BYTES:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """An acknowledgement that has not left yet is replaced: whoever reads nothing lets no heap of them grow."""
        if not self.up:
            return
        if self._unnumbered and self._unnumbered[-1] is self._last_ack:
            self._unnumbered.pop()
        self._last_ack = self._stamped(Message(Type.ACK, self.me, self.peer), 0)
        self._unnumbered.append(self._last_ack)
        self._paid()

    def tick(self, now: float) -> None:
        """Time has passed: late acknowledgements, gaps that last."""
        if self._owed and self._prompt and now - self._owed_since >= ACK_SECONDS:
            self._acknowledge()
        if self._gap_since is not None and now - self._gap_since >= GAP_SECONDS:
            self._break("left out a message")
        if self._quiet_since is not None and now - self._quiet_since >= self._patience:
            self._quiet_since, self._patience = now, min(2 * self._patience, _QUIETEST_SECONDS)
            self._unnumbered.clear()
            self._greet(Type.HELLO)

    def _listen_no_more(self) -> None:
        self._shut, self._before = self._theirs or 0, None
        self._alike = (None, b"", b"")

    def _break(self, reason: str) -> None:
        if self._shut is not None:
            return
        self._listen_no_more()
        self._down()
        self._queue.clear()
        self._joiner = Joiner(room=self._room)
        self.events.append(Broken(reason))
