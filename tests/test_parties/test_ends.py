"""How a run that is done ends: every party writes it, says so, and only then the checkpoints go."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from actors import (
    NAMES,
    Held,
    Net,
    Script,
    drop_with_the_end,
    make_cluster,
    script_text,
    scripted,
    scripted_party,
    scripted_terms,
)

from mpc.errors import UsageError
from mpc.exchange import Save
from mpc.handles import HandleSpec
from parties import records
from parties.attempt import Stage
from parties.cluster import COORDINATOR, DEALER, SEATS
from parties.coordinator import CoordinatorBrain
from parties.events import Down, Up
from parties.following import ENDING, RUNNING
from parties.home import Home
from parties.home.handles import Handle, Handles
from parties.terms import Taken
from parties.wire import Message, Type

EPOCH = (1 << 32) + 1
SUM = float(3 * (3 * 4 // 2 + 1))
SESSION = b"s" * 16
RUN = SESSION.hex()
LATER = b"t" * 16


class Program(Script):
    def continued(self, _site, _iteration):
        return self


def saving_party(lowered, me, inputs, entropy, kept=()):
    """One checkpoint, then the rounds."""
    yield Save("checkpoint", 0, 2, {"carry.0": np.ones(1, np.uint64)}, "script.py:7")
    return (yield from scripted_party(lowered, me, inputs, entropy))


def ending(until: Callable[[Net], bool] = lambda net: net.following.phase == ENDING, **changes) -> Net:
    """A run with a checkpoint, until its end begins."""
    net = Net(3, scripted(saving_party, parse=Program))
    net.begin(**changes)
    while not until(net):
        assert net.step()
    return net


def how(net, party, attempt=1):
    return next(a.how for a in net.homes[party].ledger.by_session.values() if a.attempt == attempt)


def epochs(net):
    return [[c.epoch for c in home.checkpoints.held(RUN)] for home in net.homes.values()]


def one_has_written(net):
    return "ENDED" in net.types()


def resumed(net, attempt=2):
    """The same run, by another process of the coordinator."""
    net.coordinator = net.brains[COORDINATOR] = CoordinatorBrain(net.cluster, net.clock)
    net.dead.discard(COORDINATOR)
    for actor in (*range(3), DEALER):
        net.event(COORDINATOR, Up(actor))
        net.event(actor, Up(COORDINATOR))
    net.begin(session=LATER, run=RUN, attempt=attempt, epoch=EPOCH)
    net.settle()
    return net


def test_checkpoints_go_when_every_party_has_written_the_end():
    net = ending()
    assert epochs(net) == [[EPOCH]] * 3
    assert net.outcome is None
    net.settle()
    assert net.outcome.results["sum"] == SUM
    assert not net.following.troubles
    assert epochs(net) == [[]] * 3
    assert net.types(COORDINATOR).count("ENDED") == 3
    assert net.types(DEALER)[-1] == "END"
    assert not any(net.brains[i]._finished for i in range(3))
    order = net.types()
    assert max(i for i, t in enumerate(order) if t == "ENDED") < order.index("FORGET")


def lost_between_the_ends():
    """One party has written that the run is done; the coordinator dies before others hear it, with the results."""
    net = ending(one_has_written)
    net.kill(COORDINATOR)
    net.settle()
    assert sorted(how(net, i) for i in range(3)) == ["done", "stopped", "stopped"]
    return net


def test_a_coordinator_that_is_lost_between_the_ends_leaves_every_checkpoint():
    net = lost_between_the_ends()
    assert epochs(net) == [[EPOCH]] * 3
    resumed(net)
    assert net.outcome.results["sum"] == SUM
    assert epochs(net) == [[]] * 3
    assert [how(net, i, 2) for i in range(3)] == ["done"] * 3


def test_the_twin_whose_checkpoints_go_with_end(monkeypatch):
    drop_with_the_end(monkeypatch)
    assert sorted(epochs(lost_between_the_ends())) == [[], [EPOCH], [EPOCH]]


def assert_done_with(net, trouble, party=1):
    """The results are there, with a sentence, and every checkpoint that could be needed."""
    assert net.outcome.results["sum"] == SUM
    said = f"party {NAMES[party]} {trouble}; what it keeps of the run may be missing until: privity resume {RUN[:10]}"
    assert net.following.troubles == net.following.unwritten == [said]
    assert epochs(net) == [[EPOCH]] * 3
    assert "FORGET" not in net.types()
    assert not net.coordinator.sessions
    assert net.coordinator.deadline is None


UNSAID = "has not said that it wrote the end of the run"


def test_a_full_disk_at_the_end_is_told_and_the_run_can_be_resumed():
    net = ending()
    net.homes[1].full = True
    net.settle()
    assert_done_with(net, "could not write the end of the run (the disk is full)")
    assert net.said[1][-1] == "the end of the run could not be written: the disk is full"
    assert [how(net, i) for i in range(3)] == ["done", "", "done"]
    net.homes[1].full = False
    resumed(net)
    assert net.outcome.results["sum"] == SUM
    assert not net.following.troubles
    assert epochs(net) == [[]] * 3


def test_a_party_that_dies_before_it_has_written_the_end_is_not_waited_for():
    net = ending()
    net.kill(1)
    net.settle()
    assert_done_with(net, f"died and {UNSAID}")


def test_a_party_that_was_lost_just_before_the_end_is_not_waited_for():
    net = ending(lambda net: len(net.following.done) == 2)
    lost = min(net.following.done)
    net.event(COORDINATOR, Down(lost, "died (killed by signal 9)"))
    net.dead.add(lost)
    net.settle()
    assert_done_with(net, f"died (killed by signal 9) and {UNSAID}", lost)


def test_a_party_that_says_nothing_of_its_end_is_waited_for_a_while():
    net = ending()
    net.dead.add(1)  # silent, and its connection stands
    net.settle()
    limits = net.coordinator._limits
    net.pass_time(limits.startup + limits.stall - 1)
    assert net.outcome is None
    net.pass_time(1)
    assert_done_with(net, UNSAID)


def test_whoever_stops_the_coordinator_has_the_results_at_once():
    net = ending()
    net.dead.add(1)
    net.settle()
    net.perform(COORDINATOR, net.coordinator.stop("the coordinator was stopped"))
    assert_done_with(net, UNSAID)


def test_nothing_is_judged_any_more():
    net = ending()
    meta = {"origin": 2, "kind": "dead", "reason": "carol died", "round": 1, "where": "", "final": False}
    for src in (0, 1, DEALER):
        net.inject(Message(Type.ABORT, src, COORDINATOR, SESSION, meta=meta))
    net.event(COORDINATOR, Down(DEALER, "died"))
    net.settle()
    assert net.verdict is None
    assert net.outcome.results["sum"] == SUM
    assert not net.following.troubles
    assert epochs(net) == [[]] * 3


def test_what_does_not_belong_there_counts_for_the_end():
    net = ending()
    net.links[1, COORDINATOR].clear()
    net.inject(Message(Type.DONE, 1, COORDINATOR, SESSION))
    net.dead.add(1)
    net.settle()
    assert_done_with(net, f"sent DONE where it does not belong and {UNSAID}")


def test_an_end_before_the_end_is_none():
    net = ending(lambda net: net.following.phase == "running")
    net.inject(Message(Type.ENDED, 1, COORDINATOR, SESSION, meta={"reason": ""}))
    net.settle()
    assert net.verdict.sentence.startswith("run stopped: party bob sent a bad message (ENDED where it does not belong)")


def given_up(mode="run"):
    """Alice gives up a coordinator that was only stopped; then she hears of the end after all."""
    net = ending(lambda net: net.attempt(0) is not None and net.attempt(0).stage is Stage.DONE, mode=mode)
    net.event(0, Down(COORDINATOR, "died"))
    net.event(0, Up(COORDINATOR))
    assert net.attempt(0) is None
    assert net.said[0][-1].startswith("run stopped: the coordinator died")
    net.settle()
    return net


def test_a_party_that_had_given_up_writes_the_end_after_all():
    net = given_up()
    assert net.outcome.results["sum"] == SUM
    assert not net.following.troubles
    assert net.types(0)[-2:] == ["END", "FORGET"]
    assert epochs(net) == [[]] * 3


@pytest.mark.parametrize("begin", [lambda mode: ending(mode=mode), given_up])
def test_material_for_later_ends_the_same_way(begin):
    net = begin("deal")
    net.settle()
    assert net.outcome.material
    assert not net.following.troubles
    assert net.types(COORDINATOR).count("ENDED") == 3
    assert not any(net.brains[i]._finished for i in range(3))


def named_late():
    """Material for later that all parties have stored before the coordinator hears of it from the dealer."""
    net = Net(3, scripted())
    net.begin(mode="deal")
    while "START" not in net.types(DEALER):
        assert net.step()
    held = net.links[DEALER, COORDINATOR] = Held()
    net.settle()
    return net, held.kept


def test_material_has_its_name_before_it_is_done():
    net, held = named_late()
    assert net.types(COORDINATOR).count("DONE") == 3
    assert net.outcome is None
    assert net.following.missing() == [DEALER]
    net.links[DEALER, COORDINATOR] = deque(held)
    net.settle()
    assert len(bytes.fromhex(net.outcome.material)) == 16
    assert [list(home.materials.known) for home in net.homes.values()] == [[net.outcome.material]] * 3


def test_a_dealer_that_never_names_it_is_named():
    net, _ = named_late()
    for _ in range(4):
        net.pass_time(320.5)
    assert net.verdict.sentence.startswith("run stopped: the dealer has not said that it is done")


def test_only_its_own_coordinator_ends_an_attempt():
    net = ending()
    while how(net, 0) != "done":
        assert net.step()
    net.inject(Message(Type.FORGET, SEATS[0], 0, SESSION))
    net.inject(Message(Type.FORGET, 1, 0, SESSION))
    net.event(COORDINATOR, Down(1, "died"))  # so that its own does not say it
    net.settle()
    assert epochs(net)[0] == [EPOCH]


def test_the_last_words_of_an_earlier_attempt_do_not_touch_a_later_one():
    net = ending()
    net.settle()
    terms = replace(net.following.terms, attempt=2, session=LATER.hex())
    for home in net.homes.values():
        home.ledger.begin(RUN, 2, LATER.hex(), program="script", digest="", role="party")
        home.checkpoints.prepare(RUN, (2 << 32) + 1, 0, 2, {})
        records.Forget(net.following.terms).apply(home)
        assert home.checkpoints.held(RUN)
        records.Forget(terms).apply(home)
        assert not home.checkpoints.held(RUN)


def test_only_so_many_finished_attempts_are_remembered():
    net = Net(3)
    for number in range(70):
        net.begin(script_text(1), session=bytes([number]) * 16)
        while net.outcome is None:
            assert net.step()
        for party in range(3):
            net.links[COORDINATOR, party].clear()  # FORGET is lost
        net.settle()
    for i, name in enumerate(NAMES[:3]):
        assert len(net.brains[i]._finished) == 64, name
        assert min(net.brains[i]._finished) == bytes([6]) * 16


# --- a run that takes a kept secret and keeps another under the same name ---------------------------------------------


BEFORE = "0" * 32


def attempt(run, number, taken=BEFORE):
    terms = scripted_terms(make_cluster(2)[0], "train", bytes.fromhex(f"{number:032x}"), run=run, attempt=number)
    return replace(terms, handles=(Taken("model", "model", taken),))


SPEC = HandleSpec("model", tuple(NAMES[:2]), (1,), 16, "1", -8.0, 8.0, 0.0)
KEEPING = SimpleNamespace(keeps=[SPEC])


def trains_on(homes, run, number, taken=BEFORE):
    """What every party brings for an attempt, and the share that it then holds of the new one."""
    found = []
    for share, home in enumerate(homes):
        terms = attempt(run, number, taken)
        found.append(records.Recall(terms, [(*terms.handles, SPEC)], {}).apply(home))
        records.Begin(terms, "train", "text", found[-1].prints, [b"%d" % number]).apply(home)
        made = {"model": np.asarray(found[-1].kept["model"]) + np.uint64(10 + share)}
        records.Hold(terms, KEEPING, Save("model", -1, 0, made, "train.py:3")).apply(home)
    return found


def lost_while_it_replaced(homes):
    """The first party has written that the second training is done when the coordinator is lost."""
    trains_on(homes, RUN, 1)
    records.Conclude(attempt(RUN, 1), "done", "").apply(homes[0])
    records.Conclude(attempt(RUN, 1), "stopped", "lost").apply(homes[1])
    return trains_on(homes, RUN, 2)


@pytest.fixture
def two_homes(tmp_path):
    with Home.open(tmp_path / "a", "alice") as alice, Home.open(tmp_path / "b", "bob") as bob:
        for share, home in enumerate((alice, bob)):
            before = Handle("model", BEFORE, (1,), 16, "1", -8.0, 8.0, None, tuple(NAMES[:2]))
            home.handles.stage(before, {"model": np.array([share], np.uint64)})
            home.handles.commit(BEFORE)
        yield alice, bob


def test_a_run_that_has_to_end_again_takes_what_it_took(two_homes):
    found = lost_while_it_replaced(two_homes)
    assert [int(f.kept["model"][0]) for f in found] == [0, 1]
    for home in two_homes:
        records.Conclude(attempt(RUN, 2), "done", "").apply(home)
        records.Forget(attempt(RUN, 2)).apply(home)
        assert len(home.vault.names()) == 1
        assert home.journal.verify().holds
    assert [int(home.handles.load("model")[1]["model"][0]) for home in two_homes] == [10, 12]


def test_the_twin_that_forgets_what_was_replaced(two_homes, monkeypatch):
    """The one that has ended the run before has another secret than the one it took: the run never ends."""
    monkeypatch.setattr(Handles, "load", lambda self, name, _run="", load=Handles.load: load(self, name))
    with pytest.raises(UsageError, match=f"keeps 'model' of run {RUN[:10]}, not that of run 0000000000"):
        lost_while_it_replaced(two_homes)


def keeps(homes, run):
    """Another run puts a secret of its own under the name, everywhere."""
    for home in homes:
        records.Begin(attempt(run, 7), "other", "text", {}, [run.encode()]).apply(home)
        records.Hold(attempt(run, 7), KEEPING, Save("model", -1, 0, {"model": np.array([99], np.uint64)}, "")).apply(
            home
        )
        records.Conclude(attempt(run, 7), "done", "").apply(home)
        records.Forget(attempt(run, 7)).apply(home)


def test_a_run_that_goes_on_has_the_secret_with_which_it_began(two_homes):
    """Or is told what has become of it: state made of one secret does not meet another."""
    trains_on(two_homes, RUN, 1)
    for home in two_homes:
        records.Conclude(attempt(RUN, 1), "stopped", "lost").apply(home)
    assert [f.changed for f in trains_on(two_homes, RUN, 2)] == [()] * 2
    keeps(two_homes, "3" * 32)
    with pytest.raises(UsageError, match="keeps 'model' of run 3333333333, not that of run 0000000000"):
        trains_on(two_homes, RUN, 3)
    told = trains_on(two_homes, RUN, 3, "3" * 32)  # by a coordinator that takes what there is
    assert [f.changed for f in told] == [("the kept secret 'model'",)] * 2


class Keeping(Script):
    """A program that keeps a secret; nothing in its rounds does."""

    def __post_init__(self):
        super().__post_init__()
        self.keeps = [SPEC]


@pytest.mark.parametrize(("parse", "mode"), [(Keeping, "run"), (Script, "run"), (Keeping, "deal")])
def test_two_runs_at_once_do_not_keep_the_same_name(parse, mode):
    """Ends could come in another order at each party, and none of the two secrets would be whole."""
    net = Net(3, scripted(parse=parse))
    net.begin()
    while net.following.phase != RUNNING:
        assert net.step()
    first = net.following
    net.begin(session=LATER, run=LATER.hex(), mode=mode)
    net.settle()
    assert first.outcome.results["sum"] == SUM
    if (parse, mode) == (Keeping, "run"):
        assert "takes part in another run that keeps 'model'; begin when that has ended" in net.verdict.sentence
    else:
        assert net.outcome is not None, "material for later keeps nothing"
    net.begin(session=b"u" * 16, run=(b"u" * 16).hex())
    net.settle()
    assert net.outcome.results["sum"] == SUM
