"""Parties as operating-system processes that compute together over ZeroMQ.

    with parties.local(3) as ps:
        run = ps.run(program, data={"alice": "a.csv", "bob": array, "carol": "c.csv"})

`local` starts them here, `connect` speaks to parties on their own hosts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parties.api import Run, Session, connect, local

__all__ = ["Run", "Session", "connect", "local"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from parties import api  # the protocols and ZeroMQ are loaded when they are used

        return getattr(api, name)
    raise AttributeError(f"module 'parties' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
