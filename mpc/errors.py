"""Every refusal privity makes, by what the reader has to mend.

The text of an error says who, where, the usual cause and the cure, in one line, and never a value from anybody's
data. `exit_code` is what the command line returns. An `InputError` has two texts: the full one is for the owner of
the data (row and column), `public` is what every other party may learn.
"""

from __future__ import annotations

import re

__all__ = [
    "InputError",
    "LeakError",
    "MpcError",
    "OverflowRefusal",
    "PeerError",
    "PolicyError",
    "ProgramError",
    "SecretError",
    "ShapeError",
    "UsageError",
]


class MpcError(Exception):
    """The root of all of them; `exit_code` 1: the run failed or was refused."""

    exit_code = 1


class UsageError(MpcError):
    """The command or call itself is wrong: an unknown setting, an unknown party, too few parties."""

    exit_code = 2


class ProgramError(MpcError):
    """The program cannot be right; `where` is the source line, as `train.py:17`.

    An equation's own `where` may be given: what is written on the line is left out.
    """

    def __init__(self, message: str, where: str = "") -> None:
        where = re.sub(r" \(\w+\)", "", where)
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class SecretError(ProgramError, TypeError):
    """A secret was used as if its value were known (`if`, `float()`, printing, copying)."""


class ShapeError(ProgramError, ValueError):
    """Shapes that do not fit together."""


class OverflowRefusal(ProgramError):
    """The declared ranges let a value leave the ring, or the interval in which a function is right."""


class LeakError(ProgramError):
    """An opening that no mask of its own hides, or a reveal that depends on a mask."""


class InputError(MpcError):
    """Bad data, found by its owner. The full text is for the owner only; others get `public`."""

    exit_code = 3

    def __init__(self, message: str, owner: str = "") -> None:
        super().__init__(f"{owner}: {message}" if owner else message)
        self.message = message
        self.owner = owner

    @property
    def public(self) -> str:
        """What the other parties may be told."""
        return f"{self.owner or 'a party'}: input refused"

    def of(self, owner: str) -> InputError:
        """The same refusal with its owner's name."""
        return InputError(self.message, owner)


class PeerError(MpcError):
    """A party, the dealer or the network failed or misbehaved."""

    exit_code = 4


class PolicyError(MpcError):
    """A party's own policy does not allow what was asked."""

    exit_code = 5
