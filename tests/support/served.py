"""Parties served from a cluster file, as on separate hosts, or by the local launcher: started, broken, looked into.

Every process carries a mark in its environment and writes to a file of its own, so that whoever waits for a sentence
waits on that file, and whoever is left over afterwards is found.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from command import MARK, marked, still_running

from parties import cluster as clusters
from parties import keys
from parties.cluster import Cluster, Member
from parties.home import Home, settled

__all__ = ["BEHIND", "Command", "Served", "free_ports", "key_uses", "leavings", "wait_until", "world_of"]

BEHIND = "127.0.0.2"
PATIENCE = 60.0
SCHEMA = 'format = 1\n[columns.y]\nas = "label"\nvalues = ["no", "yes"]\n'
_LISTENS = "listening on port"


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "it never happened") -> Any:
    """What the condition gives, as soon as that is true; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} (waited {seconds:g} s)")
        time.sleep(0.01)
    return found


def free_ports(n: int) -> list[int]:
    """Ports that nobody uses now, below those that the system gives to whoever calls somebody."""
    found: list[socket.socket] = []
    while len(found) < n:
        one = socket.socket()
        try:
            one.bind(("127.0.0.1", 15_000 + secrets.randbelow(15_000)))
        except OSError:
            one.close()
        else:
            found.append(one)
    numbers = [int(s.getsockname()[1]) for s in found]
    for s in found:
        s.close()
    return numbers


class Command:
    """One `privity …` in a process of its own; what it writes goes into files, and can be waited for."""

    def __init__(
        self,
        folder: Path,
        name: str,
        arguments: Sequence[object],
        mark: str,
        before: Sequence[str] = (),
        python: str = sys.executable,
        **more: str,
    ) -> None:
        self.name = name
        self._paths = [folder / f"{name}.{uuid.uuid4().hex[:8]}.{kind}" for kind in ("out", "err")]
        files = [path.open("wb") for path in self._paths]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [*before, python, "-m", "parties", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, MARK: mark, "NO_COLOR": "1", "TMPDIR": str(folder / "tmp"), **more},
            stdin=subprocess.DEVNULL,
            stdout=files[0],
            stderr=files[1],
        )
        for file in files:
            file.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return self._paths[0].read_text()

    @property
    def err(self) -> str:
        return self._paths[1].read_text()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The line of its refusal, without its own name."""
        lines = [line for line in self.err.splitlines() if line.startswith("privity: ")]
        return lines[-1].removeprefix("privity: ") if lines else ""

    def says(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until it has written that, to either."""

        def found() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            match = re.search(pattern, self.out + self.err)
            if match is None and ended:
                raise AssertionError(f"{self.name} ended without saying {pattern!r}: {self.out}{self.err}")
            return match

        return wait_until(found, seconds, f"{self.name} never said {pattern!r}")

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def send(self, signum: int) -> float:
        """Send it a signal; when that was."""
        self.process.send_signal(signum)
        return time.monotonic()

    def end(self, seconds: float = 20.0) -> int:
        """Its exit code, after it was asked to stop."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} does not end: {self.out}{self.err}") from None


class Served:
    """A cluster file, keys and data in a folder, and the processes. `offers`: {party: {name: CSV text}}.

    through: told of every data and control port (`"alice"`, `"alice control"`), at which it has to listen, and behind
    which the actor listens on another address of this host.
    state: where each actor keeps its state, if not beside its data. addresses, before: each actor's host if it is not
    this one, and the words before a command that is to run there. pythons: the interpreter of an actor, if not ours.
    schema: of every party that has a column `y`.
    """

    def __init__(
        self,
        folder: Path,
        offers: dict[str, dict[str, str]],
        *,
        through: Callable[[str, int], object] | None = None,
        state: dict[str, Path] | None = None,
        addresses: dict[str, str] | None = None,
        before: dict[str, list[str]] | None = None,
        pythons: dict[str, str] | None = None,
        schema: str = SCHEMA,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tmp").mkdir(exist_ok=True)
        self.folder, self.offers, self.names = folder, offers, list(offers)
        self.mark = uuid.uuid4().hex
        self.running: dict[str, Command] = {}
        self._states = state or {}
        self._schema = folder / "labels.toml"
        self._schema.write_text(schema)
        self._before = before or {}
        self._pythons = pythons or {}
        self.commands: list[Command] = []
        everybody = [*self.names, "dealer", "coordinator"]
        for name in everybody:
            keys.keygen(name, folder)
        public = {name: keys.load_public(folder / f"{name}.public") for name in everybody}
        ports = free_ports(2 * (len(offers) + 1))
        members = []
        self.ports: dict[str, tuple[int, int]] = {}
        for i, name in enumerate(everybody[:-1]):
            data, control = self.ports[name] = (ports[2 * i], ports[2 * i + 1])
            host = (addresses or {}).get(name, "127.0.0.1")
            if through is not None:  # a control port is the same number everywhere, so the two sides differ in the host
                through(name, data)
                through(f"{name} control", control)
            places = (f"{host}:{data}", f"{host if through is None else BEHIND}:{data}", f"{host}:{control}")
            members.append(Member(name, places[0], public[name], places[1], places[2]))
        self.cluster = Cluster(tuple(members[:-1]), members[-1], Member("coordinator", "", public["coordinator"]))
        self.file = folder / "cluster.toml"
        self.file.write_text(clusters.write(self.cluster))
        for name, tables in offers.items():
            for offer, text in tables.items():
                (folder / f"{name}-{offer}.csv").write_text(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for command in [*self.commands, *self.running.values()]:
            if command.process.poll() is None:
                with suppress(ProcessLookupError):
                    command.process.send_signal(signal.SIGCONT)
                command.process.kill()
                command.process.wait()

    def state(self, name: str) -> Path:
        """The state root of one actor: each has its own, as hosts have."""
        return self._states.get(name, self.folder / "state" / name)

    def serve(self, name: str, *more: object, wait: bool = True) -> Command:
        """Start a party or the dealer and wait until it listens. more: words of its command."""
        words: list[object] = ["dealer", "--cluster", self.file]
        if name != "dealer":
            data = [f"{offer}={name}-{offer}.csv" for offer in self.offers[name]]
            words = ["party", "--cluster", self.file, "--name", name, "--state", self.state(name)]
            words += [word for offer in data for word in ("--data", offer)]
        python = self._pythons.get(name, sys.executable)
        if name != "dealer" and self._schema.read_text() and any("y" in _header(t) for t in self.offers[name].values()):
            words += ["--schema", self._schema]
        words += more
        command = self.running[name] = Command(self.folder, name, words, self.mark, self._before.get(name, ()), python)
        if wait:
            command.says(_LISTENS)
        return command

    def serve_all(self) -> None:
        """Everybody, side by side."""
        for command in [self.serve(name, wait=False) for name in [*self.names, "dealer"]]:
            command.says(_LISTENS)

    def privity(self, *words: object) -> Command:
        """A command of the coordinator's."""
        before = self._before.get("coordinator", ())
        state = str(self.state("coordinator"))
        python = self._pythons.get("coordinator", sys.executable)
        command = Command(self.folder, str(words[0]), words, self.mark, before, python, PRIVITY_STATE=state)
        self.commands.append(command)
        return command

    def run(self, program: str, *words: object, offer: str, parameter: str, parties: Sequence[str] = ()) -> Command:
        """`privity run` with what every party offers under one name."""
        inputs = [w for name in parties or self.names for w in ("--input", f"{parameter}={name}:{offer}")]
        return self.privity("run", program, "--cluster", self.file, *inputs, *words, "--json")

    def home(self, name: str) -> Path:
        """The directory of an actor's state."""
        return settled(self.state(name), self.cluster.keys, self.cluster.digest()) / name

    def heard(self, sentence: str, but: Sequence[str] = (), seconds: float = PATIENCE) -> None:
        """Wait until every running party has printed a sentence. The dealer is not told it."""
        for name, command in self.running.items():
            if name not in (*but, "dealer"):
                command.says(re.escape(f"{name}: {sentence}") + "$", seconds)

    def close(self) -> list[int]:
        """Stop everybody as an operator would; exit codes, and nothing may run afterwards."""
        for command in self.running.values():
            if command.process.poll() is None:
                command.process.terminate()
        codes = [command.end() for command in self.running.values()]
        self.running.clear()
        assert not still_running(self.mark), "processes are left"
        return codes

    def pids(self) -> list[int]:
        """Every process of this world."""
        return marked(self.mark)


def _header(text: str) -> list[str]:
    return text.partition("\n")[0].split(",")


def world_of(root: Path) -> list[Path]:
    """The directories of actors below a state root."""
    return [ledger.parent for ledger in sorted(root.glob("**/ledger.sqlite"))]


def key_uses(homes: Sequence[Path]) -> dict[str, set[str]]:
    """For each key id that any of these ledgers has reserved, the sessions that did."""
    uses: dict[str, set[str]] = {}
    for directory in homes:
        with Home.open(directory, directory.name, create=False) as home:
            rows = home.ledger.reserved()
            assert len({(s, st.key) for s, st in rows}) == len(rows), f"{directory}: a key twice"
            for session, stream in rows:
                uses.setdefault(stream.key, set()).add(session)
    return uses


def leavings(homes: Sequence[Path], temporary: Path) -> list[str]:
    """Files that no dead process may leave once its successor has opened and closed its home."""
    found = [str(p.name) for p in temporary.iterdir()] if temporary.exists() else []
    for directory in homes:
        found += [f"{directory.name}/{p.relative_to(directory)}" for p in directory.rglob("*.part")]
        found += [f"{directory.name}/{p.relative_to(directory)}" for p in (directory / "open").glob("*")]
        found += [f"{directory.name}/{p.name}" for p in directory.rglob("*") if p.is_socket()]
    return found
