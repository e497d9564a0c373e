"""For tests: randomness that repeats, randomness that is enumerated, and a kit that puts a program through all of it.

None of it can be chosen from a cluster file or the command line; a session that uses deterministic randomness says so
in what the parties agree on (`insecure=`).
"""

from mpc.testing.faults import VerificationError
from mpc.testing.verify import Report, verify
from mpc.testing.worlds import Deterministic, deterministic_entropy, views

__all__ = ["Deterministic", "Report", "VerificationError", "deterministic_entropy", "verify", "views"]
