"""The direct connections that stand: what is sent, read and waited for over them, and what of it is told."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Sequence

from parties.direct import Direct, Ended
from parties.happenings import Gone, Happening, Packet
from parties.wire import Buffer

__all__ = ["Standing"]

_BATCH = 64
_STILL = 0.02  # seconds in which no byte moves: the other end computes
_MOST_WRITING = 0.25


class Standing:
    """standing: whom messages go to directly; all of them are to be read.

    finishing: whether what a socket does not take at once is written before this thread goes on, for as long as bytes
    move. Not for one that looks round often: it is told that no more is taken until then.
    """

    def __init__(self) -> None:
        self.standing: dict[int, Direct] = {}
        self.finishing = True
        self._selector = selectors.DefaultSelector()
        self._met: dict[int, Direct] = {}  # by a caller that has not greeted over it yet
        self._writing: set[Direct] = set()
        self._unread: set[Direct] = set()  # the socket may have nothing more to say, and another message is here
        self._found: list[Happening] = []

    def fileno(self) -> int:
        """Readable when something has come, or may go."""
        return self._selector.fileno()

    @property
    def quiet(self) -> bool:
        """Whether everything that is known has been told by `happened`, and nothing waits until a socket takes more."""
        return not self._found and not self._writing

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do before `fileno` says so."""
        return not self._found and not self._unread

    def _stand(self, direct: Direct) -> None:
        earlier = self.standing.get(direct.peer)
        if earlier is not None:
            self._close(earlier)
        self.standing[direct.peer] = direct
        self._watch(direct)

    def send(self, direct: Direct, parts: Sequence[Buffer]) -> bool:
        """Send over a standing connection; False if too much waits, or it turns out broken: `happened` will say so."""
        if direct.pending and (direct.full or not self.finishing):
            return False
        try:
            direct.send(parts)
        except Ended:
            self._unwritable(direct)
            return False
        if direct.pending:
            self._watch(direct)
            if self.finishing:
                self._go_on_writing(_MOST_WRITING)
        return True

    def _go_on_writing(self, seconds: float) -> None:
        """For as long as bytes move: this thread may be about to compute for long, and others wait for the rest.

        What comes meanwhile is kept for `happened`. Nobody holds this thread by taking a byte now and then.
        """
        end = time.monotonic() + seconds
        while self._writing and time.monotonic() < end and self._look(_STILL):
            pass

    def read(self, direct: Direct) -> Packet | None:
        """The next message of a connection, if it is there and whole; `happened` will say if it turns out broken."""
        try:
            parts = direct.receive()
        except Ended:
            self._ended(direct)
            return None
        if parts is None:
            self._unread.discard(direct)
            return None
        if direct.unread:
            self._unread.add(direct)
        fresh = bool(self._met) and self._met.get(direct.peer) is direct
        if fresh:
            del self._met[direct.peer]
            self._stand(direct)
        return Packet(direct.peer, parts, fresh)

    def soon(self, direct: Direct, spin: float) -> Packet | None:
        """The next message of a standing connection, asked for again and again for `spin` seconds.

        None as well if something else is to be told first, or waits to be written.
        """
        if not self.quiet:
            return None
        packet = self.read(direct)
        if packet is None:
            end = time.monotonic() + spin
            while (packet := self.read(direct)) is None and not self._found and time.monotonic() < end:
                os.sched_yield()  # whoever else wants this core shall have it
        return packet

    def awaited(self, direct: Direct, spin: float, sleep: float) -> Packet | None:
        """The next message of a standing connection: looked for during `spin` seconds, then waited for."""
        packet = self.soon(direct, spin)
        if packet is None and not self._found:
            direct.wait(sleep)
            packet = self.read(direct)
        return packet

    def happened(self) -> list[Happening]:
        """Deal with whatever is ready."""
        self._look(0.0)
        if self._found and self.finishing:
            self._go_on_writing(_MOST_WRITING)
        found, self._found = self._found, []
        return found

    def _look(self, seconds: float) -> bool:
        """Deal with what is ready, or becomes ready in time; whether something was."""
        ready = self._selector.select(seconds)
        for key, mask in ready:
            now = self._selector.get_map().get(key.fd)
            if now is not None and now.fileobj is key.fileobj:  # else: one before it has closed it
                key.data(mask)
        for direct in list(self._unread):
            self._take(direct)
        return bool(ready)

    def _watch(self, direct: Direct) -> None:
        """Be told when it can be read, and written too while something waits."""
        wanted = selectors.EVENT_READ
        self._writing.discard(direct)
        if direct.pending:
            wanted |= selectors.EVENT_WRITE
            self._writing.add(direct)
        self._selector.modify(direct.socket, wanted, lambda mask: self._ready(direct, mask))

    def _ready(self, direct: Direct, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            try:
                direct.push()
            except Ended:
                self._unwritable(direct)
                return
            self._watch(direct)
        self._take(direct)

    def _take(self, direct: Direct) -> None:
        for _ in range(_BATCH):
            packet = self.read(direct)
            if packet is None:
                return
            self._found.append(packet)

    def _unwritable(self, direct: Direct) -> None:
        """It takes nothing more; what it had brought before is read still: the last words of whoever closed it."""
        self._take(direct)
        self._ended(direct)

    def _ended(self, direct: Direct) -> None:
        self._close(direct)
        if self._met.get(direct.peer) is direct:
            del self._met[direct.peer]  # nobody has used it
        if self.standing.get(direct.peer) is direct:
            del self.standing[direct.peer]
            self._found.append(Gone(direct.peer))
            self._lost(direct.peer)

    def _lost(self, peer: int) -> None:
        """A standing connection is no more, and that will be told."""

    def _close(self, direct: Direct) -> None:
        self._writing.discard(direct)
        self._unread.discard(direct)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(direct.socket)
        direct.close()
