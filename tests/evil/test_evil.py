"""Evil actors: every case ends as the protocol promises, and as the committed table says."""

import zlib

import pytest
import table
from cases import ALICE, BOB, COORDINATOR, DEALER, Case, every, floods, say, short_run
from judge import play
from lab import Lab

from parties.wire import Type

CASES = every()
SHARE = 12  # one in so many is played in the fast tests


def chosen(case):
    return zlib.crc32(case.id.encode()) % SHARE == 0 and not (case.much and zlib.crc32(case.id.encode()) % 5)


def check(case, row):
    end, words = play(case)
    assert end in table.MEANS, words
    assert table.row(case, end, words) == row, "out of date: scripts/evil --write"


def test_there_are_many_and_the_table_has_them_all():
    rows = table.rows()
    assert len(rows) == len(CASES) >= 500
    assert len({case.id for case in CASES}) >= 500
    for case, row in zip(CASES, rows, strict=True):
        assert row.startswith(table.row(case, "", "").removesuffix(" |  |  |"))


@pytest.mark.parametrize("part", range(8))
def test_a_share_of_all(part):
    rows = table.rows()
    for at, case in enumerate(CASES):
        if at % 8 == part and chosen(case):
            check(case, rows[at])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
def test_all(part):
    rows = table.rows()
    for at in range(part, len(CASES), 16):
        check(CASES[at], rows[at])


def test_honest_actors_end_well_in_every_mode():
    for mode in ("run", "deal", "stored"):
        lab = Lab(BOB, mode)
        lab.begin()
        assert lab.finish() == ["right"]


def test_the_broken_twin_without_the_order_of_the_conversation_blames_an_honest_actor(monkeypatch):
    from parties import coordinator

    case = Case("speaks out of place", "READY", "stocking", BOB, COORDINATOR, lambda lab, v: say(lab, v, Type.READY))
    assert play(case)[0] == "named"
    table_of = {k: (("preparing", "stocking", "running"), h) for k, (_, h) in coordinator._CONVERSATION.items()}
    monkeypatch.setattr(coordinator, "_CONVERSATION", table_of)
    monkeypatch.setattr(coordinator, "once", lambda first: None)
    assert play(case)[0] == "WRONG"


def test_the_broken_twin_that_keeps_every_answer_grows(monkeypatch):
    case = next(c for c in floods() if c.message == "DESCRIBE" and c.state == "idle")
    monkeypatch.setattr("parties.channel.UNHEEDED_MESSAGES", 1 << 30)
    monkeypatch.setattr("judge.MOST_KEPT", 1 << 20)
    with pytest.raises(AssertionError, match="bytes are kept"):
        play(case)


def test_a_dead_party_is_named_by_a_dealer_that_is_told_to_start():
    lab = Lab(BOB)
    lab.speak(DEALER, Type.BYE)
    lab.settle()
    lab.begin()
    (end,) = lab.finish()
    assert end.startswith("run stopped: party bob stopped")
    assert short_run(lab.following.terms.run) in end
    assert lab.attempt(ALICE) is None
