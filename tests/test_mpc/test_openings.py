"""mpc/openings.py: what an opening of each width is on the wire, and what comes back of it."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.errors import PeerError
from mpc.exchange import Frame
from mpc.ir import Equation
from mpc.openings import frame_of, packing, recipients, unpacking

WIDTHS = [1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 48, 49, 55, 56, 57, 58, 63, 64]
SHAPES = [(), (1,), (5,), (0,), (2, 3), (3, 0), (2, 3, 4)]


def words(shape: tuple[int, ...], width: int) -> np.ndarray:
    """Words of so many bits, the largest among them."""
    made = np.random.default_rng(width).integers(0, 1 << 64, shape, dtype=np.uint64) >> np.uint64(64 - width)
    made.reshape(-1)[:1] = (1 << width) - 1
    return made


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_sent_fits_its_frame_and_comes_back(width: int, shape: tuple[int, ...]) -> None:
    given = words(shape, width)
    sent, frame = packing(width)(given), frame_of(shape, width)
    assert (sent.dtype.str, sent.shape, sent.nbytes) == (frame.dtype, frame.shape, frame.nbytes)
    assert sent.flags.c_contiguous
    back = unpacking(width, "here")(sent)
    assert np.array_equal(back, given)
    assert back.shape == shape


def test_an_opening_is_bytes_up_to_56_bits_and_words_above() -> None:
    assert [frame_of((2,), width).shape for width in (1, 8, 9, 16, 17, 56)] == [(2, n) for n in (1, 1, 2, 2, 3, 7)]
    assert {frame_of((2,), width).dtype for width in (1, 8, 56)} == {"|u1"}
    assert [frame_of((2,), width) for width in (57, 63, 64)] == [Frame("<u8", (2,))] * 3
    assert packing(16)(np.array([0x0102, 0xFFFF], dtype=np.uint64)).tolist() == [[2, 1], [255, 255]]


def test_a_narrow_opening_is_sent_without_the_bits_above_its_bytes() -> None:
    assert packing(8)(np.array([0x1FF], dtype=np.uint64)).tolist() == [[0xFF]]


def test_what_is_sent_is_in_its_own_order() -> None:
    turned = words((3, 2), 64).T
    assert packing(64)(turned).flags.c_contiguous
    assert packing(24)(turned).tobytes() == b"".join(int(w).to_bytes(8, "little")[:3] for w in turned.reshape(-1))


@pytest.mark.parametrize("width", [width for width in WIDTHS if width % 8 and width < 64])
def test_a_wider_word_of_a_peer_is_refused(width: int) -> None:
    for at in range(3):
        given = np.zeros(3, dtype=np.uint64)
        given[at] = 1 << width
        with pytest.raises(PeerError, match=rf"more than {width} bits for an opening of {width} \(line 3\)"):
            unpacking(width, "line 3")(packing(width)(given))


def test_a_reveal_goes_to_whom_it_names() -> None:
    names = ["alice", "bob", "carol"]
    for to, expected in (("everyone", [0, 1, 2]), (["bob"], [1]), (["carol", "alice"], [0, 2]), ([], [])):
        assert recipients(Equation("reveal", (), (), {"to": to}), names) == expected
