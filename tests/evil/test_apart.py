"""One program, known to all: a coordinator that tells actors different things gets nothing, and everybody hears of it.

Each attack is played three times: against the parties as they are; against twins that do not compare, whose seeds are
bound to the terms all the same; and against twins without both, from which it takes what it wants.
"""

import re
from dataclasses import dataclass, replace

import pytest
from apart import unbound, uncompared
from hostile import ALICE, BITS, BOB, DEALER, NAMES, OTHER_BITS, Plot, Told, asked, coded, depending, text_of

from parties import records
from parties.party import PartyBrain
from parties.terms import Binding, in_words
from parties.wire import Type

KNOBS = {  # what all are told to do, and what some of them: bits one by one?, shown to whom?
    "dealer": ((False, "everyone"), (True, "everyone"), [DEALER]),
    "party": ((True, "bob"), (True, "everyone"), [BOB]),
    "both": ((False, "bob"), (True, "everyone"), [DEALER, BOB]),
}
SECRET = sum(bit << i for i, bit in enumerate(BITS))
HIDDEN = sum(bit << i for i, bit in enumerate(OTHER_BITS))
SWAPPED = ["bob", "alice", "carol"]


def bound(settings="{}", **names):
    return Binding({"flags": {name: names.get(name, "flags") for name in NAMES}}, {}, settings)


def by_program(usual, odd):
    return Told(text_of(coded(*usual)), bound()), Told(text_of(coded(*odd)), bound())


def by_settings(usual, odd):
    each = [dict(zip(("one_by_one", "to"), knobs, strict=True)) for knobs in (usual, odd)]
    return [Told(text_of(asked, settings), bound(in_words(settings))) for settings in each]


def by_shapes(usual, odd):
    function = depending(usual, odd, lambda flags: flags[0].shape == (6, 1))
    return [Told(text_of(function, shapes=[alice, (6, 1), (6, 1)]), bound()) for alice in ((6, 1), (1, 6))]


def by_order(usual, odd):
    function = depending(usual, odd, lambda flags: flags[0].owner == "alice")
    return [Told(text_of(function, names=names), bound()) for names in (NAMES, SWAPPED)]


def by_session(usual, odd):
    usual, odd = by_program(usual, odd)
    return usual, replace(odd, session=b"z" * 16)


KINDS = {
    "another program": by_program, "other settings": by_settings, "other shapes": by_shapes,
    "other parties": by_order, "another session": by_session,
}  # fmt: skip
PLACES = [(kind, where) for kind in KINDS for where in KNOBS]
EVERY = [(*place, False) for place in PLACES] + [(*place, True) for place in PLACES if place[0] != "another session"]


@dataclass
class Attack:
    """One coordinator, what it tells whom, and what it gets."""

    kind: str
    where: str

    def play(self, stocked=False):
        usual, odd, self.victims = KNOBS[self.where]
        usual, self.odd = KINDS[self.kind](usual, odd)
        self.plot = Plot(usual)
        if not stocked:
            return self.run(self.victims)
        self.run([v for v in self.victims if v == DEALER], "deal", number=1)
        outcome = self.plot.lab.following.outcome
        self.material = outcome.material if outcome is not None else ""
        if self.material:
            self.run([v for v in self.victims if v == BOB], material=self.material)
        return self.plot

    def run(self, victims, mode="run", **more):
        if self.kind == "other parties":
            self.odd = replace(self.odd, changes=(("cluster", self.swapped(victims).digest()),))
        return self.plot.run(dict.fromkeys(victims, self.odd), mode, **more)

    def swapped(self, victims):
        """The cluster file of these lists the parties in another order; the wires know them as they are."""
        cluster = self.plot.lab.cluster
        alice, bob, carol = cluster.parties
        swapped = replace(cluster, parties=(replace(alice, name="bob"), replace(bob, name="alice"), carol))
        for victim in victims:
            brain = self.plot.lab.bodies[victim].brain
            if victim == DEALER:
                brain._cluster = swapped
            else:
                brain.around = replace(brain.around, cluster=swapped)
        return swapped

    @property
    def stolen(self):
        """What a party told the coordinator."""
        return next(iter(self.plot.told_coordinator.values()), None)


def refused(plot):
    """No party is in a run, nothing of its data has left it, and it has shown nobody a result."""
    lab = plot.lab
    assert not any(lab.bodies[party].brain.sessions for party in range(3))
    assert not any(lab.sent[party, Type.DATA] or lab.kept[party] for party in range(3))
    assert plot.told_coordinator == {}
    return [lab.said[party] for party in range(3)]


def unheld(monkeypatch):
    """Material is not held against what it was dealt for."""
    monkeypatch.setattr(records, "unlike", lambda task, stored: "")


def unrouted(monkeypatch):
    """A party takes what is of any session for its own."""
    arrived = PartyBrain._arrived

    def of_any(self, m):
        m.session = next(iter(self.sessions), m.session)
        return arrived(self, m)

    monkeypatch.setattr(PartyBrain, "_arrived", of_any)


def test_it_counts_and_shows():
    for (one_by_one, to), seen in (((False, "everyone"), 4), ((True, "everyone"), SECRET), ((True, "bob"), None)):
        plot = Plot(Told(text_of(asked, {"one_by_one": one_by_one, "to": to}), bound())).run({})
        assert plot.told_coordinator == ({} if seen is None else dict.fromkeys(range(3), seen))
        assert plot.lab.sent[BOB, Type.DATA]


def found_by_all(attack, kind=""):
    """Every party names in its first word what is other, at whom, and has both short hashes in it."""
    digits, odd = r"\([0-9a-f]{12}\)", {attack.plot.lab.cluster.call(victim) for victim in attack.victims}
    for name, said in zip(NAMES, refused(attack.plot), strict=True):
        form = rf"run stopped: (the dealer|party \w+) has {kind or attack.kind} {digits} than {name} {digits}; no input"
        who = re.match(form, said[0])[1]
        same_names = attack.kind != "other parties" or f"party {name}" not in odd  # else its file calls them otherwise
        assert not same_names or (f"party {name}" in odd) != (who in odd)


@pytest.mark.parametrize(("kind", "where"), [(kind, where) for kind, where in PLACES if kind != "another session"])
def test_what_actors_are_told_apart_ends_the_run_at_every_party_in_words_that_name_it(kind, where):
    attack = Attack(kind, where)
    attack.play()
    found_by_all(attack)


@pytest.mark.parametrize("where", KNOBS)
def test_messages_of_another_session_are_none(where, monkeypatch):
    """And if they were taken for one of this session, their terms would be another's."""
    attack = Attack("another session", where)
    assert all("has heard nothing from" in said[-1] for said in refused(attack.play()))
    unrouted(monkeypatch)
    attack.play()
    found_by_all(attack, "another program")
    attack.plot = Plot(attack.plot.base)
    attack.plot.run({victim: replace(attack.plot.base, session=b"z" * 16) for victim in attack.victims})
    found_by_all(attack)


@pytest.mark.parametrize("where", ["dealer", "both"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "another session"])
def test_a_dealer_that_is_told_apart_makes_no_material(kind, where):
    attack = Attack(kind, where)
    attack.play(stocked=True)
    assert not attack.material
    assert not any(attack.plot.lab.homes[party].materials.known for party in range(3))
    attack.victims = [DEALER]  # so far
    found_by_all(attack)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "another session"])
def test_a_party_that_is_told_apart_takes_no_material_that_was_dealt_for_something_else(kind, monkeypatch):
    """And if it did, its terms would be others than its peers'."""
    attack = Attack(kind, "party")
    refused(attack.play(stocked=True))
    assert f"has material {attack.material[:8]}, dealt for {kind} (" in attack.plot.refusals[BOB]
    unheld(monkeypatch)
    attack.play(stocked=True)
    for each in refused(attack.plot):
        assert any(f"has {kind} (" in line for line in each)


@pytest.mark.parametrize(("kind", "where", "stocked"), EVERY)
def test_the_twins_without_comparison_give_bobs_flags_away_unless_seeds_are_bound(kind, where, stocked, monkeypatch):
    for guard in (uncompared, unheld, *([unrouted] if kind == "another session" else [])):
        guard(monkeypatch)
    attack = Attack(kind, where)
    attack.play(stocked)
    assert attack.stolen != SECRET
    unbound(monkeypatch)
    attack.play(stocked)
    print(f"{kind} at {where}{' with stock' if stocked else ''}: bob's flags are {int(attack.stolen):b}")
    assert attack.stolen == SECRET


# ------------------------------------------------------------------------------- whatever else a coordinator may tell


FIELDS = {
    "another run": {"changes": (("run", "77" * 16),)},
    "another attempt": {"changes": (("attempt", 2),)},
    "another mode": {"changes": (("mode", "deal"),)},
    "other settings": {"binding": bound('{"one_by_one":true}')},
    "other data": {"binding": bound(bob="hidden")},
}


@pytest.mark.parametrize("victim", [BOB, DEALER])
@pytest.mark.parametrize("kind", FIELDS)
def test_whatever_one_actor_is_told_otherwise_is_found_by_all(kind, victim):
    attack = Attack(kind, "party")
    usual, _ = by_program((False, "everyone"), (True, "everyone"))
    attack.victims = [victim]
    attack.plot = Plot(usual).run({victim: replace(usual, **FIELDS[kind])})
    found_by_all(attack)


def test_data_that_only_its_owner_was_told_of(monkeypatch):
    """All others believe that bob's flags are counted."""
    usual, _ = by_program((True, "everyone"), (True, "everyone"))
    for guard in (uncompared, unbound):
        guard(monkeypatch)
    plot = Plot(usual).run({BOB: replace(usual, binding=bound(bob="hidden"))})
    print(f"bob's hidden flags are {int(plot.told_coordinator[ALICE]):b}")
    assert plot.told_coordinator == dict.fromkeys(range(3), HIDDEN)


def test_a_dealer_deals_for_a_session_once():
    usual, _ = by_program((False, "everyone"), (True, "everyone"))
    plot = Plot(usual).run({}, number=7)
    plot.run({}, number=7)
    assert plot.refusals[DEALER] == "has dealt for this session before"
