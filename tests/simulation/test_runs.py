"""Whole runs on virtual time: thousands of seeds, and every one that ever broke a rule."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from parties.cluster import COORDINATOR, DEALER
from parties.simulation.chaos import MIX, chaos, examine, plan_of, shrink
from parties.simulation.dice import Dice
from parties.simulation.faults import FOR_EVER, Fault, Plan, make_plan
from parties.simulation.programs import PROGRAMS
from parties.simulation.world import World
from protocols import suites

CORPUS = [line.split() for line in (Path(__file__).parent / "corpus.txt").read_text().splitlines() if line[:1] != "#"]
SEEDS = 10_000


def plan(program, *faults, parties=2, seed=1):
    return Plan(seed, program, parties, faults, tuple(range(len(faults))), 0.01, 0.0, 0.0)


@pytest.mark.timeout(900)
def test_ten_thousand_seeds():
    found = chaos(suites, 1_000_000, SEEDS, processes=2)
    assert not found.failures, "\n".join(f"{f['why']}\n  {f['replay']}" for f in found.failures)
    assert sum(found.outcomes.values()) == SEEDS
    # The seeds are worth their time: most of what can happen does.
    assert found.outcomes["right"] > SEEDS / 2
    assert found.outcomes["right after resume"] > SEEDS / 20
    assert {"stopped: dead", "stopped: internal", "stopped: unreachable"} <= set(found.outcomes)


@pytest.mark.parametrize("line", CORPUS, ids=" ".join)
def test_a_seed_that_once_broke_a_rule(line, library):
    seed, program, parties, *only = line
    again = make_plan(int(seed), [program], int(parties))
    if only:
        again = again.only({int(n) for n in only if n != "none"})
    finding = examine(again, library, compare=True)
    assert not finding.broken, finding.replay


@pytest.mark.parametrize("seed", range(40))
def test_a_seed_repeats_to_the_letter(seed, library):
    first, second = (examine(plan_of(seed), library, trace=True) for _ in range(2))
    assert first.log == second.log
    assert first.outcome == second.outcome
    untraced = examine(plan_of(seed), library)
    assert (untraced.outcome, untraced.broken) == (first.outcome, "")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("parties", [2, 3, 5])
def test_without_a_fault_the_first_attempt_succeeds_and_the_dealer_learns_nothing(program, parties, library):
    finding = examine(plan(program, parties=parties), library, compare=True)
    assert (finding.outcome, finding.broken) == ("right", "")


@pytest.mark.parametrize("actor", [0, 1, DEALER, COORDINATOR])
@pytest.mark.parametrize("seconds", [0.2, 8.0])
def test_a_crash_at_every_instruction_is_named_and_resumed(actor, seconds, library):
    outcomes = set()
    for step in range(1, 60):
        finding = examine(plan("loop2", Fault("crash", (actor,), step, seconds)), library)
        assert not finding.broken, finding.replay
        outcomes.add(finding.outcome)
    assert outcomes <= {"right", "right after resume"}
    assert "right after resume" in outcomes


def test_a_resumed_run_goes_on_from_its_checkpoint(library):
    steps = set()
    for step in range(20, 60):
        world = World(plan("loop", Fault("crash", (1,), step, 0.5)), library, trace=True)
        world.run()
        steps |= {line.rpartition(" begins at ")[2] for line in world.log if " begins at " in line}
    assert steps >= {"the beginning", "step 1", "step 2", "step 3"}


@pytest.mark.parametrize("actor", [0, DEALER, COORDINATOR])
@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_a_process_that_stands_still_goes_on_after_two_seconds_and_is_named_after_twenty(actor, seconds, library):
    outcomes = set()
    for twentieths in range(16, 28):  # the run itself lies between
        finding = examine(plan("loop", Fault("stall", (actor,), twentieths / 20, seconds)), library)
        assert not finding.broken, finding.replay
        outcomes.add(finding.outcome)
    assert ("right after resume" in outcomes) == (seconds > 5)


@pytest.mark.parametrize("program", ["product", "loop2"])
@pytest.mark.parametrize("seconds", [2.5, 20.0, FOR_EVER])
def test_data_that_does_not_get_through_while_signs_of_life_do(program, seconds, library):
    outcomes = set()
    for pair in itertools.combinations([0, 1, DEALER, COORDINATOR], 2):
        for at in (0.05, 0.2, 0.6):
            finding = examine(plan(program, Fault("severed", pair, at, seconds)), library)
            assert not finding.broken, finding.replay
            outcomes.add(finding.outcome)
    known = {"right", "right after resume", "stopped: stall", "stopped: unreachable"}
    assert outcomes <= ({"right"} if seconds < 3 else known)
    assert seconds < FOR_EVER or "stopped: stall" in outcomes


def test_the_older_checkpoint_survives_a_full_disk(library):
    full = Fault("full", (1,), 0.62, 1.0)
    for step in range(35, 60):
        world = World(plan("loop", full, Fault("crash", (0,), step, 0.5)), library, trace=True)
        world.run()
        assert world.person.final == "right"


def test_whoever_never_comes_back_is_named(library):
    for actor in (0, 1, DEALER):
        finding = examine(plan("product", Fault("crash", (actor,), 5, FOR_EVER)), library)
        assert (finding.outcome, finding.broken) == ("stopped: dead", "")


def test_a_finding_is_shrunk_and_its_command_repeats_it(library, monkeypatch):
    monkeypatch.setattr("parties.simulation.rules.Rules.struck", _no_crash_is_forgiven)
    seeds = [s for s in range(200) if sum(f.kind == "crash" for f in plan_of(s).faults) == 1 < len(plan_of(s).faults)]
    finding = next(f for f in (examine(plan_of(s), library) for s in seeds) if f.broken)
    smaller = shrink(finding, library)
    assert [f.kind for f in smaller.plan.faults] == ["crash"]
    words = smaller.replay.split()
    assert words[:2] == ["privity", "chaos"]
    again = make_plan(int(words[3]), [words[7]], int(words[9])).only({int(words[11])})
    assert examine(again, library).broken == smaller.broken


def _no_crash_is_forgiven(rules, fault):
    if fault.kind == "crash":
        rules._blames([fault.who[0]], "a crash")


def test_dice_repeat_and_purposes_are_independent():
    rolls = [[Dice(seed, purpose).below(1 << 30) for _ in range(3)] for seed, purpose in [(1, "a"), (1, "a"), (1, "b")]]
    assert rolls[0] == rolls[1] != rolls[2]
    dice = Dice(7, "x")
    assert 0.4 < sum(dice.chance(0.5) for _ in range(2000)) / 2000 < 0.6
    assert all(2 <= dice.between(2, 3) <= 3 for _ in range(100))
    assert len(dice(13)) == 13
    assert set(MIX) == set(PROGRAMS)
