"""The leak-test kit: one call puts a program, or a rule, through every check that the house has for one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.define import ProgramFunction, program
from mpc.errors import MpcError
from mpc.ir import walk
from mpc.language import reveal, share
from mpc.lowering import Lowered, Suite, find_suite
from mpc.memory import Emulation, names_of, run_in_memory
from mpc.prg import DealerEntropy, PartyEntropy
from mpc.programs import Program
from mpc.ring import Ring
from mpc.rules import Rule
from mpc.surface import Private
from mpc.table import owned
from mpc.testing.alike import SURE, deviation
from mpc.testing.faults import VerificationError, cheating, crashing
from mpc.testing.many import Seen, look, side_by_side
from mpc.testing.twins import refused, undealt, unmasked
from mpc.testing.worlds import Deterministic, deterministic_entropy, views

__all__ = ["Report", "VerificationError", "verify"]

Inputs = Mapping[str, Mapping[str, Any]]
Entropies = tuple[DealerEntropy, list[PartyEntropy]]
Run = tuple[Emulation, Seen]
_ORDERS = 8  # of delivery, for the first number of parties; for others
_FEWER_ORDERS = 3
_DRAWS = 128  # runs behind a chi-square
_ENUMERATED = 1 << 18


@dataclass
class Report:
    """What was checked, one line a check."""

    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class _Case:
    """A program with its inputs, for one suite."""

    program: ProgramFunction
    suite: Suite
    settings: Mapping[str, Any]
    expected: Callable[..., Any] | None

    def traced(self, inputs: Inputs, n: int) -> Program:
        return self.program.trace(inputs, names_of(n), self.settings)

    def lowered(self, inputs: Inputs, n: int) -> Lowered:
        lowered: Lowered = self.traced(inputs, n).lower(self.suite)
        return lowered

    def run(self, lowered: Lowered, inputs: Inputs, n: int, seed: int | Entropies, **others: Any) -> Emulation:
        given = {name: {p: owned(v) for p, v in by.items()} for name, by in inputs.items()}
        entropy = deterministic_entropy(n, seed) if isinstance(seed, int) else seed
        return run_in_memory(lowered, given, entropy=entropy, **others)

    def seen(self, lowered: Lowered, inputs: Inputs, n: int, seed: int | Entropies) -> Run:
        return look(lowered, lambda low, **others: self.run(low, inputs, n, seed, **others))


def verify(
    subject: ProgramFunction | Rule,
    *,
    inputs: Inputs,
    suite: Suite | str = "masked",
    settings: Mapping[str, Any] | None = None,
    parties: Sequence[int] = (2, 3, 5),
    expected: Callable[..., Any] | None = None,
    tolerance: float = 0.0,
    other: Inputs | None = None,
    cost: Mapping[str, int] | None = None,
    broken_twin: ProgramFunction | Rule | Mapping[str, Rule] | None = None,
) -> Report:
    """Put a program, or a protocol rule of one or two operands, through every check; VerificationError if one fails.

    inputs: {name: {party: data}}; of a rule {"x": …, "y": …}, integers. expected: of the arrays, what the result
    must be, for a rule or besides `plain`. tolerance: of results, in their own unit.
    Checked, for each number of `parties`: the result against `plain`, and of 128 more draws against it; the same result
    and the same messages in 8 orders of delivery (3 for the second number of parties and on); rounds and bytes against
    the plan, and for two parties against `cost` {rounds, bytes_sent, dealt_bytes}, the largest of a party; the mask
    check; a zero-share of its own at every word of a reveal; the views. Views of a rule are enumerated over Z_4 where
    its random choices are few (they must be equal). Besides, 128 runs on `inputs` are compared with 128 on `other` (by
    default the same shapes, other values) by a two-sample chi-square on every byte that any party received, on every
    byte of what was opened, and on differences of neighbours: sound for single messages and pairs, no proof for more.
    Twins made of the program itself must fail (`mpc.testing.twins`): openings with a broken mask by the mask check, all
    masks zero by the views, nothing dealt by the results.
    Faults: a program with loops breaks at each of some checkpoints in every loop and goes on to the same result. One
    message of a cheating party is changed, in some 20 runs (for the second number of parties and on, 6, and fewer
    checkpoints): what has the wrong number, type or shape is refused by name; a flipped bit or a message sent again
    ends in a named refusal or in results of the right shapes, whose values a semi-honest suite does not promise; never
    in another exception, nor in parties that wait for ever.
    broken_twin: a program, a rule, or rules that replace the suite's by name; it must fail one of these checks.
    """
    case = _Case(_as_program(subject), find_suite(suite), settings or {}, expected)
    report = Report()
    sides = (inputs, other if other is not None else _others(inputs))
    for i, n in enumerate(parties):
        orders = _FEWER_ORDERS if i else _ORDERS
        lowered, run = _one(case, sides, n, tolerance, report, cost if n == 2 else None, orders)
        report.lines.append(f"{n} parties: twins that fail: {_twins(case, lowered, sides, run, n, tolerance)}")
        _faults(case, inputs, n, tolerance, report, few=i > 0)
    if isinstance(subject, Rule):
        _enumerate(case, inputs, report)
    if broken_twin is not None:
        _broken(case, broken_twin, sides, tolerance, report)
    return report


def _as_program(subject: ProgramFunction | Rule) -> ProgramFunction:
    if isinstance(subject, ProgramFunction):
        return subject
    rule = subject
    operands = sum(p.default is p.empty for p in _parameters(rule))

    def one(x: Private) -> Any:
        return reveal(rule(share(x, range=(-(2**20), 2**20), scale=0)), bits=0)

    def two(x: Private, y: Private) -> Any:
        first, second = (share(v, range=(-(2**20), 2**20), scale=0) for v in (x, y))
        return reveal(rule(first, second), bits=0)

    if operands not in (1, 2):
        raise VerificationError(f"rule {rule.name} takes {operands} operands; put it into a program and verify that")
    return program(one if operands == 1 else two)


def _parameters(rule: Rule) -> list[Any]:
    return list(inspect.signature(rule.function).parameters.values())


def _others(inputs: Inputs) -> Inputs:
    """The same shapes with all values moved: the opposite order, then half."""

    def moved(v: Any) -> Any:
        if isinstance(v, Mapping):
            return {k: moved(c) for k, c in v.items()}
        array = np.asarray(v)
        return array if array.dtype.kind not in "iuf" else (array.ravel()[::-1].reshape(array.shape) / 2).round()

    return {name: {p: moved(v) for p, v in by.items()} for name, by in inputs.items()}


def _one(
    case: _Case, sides: tuple[Inputs, Inputs], n: int, tolerance: float, report: Report,
    cost: Mapping[str, int] | None = None, orders: int = _ORDERS,
) -> tuple[Lowered, Run]:  # fmt: skip
    inputs = sides[0]
    traced = case.traced(inputs, n)
    lowered: Lowered = traced.lower(case.suite)
    try:
        lowered.check()
    except MpcError as error:
        raise VerificationError(f"{n} parties: the mask check refuses it: {error}") from error
    report.lines.append(f"{n} parties: the mask check accepts it")
    run, seen = case.seen(lowered, inputs, n, 0)
    _against_plain(case, traced, inputs, run, n, tolerance, report)
    for seed in range(orders):
        shuffled = case.run(lowered, inputs, n, 0, pick=_order(seed))
        if shuffled.transcripts != run.transcripts or not _same(shuffled.results, run.results, 0.0):
            raise VerificationError(f"{n} parties: order {seed} of delivery changes what is sent or what comes out")
    report.lines.append(f"{n} parties: the same messages and results in {orders} orders of delivery")
    _costs(lowered, run, n, cost, report)
    _zero_shares(case, lowered, sides[0], seen, n)
    report.lines.append(f"{n} parties: every word of a reveal has a zero-share of its own")
    worst = _views(case, lowered, sides, (run, seen), n, tolerance)
    if worst > SURE:
        raise VerificationError(f"{n} parties: what a party receives depends on the inputs ({worst:.0f} deviations)")
    report.lines.append(f"{n} parties: views of {_DRAWS} runs on either inputs look alike (chi-square, {worst:.1f})")
    return lowered, (run, seen)


def _faults(case: _Case, inputs: Inputs, n: int, tolerance: float, report: Report, *, few: bool) -> None:
    """A party that crashes and one that cheats."""
    traced = case.traced(inputs, n)
    plain = traced.plain({name: {p: owned(v) for p, v in by.items()} for name, by in inputs.items()})
    seeds = iter(range(1000, 1 << 20))

    def run(lowered: Lowered, **faults: Any) -> Emulation:
        return case.run(lowered, inputs, n, next(seeds), **faults)

    report.lines += [
        f"{n} parties: {line}"
        for line in (
            crashing(traced, case.suite, run, lambda results: _same(results, plain, 2 * tolerance), few=few),
            cheating(traced.lower(case.suite), run, plain, few=few),
        )
        if line
    ]


def _order(seed: int) -> Callable[[int], int]:
    """A choice of the next delivery that repeats."""
    source = Deterministic(seed)
    return lambda k: int.from_bytes(source(4), "big") % k


def _against_plain(
    case: _Case, traced: Program, inputs: Inputs, run: Emulation, n: int, tolerance: float, report: Report
) -> None:
    plain = traced.plain({name: {p: owned(v) for p, v in by.items()} for name, by in inputs.items()})
    if not _same(run.results, plain, tolerance):
        raise VerificationError(f"{n} parties: the result is not that of plain within {tolerance}")
    if case.expected is not None:
        want = case.expected(*(np.asarray(v) for by in inputs.values() for v in by.values()))
        got = next(iter(run.results.values()))
        if not _same({"": got}, {"": want}, tolerance):
            raise VerificationError(f"{n} parties: the result is not what is expected within {tolerance}")
    report.lines.append(f"{n} parties: the result of plain, within {tolerance:g}")


def _same(got: Mapping[str, Any], want: Mapping[str, Any], tolerance: float) -> bool:
    """Numbers within the tolerance, or none on both sides, all else equal."""
    if got.keys() != want.keys():
        return False
    for name, value in got.items():
        x, y = np.asarray(value), np.asarray(want[name])
        if x.shape != y.shape:
            return False
        if x.dtype.kind in "iufb" and y.dtype.kind in "iufb":
            if not _gap(x, y) <= tolerance:
                return False
        elif value != want[name]:
            return False
    return True


def _costs(lowered: Lowered, run: Emulation, n: int, cost: Mapping[str, int] | None, report: Report) -> None:
    plan = lowered.cost()
    counted = (run.rounds, run.bytes_sent, run.dealt_bytes)
    if counted != (plan.rounds, plan.bytes_sent, plan.dealt_bytes):
        raise VerificationError(f"{n} parties: the plan says {plan}, the run counted {counted}")
    most = {
        "rounds": run.rounds, "bytes_sent": max(run.bytes_sent.values()), "dealt_bytes": max(run.dealt_bytes.values()),
    }  # fmt: skip
    for name, value in (cost or {}).items():
        if most[name] != value:
            raise VerificationError(f"{n} parties: {name} is {most[name]}, not {value}")
    report.lines.append(f"{n} parties: {most['rounds']} rounds, {most['bytes_sent']} bytes, as planned")


# --- views ----------------------------------------------------------------------------------------------------------


def _views(case: _Case, lowered: Lowered, sides: tuple[Inputs, Inputs], one: Run, n: int, tolerance: float) -> float:
    """The largest deviation between what is received and opened on either inputs; every draw gives the same results."""
    many = side_by_side(lowered, _DRAWS)
    first, then = (case.seen(many, given, n, seed) for seed, given in enumerate(sides, 1))
    worst = _apart(lowered, first, one)
    if not worst <= 2 * tolerance:
        raise VerificationError(
            f"{n} parties: results of {_DRAWS} draws differ by {worst:g}, more than 2 * {tolerance:g}"
        )
    return deviation(first[1].columns(), then[1].columns())


def _apart(lowered: Lowered, many: Run, one: Run) -> float:
    """The largest difference of a number that was revealed to all between many draws and one, and of the results."""
    ring, worst = Ring(lowered.bits), 0.0
    for shown in lowered.reveals:
        name, unit = shown["name"], abs(float(Fraction(shown["unit"]))) * 2.0 ** -shown["bits"]
        if name in one[1].revealed:
            gap = ring.signed(ring.sub(many[1].revealed[name], one[1].revealed[name]))
            worst = max(worst, float(np.max(np.abs(gap.astype(float)), initial=0.0)) * unit)
    pairs = [(np.asarray(value), np.asarray(many[0].results[name])) for name, value in one[0].results.items()]
    return max([worst, *(_gap(x, y) for x, y in pairs if x.dtype.kind in "iufb")])


def _gap(x: NDArray[Any], y: NDArray[Any]) -> float:
    """The largest difference; infinite where only one of the two is no number."""
    x, y = x.astype(float), y.astype(float)
    gap = np.where(np.isnan(x) & np.isnan(y), 0.0, np.nan_to_num(np.abs(x - y), nan=np.inf))
    return float(np.max(gap, initial=0.0))


def _zero_shares(case: _Case, lowered: Lowered, inputs: Inputs, seen: Seen, n: int) -> None:
    """Under other zero-shares, and all else the same, every word of every reveal is another."""
    dealer, parties = deterministic_entropy(n, 0)
    _, others = deterministic_entropy(n, 1)
    fresh = [replace(p, zeros=q.zeros) for p, q in zip(parties, others, strict=True)]
    _, then = case.seen(lowered, inputs, n, (dealer, fresh))
    if any(np.any(a == b) for a, b in zip(seen.words, then.words, strict=True)):
        raise VerificationError(f"{n} parties: a share is revealed without a zero-share of its own")


def _twins(case: _Case, lowered: Lowered, sides: tuple[Inputs, Inputs], one: Run, n: int, tolerance: float) -> str:
    """Twins made of the program itself fail as they must."""
    found = refused(lowered)
    told = [f"{sum(found.values())} by the mask check"] if found else []
    many = side_by_side(lowered, _DRAWS)
    if any(e.op in ("open", "send") for e in walk(lowered.block)):
        clear = [
            case.seen(many, given, n, unmasked(deterministic_entropy(n, seed)))[1].columns()
            for seed, given in enumerate(sides, 1)
        ]
        if deviation(*clear) <= SURE:
            raise VerificationError(f"{n} parties: with every mask zero the views look alike; give inputs that differ")
        told.append("all masks zero by the views")
    if any(e.op == "deal" for e in walk(lowered.block)):
        told.append(f"nothing dealt by {_nothing_dealt(case, lowered, sides[0], one, n, tolerance)}")
    return "; ".join(told) or "none, since nothing is opened"


def _nothing_dealt(case: _Case, lowered: Lowered, inputs: Inputs, one: Run, n: int, tolerance: float) -> str:
    many = side_by_side(lowered, _DRAWS)
    try:
        wrong = case.seen(replace(many, block=undealt(many.block)), inputs, n, 1)
    except MpcError:  # an owner goes on from numbers that were revealed, and finds them out of range
        return "a refusal"
    if _apart(lowered, wrong, one) <= 2 * tolerance:
        raise VerificationError(f"{n} parties: with nothing dealt the results are the same")
    return "the results"


def _enumerate(case: _Case, inputs: Inputs, report: Report) -> None:
    """The views of a rule over Z_4, every random choice once, for all inputs of one result."""
    owners = {name: next(iter(by)) for name, by in inputs.items()}
    names = names_of(2)

    def lower(lanes: int) -> Lowered:
        shapes = {name: {p: np.zeros(lanes)} for name, p in owners.items()}
        lowered: Lowered = case.program.trace(shapes, names, case.settings).lower(case.suite, 2)
        return lowered

    worlds = [dict(zip(owners, (v & 3, v >> 2), strict=False)) for v in range(4 ** len(owners))]
    try:
        for corrupted in ([names[0]], [names[1]], ["dealer"]):
            seen: dict[Any, NDArray[Any]] = {}
            for world in worlds:
                given = {name: {owners[name]: v} for name, v in world.items()}
                view = views(lower, given, corrupted, limit=_ENUMERATED)
                own = tuple(v for name, v in world.items() if owners[name] in corrupted)
                result = None if corrupted == ["dealer"] else _result(case, lower, given)
                before = seen.setdefault((own, result), view)
                if not np.array_equal(before, view):
                    raise VerificationError(
                        f"over Z_4 the view of {corrupted[0]} tells inputs apart, among them {world}"
                    )
    except (OverflowError, ValueError, MpcError) as error:  # too many choices, or it does not act lane by lane
        report.lines.append(f"views are not enumerated: {error}")
    else:
        report.lines.append(f"over Z_4 all views of {len(worlds)} inputs are equal where they must be")


def _result(case: _Case, lower: Callable[[int], Lowered], given: Mapping[str, Mapping[str, int]]) -> float:
    data = {name: {p: np.full(1, float(v)) for p, v in by.items()} for name, by in given.items()}
    return float(np.ravel(next(iter(case.run(lower(1), data, 2, 0).results.values())))[0]) % 4


# --- the broken twin ------------------------------------------------------------------------------------------------


def _broken(case: _Case, twin: Any, sides: tuple[Inputs, Inputs], tolerance: float, report: Report) -> None:
    suite, subject = case.suite, case.program
    if isinstance(twin, Mapping):
        suite = Suite(f"{suite.name} broken", {**suite.rules, **twin}, suite.memoise)
    else:
        subject = _as_program(twin)
    try:
        _one(_Case(subject, suite, case.settings, case.expected), sides, 2, tolerance, Report())
    except (VerificationError, MpcError) as error:
        report.lines.append(f"the broken twin fails: {error}")
        return
    raise VerificationError("the broken twin passed every check")
