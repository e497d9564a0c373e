"""With the dealer off: stored material is used, and what asks parties only needs it as little."""

from served import Served

DATA = "v\n1\n2\n"


def test_stored_material_is_used_and_plans_are_made_while_the_dealer_is_off(tmp_path):
    with Served(tmp_path, {name: {"x": DATA} for name in ("alice", "bob")}) as world:
        world.serve_all()
        inputs = [word for name in world.names for word in ("--input", f"values={name}:x")]
        dealt = world.privity("deal", "mean", "--cluster", world.file, *inputs, "--json")
        assert dealt.wait() == 0, dealt.err
        dealer = world.running.pop("dealer")
        dealer.process.terminate()
        assert dealer.wait() == 0
        run = world.run("mean", "--stocked", offer="x", parameter="values")
        assert run.wait() == 0, run.err
        assert run.json["results"]["mean"] == 1.5
        for command in ("plan", "check", "show"):
            done = world.privity(command, "mean", "--cluster", world.file, *inputs, "--json")
            assert done.wait() == 0, done.err
        refused = world.run("mean", offer="x", parameter="values")
        assert refused.wait() == 4
        assert refused.sentence.startswith("the dealer cannot be reached at ")
        assert world.close() == [0] * 2


def test_what_is_revealed_to_one_party_is_shown_there_and_the_coordinator_is_told_where(tmp_path):
    (tmp_path / "p.py").write_text(
        "import mpc\n@mpc.program\ndef own(x: mpc.PerParty[mpc.Private]):\n"
        "    return mpc.reveal(sum(mpc.share(v) for v in x), to='bob')\n"
    )
    with Served(tmp_path, {name: {"x": DATA} for name in ("alice", "bob")}) as world:
        world.serve_all()
        inputs = [word for name in world.names for word in ("--input", f"x={name}:x")]
        run = world.privity("run", "p.py:own", "--cluster", world.file, *inputs)
        assert run.wait() == 0, run.err
        assert "result  shown at bob alone" in run.out
        world.running["bob"].says(r"bob: result result = \[2\.0, 4\.0\]")
        assert "[2.0" not in run.out + run.err + world.running["alice"].out
        assert world.close() == [0] * 3
