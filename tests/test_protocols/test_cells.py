"""Cells of few rows: the rule against its own words, what it costs, and attackers who know their own rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest

import mpc
from protocols import catalog, suites
from protocols.learning.kmeans import k_means
from protocols.statistics import cells
from protocols.statistics.cells import shown_cells

NAMES = ("alice", "bob", "carol")
Counts = Sequence[Sequence[int]]


@mpc.program
def decided(counts: mpc.PerParty[mpc.Private], rows: list, minimum: int, empty: bool = True) -> dict[str, Any]:  # type: ignore[type-arg]
    """Which cells are shown, of counts that owners bring."""
    shared = mpc.stack([mpc.share(c, range=(0, n), scale=0) for c, n in zip(counts, rows, strict=True)])
    return {"shown": mpc.reveal(shown_cells(shared, rows, minimum, empty))}


def withheld_by(own: Sequence[int], rows: int, minimum: int) -> list[bool]:
    """The rule in words: an owner's few rows, and its smallest other cell if all that is hidden of it were few."""
    if 0 < rows < minimum:
        return [True] * len(own)
    hidden = [0 < c < minimum for c in own]
    if 0 < rows - sum(c for c, h in zip(own, hidden, strict=True) if not h) < minimum:
        hidden[min((c, k) for k, c in enumerate(own) if c >= minimum)[1]] = True
    return hidden


def shown_of(counts: Counts, rows: Sequence[int], minimum: int) -> list[bool]:
    by_owner = [withheld_by(own, n, minimum) for own, n in zip(counts, rows, strict=True)]
    return [not any(column) for column in zip(*by_owner, strict=True)]


def given(counts: Counts) -> dict[str, dict[str, Any]]:
    return {"counts": {p: np.array(c, dtype=float) for p, c in zip(NAMES, counts, strict=False)}}


def drawn(seed: int, tables: int) -> Iterator[tuple[list[list[int]], list[int], int]]:
    rng = np.random.default_rng(seed)
    for _ in range(tables):
        owners, size = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        counts = rng.choice([0, 1, 2, 3, 4, 5, 6, 8, 8, 12, 20], size=(owners, size)).tolist()
        rows = [max(1, sum(c) + int(rng.choice([0, 0, 1, 2, 6]))) for c in counts]
        yield counts, rows, int(rng.integers(2, 7))


def test_the_cells_that_are_shown_are_those_of_the_rule() -> None:
    for counts, rows, minimum in drawn(1, 80):
        found = mpc.simulate(decided, given(counts), max(len(rows), 2), rows=rows, minimum=minimum)["shown"]
        assert found.astype(bool).tolist() == shown_of(counts, rows, minimum), (counts, rows, minimum)


@pytest.mark.parametrize("suite", list(suites))
def test_the_protocol_decides_the_same(suite: str) -> None:
    for counts, rows, minimum in drawn(2, 8):
        done = mpc.emulate(decided, given(counts), max(len(rows), 2), suite=suite, rows=rows, minimum=minimum)
        assert done.results["shown"].astype(bool).tolist() == shown_of(counts, rows, minimum), (counts, rows, minimum)


def test_empty_cells_are_shown_unless_what_is_told_of_them_is_no_number_of_rows() -> None:
    settings: dict[str, Any] = {"rows": [20, 12], "minimum": 5}
    counts = given([[0, 9, 11], [0, 6, 6]])
    assert mpc.simulate(decided, counts, 2, **settings)["shown"].tolist() == [1, 1, 1]
    assert mpc.simulate(decided, counts, 2, **settings, empty=False)["shown"].tolist() == [0, 1, 1]


# --- what it costs ---------------------------------------------------------------------------------------------------


def price(name: str, data: dict[str, Any], suite: str, **settings: Any) -> tuple[int, list[int], list[int]]:
    program = catalog[name].trace({"data": data}, list(data), settings)
    lowered = program.lower(suite)
    lowered.check()
    plan = lowered.cost()
    return plan.rounds, list(plan.bytes_sent.values()), list(plan.dealt_bytes.values())


def table(counts: Sequence[int], of: Callable[[int, int], float] = lambda k, i: 10.0 * k + i % 7) -> dict[str, Any]:
    """A table of so many rows with each key."""
    rows = [(k, i) for k, c in enumerate(counts) for i in range(c)]
    return {"key": ["abcdefgh"[k] for k, _ in rows], "x": [of(k, i) for k, i in rows]}


def tables(counts: Counts) -> dict[str, dict[str, Any]]:
    return {p: table(c) for p, c in zip(NAMES, counts, strict=False)}


COSTS = {  # suite, parties, cells: rounds, bytes that each party sends, bytes dealt to each
    ("masked", 2, 1): (11, [120] * 2, [216, 224]),
    ("masked", 2, 3): (17, [392] * 2, [912, 424]),
    ("masked", 3, 2): (14, [604] * 3, [624, 200, 424]),
    ("masked", 3, 5): (20, [1756] * 3, [1744, 1104, 1016]),
    ("beaver", 2, 1): (11, [146] * 2, [200, 240]),
    ("beaver", 2, 3): (17, [502] * 2, [656, 680]),
    ("beaver", 3, 2): (14, [792] * 3, [312, 400, 536]),
    ("beaver", 3, 5): (20, [2376] * 3, [840, 1624, 1400]),
}


@pytest.mark.parametrize("case", COSTS, ids=str)
def test_what_it_costs(case: tuple[str, int, int]) -> None:
    suite, parties, size = case
    data = tables([[40] * size] * parties)
    assert price("group-by", data, suite, key="key", column="x") == COSTS[case]
    rounds, sent, _ = price("group-by", data, suite, key="key", column="x", minimum=1)
    assert (rounds, sent) == (2, [24 * size * (parties - 1)] * parties)


@pytest.mark.parametrize("suite", list(suites))
def test_bins_cost_as_much_as_groups_and_a_reveal_alone_without_a_minimum(suite: str) -> None:
    data = tables([[40, 40]] * 2)
    edges = [0.0, 10.0, 20.0, 30.0, 40.0]
    alone = price("histogram", data, suite, column="x", edges=edges, minimum=1)
    with_minimum = price("histogram", data, suite, column="x", edges=edges)
    assert (alone[0], with_minimum[0]) == (3, 3 + 15)


# --- attackers -------------------------------------------------------------------------------------------------------

Rule = Callable[[Counts, Sequence[int], int], list[bool]]


def without_complement(counts: Counts, rows: Sequence[int], minimum: int) -> list[bool]:
    return [not any(0 < c < minimum for c in column) for column in zip(*counts, strict=True)]


def without_owners(counts: Counts, rows: Sequence[int], minimum: int) -> list[bool]:
    return shown_of([[sum(column) for column in zip(*counts, strict=True)]], [sum(rows)], minimum)


@cache
def solved(total: int, unknowns: int) -> set[int]:
    """What follows for any set of that many unknown counts from their sum alone: the sums that are the same in all."""
    vectors = [v for v in product(range(total + 1), repeat=unknowns) if sum(v) == total]
    sets = [s for size in range(1, unknowns + 1) for s in combinations(range(unknowns), size)]
    sums = [{sum(v[k] for k in s) for v in vectors} for s in sets]
    return {next(iter(found)) for found in sums if len(found) == 1}


def read_by_coalitions(counts: Counts, minimum: int, rule: Rule) -> set[int]:
    """How many rows of others lie in what any coalition can single out: by what is shown, row counts and its own."""
    rows = [sum(own) for own in counts]
    shown = rule(counts, rows, minimum)
    found: set[int] = set()
    for size in range(len(counts)):
        for coalition in combinations(range(len(counts)), size):
            others = [own for i, own in enumerate(counts) if i not in coalition]
            column = [sum(own[k] for own in others) for k in range(len(shown))]
            found |= {c for c, s in zip(column, shown, strict=True) if s}
            hidden = [c for c, s in zip(column, shown, strict=True) if not s]
            if len(hidden) < len(shown):  # else nothing is told but the row counts, which are public
                found |= solved(sum(hidden), len(hidden))
    return found


@pytest.mark.parametrize(("owners", "size", "top", "minimum"), [(2, 3, 3, 2), (3, 2, 3, 2), (2, 2, 6, 5)])
def test_no_coalition_singles_out_few_rows_of_others(owners: int, size: int, top: int, minimum: int) -> None:
    """All tables of so many owners and cells; each twin gives rows away."""
    lost = {without_complement: 0, without_owners: 0}
    every = product(product(range(top + 1), repeat=size), repeat=owners)
    for counts in every:
        read = read_by_coalitions(counts, minimum, shown_of)
        assert not {n for n in read if 0 < n < minimum}, (counts, read)
        for twin in lost:
            lost[twin] += bool({n for n in read_by_coalitions(counts, minimum, twin) if 0 < n < minimum})
    assert all(lost.values())


def test_what_an_owner_has_withheld_depends_on_its_rows_alone_and_grows_with_the_minimum() -> None:
    """So neither another minimum, nor other owners, nor other rows of theirs uncover a cell in a further run."""
    for own in product(range(9), repeat=3):
        hidden = [set(np.flatnonzero(withheld_by(own, sum(own), m))) for m in range(2, 8)]
        assert all(fewer <= more for fewer, more in pairwise(hidden)), own
        for other in ((0, 0, 0), (1, 7, 3), (9, 9, 9)):
            shown = shown_of([own, other], [sum(own), sum(other)], 5)
            assert not any(shown[k] for k in withheld(own))


def withheld(own: Sequence[int]) -> list[int]:
    return [k for k, h in enumerate(withheld_by(own, sum(own), 5)) if h]


@pytest.mark.parametrize(("size", "top", "minimum"), [(3, 8, 3), (3, 9, 4), (4, 6, 3)])
def test_what_follows_from_the_rule_itself(size: int, top: int, minimum: int) -> None:
    """Whoever knows the rule as well, and all that others have withheld, learns counts where there is one way only.

    All withheld cells have one row, or all the most that is few; or two large cells are equal, or one has the minimum.
    """
    views = defaultdict(list)
    for own in product(range(top + 1), repeat=size):
        for others in product((False, True), repeat=size):
            hidden = tuple(a or b for a, b in zip(withheld_by(own, sum(own), minimum), others, strict=True))
            known = tuple(c for c, h in zip(own, hidden, strict=True) if not h)
            views[others, hidden, known, sum(own)].append(own)
    for (_, hidden, _, rows), possible in views.items():
        places = [k for k, h in enumerate(hidden) if h]
        for chosen in (s for n in range(1, len(places) + 1) for s in combinations(places, n)):
            found = {sum(own[k] for k in chosen) for own in possible}
            if len(found) == 1 and 0 < min(found) < minimum <= rows:
                own = possible[0]
                large = [c for c in own if c >= minimum]
                alike = {own[k] for k in places} - {0} in ({1}, {minimum - 1})
                assert alike or len(set(large)) < len(large) or minimum in large, (hidden, possible)


# --- the same against the protocol: one row's value -------------------------------------------------------------------

SINGLE = 61.0  # the value of alice's only row in its group


def run(name: str, data: dict[str, Any], suite: str = "masked", **settings: Any) -> dict[str, Any]:
    return dict(mpc.emulate(catalog[name], data, 2, suite=suite, **settings).results)


def taken_from(data: dict[str, dict[str, Any]], suite: str) -> dict[int, float]:
    """What bob reads of alice's: sums of her values, by the number of rows that they rest on.

    He knows his own rows, both row counts, and what two honest runs have revealed: the groups, and the mean of all.
    """
    bob = data["bob"]
    groups = run("group-by", {"data": data}, suite, key="key", column="x")
    values = {"values": {p: np.array(t["x"]) for p, t in data.items()}}
    mean = run("mean", values, suite)
    hers = len(data["alice"]["x"])
    left, rest = hers, float(mean["mean"]) * mean["rows"] - sum(bob["x"])
    found: dict[int, float] = {}
    for k, key in enumerate(groups["keys"]):
        if groups["shown"][k]:
            own = [x for x, of in zip(bob["x"], bob["key"], strict=True) if of == key]
            rows, value = int(groups["count"][k]) - len(own), float(groups["sum"][k]) - sum(own)
            found[rows] = value
            left, rest = left - rows, rest - value
    return {n: v for n, v in {**found, left: rest}.items() if n}


def alone(k: int, i: int) -> float:
    """alice's value: her last key has one row, of SINGLE."""
    return SINGLE if k == 2 else 20.0 + k + i % 3


def no_covers(counts: Any, safe: Any, *_: Any) -> Any:
    return counts * 0


def as_one_owner(counts: Any, rows: Sequence[int], *more: Any) -> Any:
    return shown_cells(mpc.bounded(counts.sum(axis=0), 0, sum(rows)).reshape(1, -1), [sum(rows)], *more)


@pytest.mark.parametrize("suite", list(suites))
@pytest.mark.parametrize(
    ("hers", "his", "twin", "broken"),
    [
        ([11, 8, 1], [9, 7, 0], "_covers", no_covers),  # one group withheld: it follows from her row count
        ([11, 8, 1], [9, 7, 4], "shown_cells", as_one_owner),  # five rows, four of them his own
    ],
)
def test_the_only_row_of_a_group(
    suite: str, hers: list[int], his: list[int], twin: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"alice": table(hers, alone), "bob": table(his)}
    assert min(taken_from(data, suite)) >= cells.MINIMUM
    monkeypatch.setattr(cells, twin, broken)
    stolen = taken_from(data, suite)
    print(f"without {twin}: alice's only row in group c has the value {stolen[1]:g}")
    assert stolen[1] == pytest.approx(SINGLE, abs=1e-3)


def one_order(counts: Any, safe: Any, rows: Sequence[int], minimum: int) -> Any:
    """The smallest cell by all owners' rows together, of those in which the owner has `minimum` or more."""
    most = sum(rows)
    sizes = mpc.bounded(counts.sum(axis=0), 0, most)
    smallest = mpc.argmin(sizes * safe + (1 - safe) * (most + 1), axis=1)
    chosen = mpc.is_zero(smallest.reshape(-1, 1) - np.arange(counts.shape[1]))
    left = mpc.bounded(np.array(rows) - (counts * safe).sum(axis=1), 0, most)
    return cells._few(mpc.at_least(left, [1, minimum])).reshape(-1, 1) * chosen


def test_two_minimums_uncover_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """alice has 6, 20 and 1 rows, bob 90 in the first group: by all rows the second is the smaller, by hers the first.

    With a minimum of 7 her first group is one of few rows, and no cover is needed: in one order of groups for all, the
    second one, which was the cover, is shown.
    """
    data = {"alice": table([6, 20, 1], alone), "bob": table([90, 0, 0])}

    def left() -> tuple[int, float]:
        """How many of alice's rows are shown in no run, and what follows for their sum."""
        count, rest = 27, float(sum(data["alice"]["x"]))  # her mean is known from another run
        uncovered = set()
        for minimum in (5, 7):
            found = run("group-by", {"data": data}, key="key", column="x", minimum=minimum)
            for k, key in enumerate(found["keys"]):
                if found["shown"][k] and key not in uncovered:
                    uncovered.add(key)
                    own = [x for x, of in zip(data["bob"]["x"], data["bob"]["key"], strict=True) if of == key]
                    count, rest = count - int(found["count"][k]) + len(own), rest - float(found["sum"][k]) + sum(own)
        return count, rest

    assert left()[0] == 7
    monkeypatch.setattr(cells, "_covers", one_order)
    count, stolen = left()
    print(f"with one order of groups for all owners: alice's only row in group c has the value {stolen:g}")
    assert (count, stolen) == (1, pytest.approx(SINGLE, abs=1e-3))


@pytest.mark.parametrize("suite", list(suites))
def test_what_is_withheld_is_multiplied_away_before_the_reveal(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the NaN that stands there for people: what is revealed of a withheld group is 0, whatever it holds."""
    monkeypatch.setattr(mpc, "withheld", lambda x, _: x)
    seen = []
    for value in (SINGLE, -3.5):
        data = {"alice": table([11, 8, 1], lambda k, i, v=value: v if k == 2 else 20.0), "bob": table([9, 7, 6])}
        found = run("group-by", {"data": data}, suite, key="key", column="x")
        assert (found["shown"].tolist(), found["count"].tolist()) == ([True, False, False], [20, 0, 0])
        assert found["sum"].tolist()[1:] == [0, 0]
        seen.append(found["sum"][0])
    assert seen[0] == seen[1]


def test_an_owner_of_fewer_rows_than_the_minimum_has_everything_withheld() -> None:
    """Where its three rows are not is told by every group that is shown."""
    data = tables([[9, 9, 0], [0, 0, 3]])
    assert not run("group-by", {"data": data}, key="key", column="x")["shown"].any()
    assert run("group-by", {"data": data}, key="key", column="x", minimum=3)["shown"].all()
    assert not run("group-by", {"data": data}, key="key", column="x", minimum=2**62)["shown"].any()


def test_rows_outside_of_all_bins_count_as_withheld() -> None:
    data = tables([[9, 9, 1], [9, 9, 6]])  # values from 0, 10 and 20 on
    found = run("histogram", {"data": data}, column="x", edges=[0, 10, 19])  # of alice one row lies outside
    assert (found["shown"].tolist(), found["counts"].tolist()[1]) == ([False, True], 18)
    found = run("histogram", {"data": data}, column="x", edges=[0, 10, 20, 30], minimum=1)
    assert (found["shown"], found["counts"].tolist()) == ([True] * 3, [18, 18, 7])


@pytest.mark.parametrize("program", ["group-by", "histogram", "k-means"])
def test_a_minimum_below_one_is_refused(program: str) -> None:
    settings = {
        "group-by": {"key": "key", "column": "x"}, "histogram": {"column": "x", "edges": [0, 9]}, "k-means": {"k": 2},
    }  # fmt: skip
    data = {p: {"x": t["x"], "key": t["key"]} for p, t in tables([[9, 9], [9, 9]]).items()}
    without = {"without": "key"} if program == "k-means" else {}
    with pytest.raises(mpc.UsageError, match="minimum is at least 1, not 0"):
        run(program, {"data": data}, minimum=0, **settings[program], **without)


# --- clusters --------------------------------------------------------------------------------------------------------


def clusters(*groups: tuple[float, int]) -> dict[str, dict[str, Any]]:
    """Rows around points, dealt out to two owners in turn."""
    x = [centre + 0.01 * i for centre, n in groups for i in range(n)]
    return {"alice": {"x": x[::2]}, "bob": {"x": x[1::2]}}


def clustered(data: dict[str, Any], **settings: Any) -> dict[str, Any]:
    settings = {"scale": "none", "steps": 4, **settings}
    return dict(mpc.emulate(k_means, {"data": data}, 2, **settings).results)


def test_a_cluster_of_few_rows_is_withheld_with_its_centre_and_the_next_smallest() -> None:
    data = clusters((0.0, 12), (5.0, 8), (12.0, 1))
    rows = {"k": 3, "start_rows": [0, 7, 10]}  # one of each: alice's first and her eighth, the only one at 12
    found = clustered(data, **rows)
    order = np.argsort(clustered(data, **rows, minimum=1)["centers"].ravel())
    assert found["shown"][order].tolist() == [True, False, False]
    assert np.isnan(found["centers"][order]).ravel().tolist() == [False, True, True]
    assert np.isnan(found["sizes"][order]).tolist() == [False, True, True]


def test_a_centre_that_is_still_its_starting_row_is_withheld() -> None:
    """Of two starting centres at one point the second has no rows: it stays that row, and a size of 0 tells no more."""
    data = {"alice": {"x": [0.0, 0.0, *[8.0] * 6]}, "bob": {"x": [*[0.0] * 5, 9.0]}}
    rows = {"k": 3, "start_rows": [0, 1, 2]}
    assert clustered(data, **rows)["shown"].tolist() == [True, False, True]
    assert clustered(data, **rows, minimum=1)["centers"].ravel()[1] == pytest.approx(0.0, abs=1e-3)


def test_a_centre_counts_the_rows_that_it_is_the_mean_of() -> None:
    """After one step: the second centre is the mean of one row, and several are nearest to it afterwards."""
    data = {"alice": {"x": [0.0] * 4 + [3.0] * 6}, "bob": {"x": [0.0] * 4 + [15.0]}}
    settings = {"k": 2, "start_rows": [0, 14], "steps": 1}
    plain = clustered(data, **settings, minimum=1)
    assert plain["sizes"].tolist() == [14, 1]
    assert clustered(data, **settings)["shown"].tolist() == [False, False]
