"""One direction pair between two actors: numbers what is sent, accepts only the next of what comes.

Sans-IO. A connection begins with HELLO from the one that dialled and WELCOME from the one that listens; both set the
counters to zero. A gap, a repetition, another session's incarnation or another name is a BadMessage, and the body drops
the link. Numbers and cumulative acknowledgements travel already, so that a channel that stores and re-sends takes this
object's place without a change of the wire.
"""

from __future__ import annotations

from dataclasses import replace

from parties.wire import BadMessage, Joiner, Message, Type

__all__ = ["Link"]


class Link:
    """The state of one link, at one end."""

    def __init__(self, me: int, peer: int, incarnation: int, joiner: Joiner | None = None) -> None:
        self.me = me
        self.peer = peer
        self.up = False
        self._incarnation = incarnation
        self._theirs: int | None = None
        self._sent = 0
        self._received = 0
        self._joiner = joiner or Joiner()

    def reset(self) -> None:
        """A new connection: counters from zero, everything half-received is gone."""
        self.up = False
        self._theirs = None
        self._sent = self._received = 0
        self._joiner = Joiner()

    def stamp(self, message: Message) -> Message:
        """The message with the next number and what has been received so far."""
        self._sent += 1
        return replace(message, incarnation=self._incarnation, seq=self._sent, ack=self._received)

    def unstamp(self) -> None:
        """The last stamped message was not sent after all; its number is free again."""
        self._sent -= 1

    def accept(self, message: Message) -> Message | None:
        """A whole message, None for a piece of one; BadMessage if it may not come here and now."""
        if message.src != self.peer or message.dst != self.me:
            raise BadMessage("a message under another actor's name")
        if message.type in {Type.HELLO, Type.WELCOME}:
            if message.seq != 1 or self._received:
                raise BadMessage("a second greeting")
            self._theirs = message.incarnation
        if self._theirs is None:
            raise BadMessage("a message before the greeting")
        if message.incarnation != self._theirs:
            raise BadMessage("a message of another incarnation")
        if message.seq != self._received + 1:
            raise BadMessage("a message out of order")
        if message.ack > self._sent:
            raise BadMessage("an acknowledgement of something never sent")
        self._received += 1
        return self._joiner.add(message)
