"""What lies sealed in a home: checkpoints, kept secrets, material for later."""

import numpy as np
import pytest
from homes import ARRAYS, DIGEST, fresh

from mpc.errors import UsageError
from parties.home import AlreadyUsed, Handle, Home, HomeError, Material, StoredRun

pytestmark = pytest.mark.usefixtures("quick")


def begin(home):
    run, session = fresh(), fresh()
    home.ledger.begin(run, 1, session, program="fit", digest=DIGEST, role="party")
    return run, session


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_an_older_checkpoint_goes_with_the_commit_and_not_before(home):
    run = fresh()
    first = home.checkpoints.prepare(run, 1, "loop", 10, ARRAYS)
    home.checkpoints.commit(run, 1)
    second = home.checkpoints.prepare(run, 2, "loop", 20, {"w": ARRAYS["w"] + np.uint64(1)}, {"of": "us"})
    assert [(c.epoch, c.state) for c in home.checkpoints.held(run)] == [(1, "committed"), (2, "prepared")]
    assert home.vault.names() == sorted([first.blob, second.blob])
    home.checkpoints.commit(run, 2)
    home.checkpoints.commit(run, 2)
    assert [(c.epoch, c.state) for c in home.checkpoints.held(run)] == [(2, "committed")]
    assert home.vault.names() == [second.blob]
    found, header, arrays = home.checkpoints.load(run, 2)
    assert (found.site, found.iteration, header) == ("loop", 20, {"of": "us"})
    assert arrays["w"].tolist() == [1, 2, 3, 4]
    for gone in (1, 3):
        with pytest.raises(HomeError, match=f"no checkpoint of epoch {gone}"):
            home.checkpoints.load(run, gone)
        with pytest.raises(HomeError, match=f"no checkpoint of epoch {gone}"):
            home.checkpoints.commit(run, gone)
    for late in (1, 2):
        with pytest.raises(AlreadyUsed, match="each epoch is larger"):
            home.checkpoints.prepare(run, late, "loop", 30, ARRAYS)
    home.checkpoints.drop(run)
    assert home.vault.names() == []


def test_going_on_from_a_checkpoint(home):
    run = fresh()
    for epoch in (1, 2, 3):
        home.checkpoints.prepare(run, epoch, 7, epoch * 10, ARRAYS)
    home.checkpoints.restored(run, 2, attempt=2)  # another party never had the third
    assert [(c.epoch, c.site, c.state) for c in home.checkpoints.held(run)] == [(2, 7, "committed")]
    assert len(home.vault.names()) == 1
    entry = home.journal.entries(run)[-1]
    assert (entry["what"], entry["epoch"], entry["iteration"]) == ("checkpoint restored", 2, 20)
    home.checkpoints.prepare(run, 3, 7, 30, ARRAYS)


def test_blobs_swapped_in_the_ledger_are_noticed(home):
    run = fresh()
    a, b = (home.checkpoints.prepare(run, e, "s", e, ARRAYS) for e in (1, 2))
    with home._database.change() as connection:
        connection.execute("UPDATE checkpoints SET blob = ? WHERE epoch = 1", (b.blob,))
    with pytest.raises(HomeError, match="is not the checkpoint of epoch 1"):
        home.checkpoints.load(run, 1)
    assert a.blob != b.blob


# --- handles ---------------------------------------------------------------------------------------------------------


def handle(run, name="model", **more):
    fields = dict(shape=(4,), scale=20, unit="kg", lo=-8, hi=2**70, bits=None, parties=("alice", "bob"))
    return Handle(name=name, run=run, **{**fields, **more})


def test_a_handle_is_there_after_the_commit(home):
    run = fresh()
    home.handles.stage(handle(run), ARRAYS)
    with pytest.raises(UsageError, match="no secret is kept under the name 'model'; there is none"):
        home.handles.get("model")
    assert [h.name for h in home.handles.staged(run)] == ["model"]
    assert [h.name for h in home.handles.commit(run)] == ["model"]
    assert home.handles.commit(run) == []
    found, arrays = home.handles.load("model")
    assert (found.shape, found.hi, found.lo, found.parties, found.unit) == ((4,), 2**70, -8, ("alice", "bob"), "kg")
    assert arrays["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="did you mean 'model'"):
        home.handles.get("modle")
    home.handles.drop("model")
    assert home.handles.all() == []
    assert home.vault.names() == []
    assert [e["what"] for e in home.journal.entries()] == ["handle kept", "handle dropped"]


def test_a_later_handle_of_the_same_name_takes_its_place_at_the_commit(home):
    old, new = fresh(), fresh()
    home.handles.stage(handle(old), ARRAYS)
    home.handles.commit(old)
    home.handles.stage(handle(new), ARRAYS)
    home.handles.stage(handle(new), ARRAYS)
    assert home.handles.get("model").run == old
    home.handles.commit(new)
    assert home.handles.get("model").run == new
    assert home.handles.load("model", new)[0].run == old, "who takes it and ends twice takes the same"
    assert home.handles.load("model", fresh())[0].run == new
    home.handles.replace(new)
    assert len(home.vault.names()) == 1
    with pytest.raises(UsageError, match="what 'model' was before this run replaced it is not there any more"):
        home.handles.load("model", new)


def test_what_a_handle_replaced_is_kept_once_and_no_longer_than_the_name(home):
    runs = [fresh() for _ in range(3)]
    for run in (*runs, runs[-1]):
        home.handles.stage(handle(run), ARRAYS)
        home.handles.commit(run)
    assert home.handles.get("model").run == runs[2]
    assert home.handles.load("model", runs[2])[0].run == runs[1], "a run that ends twice replaces what it took"
    assert len(home.vault.names()) == 2
    home.handles.drop("model")
    assert home.vault.names() == []
    assert [e["run"] for e in home.journal.entries() if e["what"] == "handle dropped"] == runs


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
def test_a_handle_has_a_printable_name(home, name):
    with pytest.raises(UsageError, match="no name for a kept secret"):
        home.handles.stage(handle(fresh(), name), ARRAYS)
    home.handles.stage(handle(fresh(), "Modell für 'Ärzte' / 2"), ARRAYS)


# --- materials -------------------------------------------------------------------------------------------------------


def material(**more):
    return Material(more.pop("id", fresh()), DIGEST, "cd" * 32, ("alice", "bob"), 1000, **more)


def test_material_is_used_once(home):
    m = material()
    home.materials.stock(m, ARRAYS, {"round": 1})
    with pytest.raises(AlreadyUsed, match="stocked here already"):
        home.materials.stock(m, ARRAYS)
    assert [x.id for x in home.materials.all(digest=DIGEST, state="stocked")] == [m.id]
    assert home.materials.about(m.id) == {"round": 1}
    assert home.materials.all(digest="ef" * 32) == []
    run, session = begin(home)
    with pytest.raises(AlreadyUsed, match="was not taken"):
        home.materials.load(m.id, session)
    taken = home.materials.take(m.id, session)
    assert (taken.state, taken.session, taken.parties) == ("used", session, ("alice", "bob"))
    with pytest.raises(AlreadyUsed, match="is used"):
        home.materials.take(m.id, session)
    _, header, arrays = home.materials.load(m.id, session)
    assert header == {"round": 1}
    assert arrays["w"].tolist() == [0, 1, 2, 3]
    home.materials.spent(session)
    assert home.vault.names() == []
    assert home.materials.state(m.id) == "used"
    assert home.materials.about(m.id) == {}
    with pytest.raises(AlreadyUsed):
        home.materials.stock(m, ARRAYS)
    with pytest.raises(HomeError, match="privity deal"):
        home.materials.take(fresh(), session)
    with pytest.raises(HomeError, match="privity deal"):
        home.materials.get(fresh())
    assert [e["what"] for e in home.journal.entries(run)] == ["run begun", "material taken"]


def test_an_attempt_that_is_over_takes_nothing(home):
    m = material()
    home.materials.stock(m, ARRAYS)
    _, session = begin(home)
    home.ledger.end(session, "stopped", "x")
    with pytest.raises(HomeError, match="not under way"):
        home.materials.take(m.id, session)
    assert home.materials.state(m.id) == "stocked"


def test_burnt_is_burnt_also_when_it_was_never_here(home):
    known, unknown = material(), fresh()
    home.materials.stock(known, ARRAYS)
    for m in (known.id, unknown):
        home.materials.burn(m, "bob has used it")
        home.materials.burn(m, "said again")
        assert home.materials.state(m) == "burnt"
        with pytest.raises(AlreadyUsed, match="burnt"):
            home.materials.stock(material(id=m), ARRAYS)
        with pytest.raises(AlreadyUsed, match="burnt"):
            home.materials.take(m, begin(home)[1])
    assert home.vault.names() == []
    assert [e["why"] for e in home.journal.entries() if e["what"] == "material burnt"] == ["bob has used it"] * 2


def test_a_dead_process_leaves_its_run_stopped_and_its_material_burnt(tmp_path):
    m = material()
    with Home.open(tmp_path / "a", "alice") as home:
        home.materials.stock(m, ARRAYS)
        run, session = begin(home)
        home.runs.add(StoredRun(run, "fit", "program fit …", DIGEST, "masked"))
        home.materials.take(m.id, session)
        with Home.open(tmp_path / "a", "alice") as other:
            assert other.crashed == []  # it is alive
            assert other.materials.state(m.id) == "used"
    with Home.open(tmp_path / "a", "alice") as home:
        assert [(a.run, a.how) for a in home.crashed] == [(run, "crashed")]
        assert home.materials.state(m.id) == "burnt"
        assert home.vault.names() == []
        assert (home.runs.get(run).status, home.runs.get(run).sentence) == ("stopped", "its process died")
        assert home.journal.entries(run)[-1]["how"] == "crashed"
