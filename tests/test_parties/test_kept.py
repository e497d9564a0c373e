"""What outlives a run, with real processes: kept secrets, stored material, checkpoints, and several runs at once."""

import contextlib
import os
import shutil

import numpy as np
import pytest
from command import privity

import mpc
import parties
from mpc.errors import InputError, MpcError, PeerError, UsageError
from parties.home import Home, actor_directory
from parties.limits import Limits

X = {"alice": np.arange(3.0), "bob": np.arange(3.0) + 1}


@mpc.program
def train(x: mpc.PerParty[mpc.Private]):
    a, b = (mpc.share(v) for v in x)
    model = a * b
    mpc.keep(model, "model")
    return mpc.reveal(model.sum())


@mpc.program
def predict(model: mpc.Secret, x: mpc.Private):
    return mpc.reveal((model * mpc.share(x)).sum())


@mpc.program
def foretell(weights: mpc.Secret, x: mpc.Private):
    return mpc.reveal((weights * mpc.share(x)).sum())


@mpc.program
def walk(x: mpc.PerParty[mpc.Private], steps: int = 120):
    a, b = (mpc.share(v) for v in x)
    c = mpc.assume_range(a / 8, -1, 1)

    def step(i, state):
        return mpc.assume_range(state * c + b / 16, -4, 4)

    return mpc.reveal(mpc.repeat(steps, step, c))


@mpc.program
def needs_positive(x: mpc.Private):
    return mpc.reveal(mpc.share(mpc.within(x, 0, 10)).sum())


@pytest.fixture(scope="module")
def two():
    with parties.local(2) as ps:
        yield ps


def reserved(state, name):
    with Home.open(actor_directory(name, state), name) as home:
        return [stream.key for _, stream in home.ledger.reserved()]


def test_train_today_and_predict_tomorrow(tmp_path):
    with parties.local(2, state=tmp_path) as ps:
        assert ps.run(train, x=X).results["result"] == 8
        (spec,) = ps.kept()
        assert (spec.name, spec.shape, list(spec.parties)) == ("model", (3,), ["alice", "bob"])
    with parties.local(2, state=tmp_path) as ps:  # other processes
        assert ps.run(predict, x={"alice": np.arange(3.0)}).results["result"] == 14
        assert ps.run(predict, model="model", x={"bob": np.ones(3)}).results["result"] == 8
        with pytest.raises(UsageError, match="keeps no secret under the name 'modell'; did you mean 'model'"):
            ps.run(predict, model="modell", x={"bob": np.ones(3)})
        ones = {"weights": "model", "x": {"bob": np.ones(3)}}
        material = ps.deal(foretell, **ones)  # for a secret by another name than the parameter's
        assert ps.run(foretell, **ones, material=material).results["result"] == 8
        ps.drop("model")
        assert ps.kept() == []
        with pytest.raises(UsageError, match="keeps no secret"):
            ps.run(predict, x={"bob": np.ones(3)})
        with pytest.raises(UsageError, match="no secret is kept under the name 'model'"):
            ps.drop("model")


@mpc.program
def told_apart(x: mpc.PerParty[mpc.Private]):
    shared = [mpc.share(v) for v in x]
    return {
        "all": mpc.reveal(sum(shared).sum()),
        "first": mpc.reveal(shared[0] + shared[1], to=x[0].owner),
        "both": mpc.reveal(shared[0] - shared[1], to=[x[1].owner, x[0].owner]),
        "here": mpc.reveal(shared[1].sum(), to=["bob", "coordinator"]),
    }


def test_a_local_run_shows_its_caller_what_is_for_single_parties(two):
    runs = [two.start(told_apart, x={"alice": np.arange(3.0) * k, "bob": np.ones(3)}) for k in (1, 2)]
    for k, run in zip((1, 2), [run.result() for run in runs], strict=True):
        results = {name: np.asarray(value).tolist() for name, value in run.results.items()}
        expected = {"all": 3.0 + 3 * k, "first": [1, 1 + k, 1 + 2 * k], "both": [-1, k - 1, 2 * k - 1], "here": 3}
        assert results == expected
        assert list(results) == ["all", "first", "both", "here"]
        assert {party: set(values) for party, values in run.results_of.items()} == {
            "alice": {"first", "both"}, "bob": {"both"}
        }  # fmt: skip


def test_a_result_that_a_party_cannot_hand_on_costs_no_other_one(two, monkeypatch):
    monkeypatch.setattr(two._launcher, "results_of", lambda *_: {})
    run = two.run(told_apart, x=X)
    assert sorted(run.results) == ["all", "here"]
    assert "alice was shown 'first' and ended before it could hand it on" in run.warnings


PROGRAM = """
import mpc

@mpc.program
def train(x: mpc.PerParty[mpc.Private]):
    mpc.keep(sum(mpc.share(v) for v in x), "model")

@mpc.program
def predict(model: mpc.Secret, x: mpc.Private):
    return mpc.reveal((model * mpc.share(x)).sum(), to=x.owner)
"""


@pytest.mark.parametrize("owners", [["alice", "bob"], ["alice", "bob", "carol"], ["north", "south"]])
def test_prediction_at_one_party_by_whoever_holds_the_model(tmp_path, owners):
    (tmp_path / "p.py").write_text(PROGRAM)
    for name in owners:
        (tmp_path / f"{name}.csv").write_text("v\n1\n2\n")

    def run(command, target, *owners):
        inputs = [word for name in owners for word in ("--input", f"x={name}:{name}.csv")]
        return privity(command, f"p.py:{target}", *inputs, "--state", "state", "--json", cwd=tmp_path)

    assert run("run", "train", *owners).code == 0
    predicted = run("run", "predict", owners[1])
    assert predicted.code == 0, predicted.err
    assert predicted.json["parties"] == owners
    assert predicted.json["results"] == {"result": 5 * len(owners)}
    assert predicted.json["results_of"] == {owners[1]: {"result": 5 * len(owners)}}
    assert run("plan", "predict", owners[1]).json["parties"] == owners


def test_whoever_does_not_hold_the_model_is_told_who_does(tmp_path):
    (tmp_path / "p.py").write_text(PROGRAM)
    (tmp_path / "v.csv").write_text("v\n1\n")
    state = ("--state", "state")
    privity("run", "p.py:train", "--input", "x=alice:v.csv", "--input", "x=bob:v.csv", *state, cwd=tmp_path)
    for words in (["--input", "x=carol:v.csv"], ["--input", "x=bob:v.csv", "--parties", "3"]):
        refused = privity("run", "p.py:predict", *words, *state, cwd=tmp_path)
        assert refused.code == 2
        assert "the kept secret is held by alice, bob, who must all take part" in refused.refusal


def test_parties_that_keep_different_secrets_are_refused(tmp_path):
    with parties.local(2, state=tmp_path) as ps:
        ps.run(train, x=X)
    with Home.open(actor_directory("bob", tmp_path), "bob") as home:
        home.handles.drop("model")
    with parties.local(2, state=tmp_path) as ps:
        with pytest.raises(UsageError, match="bob keeps no secret"):
            ps.run(predict, x={"bob": np.ones(3)})
        ps.run(train, x=X)
        assert ps.run(predict, x={"bob": np.ones(3)}).results["result"] == 8


def test_material_for_later_serves_once_and_needs_no_dealer(two):
    with pytest.raises(UsageError, match="no unused material"):
        two.run(train, x=X, material=True)
    first = two.deal(train, x=X)
    second = two.deal(train, x=X)
    assert two.stock() == {"alice": sorted([first, second]), "bob": sorted([first, second])}
    dealt = two.run(train, x=X)
    run = two.run(train, x=X, material=second)
    assert run.results == dealt.results
    assert (run.rounds, run.bytes_sent, run.dealt_bytes) == (dealt.rounds, dealt.bytes_sent, dealt.dealt_bytes)
    assert two.stock() == {"alice": [first], "bob": [first]}
    with pytest.raises(UsageError, match="no unused material"):
        two.run(train, x=X, material=second)
    four = {"alice": np.arange(4.0), "bob": np.arange(4.0)}
    shapes = (
        r"dealt for other shapes \(x of alice: 3, x of bob: 3, not x of alice: 4, x of bob: 4\); privity deal makes"
    )
    with pytest.raises(MpcError, match=rf"has material {first[:8]}, {shapes} some for this run's arguments"):
        two.run(train, x=four, material=True)
    assert two.stock() == {"alice": [first], "bob": [first]}
    assert two.run(train, x=X, material=True).results == dealt.results


def test_material_for_other_settings_is_refused_in_words_that_name_them(two):
    given = {"x": X, "steps": 3}
    material = two.deal(walk, **given)
    differ = r'dealt for other settings \(\{"steps":3\}, not \{"steps":4\}\)'
    for which in (True, material[:12]):
        with pytest.raises(MpcError, match=differ):
            two.run(walk, x=X, steps=4, material=which)
    with pytest.raises(MpcError, match="dealt for another suite"):
        two.run(walk, **given, suite="beaver", material=material)
    assert two.run(walk, **given, material=True).dealt_bytes


def test_a_restored_old_store_is_refused(tmp_path):
    """Rule 11: alice's disk is set back to before the material was used; bob's is not."""
    alice = actor_directory("alice", tmp_path)
    with parties.local(2, state=tmp_path) as ps:
        material = ps.deal(train, x=X)
    backup = tmp_path / "backup"
    os.system(f"cp -a {alice} {backup}")
    with parties.local(2, state=tmp_path) as ps:
        ps.run(train, x=X, material=material)
    os.system(f"rm -r {alice}; cp -a {backup} {alice}")
    with Home.open(alice, "alice") as home:
        assert home.materials.state(material) == "stocked"
    with parties.local(2, state=tmp_path) as ps:
        with pytest.raises(UsageError, match="no unused material"):  # the coordinator asks everybody
            ps.run(train, x=X, material=True)
        ps._material = lambda *_: material  # a coordinator that does not
        with pytest.raises(PeerError, match=r"bob: has material .* as used; it is never used again"):
            ps.run(train, x=X, material=True)


def test_if_all_states_are_restored_nothing_notices_until_the_stock_is_burnt(tmp_path):
    """What SECURITY.md says cannot be promised, and the cure that it names."""
    state, backup = tmp_path / "state", tmp_path / "backup"
    with parties.local(2, state=state) as ps:
        material = ps.deal(train, x=X)
    shutil.copytree(state, backup)
    for _ in range(2):  # with the same masks
        with parties.local(2, state=state) as ps:
            assert ps.run(train, x=X, material=True).results["result"] == 8
        shutil.rmtree(state)
        shutil.copytree(backup, state)
    answer = privity("stock", "--burn", "--party", "bob", "--state", state, "--json")
    assert [(m["material"], m["state"]) for m in answer.json["materials"]] == [(material, "burnt")]
    with parties.local(2, state=state) as ps, pytest.raises(UsageError, match="no unused material"):
        ps.run(train, x=X, material=True)


def test_several_runs_at_once(two):
    long = two.start(walk, x=X)
    short = two.start(train, x=X)
    third = two.start(walk, x=X, steps=20)
    assert short.result().results["result"] == 8
    refused = two.start(needs_positive, x={"alice": np.asarray([-1.0, 2.0])})
    with pytest.raises(InputError):
        refused.result()
    assert third.result().rounds < long.result().rounds
    assert long.id != short.id


@pytest.mark.parametrize("victim", ["alice", "dealer"])
def test_a_run_goes_on_from_its_checkpoint(tmp_path, victim):
    """Killed after a checkpoint, by name; the rest gives the uninterrupted run's result, and no key serves twice."""
    near = Limits(window=1 << 16)  # the dealer stays near enough to be needed to the end
    with parties.local(2, state=tmp_path, limits=near) as ps:
        whole = ps.run(walk, x=X, checkpoint_every=20)
        assert whole.checkpoint == 100

        def kill(_stage, done, _total):
            if done > 150 and ps.pids():
                with contextlib.suppress(ProcessLookupError):  # progress is told once more before its end is noticed
                    os.kill(ps.pids()[victim], 9)

        pending = ps.start(walk, x=X, steps=2000, checkpoint_every=20)
        with pytest.raises(PeerError, match=rf"{victim} died \(killed by signal 9\)") as stopped:
            pending.result(on_progress=kill)
        assert f"resume with: privity resume {pending.id[:10]}" in str(stopped.value)
    with parties.local(2, state=tmp_path) as ps:
        uninterrupted = ps.run(walk, x=X, steps=2000)
        with pytest.raises(UsageError, match="no run begins with"):
            ps.resume("0" * 32)
        resumed = ps.resume(pending.id[:8])
        assert resumed.rounds < uninterrupted.rounds - 100
        assert resumed.id == pending.id
        assert np.allclose(resumed.results["result"], uninterrupted.results["result"], atol=2**-14)
        with pytest.raises(UsageError, match="is done; there is nothing to resume"):
            ps.resume(pending.id)
    for name in ("alice", "bob"):
        keys = reserved(tmp_path, name)
        assert len(set(keys)) == len(keys)
        with Home.open(actor_directory(name, tmp_path), name) as home:
            assert home.journal.verify().holds
            assert [a.how for a in home.ledger.attempts(pending.id)] == [
                "crashed" if name == victim else "stopped",
                "done",
            ]


def test_data_that_changed_since_the_run_began_is_refused(tmp_path):
    """Resuming with other data would mix two inputs in one result."""
    for name, scale in (("alice", 1), ("bob", 2)):
        (tmp_path / f"{name}.csv").write_text("age\n" + "\n".join(str(scale * i) for i in range(1, 4)) + "\n")
    (tmp_path / "prog.py").write_text(
        "import mpc\n@mpc.program\ndef f(t: mpc.PerParty[mpc.Table]):\n"
        "    a, b = (mpc.share(x['age']) / 16 for x in t)\n"
        "    c = mpc.assume_range(a, -1, 1)\n"
        "    s = mpc.repeat(3000, lambda i, s: mpc.assume_range(s * c + b, -4, 4), c)\n"
        "    return mpc.reveal(s)\n"
    )
    state = tmp_path / "state"
    files = {name: tmp_path / f"{name}.csv" for name in ("alice", "bob")}
    program = mpc.ProgramFunction(parties_target(tmp_path / "prog.py"))
    with parties.local(2, state=state) as ps:

        def kill(_stage, done, _total):
            if done > 30:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(ps.pids()["bob"], 9)

        pending = ps.start(program, t=files)
        with pytest.raises(PeerError):
            pending.result(on_progress=kill)
    files["bob"].write_text("age\n9\n9\n9\n")
    result = privity("resume", pending.id[:8], "--state", state, cwd=tmp_path)
    assert result.code == 3
    assert "bob: input 't' has changed since the run began; resume needs the same data" in result.err


def parties_target(path):
    from parties.target import load_target

    return load_target(f"{path}:f", {}).function


def test_nothing_of_a_temporary_session_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    with parties.local(2) as ps:
        ps.run(train, x=X)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
