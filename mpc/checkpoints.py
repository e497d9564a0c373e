"""Checkpoints of a program's loops, and the program that goes on from one: passes over a traced program.

A checkpoint is an equation at the head of a top-level loop: before every K-th step each party puts its shares of the
state away, and once, with the first, its shares of what else the rest of the program needs. It sends and opens nothing.
The program that goes on is the slice of the original from there: the rest of the loop, all that follows it, and of
what came before only what has to be computed again. Why it is a program of its own, and what is put away rather than
computed again: docs/decisions/checkpoints.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

from mpc.demand import Node, cheapest, is_linear
from mpc.errors import ProgramError, UsageError
from mpc.ir import Block, Equation, Kind, Var, walk
from mpc.programs import Program, renumber
from mpc.text import parse_block, print_block
from mpc.types import held_params

__all__ = ["check_checkpoints", "continued", "interval", "with_checkpoints", "without_checkpoints"]


def with_checkpoints(program: Program, every: int) -> Program:
    """The program with a checkpoint before every `every`-th step of each top-level loop, counted from its step 0.

    Bytes stay what they are, and so do rounds, but for a loop that must now wait for a reveal, or another loop, which
    stands before it, has nothing to do with it and takes more rounds than what it begins with (`plan` has the price
    exactly). A loop that has no such step gets none. A program that has checkpoints gets these in place of its own.
    Raises UsageError unless `every` ≥ 1.
    """
    if type(every) is not int or not 1 <= every < 1 << 31:
        raise UsageError(f"checkpoints are made every 1, 2, … steps, not {every!r}")
    made = _with(without_checkpoints(program), every)
    if interval(made) is None and interval(program) is None:
        return program
    made.check()
    return made


def interval(program: Program) -> int | None:
    """The number of steps between checkpoints; None if a program makes none."""
    return next((int(e.params["every"]) for e in walk(program.block) if e.op == "checkpoint"), None)


def check_checkpoints(program: Program) -> None:
    """Raise ProgramError unless the checkpoints of a program are those that `with_checkpoints` makes."""
    every = interval(program)
    if every and _with(without_checkpoints(program), every).text == program.text:
        return
    where = next(e.where for e in walk(program.block) if e.op == "checkpoint")
    raise ProgramError("the program's checkpoints are not those that with_checkpoints makes", where)


def continued(program: Program, site: int, iteration: int) -> Program:
    """The program that goes on at step `iteration` of loop `site`: a function of the program's text and these two.

    site: top-level loops from 0. iteration: the step that is next, counted as in the first program of a chain. The
    state comes in as `carry.0`, `carry.1`, …, other secrets as `value.0`, …, what was revealed as `public.0`, …: the
    names in a checkpoint's Saves. Whatever was revealed before the loop is not revealed again. Owners bring
    only inputs that are still needed. It has the same results, facts and notes, and the same checkpoints.
    Raises ProgramError where there is no such loop, step or checkpoint.
    """
    every = interval(program)
    whole = without_checkpoints(program)
    equations = whole.block.equations
    places = _sites(whole)
    if site not in places:
        raise ProgramError(f"program {program.name} has no loop {site}; it has {', '.join(map(str, places)) or 'none'}")
    at = places[site]
    loop = equations[at]
    start, end = _steps(loop)
    if not start < iteration < end or (every and iteration % every):
        raise ProgramError(f"loop {site} makes no checkpoint before step {iteration}", loop.where)
    held = _held(whole, at)
    carry = loop.params["carry"]
    assert loop.body is not None
    state = [Var(-1, p.type) for p in loop.body.params[1 : 1 + carry]]
    params = {"times": end - iteration, "carry": carry, "start": iteration}
    inputs = (*state, *loop.inputs[carry:])
    rest = Equation("repeat", inputs, loop.outputs, params, loop.where, loop.body)
    taken = [_kept(f"carry.{i}", v, loop.where) for i, v in enumerate(state)]
    whole.block.equations = [*_again(equations[:at], held), *taken, rest, *equations[at + 1 :]]
    whole.continues = {"site": site, "iteration": iteration}
    made = _finished(whole)
    made.check()
    return with_checkpoints(made, every) if every else made


# what a checkpoint holds --------------------------------------------------------------------------------------------


@dataclass
class _Held:
    """What the rest of a program needs of what came before a loop: what is put away, and what is computed again."""

    names: dict[Var, str]  # secrets, then revealed numbers
    again: set[int]  # the equations


def _held(program: Program, at: int) -> _Held:
    """The least to put away at a loop.

    A secret that lies on the way into the loop is there before it begins, and so is the result of an earlier loop; of
    those, the fewest words are put away from which the needed ones follow without talking. A secret that is computed
    beside the loop may come later than it: it is computed again, from what is put away or from its owner's input.
    """
    before, loop, after = program.block.equations[:at], program.block.equations[at], program.block.equations[at + 1 :]
    made = {v: e for e in before for v in e.outputs}
    needed = {*loop.inputs[loop.params["carry"] :], *program.outputs_by_name.values()}
    needed.update(v for e in after for v in e.inputs)
    needed.update(v for e in before if e.op == "keep" for v in e.inputs)
    stored = _stored(made, [v for v in made if v in needed], _into(before, loop))
    again: set[int] = set()
    for e in reversed(before):
        wanted = [v for v in e.outputs if v in needed]
        if e.op == "keep" or (any(v not in stored for v in wanted) and e.op not in ("reveal", "shown")):
            again.add(id(e))
            needed.update(e.inputs)
    secrets = [v for v in made if v in stored and v in needed]
    shown = [v for v, e in made.items() if e.op in ("reveal", "shown") and v in needed]
    names = {v: f"value.{i}" for i, v in enumerate(secrets)} | {v: f"public.{i}" for i, v in enumerate(shown)}
    return _Held(names, again)


def _into(before: list[Equation], loop: Equation) -> set[Var]:
    """The values that a loop is computed from."""
    found = set(loop.inputs)
    for e in reversed(before):
        if any(v in found for v in e.outputs):
            found.update(e.inputs)
    return found


def _stored(made: dict[Var, Equation], needed: list[Var], near: set[Var]) -> set[Var]:
    """The cheapest secrets to put away."""
    secrets = {v: e for v, e in made.items() if v.type.kind is Kind.SECRET}
    never = 1 + sum(v.type.size for v in secrets)
    nodes = {v: _node(v, e, near, never) for v, e in secrets.items()}
    return cheapest(nodes, {v for v in needed if v in nodes})


def _node(v: Var, e: Equation, near: set[Var], never: int) -> Node:
    parents = tuple(x for x in e.inputs if x.type.kind is Kind.SECRET)
    if e.op in ("repeat", "kept"):
        return Node(v.type.size, None)
    if v not in near:
        return Node(never, parents)
    local = is_linear(e) or (e.op in ("mul", "matmul") and len(parents) < 2)
    return Node(v.type.size, parents if local else None)


def _again(before: list[Equation], held: _Held) -> list[Equation]:
    """What stands before the rest of the loop."""
    out: list[Equation] = []
    for e in before:
        if id(e) in held.again:
            out.append(e)
        for v in e.outputs:
            if v not in held.names:
                continue
            name = held.names[v]
            if v.type.kind is Kind.SECRET:
                out.append(_kept(name, v, e.where))
            else:
                out.append(Equation("shown", (), (v,), held_params(name, v.type, to=e.params["to"]), e.where))
    return out


def _kept(name: str, v: Var, where: str) -> Equation:
    return Equation("kept", (), (v,), held_params(name, v.type, noise=v.type.noise), where)


# the equation -------------------------------------------------------------------------------------------------------


def _with(program: Program, every: int) -> Program:
    """Checkpoints put into a program that has none."""
    equations = program.block.equations
    places = [(site, at) for site, at in _sites(program).items() if _hits(equations[at], every)]
    found = [_held(program, at) for _, at in places]  # of the program as it is, before anything is added
    for (site, at), held in zip(places, found, strict=True):
        _insert(equations[at], held, site, every)
    return _finished(program)


def _insert(loop: Equation, held: _Held, site: int, every: int) -> None:
    body, carry = loop.body, loop.params["carry"]
    assert body is not None
    inside = dict(zip(loop.inputs[carry:], body.params[1 + carry :], strict=True))
    for v in held.names:
        if v not in inside:
            inside[v] = Var(-1, v.type)
            loop.inputs, body.params = (*loop.inputs, v), (*body.params, inside[v])
    names = [f"carry.{i}" for i in range(carry)] + list(held.names.values())
    start, _ = _steps(loop)
    params = {"after": start, "carry": carry, "every": every, "names": names, "site": site}
    inputs = (*body.params[: 1 + carry], *(inside[v] for v in held.names))
    body.equations.insert(0, Equation("checkpoint", inputs, (), params, loop.where))


def without_checkpoints(program: Program) -> Program:
    """A copy of a program, without its checkpoints and without operands that its loops make no use of."""
    made = _finished(program, parse_block(list(print_block(program.block))))
    for loop in made.block.equations:
        body = loop.body
        if loop.op != "repeat" or body is None:
            continue
        body.equations = [e for e in body.equations if e.op != "checkpoint"]
        used = {v for e in body.equations for v in e.inputs} | set(body.results)
        fixed = 1 + loop.params["carry"]
        rest = zip(body.params[fixed:], loop.inputs[fixed - 1 :], strict=True)
        stay = [(p, v) for p, v in rest if p in used]
        body.params = (*body.params[:fixed], *(p for p, _ in stay))
        loop.inputs = (*loop.inputs[: fixed - 1], *(v for _, v in stay))
    return _finished(made)


def _finished(program: Program, block: Block | None = None) -> Program:
    """The program of a block that was changed; without one, of its own."""
    if block is not None:
        numbers = {v.number: v for e in block.equations for v in e.outputs}
        outputs = {name: numbers[v.number] for name, v in program.outputs_by_name.items()}
    else:
        block = program.block
        renamed = renumber(block)
        outputs = {name: renamed[v] for name, v in program.outputs_by_name.items()}
    parts: dict[str, Any] = {"facts": program.facts, "notes": program.notes, "continues": program.continues}
    return Program(program.name, program.parties, block, program.order, outputs, **parts)


def _sites(program: Program) -> dict[int, int]:
    """Where each top-level loop stands, by its number."""
    numbers = count(program.continues["site"] if program.continues else 0)
    return {next(numbers): at for at, e in enumerate(program.block.equations) if e.op == "repeat"}


def _steps(loop: Equation) -> tuple[int, int]:
    """The first step of a loop, and the one after its last."""
    start = int(loop.params.get("start", 0))
    return start, start + int(loop.params["times"])


def _hits(loop: Equation, every: int) -> bool:
    """Whether a step after the first is a multiple of `every`."""
    start, end = _steps(loop)
    return (start // every + 1) * every < end
