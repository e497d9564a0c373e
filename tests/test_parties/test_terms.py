"""What actors agree on: everything that shapes a run is in it, no data is, and a difference has a name."""

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from actors import make_cluster, scripted_terms
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mpc.errors import UsageError
from mpc.prg import DealerEntropy, party_entropy
from parties import records
from parties.agree import dealt_seed, pair_seed, stock_of
from parties.home import Home
from parties.terms import Binding, Bound, Taken, Task, Terms, card, difference, in_words, task_digest, unlike
from parties.wire import BadMessage

CLUSTER, _ = make_cluster(2)
RUN = "5a" * 16
USUAL = scripted_terms(CLUSTER, "sum", run=RUN)
OTHER_TASKS = {
    "version": ("9.9", "another version of privity"),
    "format": (9, "another version of privity"),
    "suite": ("beaver", "another suite"),
    "insecure": ("deterministic entropy 1", "another mark of insecure entropy"),
    "parties": (("bob", "alice"), "other parties"),
    "keys": (("k",) * 3, "other parties"),
    "settings": ('{"steps":9}', "other settings"),
    "shapes": ((("x", "alice", (2,)), ("x", "bob", (3,))), "other shapes"),
    "source": ("ab" * 32, "another program"),
    "lowered": ("cd" * 32, "another lowered program"),
}
OTHER_RUNS = {
    "cluster": ("ab" * 32, "another cluster file"),
    "session": ("00" * 16, "another session"),
    "mode": ("deal", "another mode"),
    "run": ("00" * 16, "another run"),
    "attempt": (2, "another attempt"),
    "epoch": (1 << 32, "another checkpoint"),
    "material": ("4d" * 16, "other material"),
    "handles": ((Taken("w", "model", RUN),), "other kept secrets"),
    "data": ((Bound("x", "alice", "y", 2, None), Bound("x", "bob", "x", 2, None)), "other data"),
}


def changed():
    """Every field, otherwise, and what that is called."""
    tasks = [(replace(USUAL, task=replace(USUAL.task, **{f: value})), what) for f, (value, what) in OTHER_TASKS.items()]
    return tasks + [(replace(USUAL, **{f: value}), what) for f, (value, what) in OTHER_RUNS.items()]


def test_every_field_is_changed_here():
    assert {f.name for f in fields(Task)} == set(OTHER_TASKS)
    assert {f.name for f in fields(Terms)} == {"task", *OTHER_RUNS}


def test_every_field_changes_the_digest_and_the_card_says_which_it_is():
    mine = card(USUAL)
    digests = {USUAL.digest()}
    for other, what in changed():
        digests.add(other.digest())
        found = difference(mine, card(other))
        assert found is not None
        assert found[0] == what
        assert len(found[1]) == len(found[2]) == 12
        assert found[1] != found[2]
    assert len(digests) == 1 + len(OTHER_TASKS) + len(OTHER_RUNS)


def test_the_twin_whose_digest_leaves_a_field_out_would_fail(monkeypatch):
    monkeypatch.setattr("parties.terms.asdict", lambda terms: {n: v for n, v in asdict(terms).items() if n != "epoch"})
    assert replace(USUAL).digest() == replace(USUAL, epoch=1 << 32).digest()


def test_a_digest_is_shown_by_its_own_beginning():
    task = replace(USUAL.task, source="ab" * 32)
    assert difference(card(USUAL), card(replace(USUAL, task=task)))[2] == "ab" * 6


def test_cards_are_equal_or_they_differ():
    mine = card(USUAL)
    assert difference(mine, memoryview(card(scripted_terms(CLUSTER, "sum", run=RUN)))) is None
    assert difference(mine, bytes([mine[0] ^ 1]) + mine[1:])[0] == "other terms"
    assert difference(mine, mine[:-1] + b"x")[0] == "other data"
    for none in (b"", mine[:-1], mine + b"x"):
        with pytest.raises(BadMessage, match="terms of another form"):
            difference(mine, none)


# ------------------------------------------------------------------------------------------------ what a binding says


def test_a_binding_says_data_by_name_and_not_by_what_is_in_it():
    assert USUAL.data == (Bound("x", "alice", "x", 2, None), Bound("x", "bob", "x", 2, None))
    assert set(Bound._fields) == {"input", "party", "data", "rows", "columns"}


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"inputs": {}, "handles": {}}, {"inputs": {}, "handles": {}, "settings": {}},
        {"inputs": [], "handles": {}, "settings": ""}, {"inputs": {"x": "y"}, "handles": {}, "settings": ""},
        {"inputs": {"x": {"alice": 1}}, "handles": {}, "settings": ""},
        {"inputs": {}, "handles": {"w": "model"}, "settings": ""},
        {"inputs": {}, "handles": {"w": ["model"]}, "settings": ""},
        {"inputs": {}, "handles": {"w": ["model", 1]}, "settings": ""},
        {"inputs": {}, "handles": {}, "settings": "", "more": 1},
    ],
)  # fmt: skip
def test_a_binding_of_another_form_is_refused(document):
    with pytest.raises(BadMessage, match="a binding of another form"):
        Binding.parse(document)


def test_a_binding_comes_back_as_it_was():
    binding = Binding({"x": {"alice": "a", "bob": "b"}}, {"w": ("model", RUN)}, '{"steps":1}')
    assert Binding.parse(binding.document()) == binding


def test_settings_are_told_in_one_way():
    assert in_words({"b": 1, "a": [1.5, None]}) == in_words({"a": [1.5, None], "b": 1}) == '{"a":[1.5,null],"b":1}'
    assert in_words({"edges": np.array([1.0, 2.0]), "n": np.int64(3)}) == '{"edges":[1.0,2.0],"n":3}'
    assert in_words({"limit": float("inf"), "f": len}) == '{"f":"builtin_function_or_method","limit":Infinity}'
    long = in_words({"edges": list(range(10_000))})
    assert len(long) == 64
    assert long != in_words({"edges": list(range(10_001))})


# ------------------------------------------------------------------------------------- what material was dealt for


def test_material_for_another_task_is_known_by_every_field():
    stored = USUAL.task.fields()
    assert unlike(USUAL.task, stored) == ""
    assert task_digest(stored) == USUAL.task.digest()
    for field, (value, what) in OTHER_TASKS.items():
        assert unlike(replace(USUAL.task, **{field: value}), stored).startswith(f"{what} (")
    assert unlike(USUAL.task, {}) == "another version of privity"


def test_it_says_which_shapes_and_settings():
    task = replace(USUAL.task, settings='{"steps":9}')
    assert unlike(task, USUAL.task.fields()) == 'other settings ({}, not {"steps":9})'
    task = replace(USUAL.task, shapes=(("x", "alice", (2,)), ("x", "bob", (3, 4))))
    assert unlike(task, USUAL.task.fields()) == "other shapes (x of bob: 2, not x of bob: 3×4)"
    task = replace(USUAL.task, source="ab" * 32)
    assert unlike(task, USUAL.task.fields()).endswith(f", not {'ab' * 6})")


def test_keys_count_where_they_last():
    assert USUAL.task.keys == tuple(m.public for m in (*CLUSTER.parties, CLUSTER.dealer))
    local = scripted_terms(replace(CLUSTER, ephemeral=True), "sum", run=RUN)
    assert local.task.keys == ()
    assert local.cluster == USUAL.cluster
    anew, _ = make_cluster(2)
    assert scripted_terms(anew, "sum", run=RUN).task != USUAL.task
    assert scripted_terms(replace(anew, ephemeral=True), "sum", run=RUN).task == local.task


# -------------------------------------------------------------------------------------------------------------- seeds


def test_dealer_and_parties_derive_the_same_from_what_is_sent_and_nothing_else_does():
    sent = DealerEntropy.fresh(3)
    agreed = USUAL.digest()
    drawn = sent.derived(lambda seed: dealt_seed(seed, agreed))
    for party in range(3):
        assert [dealt_seed(seed, agreed) for seed in sent.seeds_for(party)] == drawn.seeds_for(party)
        party_entropy(drawn.seeds_for(party), {}, {})
    raw = {seed for party in range(3) for seed in sent.seeds_for(party)}
    assert not raw & {seed for party in range(3) for seed in drawn.seeds_for(party)}


def test_seeds_differ_by_all_that_they_are_bound_to():
    seed, key = b"s" * 16, X25519PrivateKey.generate()
    theirs = key.public_key().public_bytes_raw()
    nonce = b"n" * 16
    bound_to = [USUAL.digest(), *(other.digest() for other, _ in changed())]
    bound_to += [stock_of(USUAL.task, nonce), stock_of(USUAL.task, b"m" * 16)]
    bound_to += [stock_of(replace(USUAL.task, settings="x"), nonce)]
    seeds = {dealt_seed(seed, agreed) for agreed in bound_to} | {dealt_seed(b"t" * 16, USUAL.digest())}
    seeds |= {pair_seed(key, theirs, agreed, ("alice", "bob"), "input") for agreed in bound_to}
    assert len(seeds) == 2 * len(bound_to) + 1


# ----------------------------------------------------------------------------------------------- attempts at one run


@pytest.fixture
def home(tmp_path):
    with Home.open(tmp_path / "alice", "alice") as made:
        yield made


def begun(home, terms):
    records.Begin(terms, "sum", "text", {}, [terms.session.encode()]).apply(home)


def later(**changes):
    """A second attempt, from the beginning."""
    return replace(scripted_terms(CLUSTER, "sum", b"t" * 16, run=RUN, attempt=2), **changes)


def test_the_attempts_at_a_run_have_one_program_and_suite(home):
    """A checkpoint that one program made is never taken for another's."""
    begun(home, USUAL)
    assert records.Recall(later(), [], {}).apply(home).text == "text"
    for task in (replace(USUAL.task, source="ab" * 32), replace(USUAL.task, suite="beaver")):
        with pytest.raises(UsageError, match="another program or suite than run 5a5a5a5a5a began with"):
            records.Recall(later(task=task), [], {}).apply(home)
    with pytest.raises(UsageError, match="another program or suite"):
        records.Recall(later(task=replace(USUAL.task, suite="beaver"), epoch=(1 << 32) + 1), [], {}).apply(home)
