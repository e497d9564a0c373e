"""The code blocks of README.md, run as they are written, one after another in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from served import free_ports

__all__ = ["README", "Reader", "blocks"]

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language, text) of every code block; the language of an indented one is empty."""
    for language, fenced, indented in _BLOCK.findall(text):
        yield language, fenced or re.sub(r"^    ", "", indented, flags=re.MULTILINE)


class Reader:
    """A stranger in an empty folder with an empty home, who has the commands of one environment."""

    def __init__(self, folder: Path, commands: Path) -> None:
        self.folder = folder
        (folder / "home").mkdir()
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/activate").write_text(f'PATH="{commands}:$PATH"\n')
        kept = {name: value for name, value in os.environ.items() if name not in {"PRIVITY_STATE", "XDG_STATE_HOME"}}
        self.environment = {**kept, "HOME": str(folder / "home"), "NO_COLOR": "1"}
        self.served: list[subprocess.Popen[bytes]] = []
        self.said = ""

    def shell(self, script: str) -> str:
        """Run it; what it prints. Fails with what it complains of."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f". .venv/bin/activate\n{script}"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        self.said += done.stdout
        return done.stdout

    def console(self, text: str) -> str:
        """The lines after `$ `."""
        return self.shell("\n".join(re.findall(r"^\$ (.*)$", text, re.MULTILINE)))

    def script(self, text: str) -> None:
        """A file if the first line names one, else something to run."""
        if not self.file(text):
            (self.folder / "script.py").write_text(text)
            self.shell("python script.py")

    def file(self, text: str) -> bool:
        """Write a file whose first line says its name; whether it does."""
        named = re.match(r"# (\w+\.\w+)\n", text)
        if named:
            (self.folder / named[1]).write_text(text)
        return named is not None

    def cluster(self, text: str) -> None:
        """The cluster file, with the keys that were made and addresses of this machine; or another file."""
        if self.file(text):
            return
        owners = iter(["coordinator", "dealer", "alice", "bob"])
        ports = iter(free_ports(3))

        def key(_: re.Match[str]) -> str:
            return re.search(r'public = ".*"', (self.folder / f"{next(owners)}.public").read_text())[0]

        text = re.sub(r'public = "…"', key, text)
        text = re.sub(r'address = ".*"', lambda _: f'address = "127.0.0.1:{next(ports)}"', text)
        (self.folder / "cluster.toml").write_text(text)

    def hosts(self, text: str) -> str:
        """Commands of which all but the last one go on; what the last one prints."""
        *servers, last = text.strip().splitlines()
        for number, server in enumerate(servers):
            log = self.folder / f"host{number}.log"
            with log.open("wb") as file:
                command = ["bash", "-c", f". .venv/bin/activate; exec {server}"]
                one = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=file, stderr=file)
            self.served.append(one)
            while "listening on port" not in log.read_text():
                assert one.poll() is None, log.read_text()
                time.sleep(0.02)
        return self.shell(last)

    def close(self) -> None:
        """Stop whatever goes on."""
        for one in self.served:
            one.terminate()
        for one in self.served:
            one.wait(20)
