"""Programs that together use every part of the runtime, and a driver of its own for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mpc
from mpc.dealing import Correction, Dealt, run_dealer
from mpc.engine import run_party
from mpc.exchange import Draw, Exchange
from mpc.memory import names_of
from mpc.testing import deterministic_entropy
from protocols import MASKED, catalog

RNG = np.random.default_rng(3)


@mpc.program
def products(x: mpc.PerParty[mpc.Private]) -> Any:
    a, b = (mpc.share(v, range=(-4, 4)) for v in (x[0], x[1]))
    rest = sum((mpc.share(v, range=(-4, 4)) for v in x[2:]), start=a * 0.5)
    return {
        "all": mpc.reveal(a * b + a @ b.T @ rest),
        "one": mpc.reveal(rest.sum(), to=x[0].owner),
        "two": mpc.reveal((a - b) * (a - b), to=[x[0].owner, x[1].owner, "coordinator"]),
    }


@mpc.program
def loops(x: mpc.PerParty[mpc.Private]) -> Any:
    A, v = mpc.share(x[0], range=(-2, 2)), mpc.share(x[1], range=(-2, 2))

    def step(i: Any, state: Any) -> Any:
        w, s = state
        inner = mpc.repeat(2, lambda j, t: mpc.assume_range(t + A[j] * w, -50, 50), v[i % 2])
        w = mpc.accept_rounding(mpc.assume_range(mpc.sigmoid(A[i % 2 : i % 2 + 1] @ w, scale=40) + w, -4, 4))
        return mpc.rescale(w, 20), mpc.rescale(mpc.assume_range(s + inner, -90, 90), 16)

    w, s = mpc.repeat(5, step, (np.zeros(2), v[0]))
    return {"w": mpc.reveal(w), "s": mpc.reveal(s, bits=8)}


@mpc.program
def quiet(x: mpc.PerParty[mpc.Private]) -> Any:
    return mpc.reveal(sum(mpc.share(v) for v in x))


@mpc.protocol(scale=lambda s: 0, range=lambda r: (0, 255))
def low_byte(x: Any) -> Any:
    r = mpc.mask(x.shape)
    c = mpc.open(x + r, width=8)
    d = mpc.open(x * 3 + mpc.mask(x.shape), width=60)
    return x + c * 0 + d * 0 + mpc.deal(r) * 0


@mpc.program
def narrow(x: mpc.PerParty[mpc.Private]) -> Any:
    return mpc.reveal(low_byte(mpc.share(x[0], scale=0, range=(0, 9))) + mpc.share(x[1], scale=0, range=(0, 9)))


TABLE = {"a": [1.0, 2, 3, 4], "b": [4.0, 1, 1, 2], "label": ["y", "n", "y", "n"]}


def cases() -> Iterator[Any]:
    for n in (2, 3, 5, 8):
        names = names_of(n)
        square = {"x": {p: RNG.integers(-16, 16, (2, 2)) / 8 for p in names}}
        whole = {"x": {p: RNG.integers(0, 9, (2, 3)) for p in names}}
        for program, inputs in ((products, square), (loops, square), (quiet, square), (narrow, whole)):
            yield pytest.param(program, inputs, names, {}, id=f"{program.name}-{n}")
        model = {"data": dict.fromkeys(names[:2], TABLE)}
        settings = {"label": "label", "steps": 3, "batch_size": 4}
        yield pytest.param(catalog["logistic-regression"], model, names, settings, id=f"logistic-{n}")
        numbers = {"values": {p: np.ones((3, 2)) for p in names}}
        for name in ("secure-sum", "mean"):
            yield pytest.param(catalog[name], numbers, names, {}, id=f"{name}-{n}")


CASES = list(cases())


def prepared(program: Any, inputs: Any, names: list[str], settings: Any, suite: mpc.Suite = MASKED) -> Any:
    owned = {k: {p: mpc.owned(v) for p, v in by.items()} for k, by in inputs.items()}
    return program.trace(owned, names, settings).lower(suite), owned


def drive(lowered: Any, owned: Any, n: int, watch: Any, change: Any = lambda p, q, number, arrays: arrays) -> Any:
    """A driver of its own, in lock step: watch(party, request) sees all; change(from, to, number, arrays) may cheat."""
    dealer, entropy = deterministic_entropy(n)
    own = [{k: by[name] for k, by in owned.items() if name in by} for name in lowered.parties]
    runs = [run_party(lowered, i, own[i], entropy[i]) for i in range(n)]
    stock = _dealt_to(lowered, dealer, n)
    results: dict[int, Any] = {}
    asked: dict[int, Any] = {}
    posted: dict[tuple[int, int], dict[int, Any]] = {}

    def resume(p: int, answer: Any) -> None:
        try:
            request = runs[p].send(answer)
        except StopIteration as stop:
            results[p] = stop.value
            asked.pop(p, None)
            return
        watch(p, request)
        asked[p] = request
        if isinstance(request, Exchange):
            for q, arrays in request.arrays.items():
                posted.setdefault((q, request.number), {})[p] = change(p, q, request.number, arrays)

    for p in range(n):
        resume(p, None)
    while asked:
        for p, request in list(asked.items()):
            if isinstance(request, Draw):
                resume(p, stock[p].cut(request.expect))
            elif posted.get((p, request.number), {}).keys() >= request.expect.keys():
                resume(p, posted.pop((p, request.number), {}))
    return results


def _dealt_to(lowered: Any, dealer: Any, n: int) -> list[Dealt]:
    stock = [Dealt() for _ in range(n)]
    for c in run_dealer(lowered, dealer):
        stock[c.party].put(c)
    return stock


def dealt(lowered: Any, n: int) -> list[Correction]:
    return list(run_dealer(lowered, deterministic_entropy(n)[0]))


def same(one: Any, two: Any) -> bool:
    return all(np.array_equal(one[p][k], v) for p, known in two.items() for k, v in known.items())
