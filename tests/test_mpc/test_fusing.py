"""mpc/fusing.py: a sine series and what it is multiplied by in one kernel: the same words, where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mpc
from mpc import native, trig
from mpc.fusing import sine_sums
from mpc.ir import Equation
from mpc.memory import names_of, run_in_memory
from mpc.testing import deterministic_entropy
from protocols import suites

RNG = np.random.default_rng(11)


@pytest.fixture
def compiled() -> Iterator[None]:
    if not native.load():
        pytest.skip("numba is not installed")
    yield
    native.unload()


@mpc.program
def curve(x: mpc.Private, y: mpc.Private) -> Any:
    return mpc.reveal(mpc.sigmoid(mpc.share(x, range=(-8, 8)) + mpc.share(y, range=(-8, 8))))


@mpc.program
def steps(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-1, 1)), mpc.share(y, range=(-1, 1))
    return mpc.reveal(
        mpc.repeat(3, lambda i, z: mpc.accept_rounding(mpc.assume_range(mpc.sigmoid(z * b) * 0.5, -1, 1)), a)
    )


def lowered_of(program: Any, size: int, n: int = 2) -> tuple[Any, Any]:
    given = {"x": {"alice": RNG.uniform(-1, 1, size)}, "y": {"bob": RNG.uniform(-1, 1, size)}}
    return program.trace(given, names_of(n)).lower(suites["masked"]), given


@pytest.mark.parametrize("size", [1, 5, 600, 70_001])
@pytest.mark.parametrize("program", [curve, steps], ids=lambda p: p.name)
@pytest.mark.usefixtures("compiled")
def test_the_same_words_as_without(program: Any, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpc.lanes._LONG", 1 << 16)
    lowered, given = lowered_of(program, size)
    taken: list[int] = []
    original = native.sine_sum

    def counted(*args: Any) -> Any:
        taken.append(1)
        return original(*args)

    with pytest.MonkeyPatch.context() as m:
        m.setattr(native, "sine_sum", counted)
        fused = run_in_memory(lowered, given, entropy=deterministic_entropy(2))
    assert taken
    native.unload()
    plain = run_in_memory(lowered, given, entropy=deterministic_entropy(2))
    assert fused.transcripts == plain.transcripts
    assert all(np.array_equal(fused.results[name], value) for name, value in plain.results.items())


@pytest.mark.parametrize(("terms", "size"), [(1, 1), (8, 3), (24, 513), (64, 1025)])
@pytest.mark.usefixtures("compiled")
def test_the_kernel_is_the_sum_of_the_tables(terms: int, size: int) -> None:
    odd, coefficients = tuple(range(1, 2 * terms, 2)), trig.sine_series(16, terms, bits=20)
    angle = RNG.integers(0, 2**64, size, dtype=np.uint64)
    cosines, sines = RNG.integers(0, 2**64, (2, terms, size), dtype=np.uint64)
    sin_d, cos_d = trig.series_tables(angle, odd, coefficients, 20, 12)
    for dealt in (cosines, np.frombuffer(cosines.tobytes(), dtype="<u8").reshape(cosines.shape)):
        found = native.sine_sum(odd, coefficients, 20, 12)(angle, dealt, sines)
        assert np.array_equal(found, (sin_d * cosines - cos_d * sines).sum(axis=0, dtype=np.uint64))


def series_in(size: int) -> tuple[list[Equation], Equation]:
    lowered, _ = lowered_of(curve, size)
    slot = next(s for s in lowered.slots(lowered.block) if any(e.op == "series" for e in s.local))
    return slot.local, next(e for e in slot.local if e.op == "sum")


def numbers(equations: list[Equation]) -> set[int]:
    return {v.number for e in equations for v in e.outputs}


def test_it_is_found_where_only_the_sum_is_read() -> None:
    local, total = series_in(9)
    (found,) = sine_sums(local, numbers(local)).items()
    assert found[0] is total
    assert {e.op for e in local if e in found[1].steps} == {"series", "mul", "sub"}


@pytest.mark.parametrize("op", ["series", "mul", "sub"])
def test_what_somebody_else_reads_is_kept(op: str) -> None:
    """After the slot, or in it: then a step of the sum is a value of its own."""
    local, _ = series_in(9)
    step = next(e for e in local if e.op == op)
    assert not sine_sums(local, numbers(local) - {step.outputs[0].number})
    again = Equation("neg", (step.outputs[0],), (total_of(local),), {}, "-")
    assert not sine_sums([*local, again], numbers(local))


def total_of(local: list[Equation]) -> Any:
    return next(e for e in local if e.op == "sum").output


@pytest.mark.parametrize("change", ["axes", "order", "one table"])
def test_other_sums_are_left_alone(change: str) -> None:
    local, total = series_in(9)
    difference = next(e for e in local if total.inputs[0] in e.outputs)
    if change == "axes":
        total.params = {**total.params, "axes": [1]}
    elif change == "order":
        difference.inputs = difference.inputs[::-1]
    else:
        first, second = (next(e for e in local if v in e.outputs) for v in difference.inputs)
        second.inputs = (first.inputs[0], second.inputs[1])
    assert not sine_sums(local, numbers(local))
