"""What the README shows is what happens."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from command import privity

from parties.cli import cli

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_first_commands_are_demo_and_test():
    assert re.findall(r"^    (\./scripts/\w+)", README, re.MULTILINE) == ["./scripts/demo", "./scripts/test"]


def test_the_example_program_and_its_commands(tmp_path):
    (program,) = re.findall(r"```python\n(import mpc\n.*?)```", README, re.DOTALL)
    (tmp_path / "mean_age.py").write_text(program)
    (tmp_path / "a.csv").write_text("age\n30\n40\n")
    (tmp_path / "b.csv").write_text("age\n50\n")
    commands = re.findall(r"^\$ (privity [^#\n]*)", README, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["plan", "check", "run"]
    for command in commands:
        answer = privity(*shlex.split(command)[1:], cwd=tmp_path)
        assert answer.code == 0, answer.err
    assert "40" in answer.out


def test_every_command_is_in_the_readme():
    for name in cli.commands:
        assert re.search(rf"privity (\w+ \| )*{name}", README), name
        assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0
