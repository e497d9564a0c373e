"""When a party makes its engine: after its ledger knows the keys, and before it says that it is ready to go."""

import pytest
from actors import NAMES, Net, scripted, scripted_party

from mpc.errors import PeerError
from parties.attempt import Stage


def heard(net, party):
    """What has been said by a party, and to it, so far."""
    return [m.type.name for m in net.log if party in (m.src, m.dst)]


def test_between_the_ledger_and_the_word_that_it_is_ready():
    made = []

    def party(lowered, me, inputs, entropy):
        made.append((me, heard(net, me), len(net.homes[me].ledger.streams)))
        return scripted_party(lowered, me, inputs, entropy)

    net = Net(3, scripted(lambda *given: party(*given[:4])))
    net.begin()
    net.settle()
    assert net.outcome.results["sum"]
    assert sorted(me for me, _, _ in made) == [0, 1, 2], "once each"
    for _, before, reserved in made:
        assert reserved
        assert "PAIR" in before
        assert not {"STOCKED", "GO"} & set(before)


def test_a_party_whose_engine_cannot_be_made_is_named():
    def party(_lowered, me, *_):
        if me == 1:
            raise PeerError("its kernels are broken")
        return scripted_party(_lowered, me, *_[:2])

    net = Net(3, scripted(party))
    net.begin()
    net.settle()
    assert net.verdict.sentence.startswith(f"run stopped: {NAMES[1]}: its kernels are broken")
    assert "GO" not in net.types()
    assert not any(net.brains[i].sessions for i in range(3))


@pytest.mark.parametrize("actor", [0, 2])
def test_whoever_is_lost_before_the_run_goes_leaves_nothing_of_an_engine(actor):
    net = Net(3, scripted())
    net.begin()
    while not (net.attempt(1) and net.attempt(1).engine is not None):
        assert net.step()
    attempt = net.attempt(1)
    assert attempt.stage is Stage.STOCKING
    net.kill(actor)
    net.settle()
    assert attempt.engine is None
