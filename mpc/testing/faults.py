"""Faults for the kit: a party that crashes, and a party that cheats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpc.errors import MpcError, PeerError
from mpc.exchange import Array
from mpc.lowering import Lowered, Suite
from mpc.memory import Emulation
from mpc.programs import Program

__all__ = ["CHEATS", "VerificationError", "cheating", "crashing"]

Run = Callable[..., Emulation]  # run(lowered, **faults), as `run_in_memory` takes them, each under seeds of its own
Message = list[Array]
_BREAKS = 3  # checkpoints of a loop at which a run breaks off
_MESSAGES = 4  # of a cheating party that are changed, one a run


class VerificationError(AssertionError):
    """A check of the kit failed: which one, for how many parties, and what differed."""


# a party crashes ----------------------------------------------------------------------------------------------------


def crashing(
    program: Program, suite: Suite, run: Run, right: Callable[[Mapping[str, Any]], bool], *, few: bool = False
) -> str | None:
    """Break a program off at checkpoints of each of its loops, and once more after it has gone on. What was found.

    right(results): whether they are what they must be. few: at one or two checkpoints instead of three or four. None
    for a program without loops. Raises VerificationError if checkpoints change the price, or a continuation is refused,
    costs what its plan does not say or gives other results.
    """
    steps = [e.params["times"] for e in program.block.equations if e.op == "repeat"]
    made = program.with_checkpoints(max(1, max(steps, default=1) // ((1 if few else _BREAKS) + 1)))
    if made.text == program.text:
        return None
    lowered, before = made.lower(suite), program.lower(suite).cost()
    plan = lowered.cost()
    if (plan.bytes_sent, plan.dealt_bytes) != (before.bytes_sent, before.dealt_bytes):
        raise VerificationError(f"checkpoints change the price from {before} to {plan}")
    full = run(lowered)
    for at in full.checkpoints:
        broken = run(lowered, stop=at)
        _goes_on(made.continued(*at), suite, run, broken.checkpoint(*at), right, f"loop {at[0]}, step {at[1]}")
    return f"the result of plain again after a break at each of {len(full.checkpoints)} checkpoints"


def _goes_on(
    program: Program, suite: Suite, run: Run, kept: Any, right: Callable[[Mapping[str, Any]], bool], where: str
) -> None:
    lowered: Lowered = program.lower(suite)
    try:
        lowered.check()
        found = run(lowered, kept=kept)
    except MpcError as error:
        raise VerificationError(f"after a break at {where} it does not go on: {error}") from error
    plan = lowered.cost()
    if (found.rounds, found.bytes_sent) != (plan.rounds, plan.bytes_sent):
        raise VerificationError(f"after a break at {where} it costs {found.rounds} rounds, the plan says {plan}")
    if not right(found.results):
        raise VerificationError(f"after a break at {where} it goes on to another result")


# a party cheats -----------------------------------------------------------------------------------------------------


def _flip(arrays: Message, _: Message) -> Message:
    """One bit of one element."""
    out = [a.copy() for a in arrays]
    at = next((i for i, a in enumerate(out) if a.size), None)
    if at is not None:
        out[at].reshape(-1)[-1] ^= out[at].dtype.type(1)
    return out


def _truncate(arrays: Message, _: Message) -> Message:
    """One array less, or the last one shorter."""
    if len(arrays) > 1 or not arrays[0].ndim:
        return arrays[:-1]
    return [arrays[0][:-1]]


def _reshape(arrays: Message, _: Message) -> Message:
    """The same elements in another shape."""
    return [*arrays[:-1], arrays[-1][None]]


def _retype(arrays: Message, _: Message) -> Message:
    """The same shape in another type."""
    last = arrays[-1]
    return [*arrays[:-1], last.astype("<u8" if last.dtype.itemsize == 1 else "|u1")]


def _add(arrays: Message, _: Message) -> Message:
    """One array more."""
    return [*arrays, arrays[0]]


def _replay(_: Message, earlier: Message) -> Message:
    """What was sent before."""
    return earlier


CHEATS: dict[str, Callable[[Message, Message], Message]] = {
    "flip": _flip, "truncate": _truncate, "reshape": _reshape, "retype": _retype, "add": _add, "replay": _replay,
}  # fmt: skip


def cheating(lowered: Lowered, run: Run, plain: Mapping[str, Any], *, few: bool = False) -> str:
    """Change one message of the last party, in one run after the other. How often it was refused.

    Raises VerificationError unless a message of the wrong number, type or shape of arrays is refused by name, and
    whatever else is changed ends in a named refusal or in results of the shapes of `plain`. few: only its last message.
    """
    sent: list[tuple[int, int, int]] = []

    def listen(source: int, to: int, number: int, arrays: Message) -> Message:
        sent.append((source, to, number))
        return arrays

    run(lowered, change=listen)
    mine = [m for m in sent if m[0] == len(lowered.parties) - 1]
    chosen = (
        [
            mine[i]
            for i in sorted({round(f * (len(mine) - 1)) for f in ([1.0] if few else np.linspace(0, 1, _MESSAGES))})
        ]
        if mine
        else []
    )
    ends = [_cheated(lowered, run, plain, name, at) for name in CHEATS for at in chosen]
    return (
        f"one message changed in {len(ends)} runs: {ends.count('refused')} refused by name, "
        f"{ends.count('taken')} taken for a share, as a semi-honest suite does"
    )


def _cheated(lowered: Lowered, run: Run, plain: Mapping[str, Any], name: str, at: tuple[int, int, int]) -> str:
    earlier: dict[int, Message] = {}
    misfit = [False]

    def change(source: int, to: int, number: int, arrays: Message) -> Message:
        before = earlier.get(to, arrays)
        if source == at[0]:
            earlier[to] = arrays
        if (source, to, number) != at:
            return arrays
        out = CHEATS[name](arrays, before)
        misfit[0] = [(a.dtype, a.shape) for a in out] != [(a.dtype, a.shape) for a in arrays]
        return out

    what = f"{name} of what {lowered.parties[at[0]]} sends to {lowered.parties[at[1]]} in round {at[2]}"
    try:
        found = run(lowered, change=change)
    except MpcError as error:
        if type(error) is MpcError or (misfit[0] and not isinstance(error, PeerError)):
            raise VerificationError(f"{what}: {error}") from error
        return "refused"
    except Exception as error:
        raise VerificationError(f"{what} ends in {error!r}, which is no refusal") from error
    if misfit[0]:
        raise VerificationError(f"{what} has the wrong number, type or shape of arrays, and is taken")
    shapes = {key: np.shape(value) for key, value in plain.items()}
    if {key: np.shape(value) for key, value in found.results.items()} != shapes:
        raise VerificationError(f"{what} gives results of other names or shapes")
    return "taken"
