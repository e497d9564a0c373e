import os
import pickle
import stat
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.home import HomeError
from parties.home.vault import Vault

CHUNK = 1 << 18
KEY = bytes(range(32))


def vault(tmp_path, key=KEY):
    return Vault(tmp_path / "vault", key, "0" * 16, os.urandom)


def words(n, seed=7):
    return np.random.default_rng(seed).integers(0, 1 << 64, n, dtype=np.uint64)


def same(a, b):
    return all((b[k] is None) if v is None else np.array_equal(v, b[k]) and v.dtype == b[k].dtype for k, v in a.items())


ARRAYS = {
    "w": words(6).reshape(2, 3),
    "bits": np.frombuffer(b"\x00\xff\x80", np.uint8),
    "nothing": None,
    "empty": np.empty((0, 4), np.uint64),
    "one": np.array(2**64 - 1, np.uint64),
}


def test_what_is_put_comes_back(tmp_path):
    v = vault(tmp_path)
    v.put("model", {"scale": 20, "unit": "kg"}, ARRAYS)
    header, arrays = v.get("model")
    assert header == {"scale": 20, "unit": "kg"}
    assert list(arrays) == list(ARRAYS)
    assert same(ARRAYS, arrays)
    assert arrays["w"].shape == (2, 3)
    assert arrays["empty"].shape == (0, 4)
    assert arrays["one"].shape == ()


@pytest.mark.parametrize("size", [0, 1, CHUNK // 8 - 1, CHUNK // 8, CHUNK // 8 + 1, CHUNK // 4, CHUNK // 4 + 3])
def test_sizes_around_the_chunk(tmp_path, size):
    v = vault(tmp_path)
    v.put("a", {}, {"x": words(size), "y": words(3)})
    assert same({"x": words(size), "y": words(3)}, v.get("a")[1])


def test_views_and_other_byte_orders_of_memory(tmp_path):
    v = vault(tmp_path)
    square = words(500 * 600).reshape(500, 600)
    views = {"t": square.T, "step": square[::3, 1::2], "fortran": np.asfortranarray(square), "back": square[::-1]}
    v.put("views", {}, views)
    assert same(views, v.get("views")[1])


@settings(max_examples=30)
@given(
    header=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3),
    sizes=st.lists(st.integers(0, 40), max_size=5),
)
def test_any_header_and_sizes(tmp_path_factory, header, sizes):
    v = vault(tmp_path_factory.mktemp("v"))
    arrays = {str(i): words(n, i) if i % 2 else words(n, i).astype(np.uint8) for i, n in enumerate(sizes)}
    v.put("x", header, arrays)
    got = v.get("x")
    assert got[0] == header
    assert same(arrays, got[1])


def test_the_file_is_private_and_shows_nothing(tmp_path):
    v = vault(tmp_path)
    array = np.full(100, 0x4141414141414141, np.uint64)
    v.put("x", {"name": "canary-in-the-header"}, {"canary-name": array})
    path = tmp_path / "vault" / "x.sealed"
    raw = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"canary" not in raw
    assert b"AAAAAAAA" not in raw
    v.put("y", {"name": "canary-in-the-header"}, {"canary-name": array})
    assert (tmp_path / "vault" / "y.sealed").read_bytes()[12:] != raw[12:]  # a key of its own
    assert KEY.hex() not in repr(v)
    assert "65" not in repr(v).replace(str(tmp_path), "")
    with pytest.raises(TypeError, match="never serialised"):
        pickle.dumps(v)


def test_names_drop_and_replace(tmp_path):
    v = vault(tmp_path)
    v.put("b", {}, {"x": words(3)})
    v.put("a", {}, {})
    assert v.names() == ["a", "b"]
    v.put("b", {"second": True}, {"x": words(4)})
    assert v.get("b")[0] == {"second": True}
    assert v.drop("b")
    assert not v.drop("b")
    assert v.names() == ["a"]
    with pytest.raises(HomeError, match=r"b\.sealed: missing"):
        v.get("b")


@pytest.mark.parametrize("name", ["", ".hidden", "../x", "a/b", "A", "x" * 200, "a\0", "ä"])
def test_a_name_is_never_a_path(tmp_path, name):
    v = vault(tmp_path)
    for verb in (v.get, v.drop, lambda n: v.put(n, {}, {})):
        with pytest.raises(HomeError, match="no name for a sealed file"):
            verb(name)


def test_other_types_are_refused_and_leave_nothing(tmp_path):
    v = vault(tmp_path)
    for array in (np.arange(3.0), np.arange(3), np.array(["x"])):
        with pytest.raises(HomeError, match="uint64 and uint8"):
            v.put("x", {}, {"a": array})
    with pytest.raises(HomeError, match="a header of"):
        v.put("x", {"long": "x" * (1 << 20)}, {})
    with pytest.raises(TypeError):
        v.put("x", {"bad": object()}, {})
    assert list((tmp_path / "vault").iterdir()) == []


# --- a file that is not what was put ---------------------------------------------------------------------------------


def refused(v, name="x"):
    with pytest.raises(HomeError, match=rf"{name}\.sealed: damaged") as found:
        v.get(name)
    assert "\n" not in str(found.value)
    return True


def test_every_flipped_byte_is_noticed(tmp_path):
    v = vault(tmp_path)
    v.put("x", {"a": 1}, {"w": words(4), "b": np.arange(5, dtype=np.uint8)})
    path = tmp_path / "vault" / "x.sealed"
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        with pytest.raises(HomeError):
            v.get("x")
    path.write_bytes(whole)
    v.get("x")


def test_every_length_but_the_right_one_is_noticed(tmp_path):
    v = vault(tmp_path)
    v.put("x", {"a": 1}, {"w": words(4)})
    path = tmp_path / "vault" / "x.sealed"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refused(v)
    path.write_bytes(whole + b"\0")
    assert refused(v)


def test_chunks_cut_off_moved_or_repeated(tmp_path):
    v = vault(tmp_path)
    v.put("x", {}, {"w": words(3 * CHUNK // 8)})
    path = tmp_path / "vault" / "x.sealed"
    whole = path.read_bytes()
    sealed = CHUNK + 16
    start = len(whole) - 3 * sealed
    head, first, second, third = whole[:start], *(whole[start + i * sealed :][:sealed] for i in range(3))
    for evil in (
        [second, first, third],
        [first, first, third],
        [first, third, second],
        [first, second],
        [first, second, second],
        [first, second, third, third],
    ):
        path.write_bytes(head + b"".join(evil))
        assert refused(v)
    path.write_bytes(head + first + second + third)
    v.get("x")


def test_a_blob_under_another_name_or_key_is_foreign(tmp_path):
    v = vault(tmp_path)
    v.put("x", {}, {"w": words(3)})
    v.put("y", {}, {"w": words(3)})
    x, y = (tmp_path / "vault" / f"{n}.sealed" for n in "xy")
    mine, other = x.read_bytes(), y.read_bytes()
    x.write_bytes(other)
    assert refused(v)
    x.write_bytes(mine[:44] + other[44:])  # its own salt with the other's chunks
    assert refused(v)
    x.write_bytes(mine)
    refused(vault(tmp_path, bytes(32)))
    x.unlink()
    x.symlink_to(y)
    with pytest.raises(HomeError, match=r"x\.sealed"):
        v.get("x")


def test_a_newer_form_is_named(tmp_path):
    v = vault(tmp_path)
    v.put("x", {}, {})
    path = tmp_path / "vault" / "x.sealed"
    path.write_bytes(b"privity\x02" + path.read_bytes()[8:])
    with pytest.raises(HomeError, match="newer privity"):
        v.get("x")


def test_a_large_array_is_never_copied_whole(tmp_path):
    v = vault(tmp_path)
    array = np.zeros((2000, 2000), np.uint64)
    for form in (array, array.T, array[::2]):
        tracemalloc.start()
        v.put("x", {}, {"w": form})
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.reset_peak()
        v.get("x")
        assert tracemalloc.get_traced_memory()[1] < form.nbytes + (4 << 20)
        tracemalloc.stop()


def test_no_nonce_serves_twice(tmp_path, monkeypatch):
    from parties.home import vault as module

    seen, last, bounds = set(), [], []

    class Aead:
        def __init__(self, key):
            self.key, self.inner = key, real(key)

        def encrypt(self, nonce, data, bound):
            assert (self.key, nonce) not in seen
            seen.add((self.key, nonce))
            last.append(nonce[-1])
            bounds.append(bound)
            return self.inner.encrypt(nonce, data, bound)

    real = module.AESGCM
    monkeypatch.setattr(module, "AESGCM", Aead)
    v = vault(tmp_path)
    for _ in range(3):
        v.put("x", {}, {"w": words(CHUNK // 4)})
    assert len(seen) == 3 * 3
    assert last == [0, 0, 1] * 3  # the header, a chunk, the last chunk
    assert bounds[1] == bounds[2] != bounds[0]  # the header is bound into every chunk of data
