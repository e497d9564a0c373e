"""Ctrl-C while a command still loads what it needs."""

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SLOW = "import sys, threading\nprint('loading', flush=True)\nthreading.Event().wait()\n"
START = "import signal, sys; signal.signal(signal.SIGINT, signal.{}); from parties.{} import main; main()"


def interrupted(tmp_path, handler, module, *arguments):
    """What a command says that is interrupted while it loads a library: exit code, output, errors."""
    (tmp_path / "click.py").write_text(SLOW)
    start = START.format(handler, module)
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {start}", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=1 if handler == "SIG_IGN" else 30)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        return process.returncode, out, err


def test_one_line_and_130(tmp_path):
    assert interrupted(tmp_path, "default_int_handler", "__main__", "catalog") == (130, "", "privity: stopped\n")


def test_and_the_object_under_json(tmp_path):
    code, out, err = interrupted(tmp_path, "default_int_handler", "__main__", "run", "--json")
    assert (code, err) == (130, "privity: stopped\n")
    assert json.loads(out) == {"schema_version": 1, "error": "stopped", "exit_code": 130}


def test_the_twin_that_does_not_care_shows_a_traceback(tmp_path):
    assert "Traceback" in interrupted(tmp_path, "default_int_handler", "cli", "catalog")[2]


def test_what_is_ignored_in_the_background_of_a_shell_stays_ignored(tmp_path):
    assert interrupted(tmp_path, "SIG_IGN", "__main__", "catalog") == (-signal.SIGKILL, "", "")


def test_the_installed_command_begins_there_too():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"privity": "parties.__main__:main"}


LOADING = """
import gc
from parties.early import loading

try:
    with loading():
        print(gc.isenabled())
        kept = [[] for _ in range(10)]
        {fails}
except ImportError:
    pass
print(gc.isenabled(), gc.get_freeze_count() > 10, any(kept is other for other in gc.get_objects()))
"""


@pytest.mark.parametrize("fails", ["pass", "raise ImportError"])
def test_nobody_looks_for_garbage_among_what_is_loaded_now_or_later(fails):
    code = LOADING.format(fails=fails)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True", "False"]
