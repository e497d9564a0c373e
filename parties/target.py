"""From what people type, `mean` or `train.py:fit`, to a program function."""

from __future__ import annotations

import difflib
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mpc import ProgramFunction
from mpc.errors import MpcError, ProgramError, UsageError

__all__ = ["blaming", "load_target", "nearest"]


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """'; did you mean …?' if something known is close, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def load_target(target: str, catalog: Mapping[str, ProgramFunction]) -> ProgramFunction:
    """The program function that TARGET names: a catalogue name, or path/to/file.py:function.

    The function may be left out if the file has exactly one program.

    Raises:
        UsageError: no such catalogue name, file or function.
        ProgramError: the file itself fails, with its line.
    """
    if target in catalog:
        return catalog[target]
    path, colon, name = target.rpartition(":")
    if not colon:
        path, name = target, ""
    if not path.endswith(".py"):
        listed = ", ".join(sorted(catalog))
        raise UsageError(
            f"there is no program {target!r}{nearest(target, catalog)} (a target is one of {listed}, "
            "or path/to/file.py:function)"
        )
    return _choose(_programs(Path(path)), Path(path), name)


def _programs(path: Path) -> dict[str, object]:
    """Everything the file defines at its top level. The file runs as a script's import would, and leaves no cache."""
    try:
        source = path.read_bytes()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(f"{path}: {reason}; a target is a catalogue name, or path/to/file.py:function") from None
    module = types.ModuleType(f"privity_target_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and type hints look their module up
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # the file may import its neighbours, as a script may
    with blaming(path):
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - the person's own file, on their machine
    return vars(module)


def _choose(found: dict[str, object], path: Path, name: str) -> ProgramFunction:
    programs = {n: p for n, p in found.items() if isinstance(p, ProgramFunction)}
    own = {n: p for n, p in programs.items() if p.__module__ == found["__name__"]}
    if not name:
        if len(own) == 1:
            return next(iter(own.values()))
        listed = ", ".join(own) or "none; put @mpc.program above the function"
        raise UsageError(f"{path} has {len(own)} programs ({listed}); say which: {path}:{next(iter(own), 'function')}")
    if name in programs:
        return programs[name]
    if callable(found.get(name)):
        raise UsageError(f"{path}: {name} is a plain function, not a program; put @mpc.program above it")
    listed = ", ".join(programs) or "it has no program; put @mpc.program above the function"
    raise UsageError(f"{path} has no program {name!r}{nearest(name, programs)} (there: {listed})")


@contextmanager
def blaming(path: Path | str) -> Iterator[None]:
    """Whatever the person's code raises becomes one refusal with the line of their file. No data is in reach there.

    An error that never touched the file is not theirs and goes on as it is.
    """
    try:
        yield
    except (MpcError, KeyboardInterrupt):
        raise
    except SyntaxError as error:
        line = f"{Path(error.filename or str(path)).name}:{error.lineno or 1}"
        raise ProgramError(f"{type(error).__name__}: {error.msg}", line) from error
    except ImportError as error:
        where = line_in(error, path)
        cure = f"install {error.name!r} beside privity, or correct the import" if error.name else "correct the import"
        raise ProgramError(f"{_first_line(error)}; {cure}", where) from error
    except Exception as error:
        if not _lines_in(error, path):
            raise
        raise ProgramError(f"{type(error).__name__}: {_first_line(error)}", line_in(error, path)) from error
    except SystemExit as error:
        raise ProgramError("the file ends the process; guard that with if __name__ == '__main__'", "") from error


def line_in(error: BaseException, path: Path | str) -> str:
    """The innermost line of the person's file that an error went through, as `train.py:17`."""
    lines = _lines_in(error, path)
    return f"{Path(path).name}:{lines[-1]}" if lines else Path(path).name


def _lines_in(error: BaseException, path: Path | str) -> list[int]:
    return [f.lineno or 1 for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
