"""Where a `host:port` is: numbers as they are, names looked up on a thread, again when nobody answers any more."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from parties.knock import look_up

__all__ = ["Whereabouts"]

_AGAIN_SECONDS = 10.0
_SLOW_SECONDS = 3.0


class Whereabouts:
    """The addresses of one `host:port`. wake: called, on a thread, when a name has been looked up."""

    def __init__(self, address: str, wake: Callable[[], None]) -> None:
        host, _, self._port = address.rpartition(":")
        self._host = host.strip("[]")
        self._wake = wake
        self._numbers: list[str] = [self._host] if _is_number(self._host) else []
        self._is_name = not self._numbers
        self._why = ""
        self._answers: SimpleQueue[list[str] | str] = SimpleQueue()
        self._since: float | None = None  # a look-up is on
        self._due = 0.0

    def at(self, now: float) -> str:
        """The `number:port` to call now; empty if none is known yet."""
        if self._is_name:
            self._take(now)
            if not self._numbers and self._since is None and now >= self._due:
                self._ask(now)
        if not self._numbers:
            return ""
        first = self._numbers[0]
        return f"[{first}]:{self._port}" if ":" in first else f"{first}:{self._port}"

    def failed(self, now: float) -> None:
        """Nobody answers there: try another address of it next, and see whether the name has moved."""
        self._numbers = [*self._numbers[1:], *self._numbers[:1]]
        if self._is_name and self._since is None and now >= self._due:
            self._ask(now)

    def trouble(self, now: float) -> str:
        """Why it is not known where this is, in words; empty if it is, or the name was asked for only now."""
        if self._numbers or not self._is_name:
            return ""
        if self._why:
            return f"the name {self._host} is not known here ({self._why}); correct it, or make it known to this host"
        if self._since is not None and now - self._since >= _SLOW_SECONDS:
            return (
                f"this host's name server does not say where {self._host} is; check the network of this host, or write "
                "the address as a number"
            )
        return ""

    def _ask(self, now: float) -> None:
        self._since = now
        threading.Thread(target=self._look_up, name="look-up", daemon=True).start()

    def _look_up(self) -> None:
        try:
            self._answers.put(look_up(self._host))
        except (OSError, UnicodeError) as error:
            self._answers.put(getattr(error, "strerror", None) or "it is no name")
        self._wake()

    def _take(self, now: float) -> None:
        try:
            found = self._answers.get_nowait()
        except Empty:
            return
        self._since, self._due = None, now + _AGAIN_SECONDS
        if isinstance(found, str):
            self._why = found
        elif not set(found) & set(self._numbers[:1]):
            self._numbers, self._why = found, ""


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
