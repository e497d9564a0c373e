"""A small message as one part, at the edges of what is small; and what only looks like one."""

import struct

import pytest

from parties.envelope import enveloped, unfolded


def false(count, lengths, rest=b"", mark=b"PRVF"):
    """An envelope by hand."""
    return mark + struct.pack(f"<I{len(lengths)}I", count, *lengths) + rest


@pytest.mark.parametrize(
    "parts",
    [[b"", b""], [b"a"] * 2, [b"a"] * 64, [b"x" * 4096, b""], [b"x" * 2000, b"y" * 2096], [b"abc", b"", b"d"]],
    ids=["two of nothing", "two", "64", "4096 bytes and none", "4096 bytes", "three"],
)
def test_what_is_small_is_one_part_and_comes_back(parts):
    (whole,) = enveloped(parts)
    assert whole == false(len(parts), [len(p) for p in parts], b"".join(parts))
    assert unfolded(whole) == parts


@pytest.mark.parametrize(
    "parts", [[], [b"x"], [b"x" * 4097, b""], [b"a"] * 65], ids=["none", "one", "4097 bytes", "65"]
)
def test_what_is_not_small_stays_as_it_is(parts):
    assert enveloped(parts) is parts


@pytest.mark.parametrize(
    "whole",
    [
        false(2, [1, 1], b"xy", mark=b"PRVX"),
        false(0, [], b""),
        false(1, [2], b"xy"),
        false(65, [0] * 65),
        false(2, [1, 1], b"xyz"),
        false(2, [1, 2], b"xy"),
        false(2, [1])[:-1],
        false(3, [0, 0]),
        false(2, [1, 8192 - 16], b"x" * (8193 - 16)),
        b"PRVF\x02\x00\x00",
        b"",
    ],
)
def test_what_only_looks_like_an_envelope_stays_as_it_is(whole):
    assert unfolded(whole) == [whole]


def test_a_longer_envelope_than_this_end_makes_is_read_up_to_twice_its_size():
    whole = false(2, [1, 8192 - 17], b"x" * (8192 - 16))
    assert len(whole) == 8192
    assert [len(p) for p in unfolded(whole)] == [1, 8192 - 17]
