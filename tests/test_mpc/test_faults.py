"""The kit's faults: it breaks and cheats, says what came of it, and sees what it must see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mpc
from mpc.engine import _Party
from mpc.memory import run_in_memory
from mpc.testing import VerificationError, deterministic_entropy, verify
from mpc.testing.faults import CHEATS
from protocols import suites

A = np.array([[1.0, 0.5], [0.25, -1.0]])
GIVEN: Any = {"x": {"alice": A}, "y": {"bob": np.array([0.5, 1.0])}}
SUITES = pytest.mark.parametrize("suite", list(suites))


@mpc.program
def steps(x: mpc.Private, y: mpc.Private, times: int = 6) -> Any:
    a, b = mpc.share(x, range=(-2, 2)), mpc.share(y, range=(-2, 2))
    w = mpc.repeat(times, lambda i, s: mpc.rescale(mpc.assume_range(a @ s * 0.5 + b, -8, 8), 16), b)
    return {"w": mpc.reveal(w), "least": mpc.reveal(mpc.min(w))}


@mpc.program
def straight(x: mpc.Private, y: mpc.Private) -> Any:
    a, b = mpc.share(x, range=(-2, 2)), mpc.share(y, range=(-2, 2))
    return mpc.reveal(a @ b < 0)


@SUITES
def test_it_breaks_and_cheats(suite):
    for n in (2, 3):
        report = verify(steps, inputs=GIVEN, suite=suite, parties=(n,), tolerance=2.0**-10)
        assert sum("after a break at each of 5 checkpoints" in line for line in report.lines) == 1
        assert sum("one message changed in 24 runs" in line for line in report.lines) == 1
    lines = verify(steps, inputs=GIVEN, suite=suite, parties=(2, 3), tolerance=2.0**-10).lines
    assert any("after a break at each of 1 checkpoints" in line for line in lines if line.startswith("3"))
    assert any("one message changed in 6 runs" in line for line in lines if line.startswith("3"))


def test_without_loops_nothing_breaks():
    report = verify(straight, inputs=GIVEN, parties=(2,))
    assert not any("after a break" in line for line in report.lines)
    assert any("refused by name" in line for line in report.lines)


@SUITES
@pytest.mark.parametrize("name", [c for c in CHEATS if c not in {"flip", "replay"}])
def test_what_does_not_fit_is_refused_with_its_party_and_line(name, suite):
    lowered = straight.trace(GIVEN, ["alice", "bob", "carol"]).lower(suite)

    def change(source: int, to: int, number: int, arrays: Any) -> Any:
        return CHEATS[name](arrays, arrays) if source == 1 else arrays

    with pytest.raises(mpc.PeerError, match=r"party bob sent arrays of the wrong number, type or shape \(.+\.py:\d+"):
        run_in_memory(lowered, GIVEN, entropy=deterministic_entropy(3), change=change)


def kit(**more: Any) -> Any:
    return verify(steps, inputs=GIVEN, parties=(2,), tolerance=2.0**-10, **more)


def test_an_engine_that_looks_at_nothing_is_seen(monkeypatch):
    for module in ("engine", "rounds"):
        monkeypatch.setattr(f"mpc.{module}.fits", lambda *_: None)
    with pytest.raises(VerificationError, match=r"is taken|no refusal|other names or shapes"):
        kit()


@pytest.mark.parametrize("entry", ["carry.0", "value.0"])
def test_a_checkpoint_of_something_else_is_seen(monkeypatch, entry):
    right = _Party.held

    def wrong(self: Any, *args: Any) -> Any:
        out = right(self, *args)
        return {k: v + np.uint64(1 << 14) if k == entry else v for k, v in out.items()}

    monkeypatch.setattr(_Party, "held", wrong)
    with pytest.raises(VerificationError, match="goes on to another result"):
        kit()


def test_a_continuation_that_counts_its_steps_from_zero_is_seen(monkeypatch):
    @mpc.program
    def counted(x: mpc.Private, y: mpc.Private) -> Any:
        a = mpc.share(x, range=(-2, 2)) + 0 * mpc.share(y, range=(-2, 2))
        return mpc.reveal(mpc.repeat(4, lambda i, s: mpc.assume_range(s + a * i, -50, 50), a))

    verify(counted, inputs=GIVEN, parties=(2,))
    right = _Party.repeat

    def wrong(self: Any, e: Any, iteration: int) -> Any:
        e.params.pop("start", None)
        return right(self, e, iteration)

    monkeypatch.setattr(_Party, "repeat", wrong)
    with pytest.raises(VerificationError, match="goes on to another result"):
        verify(counted, inputs=GIVEN, parties=(2,))


def test_parties_that_wait_for_ever_are_seen(monkeypatch):
    nobody = property(lambda _: [], lambda _self, _peers: None)
    monkeypatch.setattr(_Party, "rest", nobody, raising=False)  # no opening is sent, but reveals are still awaited
    with pytest.raises((VerificationError, mpc.MpcError)):
        kit()
