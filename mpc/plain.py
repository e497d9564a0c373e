"""The meaning of a surface program in the clear, with the same fixed-point arithmetic: the oracle of every test.

A truncation is the floor; a sigmoid is its own series. The protocol agrees with it up to the roundings that each
function states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from mpc.clear import evaluate_block, no_masks
from mpc.errors import InputError, UsageError
from mpc.fixed import decode, scalar
from mpc.handles import Handle, Results
from mpc.ir import Block, Equation, Kind
from mpc.kernels import KERNELS
from mpc.owner import FLOAT_KINDS, Locator, held, own, shared_integers
from mpc.ring import RING64
from mpc.trig import angle_words, series_tables

__all__ = ["evaluate"]


def evaluate(
    program: Any, inputs: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Any] = MappingProxyType({})
) -> Results:
    """The results of a program in the clear. inputs: {name: {party: Table or array}}, as `mpc.simulate` takes them.

    kept: ring integers of what an earlier run has kept, by name.
    """
    run = _Plain(program, inputs, kept)
    run.block(program.block)
    results: dict[str, Any] = {}
    for name in program.order:
        if name in program.facts:
            results[name] = program.facts[name]
            continue
        var = program.outputs_by_name[name]
        value = run.values[var.number]
        if var.type.kind is Kind.PUBLIC:
            value = decode(RING64, value, var.type.scale, Fraction(var.type.unit))
        results[name] = value if np.shape(value) else scalar(float(value), var.type)
    program.require(results)
    return Results(results, {spec.name: Handle.known(spec, run.keeps[spec.name]) for spec in program.keeps})


class _Plain:
    def __init__(self, program: Any, inputs: Mapping[str, Mapping[str, Any]], kept: Mapping[str, Any]) -> None:
        self.inputs, self.kept = inputs, kept
        self.values: dict[int, Any] = {}
        self.keeps: dict[str, Any] = {}
        self.locator = Locator(program.block)

    def block(self, block: Block) -> None:
        for e in block.equations:
            if e.op == "repeat":
                self.repeat(e)
            elif e.op == "keep":
                self.keeps[e.params["name"]] = self.values[e.inputs[0].number]
            elif e.outputs:
                self.values[e.output.number] = self.equation(e)

    def repeat(self, e: Equation) -> None:
        assert e.body is not None
        carry, start = e.params["carry"], e.params.get("start", 0)
        step, *params = e.body.params
        for p, v in zip(params, e.inputs, strict=True):
            self.values[p.number] = self.values[v.number]
        for i in range(e.params["times"]):
            self.values[step.number] = np.asarray(start + i, dtype=np.uint64)
            self.block(e.body)
            state = [self.values[v.number] for v in e.body.results]
            for p, value in zip(params[:carry], state, strict=True):
                self.values[p.number] = value
        for out, p in zip(e.outputs, params[:carry], strict=True):
            self.values[out.number] = self.values[p.number]

    def equation(self, e: Equation) -> Any:
        values = [self.values[v.number] for v in e.inputs]
        if e.output.type.kind in FLOAT_KINDS:
            return self.float(e, values)
        match e.op:
            case "kept" | "shown" | "handle":
                if e.params.get("bits", 64) != 64:
                    raise UsageError(f"the handle {e.params['name']!r} is of {e.params['bits']} bits; plain has 64")
                return held(self.kept, e.params["name"], e.output.type.shape)
            case "share":
                return self.share(e, values[0])
            case "truncate":
                return np.right_shift(values[0].view(np.int64), np.int64(e.params["by"])).view(np.uint64)
            case "call":
                assert e.body is not None
                return evaluate_block(RING64, e.body, values, no_masks)[0]
            case "unit" | "settle" | "assume" | "implied" | "rounded" | "secret" | "reveal":
                return values[0]
        known = _MEANING.get(e.op)
        return known(e, *values) if known else np.asarray(KERNELS[e.op](RING64, e.params, *values))

    def float(self, e: Equation, values: list[Any]) -> Any:
        owner = e.params.get("owner", "")
        mine = {name: given[owner] for name, given in self.inputs.items() if owner in given}
        if e.op == "real":
            t = e.inputs[0].type
            return decode(RING64, values[0], t.scale, t.unit)
        try:
            return own(e, values, mine, RING64, lambda var: self.locator.at(var, self.values))
        except InputError as error:
            raise error.of(e.output.type.owner) from None

    def share(self, e: Equation, x: Any) -> Any:
        var = e.inputs[0]
        try:
            return shared_integers(e, x, RING64, self.locator.at(var, self.values))
        except InputError as error:
            raise error.of(var.type.owner) from None


def _sigmoid(e: Equation, u: Any) -> Any:
    p = e.params
    odd = tuple(range(1, 2 * len(p["coefficients"]), 2))
    angle = angle_words(u, p["scale"], 1 << (p["period"] - 2))
    sines, _ = series_tables(angle, odd, tuple(p["coefficients"]), p["cbits"], p["p"])
    whole = np.sum(sines, axis=0, dtype=np.uint64)
    return RING64.add(RING64.shl(np.asarray(whole), p["q"]), RING64.literal(p["half"]))


_MEANING: dict[str, Callable[..., Any]] = {
    "negative": lambda _, x: (x.view(np.int64) < 0).astype(np.uint64),
    "below": lambda e, x: (np.subtract(x[..., None], RING64.literal(e.params["points"])).view(np.int64) < 0).astype(
        np.uint64
    ),
    "zero": lambda _, x: (x == 0).astype(np.uint64),
    "choose": lambda _, c, x, y: np.where(c == 1, y, x),
    "sigmoid": _sigmoid,
}
