"""What an attempt is owed and what it draws: taken whole and counted, or left as it is."""

import numpy as np
import pytest
from actors import running

from mpc.exchange import Draw, Exchange, Frame


@pytest.mark.parametrize(
    ("frames", "room", "parked", "taken"),
    [
        ((b"12345678", b"87654321"), 16, False, True),
        ((b"12345678", b"87654321"), 15, False, False),
        ((b"12345678", b"87654321"), 16, True, False),
        ((b"1234567887654321",), 99, False, True),
        ((b"1234567887654321", b"", b""), 99, False, False),
        ((b"12345678", b"8765432"), 99, False, False),
        ((), 99, False, False),
    ],
)
def test_what_is_owed_is_taken_whole_and_counted_or_left_as_it_is(frames, room, parked, taken, monkeypatch):
    a, word = running(2, monkeypatch).attempt(0), Frame("<u8", (1,))
    a.request = request = Exchange(2, "-", {1: []}, {1: (word, word)})
    a._room[1], a._parked = room, {1: {}, 2: {3: (b"x",)} if parked else {}}
    arrays = a.owed(request, {1: frames})
    assert (arrays is not None) == taken
    assert a._room[1] == room - (16 if taken else 0)
    assert a.request is (None if taken else request)
    if taken:
        assert b"".join(x.tobytes() for x in arrays[1]) == b"".join(frames)


@pytest.mark.parametrize(
    ("frames", "taken"),
    [
        ((b"12345678" + b"\xff" * 8,), True),
        ((b"12345678", b"\xff" * 8), True),
        ((b"12345678" + b"\xff" * 7,), False),
        ((b"12345678",), False),
        ((b"12345678" * 3,), False),
    ],
)
def test_single_words_come_as_integers(frames, taken, monkeypatch):
    a, word = running(2, monkeypatch).attempt(0), Frame("<u8", ())
    a.request = request = Exchange(2, "-", {1: []}, {1: (word, word)}, single=True)
    a._room[1], a._parked = 99, {1: {}}
    answer = a.owed(request, {1: frames})
    assert (answer is not None) == taken
    assert a._room[1] == 99 - (16 if taken else 0)
    if taken:
        assert list(map(int, answer[1])) == [int.from_bytes(b"12345678", "little"), (1 << 64) - 1]
        assert len(frames) > 1 or all(type(word) is int for word in answer[1])


@pytest.mark.parametrize(
    ("send", "single", "lengths"),
    [
        ([5, 6], True, [16]),
        ([np.zeros(3, "<u8"), np.ones((2, 2), "|u1")], False, [28]),
        ([np.zeros(512, "<u8"), np.ones(0, "<u8")], False, [4096]),
        ([np.zeros(512, "<u8"), np.ones(1, "|u1")], False, [4096, 1]),
    ],
)
def test_few_bytes_leave_as_one_frame(send, single, lengths, monkeypatch):
    a = running(2, monkeypatch).attempt(0)
    request, before = Exchange(2, "-", {1: send}, {}, single=single), a.bytes_sent
    frames = a.packed(request)[1]
    assert list(map(len, frames)) == lengths
    assert b"".join(frames) == b"".join(x.tobytes() for x in request.arrays[1])
    assert a.bytes_sent - before == sum(lengths)


@pytest.mark.parametrize("left", [0, 5])
def test_what_is_drawn_is_copied_if_it_is_short_and_else_lies_where_it_came(monkeypatch, left):
    """A single word may stay for a whole run, and would keep its message. left: words of another draw behind it."""
    a, came = running(2, monkeypatch).attempt(0), np.arange(1 + 513 + 1 + left, dtype="<u8")
    a._stock.clear()
    a._views.clear()
    a._in_stock, a._dealer_room = 0, 1 << 20
    a.put_in_stock((came.tobytes(), b""))
    a.put_in_stock((b"", b"12345678"))
    kept = np.frombuffer(a._stock[0][0], "<u8")
    drawn = []
    for size in (1, 513, 1, *((left,) if left else ()), 1):
        a.request = Draw(1, "-", (Frame("<u8", (size,)),))
        drawn += a.answer()
    assert [np.shares_memory(x, kept) for x in drawn] == [False, True, *(False,) * (len(drawn) - 2)]
    assert np.array_equal(np.concatenate(drawn[:-1]), came)
    assert drawn[-1].tobytes() == b"12345678"
    assert a._in_stock == 0
