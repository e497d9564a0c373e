"""What can be computed, written in the language of `mpc`: the suites and the catalogue."""

from protocols import beaver, masked
from protocols.catalog import catalog

MASKED, BEAVER = masked.SUITE, beaver.SUITE
suites = {suite.name: suite for suite in (MASKED, BEAVER)}

__all__ = ["BEAVER", "MASKED", "catalog", "suites"]
