"""Where in its author's program something stands: the innermost line outside this package, and the word there."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import FrameType

__all__ = ["here", "source_line", "written"]

_HOME = str(Path(__file__).parent)


def here() -> str:
    """The source line that is being traced, as `train.py:17`: the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_HOME):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return source_line(frame.f_code.co_filename, frame.f_lineno)


def source_line(path: str, number: int) -> str:
    """A place in a file, as it stands in programs: `train.py:17`."""
    return f"{_file(path)}:{number}"


def written() -> str:
    """`here`, and what the author wrote there: `train.py:17 (multiply)`."""
    frame, inner = sys._getframe(1), sys._getframe(0)
    while frame.f_code.co_filename.startswith(_HOME):
        if frame.f_back is None:
            return ""
        frame, inner = frame.f_back, frame
    word = _word(inner.f_code.co_name, inner)
    return f"{_file(frame.f_code.co_filename)}:{frame.f_lineno}" + (f" ({word})" if word else "")


def _word(name: str, frame: FrameType) -> str:
    """The word for a function of the language that was called: its name, an operator's in numpy's words."""
    if name in _BEHIND:
        called = frame.f_locals[_BEHIND[name]]
        name = str(getattr(called, "name", None) or getattr(called, "__name__", ""))
    base = name.strip("_")
    base = base.removeprefix("r") if name.startswith("__r") and base != "rshift" else base
    return (_OPERATORS.get(base, base) if name.startswith("__") else base) if base.isidentifier() else ""


_BEHIND = {"__array_ufunc__": "ufunc", "__array_function__": "function", "__call__": "self"}
_OPERATORS = {
    "sub": "subtract", "mul": "multiply", "truediv": "divide", "neg": "negate", "abs": "absolute", "pow": "power",
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    "getitem": "index",
}  # fmt: skip


@cache
def _file(path: str) -> str:
    return Path(path).name.replace(" ", "_")
