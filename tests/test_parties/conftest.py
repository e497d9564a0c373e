"""For tests of what an actor keeps, and of two that have a direct connection."""

from types import SimpleNamespace

import homes
import pytest
from ends import NOW, Ends
from pairs import Pair

from parties import meetings
from parties.home import Home


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


@pytest.fixture
def pair():
    made = []

    def make(**more):
        made.append(Pair(**more))
        return made[-1]

    yield make
    for p in made:
        p.close()


@pytest.fixture
def ends(monkeypatch):
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
