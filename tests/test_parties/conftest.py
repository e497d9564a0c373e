"""For tests of what an actor keeps, and of two that have a direct connection.

Two that are on one host have a Unix socket. `way` says which it is; what must be the same either way runs both ways.
"""

from types import SimpleNamespace

import homes
import pytest
from ends import NOW, Ends, has_unix
from pairs import Pair

from parties import meetings
from parties.home import Home

EITHER_WAY = {"test_direct", "test_direct_channel", "test_standing"}


@pytest.fixture(scope="module")
def quick():
    """No waiting for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        homes.without_fsync(patch)
        yield


@pytest.fixture
def home(tmp_path):
    with Home.open(tmp_path / "alice", "alice", now=lambda: 1.7e9) as opened:
        yield opened


def pytest_generate_tests(metafunc):
    if "way" in metafunc.fixturenames and metafunc.module.__name__ in EITHER_WAY:
        metafunc.parametrize("way", ["port", "one host"], indirect=True)


@pytest.fixture
def way(request, monkeypatch):
    """Over a port, unless it is to be over a Unix socket."""
    found = getattr(request, "param", "port")
    if found == "port":
        monkeypatch.setattr(meetings, "at_home", elsewhere)
    elif not has_unix():
        pytest.skip("this system has no Unix sockets of the kind, or little room in them")
    return found


def elsewhere(_name, _host):
    raise OSError("not on this host")


@pytest.fixture
def pair(way):
    made = []

    def make(**more):
        made.append(Pair(**more))
        return made[-1]

    yield make
    for p in made:
        p.close()


@pytest.fixture
def ends(monkeypatch, way):
    monkeypatch.setattr(meetings, "time", SimpleNamespace(monotonic=lambda: NOW))
    made = []

    def make(*callers):
        made.append(Ends(callers or (1,)))
        return made[-1]

    yield make
    for one in made:
        for end in one.ends.values():
            if end._selector.get_map() is not None:  # else closed
                end.close(0.0)
