import pytest

from parties.simulation.programs import Library
from protocols import suites


@pytest.fixture(scope="session")
def library():
    """Programs that are compiled once for all simulations of a session."""
    return Library(suites)
