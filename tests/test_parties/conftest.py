"""For tests of what an actor keeps."""

import homes
import pytest

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
