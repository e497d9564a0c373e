"""The conversation of a run, without sockets: brains on a simulated network and a scripted engine."""

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from actors import NAMES, Net, Script, make_cluster, script_text, scripted, scripted_party
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mpc.errors import InputError
from mpc.exchange import Draw, Exchange, Frame
from parties import dealer
from parties.agree import PURPOSES, pair_seed
from parties.attempt import Stage
from parties.cluster import COORDINATOR, DEALER, SEATS
from parties.events import Arrived, Down, Tick
from parties.limits import Limits
from parties.terms import Binding
from parties.version import FORMAT, VERSION
from parties.wire import Message, Type, pack


def total(n, rounds=3):
    return float(rounds * (n * (n + 1) // 2 + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32))
def test_any_order_of_delivery_gives_the_same_run(n, seed):
    net = Net(n, pick=random.Random(seed).randrange)
    net.begin()
    net.settle()
    outcome = net.outcome
    assert outcome.results == {"fact": 1, "sum": total(n)}
    for name in NAMES[:n]:
        measured = outcome.measures[name]
        assert measured["rounds"] == 3
        assert measured["bytes_sent"] == 3 * 8 * (n - 1)
        assert measured["dealt_bytes"] == 24
    assert all(net.attempt(i) is None for i in range(n))
    assert net.kept == {0: {"own": 7.0}}


def test_runs_follow_one_another():
    net = Net(3)
    for number in range(3):
        net.begin(script_text(number + 1), session=bytes([number]) * 16)
        net.settle()
        assert net.outcome.results["sum"] == total(3, number + 1)


def test_the_coordinator_receives_only_if_named():
    net = Net(3, receives=False)
    net.begin()
    net.settle()
    assert net.outcome.results == {"fact": 1}
    assert net.kept[1] == {"sum": total(3)}


def test_the_pairs_keys_are_theirs_alone():
    net = Net(3)
    net.begin()
    net.settle()
    to_others = [m for m in net.log if m.type is Type.PAIR and m.dst in (DEALER, COORDINATOR)]
    assert not to_others
    pairs = {(i, j) for i in range(3) for j in range(3) if i != j}
    assert {(m.src, m.dst) for m in net.log if m.type is Type.PAIR} == pairs


def test_pair_seeds_agree_and_differ_by_purpose_names_and_session():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    a, b = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    raw = [k.public_key().public_bytes_raw() for k in (a, b)]
    seen = set()
    for agreed in ("one", "two"):
        for names in (("alice", "bob"), ("alice", "carol")):
            for purpose in PURPOSES:
                seed = pair_seed(a, raw[1], agreed, names, purpose)
                assert seed == pair_seed(b, raw[0], agreed, names, purpose)
                seen.add(seed)
    assert len(seen) == 8


# ---------------------------------------------------------------------------------------- what the dealer gets to see


def dealer_view(rounds_of_inputs):
    net = Net(3, offers=rounds_of_inputs)
    net.begin()
    net.settle()
    return [(m.type, m.src, m.meta, tuple(bytes(f) for f in m.frames)) for m in net.log if m.dst == DEALER]


def test_the_dealer_hears_from_the_coordinator_only_and_nothing_that_depends_on_data():
    import numpy as np

    views = [dealer_view([np.full(2, v)] * 3) for v in (0, 7, 2**40)]
    assert {src for _, src, _, _ in views[0]} == {COORDINATOR}
    assert [t for t, *_ in views[0]] == [Type.PREPARE, Type.START, Type.END]
    # Cluster keys and hence hashes are fresh in every net; the rest is equal to the byte.
    stripped = [[(t, frames) for t, _, _, frames in view] for view in views]
    assert stripped[0] == stripped[1] == stripped[2]


# ------------------------------------------------------------------------------------------- refusals before any input


def assert_nothing_moved(net):
    assert not {"SEEDS", "PAIR", "DATA", "CORRECTION"} & set(net.types())
    assert net.outcome is None
    assert all(net.attempt(i) is None for i in range(3))


@pytest.mark.parametrize("odd", [1, DEALER])
def test_another_version_is_refused_and_both_are_named(odd):
    net = Net(3, versions={odd: "9.9.9"})
    net.begin()
    net.settle()
    sentence = net.verdict.sentence
    assert "9.9.9" in sentence
    assert "0.1.0" in sentence
    assert net.cluster.name(odd) in sentence
    assert_nothing_moved(net)


@pytest.mark.parametrize("odd", [0, 2, DEALER])
@pytest.mark.parametrize("what", ["source", "lowered"])
def test_another_digest_is_refused_and_both_are_named(odd, what):
    class Other(Script):
        @property
        def digest(self):
            return "otherotherother" if what == "source" else super().digest

        def lower(self, suite):
            lowered = super().lower(suite)
            if what == "lowered":
                lowered.digest = "otherotherother"
            return lowered

    net = Net(3, {**dict.fromkeys([0, 1, 2, DEALER], scripted()), odd: scripted(parse=Other)})
    net.begin()
    net.settle()
    sentence = net.verdict.sentence
    assert "otherotherot" in sentence
    assert ("source scrip" if what == "source" else "lowered by M"[:12]) in sentence
    assert net.cluster.name(odd) in sentence
    assert_nothing_moved(net)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cluster": "0" * 64}, "another cluster file"),
        ({"insecure": "x"}, "insecure"),
        ({"suite": "spdz"}, "has no suite 'spdz'"),
    ],
)
def test_other_terms_are_refused(changes, expected):
    net = Net(3)
    net.begin(**changes)
    net.settle()
    assert expected in net.verdict.sentence
    assert_nothing_moved(net)


@pytest.mark.parametrize("text", ["script x", "nonsense", "script 3 alice bob", "script 3 alice bob mallory"])
def test_a_text_that_is_no_program_for_these_parties_is_refused(text):
    net = Net(3)
    net.begin(text)
    net.settle()
    assert net.verdict.sentence.startswith("run refused: ")
    assert_nothing_moved(net)


def test_other_shapes_are_refused_before_any_input_is_shared():
    import numpy as np

    net = Net(3, offers=[np.zeros(2), np.zeros(3), np.zeros(2)])
    net.begin()
    net.settle()
    assert net.verdict.kind == "input"
    assert "bob: the program was made for other shapes" in net.verdict.sentence
    assert_nothing_moved(net)


def test_data_that_is_not_offered_is_refused():
    net = Net(3)
    net.brains[2]._store.withdraw("x")
    net.begin()
    net.settle()
    assert net.verdict.sentence == "run refused: carol: offers no data named 'x'"
    assert_nothing_moved(net)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_runs_at_the_same_time_do_not_disturb_one_another(seed, steps):
    net = Net(3, pick=random.Random(seed).randrange)
    net.begin(script_text(5))
    first = net.following
    for _ in range(steps):
        net.step()
    net.begin(script_text(2), session=b"t" * 16)
    net.settle()
    assert first.outcome.results["sum"] == total(3, 5)
    assert net.outcome.results["sum"] == total(3, 2)


def test_the_same_session_twice_is_refused():
    net = Net(3)
    net.begin()
    for _ in range(4):
        net.step()
    net.begin()
    net.settle()
    net.pass_time(0.3)
    assert "the coordinator sent PREPARE where it does not belong" in net.verdict.sentence


# ------------------------------------------------------------------------------------------------------------- trouble


def one_sentence(net, alive):
    said = {actor: lines for actor, lines in net.said.items() if actor in alive}
    assert set(said) == set(alive), said
    (sentence,) = {line for lines in said.values() for line in lines}
    assert sentence == net.verdict.sentence
    return sentence


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 90), st.sampled_from([0, 1, 2, DEALER]))
@example(seed=1504, steps=12, victim=DEALER)  # it dies when all is dealt and not all has arrived
def test_a_death_is_named_by_everybody_in_the_same_words(seed, steps, victim):
    net = Net(3, pick=random.Random(seed).randrange)
    net.begin(script_text(20))
    for _ in range(steps):
        net.step()
    net.kill(victim)
    net.settle()
    net.pass_time(0.3)
    if net.outcome is None:
        verdict = net.verdict
        assert verdict.origin == victim
        assert net.cluster.call(victim) + " died" in verdict.sentence
        alive = [a for a in (0, 1, 2, DEALER) if a != victim and net.types(a)]
        lines = {line for a in alive for line in net.said.get(a, [])}
        assert lines <= {verdict.sentence}
        assert all(net.attempt(a) is None for a in alive if a != DEALER)
        assert not net.brains[DEALER].sessions or DEALER not in alive
    else:
        assert victim == DEALER


def test_a_death_in_the_middle_names_round_and_line():
    net = Net(3)
    net.begin(script_text(12))
    while net.attempt(0) is None or net.attempt(0).rounds < 5:
        net.step()
    net.kill(1)
    net.settle()
    net.pass_time(0.3)
    assert one_sentence(net, [0, 2]).startswith("run stopped: party bob died in round ")
    assert "(script.py:7)" in net.verdict.sentence


def test_after_a_verdict_the_next_run_works():
    net = Net(3)
    around = net.brains[1].around
    net.brains[1].around = replace(around, machinery=scripted(party=refuse_input))
    net.begin()
    net.settle()
    assert net.verdict is not None
    net.brains[1].around = around
    net.begin(session=b"t" * 16)
    net.settle()
    assert net.outcome.results["sum"] == total(3)


def test_another_coordinator_that_is_lost_is_nothing_to_a_run():
    net = Net(3)
    net.begin()
    while not net.brains[DEALER].pumping:
        assert net.step()
    for actor in (0, 1, 2, DEALER):
        net.event(actor, Down(SEATS[7], "stopped"))
    net.settle()
    assert net.verdict is None
    assert net.outcome.results["sum"] == total(3)


def refuse_input(lowered, me, inputs, entropy, kept):
    yield from ()
    raise InputError("b.csv: row 3, column 'age' is NaN", "bob")


def test_row_and_column_go_to_the_owner_only():
    machinery = scripted()
    net = Net(3, {0: machinery, 1: scripted(party=refuse_input), 2: machinery, DEALER: machinery})
    net.begin()
    net.settle()
    assert one_sentence(net, [0, 1, 2]) == "run stopped: bob: input refused"
    assert net.told == {1: ["bob: b.csv: row 3, column 'age' is NaN"]}
    for m in net.log:
        for part in (str(m.meta).encode(), *map(bytes, m.frames)):
            assert b"row 3" not in part


def test_a_foreign_exception_is_reported_without_its_text():
    def fail(lowered, me, inputs, entropy, kept):
        yield from ()
        raise ValueError("could not convert 31415926")

    machinery = scripted()
    net = Net(3, {0: machinery, 1: scripted(party=fail), 2: machinery, DEALER: machinery})
    net.begin()
    net.settle()
    sentence = one_sentence(net, [0, 1, 2])
    assert sentence.startswith("run stopped: bob: ValueError at test_brains.py:")
    assert "31415926" not in sentence


def test_silence_is_not_for_ever():
    limits = Limits(stall=30)
    net = Net(3, limits=limits)
    net.begin(script_text(12))
    while net.attempt(0) is None or net.attempt(0).rounds < 5:
        net.step()
    net.links = {k: q for k, q in net.links.items() if k[0] != 1}
    net.dead.add(1)  # it is silent, and its connection stands
    net.settle()
    net.pass_time(31)
    net.pass_time(1)
    assert "party bob sent nothing for 30 s in round" in net.verdict.sentence


def test_a_party_that_cannot_reach_another_says_so():
    net = Net(3)
    net.begin()
    while net.step():
        for link in ((2, 1), (1, 2)):
            if link in net.links:
                net.links[link].clear()
    net.pass_time(21)
    net.pass_time(1)
    assert "has heard nothing from party" in net.verdict.sentence


def test_without_a_coordinator_each_party_says_what_it_knows():
    net = Net(3)
    net.begin(script_text(12))
    while net.attempt(0) is None or net.attempt(0).rounds < 5:
        net.step()
    net.kill(COORDINATOR)
    net.settle()
    for actor in (0, 1, 2):
        assert net.said[actor] == [f"run stopped: the coordinator died; resume with: privity resume {'73' * 5}"]
        assert net.attempt(actor) is None
    assert net.said[DEALER] == net.said[0]


# ----------------------------------------------------------------------------------------------------- peers that lie


def running(rounds=12, limits=None):
    net = Net(3, limits=limits)
    net.begin(script_text(rounds))
    while net.attempt(0) is None or net.attempt(0).rounds < 5:
        net.step()
    return net


LIES = {
    "a wrong shape": Message(Type.DATA, 1, 0, b"s" * 16, 12, frames=(b"1234567",)),
    "an old step": Message(Type.DATA, 1, 0, b"s" * 16, 1, frames=(b"12345678",)),
    "too much": Message(Type.DATA, 1, 0, b"s" * 16, 12, frames=(bytes(4096),)),
    "a second key": Message(Type.PAIR, 1, 0, b"s" * 16, frames=(bytes(32),)),
    "GO from a party": Message(Type.GO, 1, 0, b"s" * 16),
    "ABORT from a party": Message(
        Type.ABORT,
        1,
        0,
        b"s" * 16,
        meta={"origin": 2, "kind": "dead", "reason": "x", "round": 0, "where": "", "final": True},
    ),
    "seeds from a party": Message(Type.SEEDS, 1, 0, b"s" * 16, frames=(bytes(7 * 16),)),
    "a correction from a party": Message(Type.CORRECTION, 1, 0, b"s" * 16, 99, frames=(bytes(8),)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_stops_the_run_and_names_the_liar(lie):
    net = running()
    net.inject(LIES[lie])
    net.settle()
    net.pass_time(0.3)
    assert net.verdict is not None
    assert net.verdict.origin == 1
    assert "party bob sent" in net.verdict.sentence


def test_words_of_another_session_are_ignored():
    net = running()
    for lie in LIES.values():
        net.inject(Message(lie.type, lie.src, lie.dst, b"o" * 16, lie.step, lie.meta, lie.frames))
    net.settle()
    assert net.outcome.results["sum"] == total(3, 12)


def test_a_party_that_reports_another_result_is_caught():
    def liar(lowered, me, inputs, entropy, kept):
        results = yield from scripted_party(lowered, me, inputs, entropy)
        return {**results, "sum": results["sum"] + 1}

    machinery = scripted()
    net = Net(3, {0: machinery, 1: machinery, 2: scripted(party=liar), DEALER: machinery})
    net.begin()
    net.settle()
    assert "alice and carol report different values of 'sum'" in net.verdict.sentence


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(1 << 20, 3), (64, 48), (8, 4), (1 << 20, 48)]))
def test_the_dealer_stays_a_window_ahead_and_never_stops_a_run(seed, window):
    """And what it hears of the parties is the same in whatever order messages arrive."""
    together = 1 + seed % 5
    assert heard_by_dealer(seed, together, *window) == heard_by_dealer(seed + 1, together, *window)


def heard_by_dealer(seed, together, size, messages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealer, "_TOGETHER", together)
        net = Net(3, limits=Limits(window=size, window_messages=messages), pick=random.Random(seed).randrange)
        net.begin(script_text(200))
        furthest = 0
        while net.step():
            for deal in net.brains[DEALER].sessions.values():
                furthest = max(furthest, *deal.outstanding)
                assert max(len(u) for u in deal.unacknowledged) <= messages
    assert furthest <= min(size, 8 * together * messages) + 8 * together
    assert net.outcome.results["sum"] == total(3, 200)
    return [[m.step for m in net.log if m.type is Type.CREDIT and m.src == p] for p in range(3)]


class Lopsided(Script):
    """The first party draws a hundred words a round."""

    def cost(self):
        cost = super().cost()
        cost.dealt_bytes[self.parties[0]] *= 100
        return cost


def lopsided_party(lowered, me, inputs, entropy, kept=()):
    """The first party draws a hundred words a round, the others one; then all send each other a word."""
    peers = [i for i in range(3) if i != me]
    word, much = Frame("<u8", (1,)), Frame("<u8", (100,))
    for number in range(1, lowered.program.rounds + 1):
        yield Draw(number, "script.py:7", (word if me else much,))
        yield Exchange(
            number, "script.py:7", {p: [np.ones(1, np.uint64)] for p in peers}, dict.fromkeys(peers, (word,))
        )
    return {"fact": 1, "sum": 1.0, "own": 7.0} if me == 0 else {"fact": 1, "sum": 1.0}


def lopsided_dealer(lowered, entropy):
    for number in range(1, lowered.program.rounds + 1):
        for party in range(3):
            size = 1 if party else 100
            yield SimpleNamespace(party=party, number=number, arrays=[np.ones(size, dtype=np.uint64)])


def lopsided():
    net = Net(3, scripted(lopsided_party, lopsided_dealer, Lopsided), limits=Limits(window=8000))
    net.begin(script_text(200))
    net.settle()
    return net


def test_whoever_draws_little_does_not_wait_for_whoever_draws_much():
    net = lopsided()
    assert net.outcome.results["sum"] == 1.0


def test_the_twin_that_sends_each_party_what_is_enough_for_it_alone(monkeypatch):
    """One party's window is full, the others' corrections are never enough to be sent: all wait."""

    class Alone(dealer._Deal):
        def batch(self, party):
            if party and len(self.batches[party]) < 100:
                return party, ()
            return super().batch(party)

    monkeypatch.setattr(dealer, "_Deal", Alone)
    assert lopsided().outcome is None


def test_keys_and_data_are_dropped_after_a_run():
    net = Net(3)
    net.begin()
    while net.attempt(0) is None or net.attempt(0).stage is not Stage.DONE:
        net.step()
    attempt = net.attempt(0)
    net.settle()
    assert attempt.inputs == {}
    assert not attempt.keyed


def test_a_malformed_prepare_is_refused():
    meta = {
        "version": VERSION, "format": FORMAT, "suite": "masked", "cluster": "", "insecure": "", "mode": "run",
        "run": "73" * 16, "attempt": 1, "epoch": 0, "material": "",
    }  # fmt: skip
    binding = Binding().document()
    for frames in (
        (),
        (b"\xc1",),
        (pack(binding), b"\xff"),
        (pack({}), b"script 3 alice bob carol"),
        (pack({**binding, "inputs": {"x": 1}}), b"script 3 alice bob carol"),
        (pack([]), b"x"),
    ):
        net = Net(3)
        meta["cluster"] = net.cluster.digest()
        net.inject(Message(Type.PREPARE, COORDINATOR, 0, b"s" * 16, meta=meta, frames=frames))
        net.settle()
        assert net.attempt(0) is None
        (refused,) = (m for m in net.log if m.dst == COORDINATOR)
        assert refused.type is Type.REFUSED
        assert "that it cannot read" in refused.meta["reason"]


def test_the_cluster_of_the_tests_is_a_real_one():
    cluster, pairs = make_cluster(2)
    assert pairs[0].public == cluster.parties[0].public


@pytest.mark.parametrize("seen", [True, False])
def test_a_dealer_that_had_dealt_all_and_is_missed_after_all_is_named_by_what_the_coordinator_saw(seen):
    net = Net()
    net.begin()
    while net.following.dealing is None:
        assert net.step()
    if seen:
        net.event(COORDINATOR, Down(DEALER, "died (killed by signal 9)"))
        net.now += 5.0
        net.event(COORDINATOR, Tick())
        assert net.verdict is None  # nobody may need it any more
    meta = {"origin": DEALER, "kind": "dead", "reason": "the dealer died (no sign of life for 5 s)"}
    told = Message(
        Type.ABORT, 0, COORDINATOR, b"s" * 16, meta={**meta, "round": 2, "where": "less, a.py:3", "final": False}
    )
    net.event(COORDINATOR, Arrived(told))
    net.pass_time(1.0)
    how = "killed by signal 9" if seen else "no sign of life for 5 s"
    assert net.verdict.sentence.startswith(
        f"run stopped: the dealer died ({how}) in round 2 (less, a.py:3); reported by alice"
    )
