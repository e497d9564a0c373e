"""What the ledger says of a party's data: that it is the same, to this party alone."""

import itertools

import numpy as np
import pytest
from actors import make_cluster, scripted_terms

from parties import records
from parties.data import read_csv
from parties.home import Home
from parties.store import Store

CLUSTER, _ = make_cluster(2)
RUN, OTHER = "ab" * 16, "cd" * 16


def terms(run, attempt=1):
    session = bytes.fromhex((run[:2] * 15) + f"{attempt:02x}")
    return scripted_terms(CLUSTER, "sum", session, run=run, attempt=attempt)


def fingerprint(column):
    store = Store("alice", read_csv)
    store.offer("x", np.array(column))
    return store.fingerprint("x")


SICK = fingerprint([1, 0, 0, 1])


def begin(home, run, inputs, attempt=1):
    keys = [f"{run}{attempt}".encode()]
    records.Begin(terms(run, attempt), "sum", "text", inputs, keys).apply(home)


@pytest.fixture
def home(tmp_path):
    with Home.open(tmp_path / "alice", "alice") as made:
        yield made


def guessed(home, *runs):
    """Whoever has a copy of the ledger tries all columns of yes and no, as they are and with all that it says."""
    stored = [home.runs.get(run).inputs["x"] for run in runs]
    for column in itertools.product([0, 1], repeat=4):
        one = fingerprint(column)
        if any(one in text for text in stored):
            return column
    return None


def test_the_same_data_is_known_again_and_other_data_is_not(home):
    begin(home, RUN, {"x": SICK})
    same = records.Recall(terms(RUN, 2), [], {"x": SICK}).apply(home)
    other = records.Recall(terms(RUN, 2), [], {"x": fingerprint([1, 1, 0, 1])}).apply(home)
    another_name = records.Recall(terms(RUN, 2), [], {"y": SICK}).apply(home)
    assert (same.changed, other.changed, another_name.changed) == ((), ("input 'x'",), ())


def test_it_is_known_again_by_the_next_process(home, tmp_path):
    begin(home, RUN, {"x": SICK})
    home.close()
    with Home.open(tmp_path / "alice", "alice") as again:
        assert records.Recall(terms(RUN, 2), [], {"x": SICK}).apply(again).changed == ()


def test_a_copy_of_the_ledger_says_nothing_of_low_entropy_data(home, tmp_path, monkeypatch):
    begin(home, RUN, {"x": SICK})
    begin(home, OTHER, {"x": SICK})
    assert guessed(home, RUN, OTHER) is None
    assert home.runs.get(RUN).inputs["x"] != home.runs.get(OTHER).inputs["x"]  # nor whether two runs had the same
    raw = b"".join(p.read_bytes() for p in (tmp_path / "alice").glob("ledger.sqlite*"))
    assert SICK.encode() not in raw
    monkeypatch.setattr(records, "_keyed", lambda home, run, inputs: inputs)  # the broken twin
    begin(home, "ef" * 16, {"x": SICK})
    assert guessed(home, "ef" * 16) == (1, 0, 0, 1)


def test_two_vaults_say_different_things_and_each_the_same_again(home, tmp_path):
    with Home.open(tmp_path / "bob", "bob") as other:
        assert home.vault.keyed("x") == home.vault.keyed("x") != other.vault.keyed("x")
        assert home.vault.keyed("x") != home.vault.keyed("y")
