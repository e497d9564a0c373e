"""What parameters each op has, and of which form: a text that says others is refused before anything looks at them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mpc.errors import ProgramError

__all__ = ["check_params"]

Test = Callable[[Any], bool]


def _whole(x: Any) -> bool:
    return type(x) is int and abs(x) < 1 << 31


def _number(x: Any) -> bool:
    return type(x) in (int, float) and math.isfinite(x)


def _text(x: Any) -> bool:
    return isinstance(x, str)


def _truth(x: Any) -> bool:
    return isinstance(x, bool)


def _some(test: Test) -> Test:
    return lambda x: isinstance(x, list) and all(map(test, x))


def _or(*tests: Test) -> Test:
    return lambda x: any(test(x) for test in tests)


def _any_whole(x: Any) -> bool:
    return type(x) is int and abs(x) < 1 << 256


def _none(x: Any) -> bool:
    return x is None


def _natural(x: Any) -> bool:
    return _whole(x) and bool(x >= 0)


def _few(x: Any) -> bool:
    return type(x) is int and 0 < x <= 64


def _part(x: Any) -> bool:
    return isinstance(x, list) and len(x) == 3 and all(_or(_whole, _none)(v) for v in x)


_shape = _some(_natural)
_bounds = _or(_number, _some(_or(_number, _none)))
_end = _or(_number, _none)
_held = {"name": _text, "shape": _shape, "scale": _whole, "unit": _text, "lo": _end, "hi": _end, "noise": _number}
_digits: dict[str, Test] = {"base": _few, "count": _few, "least": _whole}
_turns = {"odd": _shape, "bits": _natural, "shift": _natural}
_PARAMS: dict[str, dict[str, Test]] = {
    "assume": {"lo": _number, "hi": _number},
    "below": {"width": _natural, "points": _some(_any_whole)},
    "bit": {"at": _natural},
    "broadcast": {"shape": _shape},
    "call": {"rule": _text, "shape": _shape, "scale": _whole, "lo": _number, "hi": _number, "rounding": _natural},
    "cast": {"kind": _text},
    "checkpoint": {"after": _natural, "carry": _natural, "every": _natural, "names": _some(_text), "site": _natural},
    "clip": {"lo": _number, "hi": _number},
    "columns": {"names": _some(_text)},
    "concatenate": {"axis": _natural},
    "const": {"value": _or(_any_whole, _some(_any_whole)), "shape": _shape},
    "cross": {"divided": _truth},
    "digits": _digits,
    "dynamic_slice": {"axis": _natural, "size": _natural},
    "exponent": {"axes": _shape},
    "handle": {**_held, "bits": _natural},
    "implied": {"lo": _number, "hi": _number},
    "input": {"name": _text, "owner": _text, "shape": _shape, "columns": _or(_none, _some(_text))},
    "keep": {"name": _text},
    "kept": _held,
    "labels": {"names": _some(_text), "classes": _some(_text)},
    "mask": {"shape": _shape},
    "look": {"width": _natural, "what": _text},
    "masked_low": {"width": _natural},
    "mod": {"by": _natural},
    "negative": {"width": _natural},
    "number": {"value": _or(_number, _some(_number)), "shape": _shape},
    "onehot": {"width": _natural},
    "open": {"width": _natural},
    "permutation": {"seed": _natural, "n": _natural},
    "repeat": {"times": _natural, "carry": _natural},
    "reshape": {"shape": _shape},
    "reveal": {"to": _or(_text, _some(_text)), "name": _text},
    "series": {**_turns, "coefficients": _some(_whole), "cbits": _natural},
    "share": {"scale": _whole, "lo": _number, "hi": _number, "clip": _truth},
    "shl": {"by": _natural},
    "shown": {**{k: test for k, test in _held.items() if k != "noise"}, "to": _or(_text, _some(_text))},
    "shr": {"by": _natural},
    "sigmoid": {
        **dict.fromkeys(("cbits", "period", "p", "q", "scale"), _whole),
        **dict.fromkeys(("gain", "error", "reach", "noise"), _number),
        "coefficients": _some(_whole),
        "half": _any_whole,
    },
    "slice": {"parts": _some(_part)},
    "sum": {"axes": _shape, "keepdims": _truth},
    "take": {"axis": _natural},
    "transpose": {"axes": _shape},
    "truncate": {"by": _natural},
    "undigits": _digits,
    "unit": {"by": _text},
    "waves": _turns,
    "within": {"lo": _bounds, "hi": _bounds},
    "zero": {"width": _natural},
}
_MORE = {
    ("const", "scale"): _whole,
    ("div", "by"): _natural,
    ("mask", "bits"): _natural,
    ("repeat", "start"): _natural,
}  # of a program's consts, of the step's division, of a loop that goes on


def check_params(op: str, params: dict[str, Any], where: str) -> None:
    """Refuse an equation whose parameters have not the names and forms that its op has."""
    known = _PARAMS.get(op, {})
    tests = {**{name: _MORE.get((op, name), _never) for name in params}, **known}
    if not (tests.keys() == params.keys() and all(tests[name](value) for name, value in params.items())):
        raise ProgramError(f"{op} has the wrong parameters", where)


def _never(_: Any) -> bool:
    return False
