"""mpc/checker.py: rule 1. Every opening has a mask of its own; what leaks is refused, with source line and cure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import SUITES, given, shared, trace

import mpc
from mpc import checker
from mpc.checker import check_openings, check_result
from mpc.clear import evaluate_block
from mpc.errors import LeakError
from mpc.ir import Block, Kind, Type
from mpc.ring import Ring
from mpc.rules import RuleTrace
from protocols import BEAVER, MASKED, catalog

Function = Callable[..., Any]


def rule(function: Function, *shapes: tuple[int, ...], bits: int = 64) -> Block:
    """A rule of shares of these shapes (two scalars unless given)."""
    return mpc.protocol(function).block(shapes or ((), ()), {}, bits)


def in_loop(body: Function, make: Function) -> Block:
    """make(x) outside, body(x, made) in a repeat: what surface programs cannot write."""
    t = RuleTrace(64)
    x = t.fresh(Type(Kind.SHARE, ()))
    t.frames[0].block.params = (x,)
    with t.recording():
        share = t.wrap(x, t.frames[0])
        made = make(share)
        with t.frame() as frame:
            step, state = t.fresh(Type(Kind.CONST)), t.fresh(Type(Kind.SHARE))
            frame.block.params = (step, state)
            result = body(t.wrap(state, frame), made)
            if result.type.kind is not Kind.SHARE:
                result = t.emit("cast", [result], {"kind": "share"})
            frame.block.results = (t.use(result),)
        frame.block.params += tuple(frame.lifted.values())
        used = (x, *frame.outer)
        t.record("repeat", used, [Type(Kind.SHARE)], {"times": 3, "carry": 1}, "here:1", frame.block)
    return t.frames[0].block


# --- what is accepted


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
def test_both_suites_pass(suite: mpc.Suite) -> None:
    for name in ("multiply", "matmul"):
        check_openings(_open_wires(suite.rules[name].block([(2, 2), (2, 2)], {}, 64)))
    check_openings(_open_wires(suite.rules["truncate"].block([(3,)], {"by": 16}, 64)))


def _open_wires(block: Block) -> Block:
    """masked(x) written out, as lowering does it."""
    t = RuleTrace(64)
    frame = t.frames[0]
    known = {p: t.wrap(p, frame) for p in block.params}
    frame.block.params = block.params
    t._next = 10_000
    with t.recording():
        for e in block.equations:
            if e.op == "masked":
                lam = mpc.mask(e.inputs[0].type.shape)
                made = [mpc.open(known[e.inputs[0]] + lam), lam]
            else:
                made = t.record(e.op, tuple(known[v].var for v in e.inputs), [v.type for v in e.outputs], e.params, "")
            known.update(zip(e.outputs, made, strict=True))
    return frame.block


TABLE = {"a": [1.0, 2, 3, 4], "b": [4.0, 1, 1, 2], "label": ["y", "n", "y", "n"]}
RIGHT = {"c": [1.0, 2, 3, 4]}
SCORES = {"label": "label", "score": "a"}
LIBRARY: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("secure-sum", {"values": {p: np.ones((2, 2)) for p in ("alice", "bob")}}, {}),
    ("mean", {"values": {p: np.ones(3) for p in ("alice", "bob")}}, {}),
    ("logistic-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "label"}),
    ("logistic-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "label", "batch_size": 2, "steps": 9}),
    ("logistic-regression", {"data": {"alice": TABLE, "bob": RIGHT}}, {"label": "label", "partition": "vertical"}),
    ("logistic-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "label", "solver": "newton-bound"}),
    ("logistic-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "label", "solver": "irls"}),
    ("linear-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "a"}),
    ("ridge-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "a"}),
    *((name, {"data": {"alice": TABLE, "bob": TABLE}}, {}) for name in ("variance", "standard-deviation")),
    *((name, {"data": {"alice": TABLE, "bob": TABLE}}, {}) for name in ("covariance", "correlation")),
    ("histogram", {"data": {"alice": TABLE, "bob": TABLE}}, {"column": "a", "edges": [0, 1, 2]}),
    *((name, {"data": {"alice": TABLE, "bob": TABLE}}, {"column": "a"}) for name in ("quantile", "median")),
    ("group-by", {"data": {"alice": TABLE, "bob": TABLE}}, {"key": "label", "column": "a", "minimum": 2}),
    ("chi-square", {"data": {"alice": TABLE, "bob": TABLE}}, {"row": "label", "column": "label"}),
    ("poisson-regression", {"data": {"alice": TABLE, "bob": TABLE}}, {"label": "a"}),
    ("k-means", {"data": {"alice": TABLE, "bob": TABLE}}, {"k": 2, "without": "label"}),
    ("pca", {"data": {"alice": TABLE, "bob": TABLE}}, {"without": "label"}),
    ("predict", {"model": {"carol": {"a": [1.0]}}, "data": {"alice": TABLE, "bob": TABLE}}, {}),
    *((name, {"data": {"alice": TABLE, "bob": TABLE}}, SCORES) for name in ("accuracy", "log-loss", "auc")),
    ("t-test", {"data": {"alice": TABLE, "bob": TABLE}}, {"group": "label", "column": "a"}),
]


@pytest.mark.parametrize("suite", SUITES, ids=lambda s: s.name)
@pytest.mark.parametrize(("name", "inputs", "settings"), LIBRARY)
def test_the_whole_catalogue_passes(suite: mpc.Suite, name: str, inputs: Any, settings: Any) -> None:
    catalog[name].trace(inputs, ["alice", "bob", "carol"], settings).lower(suite).check()


def test_the_library_list_is_whole() -> None:
    assert {name for name, *_ in LIBRARY} == set(catalog)


def beaver(x: Any, y: Any) -> Any:
    a, b = mpc.mask(()), mpc.mask(())
    c = mpc.deal(a * b)
    d, e = mpc.open(x - a), mpc.open(y - b)
    return c + d * b + a * e + d * e


def resent(x: Any, y: Any) -> Any:
    hidden = x + mpc.mask(())
    return mpc.open(hidden) + mpc.open(hidden, width=8)


def dealt_later(x: Any, y: Any) -> Any:
    r, s = mpc.mask(()), mpc.mask(())
    first = mpc.open(x + r)
    return first * mpc.open(y + s + mpc.deal(r * r))


def dealt_before(x: Any, y: Any) -> Any:
    """In program order the second mask occurs too early; in the other order it does not."""
    r, s = mpc.mask(()), mpc.mask(())
    first = mpc.open(x + r + mpc.deal(s * s))
    return first * mpc.open(y + s)


def odd(x: Any, y: Any) -> Any:
    return mpc.open(x * 2 - 3 * mpc.mask(()) + y)


@pytest.mark.parametrize("function", [beaver, resent, dealt_later, dealt_before, odd])
def test_rules_that_are_safe_are_accepted(function: Function) -> None:
    check_openings(rule(function))


def test_a_mask_made_in_the_loop_is_accepted() -> None:
    check_openings(in_loop(lambda s, r: mpc.open(s + mpc.mask(())) * mpc.deal(r * r) + s, lambda x: mpc.mask(())))


def test_a_mask_stays_one_when_it_is_taken_for_a_share() -> None:
    t = RuleTrace(64)
    t.frames[0].block.params = (t.fresh(Type(Kind.SHARE)),)
    with t.recording():
        (x,) = (t.wrap(p, t.frames[0]) for p in t.frames[0].block.params)
        mpc.open(x + t.emit("cast", [mpc.mask(())], {"kind": "share"}))
    check_openings(t.frames[0].block)


# --- what is refused (the list of rule 1)


def bare(x: Any, y: Any) -> Any:
    return mpc.open(x)


def even(x: Any, y: Any) -> Any:
    return mpc.open(x + 2 * mpc.mask(()))


def shifted(x: Any, y: Any) -> Any:
    return mpc.open(x + (mpc.mask(()) << 3))


def broadcast(x: Any, y: Any) -> Any:
    return mpc.open(np.concatenate([x.reshape(1), y.reshape(1)]) + mpc.mask(()))


def broadcast_one(x: Any, y: Any) -> Any:
    return mpc.open(np.stack([x, y]) + np.broadcast_to(mpc.mask((1,)), (2,)))


def broadcast_beside(x: Any, y: Any) -> Any:
    """The one of full shape is even; the odd one is spread over both lanes."""
    return mpc.open(np.stack([x, y]) + 2 * mpc.mask((2,)) + mpc.mask((1,)))


def summed(x: Any, y: Any) -> Any:
    return mpc.open(np.stack([x, y]) + mpc.mask((2, 1)).sum(axis=0))


def permuted(x: Any, y: Any) -> Any:
    r = mpc.mask((2,))
    return mpc.open(np.stack([x, y]) + r + r[::-1])


def times(x: Any, y: Any) -> Any:
    return mpc.open(x * mpc.mask(()))


def plus_times(x: Any, y: Any) -> Any:
    return mpc.open(x + y * mpc.mask(()))


def halved(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    return mpc.open(x + r + mpc.deal(r >> 1))


def squared(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    return mpc.open(x + r + mpc.deal(r * r))


def narrow(x: Any, y: Any) -> Any:
    return mpc.open(x + mpc.deal(mpc.mask(()) >> 8))


def twice(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    return mpc.open(x + r) - mpc.open(y + r)


def twice_with_signs(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    return mpc.open(x + r) * mpc.open(y - 3 * r)


def cancelled(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    return mpc.open(x + r - r)


def circle(x: Any, y: Any) -> Any:
    r, s = mpc.mask(()), mpc.mask(())
    return mpc.open(x + r + mpc.deal(s >> 1)) + mpc.open(y + s + mpc.deal(r >> 1))


def opened_factor(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    d = mpc.open(x + mpc.mask(()))
    return mpc.open(y + d * r)


REFUSED = [
    (bare, "no mask hides this value"),
    (even, "even number"),
    (shifted, "even number"),
    (broadcast, "hide nothing by themselves"),
    (broadcast_one, "hide nothing by themselves"),
    (broadcast_beside, "hide nothing by themselves"),
    (summed, "hide nothing by themselves"),
    (permuted, "second time in the same value"),
    (times, "go through masked"),
    (plus_times, "go through masked"),
    (halved, "second time in the same value"),
    (squared, "second time in the same value"),
    (narrow, "hide nothing by themselves"),
    (twice, "a mask is used twice"),
    (twice_with_signs, "a mask is used twice"),
    (cancelled, "no mask hides"),
    (circle, "a mask is used twice"),
    (opened_factor, "hide nothing by themselves"),
]


@pytest.mark.parametrize(("function", "why"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_what_leaks_is_refused_with_line_and_cure(function: Function, why: str) -> None:
    with pytest.raises(LeakError) as caught:
        check_openings(rule(function))
    first = function.__code__.co_firstlineno
    assert caught.value.where in {f"test_checker.py:{first + i}" for i in range(6)}
    assert why in str(caught.value)
    assert any(cure in str(caught.value) for cure in ("mask(x.shape)", "masked()"))


@pytest.mark.parametrize(("function", "why"), REFUSED, ids=lambda v: getattr(v, "__name__", ""))
def test_programs_that_call_such_a_rule_are_refused(function: Function, why: str) -> None:
    with pytest.raises(LeakError, match=r"test_checker.py:\d+"):
        shared(lambda x, y: mpc.protocol(function)(x, y).sum(), (), ()).lower(MASKED).check()


def test_a_mask_from_outside_a_loop_is_refused_inside() -> None:
    with pytest.raises(LeakError, match=r"test_checker.py:\d+: .*made outside this loop"):
        check_openings(in_loop(lambda s, r: mpc.open(s + r), lambda x: mpc.mask(())))


def test_a_mask_of_an_earlier_step_is_refused() -> None:
    def body(s: Any, r: Any) -> Any:
        mpc.open(s + mpc.mask(()))
        return mpc.mask(())  # the next step's state, of which it opens s + r

    with pytest.raises(LeakError):
        check_openings(in_loop(lambda s, r: mpc.open(s) + body(s, r), lambda x: mpc.mask(())))


def test_a_mask_opened_outside_and_dealt_inside_is_one_use() -> None:
    def make(x: Any) -> Any:
        r = mpc.mask(())
        return mpc.open(x + r) * r

    check_openings(in_loop(lambda s, r: s + r + mpc.open(s + mpc.mask(())), make))
    with pytest.raises(LeakError, match="outside this loop"):
        check_openings(in_loop(lambda s, r: mpc.open(s + r), make))


def lowered_with(op: str, owner: str) -> Block:
    """bob's private value (or share) under a mask that `owner` knows."""
    t = RuleTrace(64)
    x = t.fresh(Type(Kind.PRIVATE if op == "send" else Kind.SHARE, (), owner="bob" if op == "send" else ""))
    t.frames[0].block.params = (x,)
    with t.recording():
        value = t.wrap(x, t.frames[0])
        lam = t.emit("owner_mask", [], {"shape": [], "owner": owner}) if owner else mpc.mask(())
        if op == "send":
            t.record("send", (x, lam.var), [Type(Kind.PUBLIC)], {"owner": "bob"}, "a.py:1")
        else:
            mpc.open(value + lam)
    return t.frames[0].block


def test_an_owners_mask_hides_only_its_owners_value() -> None:
    check_openings(lowered_with("send", "bob"))
    check_openings(lowered_with("open", ""))
    for op, owner in (("send", "alice"), ("send", ""), ("open", "alice"), ("open", "bob")):
        with pytest.raises(LeakError, match="owner"):
            check_openings(lowered_with(op, owner))


# --- results that depend on masks


def shows_mask(x: Any, y: Any) -> Any:
    return mpc.deal(mpc.mask(()))


def adds_mask(x: Any, y: Any) -> Any:
    return x + y + mpc.mask(())


def shows_sign(x: Any, y: Any) -> Any:
    r = mpc.mask(())
    mpc.open(x + r)
    return y + mpc.deal(mpc.msb(r))


def forgets(x: Any, y: Any) -> Any:
    d, lam = mpc.masked(x)
    return d - lam + mpc.deal(lam >> 63)


@pytest.mark.parametrize("function", [shows_mask, adds_mask, shows_sign, forgets])
def test_results_that_depend_on_masks_are_refused(function: Function) -> None:
    with pytest.raises(LeakError, match="depends on its masks"):
        check_result(rule(function), "a.py:1")
    with pytest.raises(LeakError, match=r"test_checker.py:\d+: .*depends on its masks"):
        shared(lambda x, y: mpc.protocol(function)(x, y), (), ()).lower(MASKED).check()  # noqa: PLW0108


def test_such_a_rule_is_refused_inside_a_loop_too() -> None:
    def step(_: Any, s: Any) -> Any:
        return mpc.assume_range(mpc.protocol(shows_sign)(s, s), -8, 8)

    with pytest.raises(LeakError, match="depends on its masks"):
        shared(lambda x: mpc.repeat(2, step, x), ()).lower(MASKED).check()


def test_every_rule_of_a_program_is_looked_at() -> None:
    good, bad = mpc.protocol(beaver), mpc.protocol(adds_mask)
    for first, second in ((good, bad), (bad, good)):
        program = shared(lambda x, y, f=first, g=second: g(f(x, y), y), (), ())
        with pytest.raises(LeakError, match="depends on its masks"):
            program.lower(MASKED).check()


def test_results_that_do_not_are_accepted() -> None:
    check_result(rule(beaver), "")
    for suite in SUITES:
        check_result(suite.rules["multiply"].block([(2,), (2,)], {}, 64), "")
        check_result(suite.rules["truncate"].block([(200,)], {"by": 9}, 64), "", units=1)
        with pytest.raises(LeakError):
            check_result(suite.rules["truncate"].block([(200,)], {"by": 9}, 64), "")


def test_a_stated_rounding_is_listed_and_more_is_refused() -> None:
    program = shared(lambda x: mpc.protocol(lambda v: BEAVER.rules["truncate"](v, by=3), rounding=1)(x), ())  # noqa: PLW0108
    program.lower(MASKED).check()
    assert "may be seen" in program.plan(MASKED).assumptions[0]["what"]
    with pytest.raises(LeakError, match="depends on its masks"):
        shared(lambda x, y: mpc.protocol(adds_mask, rounding=2**30)(x, y), (), ()).lower(MASKED).check()  # noqa: PLW0108


def test_emulation_refuses_what_the_check_refuses() -> None:
    program = shared(lambda x, y: mpc.protocol(twice)(x, y), (), ())  # noqa: PLW0108
    with pytest.raises(LeakError, match="used twice"):
        mpc.emulate(program, given(1.0, 2.0), suite=MASKED)


def test_kinds_alone_refuse_what_shares_cannot_do() -> None:
    for function in (
        lambda x, y: x * y,
        lambda x, y: mpc.deal(x),
        lambda x, y: mpc.deal(mpc.open(x + mpc.mask(()))),
        lambda x, y: mpc.mask(()) * mpc.mask(()) + x,
        lambda x, y: mpc.msb(x),
        lambda x, y: x >> 1,
        lambda x, y: mpc.open(mpc.mask(())),
        lambda x, y: mpc.masked(mpc.mask(())),
    ):
        with pytest.raises(LeakError, match=r"test_checker.py:\d+"):
            rule(function)


@pytest.mark.parametrize(("kind", "to"), [(Kind.SHARE, "public"), (Kind.MASK, "public"), (Kind.SHARE, "mask"),
                                          (Kind.DEALER, "mask"), (Kind.PUBLIC, "const")])  # fmt: skip
def test_no_cast_makes_a_value_known(kind: Kind, to: str) -> None:
    t = RuleTrace(64)
    with t.recording(), pytest.raises(LeakError, match="make it known"):
        t.emit("cast", [t.wrap(t.fresh(Type(kind)), t.frames[0])], {"kind": to})


# --- against every mask there is


RING = Ring(2)
MASKS = 3
LANES = 4 ** (2 + MASKS)  # every pair of secrets under every choice of masks, one a lane
_LANE = np.arange(LANES, dtype=np.uint64)
SECRETS = [(_LANE >> np.uint64(2 * i)) & np.uint64(3) for i in range(2)]
PADS = [(_LANE >> np.uint64(2 * (2 + i))) & np.uint64(3) for i in range(MASKS)]


def random_rule(rng: np.random.Generator) -> Block:
    """One to three openings of random sums of secrets, masks, dealt functions of masks and what was opened before."""
    t = RuleTrace(2)
    params = tuple(t.fresh(Type(Kind.SHARE, (LANES,))) for _ in range(2))
    t.frames[0].block.params = params
    with t.recording():
        x, y = (t.wrap(p, t.frames[0]) for p in params)
        r = [mpc.mask((LANES,)) for _ in range(MASKS)]
        dealt = [
            lambda: mpc.deal(r[i] * r[j]), lambda: mpc.deal(r[i] >> 1), lambda: mpc.deal(mpc.msb(r[i])),
            lambda: mpc.deal(r[i] * 2), lambda: mpc.deal(r[i] * r[i] + r[j]),
            lambda: r[i] * known[-1] if known else r[j],
        ]  # fmt: skip
        known: list[Any] = []
        for _ in range(rng.integers(1, 4)):
            f: Any = x * int(rng.integers(0, 4)) + y * int(rng.integers(0, 2))
            for k in range(MASKS):
                c = int(rng.choice([0, 0, 1, 1, 2, 3]))
                f = f + r[k] * c if c else f
            for _ in range(rng.choice([0, 0, 1, 2])):
                i, j = (int(n) for n in rng.integers(0, MASKS, 2))
                f = f + dealt[rng.integers(0, len(dealt))]()
            known.append(mpc.open(f))
        t.frames[0].block.results = tuple(v.var for v in known)
    return t.frames[0].block


def leaks(block: Block) -> bool:
    """Whether the views under all masks differ between any two pairs of secrets."""
    pads = iter(PADS)
    opened = evaluate_block(RING, block, list(SECRETS), lambda shape: next(pads))
    view = sum(v << np.uint64(2 * i) for i, v in enumerate(opened))
    secret = _LANE & np.uint64(15)
    count = np.bincount((secret * np.uint64(64) + view).astype(np.int64), minlength=16 * 64).reshape(16, 64)
    return bool(np.any(count != count[0]))


def accepted(block: Block) -> bool:
    try:
        check_openings(block)
    except LeakError:
        return False
    return True


@pytest.fixture(scope="module")
def rules() -> list[tuple[Block, bool]]:
    rng = np.random.default_rng(20)
    return [(block, leaks(block)) for block in (random_rule(rng) for _ in range(1500))]


def test_no_accepted_rule_leaks(rules: list[tuple[Block, bool]]) -> None:
    passed = [leaking for block, leaking in rules if accepted(block)]
    safe = sum(not leaking for _, leaking in rules)
    assert not any(passed)
    assert 150 < len(passed) <= safe < len(rules)
    assert len(passed) > safe / 2  # it is no check to refuse everything


def without(condition: str) -> Function:
    """The check of one opening with one of its conditions left out."""

    def opening(self: Any, e: Any, made: Any) -> Any:
        f = self.of(e.inputs[0])
        pads = {
            m
            for m, c in f.linear.items()
            if (c % 2 or condition == "odd") and m in made and (m not in f.other or condition == "elsewhere")
        }
        if condition == "own":
            pads = pads | f.other
        if not pads:
            raise LeakError("refused")
        return checker._Node(e.where, frozenset(pads), f.all - (f.other if condition == "deals" else frozenset()))

    return opening


@pytest.mark.parametrize("condition", ["odd", "elsewhere", "own", "deals", "order"])
def test_twin_that_drops_a_condition_accepts_a_leak(
    condition: str, rules: list[tuple[Block, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if condition == "order":
        monkeypatch.setattr(checker, "_order", lambda nodes: None)
    else:
        monkeypatch.setattr(checker._Check, "opening", without(condition))
    assert any(leaking for block, leaking in rules if accepted(block))


def test_the_twins_stem_is_the_check_itself(rules: list[tuple[Block, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [accepted(block) for block, _ in rules]
    monkeypatch.setattr(checker._Check, "opening", without("nothing"))
    assert [accepted(block) for block, _ in rules] == before


def test_every_program_is_checked_before_it_is_emulated() -> None:
    @mpc.program
    def program(x: mpc.Private) -> Any:
        return mpc.reveal(mpc.protocol(shows_mask)(mpc.share(x), mpc.share(x)))

    made = trace(program, {"x": {"alice": 1.0}})
    with pytest.raises(LeakError):
        mpc.emulate(made, {"x": {"alice": 1.0}}, suite=MASKED)
