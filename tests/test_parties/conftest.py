"""For tests of what an actor keeps, and of two that have a direct connection."""

import homes
import pytest
from pairs import Pair

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
