import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85 as reference

from mpc.errors import UsageError
from parties import keys


@given(st.binary(min_size=32, max_size=32))
def test_z85_is_the_one_of_zeromq(raw):
    text = keys.z85(raw)
    assert text == reference.encode(raw).decode()
    assert keys.unz85(text) == raw


@given(st.text(max_size=50))
def test_no_other_text_is_a_key(text):
    if keys.is_public(text):
        assert keys.z85(keys.unz85(text)) == text


@pytest.mark.parametrize("text", ["", "0" * 40, "#" * 40, "a" * 39, "a" * 41, "é" * 40, None, 7])
def test_bad_public_keys(text):
    assert not keys.is_public(text)


def test_a_pair_belongs_together_and_differs_from_the_next():
    one, two = keys.fresh(), keys.fresh()
    assert one.public != two.public
    assert keys.is_public(one.public)
    assert one.secret not in repr(one)


def test_keygen_writes_a_secret_for_its_owner_only(tmp_path):
    previous = os.umask(0)
    try:
        secret, public = keys.keygen("alice", tmp_path)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    pair = keys.load_secret(secret)
    assert keys.load_public(public) == keys.load_public(secret) == pair.public
    assert pair.secret not in public.read_text()
    assert keys.fingerprint(pair.public) in public.read_text()
    assert len(keys.fingerprint(pair.public)) == 19


@pytest.mark.parametrize("existing", ["alice.secret", "alice.public"])
def test_keygen_never_overwrites(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(UsageError, match=rf"{existing} exists already"):
        keys.keygen("alice", tmp_path)
    assert (tmp_path / existing).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["", "Alice", "a b", "../x", "-a", "a" * 33])
def test_keygen_wants_a_name(tmp_path, name):
    with pytest.raises(UsageError, match="is not a name"):
        keys.keygen(name, tmp_path)


def test_a_secret_key_that_others_can_read_is_refused(tmp_path):
    secret, _ = keys.keygen("alice", tmp_path)
    secret.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        keys.load_secret(secret)


def test_damaged_key_files_are_refused_without_repeating_them(tmp_path):
    secret, public = keys.keygen("alice", tmp_path)
    text = secret.read_text()
    own = keys.load_secret(secret).secret
    other = keys.fresh().secret
    with pytest.raises(UsageError, match="holds no secret key"):
        public.chmod(0o600)
        keys.load_secret(public)
    for bad in (text.replace(own, other), text.replace(own, own[:-1]), "nonsense [", ""):
        secret.write_text(bad)
        with pytest.raises(UsageError) as refusal:
            keys.load_secret(secret)
        assert own not in str(refusal.value)
        assert other not in str(refusal.value)
    with pytest.raises(UsageError, match="privity keygen bob"):
        keys.load_secret(tmp_path / "bob.secret")
