"""How long an actor waits and how much it holds. Start-up, stall and verdict are separate; none depends on data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes.

    refusal: until an actor that plainly cannot be reached (nothing answers, wrong key) is given up.
    startup: until all actors have greeted each other and exchanged keys. dead: without a sign of life, which an actor's
    control thread gives whatever its computing thread does. stall: while an actor that gives signs of life does not go
    on. verdict: for the coordinator's sentence. grace: how long the coordinator collects evidence about a death.
    progress: between two progress notes. window: bytes of corrections the dealer may be ahead of a party's draws, and
    window_messages: how many messages; both more than any one draw takes, which is half a MiB where a loop's are taken
    together. What is on its way at once is less: the channel's own window.
    """

    refusal: float = 5.0
    startup: float = 20.0
    dead: float = 5.0
    stall: float = 300.0
    verdict: float = 2.0
    grace: float = 0.25
    progress: float = 0.1
    window: int = 256 << 20  # as `mpc.pricing.AHEAD`, which plans count
    window_messages: int = 192
