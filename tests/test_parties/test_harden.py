"""parties/harden.py: memory is kept between arrays, and given back after a run that took much."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CODE = """
import numpy as np
from parties import harden
harden.keep_memory()
arrays = [np.ones(1 << 17) for _ in range(1100)]
kept = arrays[::100]
del arrays
before = harden.resident()
rest = harden.Rest()
for busy in {turns}:
    rest(busy)
print(before, harden.resident())
"""


def resident(turns: list[bool]) -> tuple[int, int]:
    """Before and after, of a process that has dropped 1.1 GB between arrays that it holds."""
    code = _CODE.format(turns=turns)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, done.stdout.split())
    return before, after


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_after_a_large_run_memory_goes_back() -> None:
    before, after = resident([False, True, True, False])
    assert before > 1 << 30
    assert after < 1 << 28


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
@pytest.mark.parametrize("turns", [[True, True], [False, False], []])
def test_while_a_run_is_on_it_stays(turns: list[bool]) -> None:
    before, after = resident(turns)
    assert after > before - (1 << 24)


LOOKS = """
import ctypes, resource
print(resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
raise SystemExit
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_the_coordinators_command_leaves_no_core_dump(tmp_path):
    (tmp_path / "looks.py").write_text(LOOKS)
    code = (
        "import resource; hard = resource.getrlimit(resource.RLIMIT_CORE)[1]; "
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)); from parties.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, "plan", "looks.py", "--input", "x=alice:a.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.stdout.split() == ["0", "0"], done.stderr


def test_a_script_that_coordinates_is_left_as_it_is():
    code = "import ctypes, parties.api, parties.session; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1"]
