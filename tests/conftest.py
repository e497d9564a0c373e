"""For all tests."""

import gc
import os
import signal

import pytest

# A shell that starts the suite in the background lets it ignore Ctrl-C, and every process started from here would too;
# the tests of Ctrl-C send real signals to such processes.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What is imported stays: the collector, which runs in memory make busy, need not look through it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def state(tmp_path_factory):
    """What actors keep goes into a folder of the tests, never into the state of whoever runs them."""
    folder = tmp_path_factory.mktemp("state", numbered=True)
    before = os.environ.get("PRIVITY_STATE")
    os.environ["PRIVITY_STATE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["PRIVITY_STATE"]
    else:
        os.environ["PRIVITY_STATE"] = before
