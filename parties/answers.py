"""What the coordinator takes from a party's answer to a question: public facts of the right form, or BadMessage."""

from __future__ import annotations

import re
from typing import Any

from mpc.errors import UsageError
from mpc.handles import HandleSpec
from parties.wire import BadMessage, Message, line, printable, unpack

__all__ = ["columns_of", "holdings_of", "labels_of", "shape_of"]

_MOST_AXES = 32
_MOST_ROWS = 1 << 40
_ID = re.compile(r"[0-9a-f]{32}")


def shape_of(message: Message) -> tuple[int, ...]:
    """The shape in a SCHEMA message."""
    shape = message.meta["shape"]
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n <= _MOST_ROWS for n in shape):
        raise BadMessage("a shape that is none")
    return tuple(shape)


def columns_of(message: Message) -> tuple[str, ...] | None:
    """The column names in a SCHEMA message; None for an array."""
    if not message.meta["table"]:
        return None
    columns = unpack(message.frames)
    if not isinstance(columns, list) or not all(isinstance(c, str) and c == line(c) for c in columns):
        raise BadMessage("columns that are no names")
    if len(shape_of(message)) != 2 or len(columns) != shape_of(message)[1] or len(set(columns)) != len(columns):
        raise BadMessage("columns that are not those of its shape")
    return tuple(columns)


def labels_of(message: Message) -> list[str]:
    """The labels in a LABELS message."""
    labels = unpack(message.frames)
    if not isinstance(labels, list) or not all(isinstance(x, str) and x == printable(x) for x in labels):
        raise BadMessage("labels that cannot be printed")
    return labels


def holdings_of(message: Message) -> dict[str, Any]:
    """What a HOLDS message says: attempts, checkpoints (epoch, site, step), ids of material, kept secrets."""
    content = unpack(message.frames)
    if not isinstance(content, dict) or content.keys() != _HOLDINGS.keys():
        raise BadMessage("holdings of another form")
    if any(type(content[name]) is not wanted for name, wanted in _HOLDINGS.items()):
        raise BadMessage("holdings of another form")
    if not 0 <= content["attempts"] < 1 << 30 or not all(_is_checkpoint(c) for c in content["checkpoints"]):
        raise BadMessage("holdings of another form")
    if not all(isinstance(m, str) and _ID.fullmatch(m) for m in content["materials"]):
        raise BadMessage("holdings of another form")
    for handle in content["handles"]:
        _check_handle(handle)
    return content


_HOLDINGS = {"attempts": int, "checkpoints": list, "materials": list, "handles": list}


def _is_checkpoint(c: Any) -> bool:
    return isinstance(c, list) and len(c) == 3 and all(type(n) is int and -1 <= n < 1 << 63 for n in c)


def _check_handle(handle: Any) -> None:
    match handle:
        case [str(run), dict(fields)] if _ID.fullmatch(run):
            try:
                HandleSpec.parse(fields)
            except UsageError:
                raise BadMessage("a kept secret of another form") from None
        case _:
            raise BadMessage("a kept secret of another form")
