"""What the README shows is what happens: every code block is run as it is written, in an empty home."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from readme import README, ROOT, Reader, blocks

from parties.cli import cli

TEXT = README.read_text()
SHOWN = {"privity run | plan | check", "mpc/        the language", "run stopped: party bob died"}  # and not run


def test_the_first_commands_are_demo_and_test():
    assert re.findall(r"^    (\./scripts/\w+)", TEXT, re.MULTILINE) == ["./scripts/demo", "./scripts/test"]


def test_every_command_is_in_the_readme():
    for name in cli.commands:
        assert re.search(rf"privity (\w+ \| )*{name}", TEXT), name
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def played(reader):
    """Run every block; how many were, by kind."""
    count = {}
    for language, text in blocks(TEXT):
        match language, text.split()[0]:
            case "python", _:
                kind = "script"
                reader.script(text)
            case "console", _:
                kind = "console"
                reader.console(text)
            case "toml", _:
                kind = "toml"
                reader.cluster(text)
            case "", "./scripts/demo":
                kind = "setting up"  # test_a_fresh_clone
            case "", "privity" if text.startswith("privity keygen"):
                kind = "keys"
                reader.shell(text)
            case "", "privity" if text.startswith("privity dealer"):
                kind = "hosts"
                assert "45.75" in reader.hosts(text)
            case _:
                assert any(text.startswith(start) for start in SHOWN), f"a block that nobody runs: {text}"
                kind = "shown"
        count[kind] = count.get(kind, 0) + 1
    return count


def everything_happens(folder, commands):
    reader = Reader(folder, commands)
    try:
        count = played(reader)
    finally:
        reader.close()
    assert count == {
        "setting up": 1, "script": 3, "console": 3, "shown": 3, "keys": 1, "toml": 2, "hosts": 1
    }  # fmt: skip
    assert re.search(r"result +45\.75$", reader.said, re.MULTILINE)  # the mean age of a.csv and b.csv
    assert "{'result': 43.2}" in reader.said  # and of all three
    assert re.search(r"result +10324  \(bob alone\)", reader.said)
    assert re.search(r"stored material.*(used|stocked).*(used|stocked)", reader.said, re.DOTALL)
    assert [path.name for path in (folder / "home").iterdir()] == [".local"]  # the state, and nothing else


def test_every_block(tmp_path):
    everything_happens(tmp_path, Path(sys.executable).parent)


@pytest.mark.slow
def test_a_fresh_clone_with_an_empty_home(tmp_path):
    clone, home = tmp_path / "clone", tmp_path / "home"
    home.mkdir()
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(".venv*", ".git", "__pycache__", ".*_cache"))
    demo = subprocess.run(
        ["./scripts/demo"],
        cwd=clone, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stderr
    everything_happens(tmp_path / "home", clone / ".venv/bin")
