"""State is found by the parties' keys: what else is edited in the cluster file hides no journal and no kept secret."""

from dataclasses import replace

import pytest
from served import Served, free_ports

from mpc.errors import UsageError
from parties import cluster as clusters
from parties import keys
from parties.cluster import Cluster, Member
from parties.home import Home, party_directory, settled, world_of, worlds

KEYS = {name: keys.fresh().public for name in ("alice", "bob", "carol", "dealer", "coordinator", "other")}


def member(name, port=7000, key=""):
    return Member(name, f"host.example:{port}", KEYS[key or name])


CLUSTER = Cluster(
    (member("alice", 1), member("bob", 2)), member("dealer", 3), Member("coordinator", "", KEYS["coordinator"])
)
SAME = {
    "a port": replace(CLUSTER, parties=(member("alice", 9), member("bob", 2))),
    "a control port": replace(CLUSTER, parties=(replace(member("alice", 1), control="a:9"), member("bob", 2))),
    "another order": replace(CLUSTER, parties=CLUSTER.parties[::-1]),
    "another dealer": replace(CLUSTER, dealer=member("dealer", 3, "other")),
    "another coordinator": replace(CLUSTER, coordinator=Member("boss", "", KEYS["other"])),
    "no results": replace(CLUSTER, receives=False),
    "another name": replace(CLUSTER, parties=(member("anna", 1, "alice"), member("bob", 2))),
}
OTHER = {
    "one more": replace(CLUSTER, parties=(*CLUSTER.parties, member("carol"))),
    "another party": replace(CLUSTER, parties=(member("alice", 1), member("carol", 2))),
    "another key": replace(CLUSTER, parties=(member("alice", 1), member("bob", 2, "other"))),
}


def opened(root, cluster, name, key=""):
    world = settled(root, cluster.keys, cluster.digest())
    return Home.open(party_directory(world, name, KEYS[key or name]), name)


def wrote(home):
    return [entry["what"] for entry in home.journal.entries()]


def begin(home, n):
    home.ledger.begin(f"{n:032x}", 1, f"{n:032x}", program="sum", digest="d" * 64, role="party")
    home.ledger.end(f"{n:032x}", "done", "")


@pytest.mark.parametrize("edited", SAME)
def test_what_says_nothing_of_who_the_parties_are_hides_nothing(tmp_path, edited):
    with opened(tmp_path, CLUSTER, "alice") as home:
        begin(home, 1)
    name = SAME[edited].names[SAME[edited].keys.index(KEYS["alice"])]
    with opened(tmp_path, SAME[edited], name, "alice") as home:
        assert wrote(home) == ["run begun", "run ended"]
        assert home.directory.name == name
        begin(home, 2)
    with opened(tmp_path, CLUSTER, "alice") as home:
        assert len(wrote(home)) == 4


@pytest.mark.parametrize("edited", OTHER)
def test_other_parties_are_another_world(tmp_path, edited):
    with opened(tmp_path, CLUSTER, "alice") as home:
        begin(home, 1)
    with opened(tmp_path, OTHER[edited], "alice") as home:
        assert wrote(home) == []
    with opened(tmp_path, CLUSTER, "alice") as home:
        assert len(wrote(home)) == 2


# --------------------------------------------------------------------------------------- names that go to another key


def test_names_that_are_exchanged_are_refused_by_name(tmp_path):
    for name in ("alice", "bob"):
        opened(tmp_path, CLUSTER, name).close()
    swapped = replace(CLUSTER, parties=(member("bob", 1, "alice"), member("alice", 2, "bob")))
    for name, key in (("alice", "bob"), ("bob", "alice")):
        with pytest.raises(UsageError, match=rf"/{name}: is the state of another party.*; call this one {key} in the"):
            opened(tmp_path, swapped, name, key)


def test_a_name_of_somebody_else_is_not_taken_over(tmp_path):
    opened(tmp_path, CLUSTER, "alice").close()
    world = settled(tmp_path, CLUSTER.keys, CLUSTER.digest())
    with pytest.raises(UsageError, match="another party"):
        party_directory(world, "alice", KEYS["bob"])


def test_a_party_that_runs_keeps_its_name_until_it_stops(tmp_path):
    running = opened(tmp_path, CLUSTER, "alice")
    with pytest.raises(UsageError, match=r"alice: is the state of anna .* in use: stop it first"):
        opened(tmp_path, SAME["another name"], "anna", "alice")
    running.close()
    opened(tmp_path, SAME["another name"], "anna", "alice").close()


# ------------------------------------------------------------------------------------ what an earlier version has left


@pytest.fixture
def old(tmp_path):
    """Both parties' state, where it used to be."""
    directory = tmp_path / CLUSTER.digest()[:16]
    for name in ("alice", "bob"):
        with Home.open(directory / name, name) as home:
            begin(home, 1)
            home.vault.put("x", {}, {})
    return directory


def test_state_of_an_earlier_version_is_moved(tmp_path, old):
    for name in ("alice", "bob"):
        with opened(tmp_path, CLUSTER, name) as home:
            assert len(wrote(home)) == 2
            assert home.vault.get("x") == ({}, {})
    assert not old.exists()
    with opened(tmp_path, SAME["a port"], "alice") as home:
        assert len(wrote(home)) == 2


def test_it_is_not_moved_from_under_a_process_that_has_it_open(tmp_path, old):
    with Home.open(old / "bob", "bob") as running:
        with pytest.raises(
            UsageError, match=r"bob: an earlier version of privity has it open.* stop that process first"
        ):
            opened(tmp_path, CLUSTER, "alice")
        assert len(wrote(running)) == 2
    assert len(wrote(opened(tmp_path, CLUSTER, "alice"))) == 2


def test_nothing_is_overwritten_if_both_are_there(tmp_path, old):
    world = tmp_path / world_of(CLUSTER.keys)
    world.mkdir(mode=0o700)
    opened(tmp_path, CLUSTER, "alice").close()
    assert old.exists()


def test_two_that_move_it_at_once_do_no_harm(tmp_path, old, monkeypatch):
    rename = worlds.disk.rename

    def faster(one, other):
        rename(one, other)  # another process, before this one
        rename(one, other)

    monkeypatch.setattr(worlds.disk, "rename", faster)
    assert settled(tmp_path, CLUSTER.keys, CLUSTER.digest()) == tmp_path / world_of(CLUSTER.keys)
    assert not old.exists()


# ---------------------------------------------------------------------------------------------- with real processes

KEEPS = """
import mpc

@mpc.program
def keeps(x: mpc.PerParty[mpc.Private]):
    total = sum(mpc.share(one) for one in x)
    mpc.keep(total, "total")

@mpc.program
def shows(total: mpc.Secret):
    return {"total": mpc.reveal(total)}
"""


def test_an_edited_port_hides_neither_journal_nor_kept_secret(tmp_path):
    (tmp_path / "p.py").write_text(KEEPS)
    with Served(tmp_path, {name: {"x": "v\n1\n2\n"} for name in ("alice", "bob")}) as world:
        world.serve_all()
        kept = world.run("p.py:keeps", offer="x", parameter="x")
        assert kept.wait() == 0, kept.err
        assert world.close() == [0] * 3
        old, new = world.ports["bob"][0], free_ports(1)[0]
        world.file.write_text(world.file.read_text().replace(f":{old}", f":{new}"))
        world.cluster = clusters.load(world.file)
        world.serve_all()
        shown = world.privity("run", "p.py:shows", "--cluster", world.file, "--json")
        assert shown.wait() == 0, shown.err
        assert shown.json["results"]["total"] == [2, 4]
        journal = world.privity("journal", "--cluster", world.file, "--state", world.state("bob"), "--json")
        assert journal.wait() == 0, journal.err
        (entries,) = [one["entries"] for one in journal.json["journals"]]
        assert [e["program"] for e in entries if e["what"] == "run begun"] == ["keeps", "shows"]
        assert world.close() == [0] * 3
