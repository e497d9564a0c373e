"""A connection that this actor dials: its socket, what its monitor says, and why nobody is there, if so.

libzmq dials again and again, and does not say why it fails: a port that does not answer is knocked at. It looks names
up on the thread that serves all other connections too, which would stand still with a name server that says nothing:
it is given numbers (`parties.names`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from parties.keys import KeyPair
from parties.knock import Door, Finding, Knocks
from parties.names import Whereabouts
from parties.sockets import HANDSHAKE_SECONDS, Socket, close_monitored, dialled, event_of
from parties.troubles import DROPPED, HANGS, REFUSED, UNANSWERED

__all__ = ["Call"]

_REDIAL_SECONDS = 2.0  # after a refusal of the key
_KNOCK_AFTER, _KNOCK_AGAIN = 0.7, 2.0  # seconds without a connection
_KNOCK_SECONDS = 2.0  # how long a port may take to answer a knock: longer than the way there and back of any network


class Call:
    """One dialled connection, used by one thread. address: `host:port`. number: another for each of a context.

    wake: ends the waiting of that thread; called from any other. took: seconds that the last handshake took, which is
    some three times there and back.
    """

    def __init__(
        self,
        context: zmq.Context[Socket],
        keys: KeyPair,
        public: str,
        address: str,
        number: int,
        wake: Callable[[], None],
    ) -> None:
        self.public = public
        self.took = 0.0
        self.socket, self.monitor = dialled(context, keys, public, f"monitor-{number}")
        self._where = Whereabouts(address, wake)
        self._knocks = Knocks(wake, _KNOCK_SECONDS)
        self._knocking = False
        self._endpoint = ""
        self._stands = False
        self._said = ""  # what the connection itself says is wrong
        self._found: Finding | None = None  # what came of the last knock
        self._taken_at = 0.0
        self._redial_at: float | None = None
        self._knock_at = time.monotonic() + _KNOCK_AFTER
        self.turn(time.monotonic())

    def close(self, linger: float) -> None:
        """Close it; undelivered last words get at most so many seconds."""
        close_monitored(self.socket, self.monitor, linger)

    def turn(self, now: float) -> None:
        """Dial where the name is now, dial again after a refusal, knock at a port that does not answer."""
        if self._stands:
            return
        for _, found in self._knocks.answers():
            self._found, self._knocking, self._knock_at = found, False, now + _KNOCK_AGAIN
        where = self._where.at(now)
        if where and (where != self._endpoint or (self._redial_at is not None and now >= self._redial_at)):
            if self._endpoint:
                self.socket.disconnect(f"tcp://{self._endpoint}")
            self._endpoint, self._redial_at = where, None
            self.socket.connect(f"tcp://{where}")
        if where and not self._knocking and now >= self._knock_at:
            self._knocking = True
            self._knocks.at(0, where)

    def heard(self) -> bool | None:
        """Take what the monitor says: whether the connection stands now or broke, or None if neither is new."""
        state: bool | None = None
        while self.monitor.poll(0):
            event, now = event_of(self.monitor), time.monotonic()
            if event == zmq.EVENT_CONNECTED:
                self._taken_at = now
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._stands, self._said, self._found, state = True, "", None, True
                self.took = now - self._taken_at
            elif event == zmq.EVENT_DISCONNECTED:
                if self._stands:
                    self._stands, self._said, state = False, "connection lost", False
                    self._knock_at = now
            elif event == zmq.EVENT_CONNECT_RETRIED:
                self._where.failed(now)
            elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._said = "it does not know our key: its cluster file is another one"
                self._redial_at = now + _REDIAL_SECONDS
            elif now - self._taken_at < 0.9 * HANDSHAKE_SECONDS:
                self._said = "it has another key than the cluster file says, or is no privity process"
            else:
                self._said = HANGS
        return state

    @property
    def trouble(self) -> str:
        """Why it does not stand, in words; empty if it does."""
        if self._stands:
            return ""
        unknown = self._where.trouble(time.monotonic())
        if unknown:
            return unknown
        if self._found is None or self._found.door is Door.TAKEN:
            return self._said or UNANSWERED
        return _words(self._found)


def _words(found: Finding) -> str:
    detail = f" ({found.detail})" if found.detail else ""
    if found.door is Door.REFUSED:
        return REFUSED
    if found.door is Door.SILENT:
        return DROPPED + detail
    if found.door is Door.FORBIDDEN:
        return f"this host lets no connection out to it{detail}; see to its own firewall"
    return f"there is no way to its host{detail}; correct the address, or the routes of this host"
