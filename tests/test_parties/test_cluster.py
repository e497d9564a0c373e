import pytest
from actors import make_cluster

from mpc.errors import UsageError
from parties import cluster as clusters
from parties.cluster import COORDINATOR, DEALER


@pytest.fixture
def text():
    return clusters.write(make_cluster(3)[0])


def test_what_is_written_reads_back(text):
    cluster = clusters.parse(text)
    assert clusters.write(cluster) == text
    assert cluster.names == ["alice", "bob", "carol"]
    assert list(cluster.actors()) == [0, 1, 2, DEALER, COORDINATOR]
    assert cluster.call(1) == "party bob"
    assert cluster.call(DEALER) == "the dealer"
    assert cluster.call(COORDINATOR) == "the coordinator"
    assert cluster.receives


def test_the_digest_covers_everything(text):
    first = clusters.parse(text).digest()
    assert first == clusters.parse(text).digest()
    for old, new in (
        ('name = "bob"', 'name = "bert"'),
        ("7002", "7009"),
        ("receives = true", "receives = false"),
        ('[dealer]\naddress = "127', '[dealer]\nbind = "0.0.0.0:7000"\naddress = "127'),
    ):
        assert old in text
        assert clusters.parse(text.replace(old, new)).digest() != first


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("format = 1", "format = 2", "format must be 1"),
        ("format = 1", "", "format must be 1"),
        ("format = 1", "format = true", "format must be 1"),
        ("format = 1", "format = 1\ninsecure = true", "unknown field 'insecure'"),
        ("[coordinator]", "[coordinator]\nsecret = 1", r"\[coordinator\] has an unknown field 'secret'"),
        ("[dealer]", "[dealr]", "unknown field 'dealr'"),
        ('name = "bob"', 'name = "alice"', "the same name"),
        ('name = "bob"', 'name = "dealer"', "none of"),
        ('name = "bob"', 'name = "Bob"', "small letters"),
        ('name = "bob"', "", r"\[\[party\]\] 2 name"),
        ('name = "bob"', 'name = "bob"\nport = 5', "unknown field 'port'"),
        ("127.0.0.1:7002", "127.0.0.1:7001", "the same address"),
        ("127.0.0.1:7002", "127.0.0.1", r"\[\[party\]\] bob address must be host:port"),
        ("127.0.0.1:7002", "127.0.0.1:0", "host:port"),
        ("127.0.0.1:7002", "127.0.0.1:65536", "host:port"),
        ("127.0.0.1:7002", "*:7002", "host:port"),
        ("127.0.0.1:7002", "[::zz]:7002", "host:port"),
        ("127.0.0.1:7002", "tcp://x:7002", "host:port"),
        ("receives = true", 'receives = "yes"', "true or false"),
        ("format = 1", "format = ", "not TOML"),
    ],
)
def test_every_refusal_names_file_and_field(text, old, new, expected):
    assert old in text
    with pytest.raises(UsageError, match=expected) as refusal:
        clusters.parse(text.replace(old, new, 1), "c.toml")
    assert str(refusal.value).startswith("c.toml: ")
    assert "\n" not in str(refusal.value)


def test_keys_are_checked(text):
    cluster = clusters.parse(text)
    alice, bob = cluster.parties[0].public, cluster.parties[1].public
    with pytest.raises(UsageError, match="the same public"):
        clusters.parse(text.replace(bob, alice))
    with pytest.raises(UsageError, match=r"\[\[party\]\] bob public is not a public key"):
        clusters.parse(text.replace(bob, bob[:-1]))


def test_two_parties_at_least(text):
    head, first, *_ = text.split("[[party]]")
    with pytest.raises(UsageError, match="at least two"):
        clusters.parse(f"{head}[[party]]{first}")


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match="no such cluster file"):
        clusters.load(tmp_path / "c.toml")


@pytest.mark.parametrize("address", ["alice.example.org:7001", "[::1]:7001", "10.0.0.1:1", "localhost:65535"])
def test_good_addresses(address):
    assert clusters.is_address(address)
