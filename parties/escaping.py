"""Text from outside, made safe to show: the one function through which it passes on its way to a terminal or a log.

A program's name, a line of its source, a column, a reason: somebody else wrote it. A character that moves a cursor,
begins another line, turns the direction of what follows or cannot be seen stands there as its number instead, as in
JSON, so that escaped JSON is still the same JSON.
"""

from __future__ import annotations

import json
import re

__all__ = ["LINE_LIMIT", "is_printable", "line", "printable", "quoted", "safe_json"]

LINE_LIMIT = 1000
# Fixed here, and not Python's own idea of what can be printed: that differs between versions, which have to agree.
_UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff"
    "\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)
_PLAIN = re.compile(r"\w[\w .-]*")


def printable(text: str) -> str:
    r"""The text with `\u001b` for what would steer a terminal; saying it again changes nothing."""
    return _UNSEEN.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def is_printable(text: str) -> bool:
    """Whether nothing in it has to be escaped."""
    return _UNSEEN.search(text) is None


def line(text: str, limit: int = LINE_LIMIT) -> str:
    """The beginning of a text, printable, and at most so many bytes long: for meta, terminals and journals."""
    return printable(text).encode()[:limit].decode(errors="ignore")


def quoted(name: str, limit: int = 100) -> str:
    """A name from outside, for the middle of a sentence: unless it is a plain one in quotes, which it cannot end."""
    text = line(name, limit)
    return text if _PLAIN.fullmatch(text) else f'"{text.replace(chr(34), chr(39))}"'


def safe_json(value: object, indent: int | None = None) -> str:
    """JSON in which people can read every letter, and nothing steers a terminal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(map(printable, text.split("\n"))) if indent else printable(text)
