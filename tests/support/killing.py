"""kill -9 of one process of a run: what the others say, and whether the run can be resumed to the right result."""

from __future__ import annotations

import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from command import marked, still_running
from served import Command, Served, key_uses, leavings, wait_until, world_of
from workloads import Workload

from parties.home.reading import journals

__all__ = ["Kill", "LocalWorld", "ServedWorld", "World", "settled"]

NAMED_SECONDS = 6.0
TOLERANCE = 2e-3  # some truncation units of a regression's coefficients
_STOPPED = r"run stopped: .*resume with: privity resume ([0-9a-f]{10})"


@dataclass
class Kill:
    """One kill: when everybody had said it, what they said, and how the run went on.

    stage: `running`; `not begun`: only the coordinator had to say so; `ended well`: it was over, or needed it no more.

    seconds: from the signal to the last survivor's sentence; None if nobody had begun. off: how far the result is from
    the uninterrupted one.
    """

    victim: str
    stage: str
    seconds: float | None = None
    sentence: str = ""
    checkpoint: int = 0
    off: float = 0.0


When = Callable[["World", Command], Any]


class World:
    """Actors that run workloads, and one of them is killed at a time."""

    folder: Path
    roots: Sequence[Path]
    mark: str
    online: float = 0.0

    def start(self, workload: Workload) -> Command:
        """The coordinator's command."""
        raise NotImplementedError

    def privity(self, *words: object) -> Command:
        """Another command of the coordinator's."""
        raise NotImplementedError

    def victim(self, name: str, command: Command) -> int:
        """The process id of an actor; 0 if it has gone."""
        raise NotImplementedError

    def named(self, command: Command, victim: str, at: float, kill: Kill) -> None:
        """Wait until every survivor has said the same sentence."""
        raise NotImplementedError

    def restart(self, victim: str) -> None:
        """Start it again."""

    def close(self) -> None:
        """Stop everybody."""

    # ----------------------------------------------------------------------------------------------------------

    def expected(self, workload: Workload) -> tuple[np.ndarray, float]:
        """The uninterrupted result, and how long that took; in `online` the part of it when shares moved."""
        command = self.start(workload)
        assert command.wait(120) == 0, command.err
        self.online = float(command.json["online_seconds"])
        return workload.numbers(command.json), time.monotonic() - command.began

    def kill(self, workload: Workload, victim: str, when: When, expected: np.ndarray) -> Kill:
        """Run, kill somebody when `when` returns, look at what is said, start it again, resume."""
        command = self.start(workload)
        when(self, command)
        kill = Kill(victim, "ended well")
        pid = self.victim(victim, command)
        if command.process.poll() is None and pid:
            kill.stage = "not begun"
            _kill(pid)
            at = time.monotonic()
            if victim == "coordinator":
                command.wait(10)
            self.named(command, victim, at, kill)
        assert command.wait(60) in ({0} if kill.stage == "ended well" else {0, 1, 4, -9}), command.err
        self.restart(victim)
        self._go_on(workload, command, kill, expected)
        return kill

    def _go_on(self, workload: Workload, command: Command, kill: Kill, expected: np.ndarray) -> None:
        if command.process.returncode == 0:
            kill.stage, answer = "ended well", command
        else:
            found = self.privity("status", "--json")
            assert found.wait() == 0, found.err
            runs = [r for r in found.json["runs"] if r["status"] != "done"]
            if runs:
                answer = self.privity("resume", runs[0]["run"], "--json")
            else:
                assert kill.stage == "not begun" or kill.victim == "coordinator", kill
                kill.stage = "not begun"
                answer = self.start(workload)
        assert answer.wait(120) == 0, f"{kill}: {answer.err}"
        kill.checkpoint = answer.json["checkpoint"] or 0
        kill.off = float(np.max(np.abs(workload.numbers(answer.json) - expected)))
        assert kill.off <= TOLERANCE, kill

    def verdicts(self, sentence: str) -> str:
        """The run that a sentence says how to resume; empty if nothing was begun."""
        match = re.search(_STOPPED, sentence)
        return match[1] if match else ""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class ServedWorld(World):
    """Parties and a dealer served from a cluster file."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.folder, self.mark = served.folder, served.mark
        self.roots = [served.state(name) for name in [*served.names, "coordinator"]]
        served.serve_all()

    def start(self, workload: Workload) -> Command:
        return workload.served(self.served)

    def privity(self, *words: object) -> Command:
        return self.served.privity(*words)

    def victim(self, name: str, command: Command) -> int:
        return command.pid if name == "coordinator" else self.served.running[name].pid

    def named(self, command: Command, victim: str, at: float, kill: Kill) -> None:
        if victim == "coordinator":
            self._coordinator_gone(at, kill)
            return
        self.served.running[victim].wait(10)
        command.wait(30)
        kill.sentence = command.sentence
        if command.process.returncode == 0:
            kill.stage = "ended well"
        elif kill.sentence.startswith("run stopped: "):
            whom = "the dealer" if victim == "dealer" else f"party {victim}"
            assert whom in kill.sentence, kill
            self.served.heard(kill.sentence, but=[victim], seconds=30)
            kill.stage, kill.seconds = "running", time.monotonic() - at
        else:
            assert victim in kill.sentence, f"{kill}: {command.out}{command.err}"

    def _coordinator_gone(self, at: float, kill: Kill) -> None:
        """Whoever had begun says so: everybody, once there was a round; nobody, if it had not asked anybody yet."""
        before = {name: len(c.out) for name, c in self.served.running.items()}
        pattern = r"run stopped: the coordinator .*"
        said: dict[str, str] = {}

        def everybody() -> bool:
            for name, process in self.served.running.items():
                match = re.search(pattern, process.out[before[name] :])
                if match:
                    said[name] = match[0]
            return len(said) == len(self.served.running)

        with suppress(AssertionError):
            wait_until(everybody, NAMED_SECONDS + 4)
        if said:
            asked_all = len(said) == len(self.served.running)
            assert asked_all or not any(" in round " in text for text in said.values()), f"only these heard: {said}"
            assert len(set(said.values())) == 1, said
            kill.stage, kill.seconds, kill.sentence = "running", time.monotonic() - at, next(iter(said.values()))

    def restart(self, victim: str) -> None:
        if victim != "coordinator" and self.served.running[victim].process.poll() is not None:
            self.served.serve(victim)

    def close(self) -> None:
        codes = self.served.close()
        assert set(codes) == {0}, codes


class LocalWorld(World):
    """Everybody under the local launcher: one command is all of them."""

    def __init__(self, folder: Path, data: dict[str, dict[str, str]]) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.state = folder / "state"
        self.roots = [self.state]
        for name, tables in data.items():
            for offer, text in tables.items():
                (folder / f"{name}-{offer}.csv").write_text(text)

    def start(self, workload: Workload) -> Command:
        return workload.local(self.folder, self.state, self.mark)

    def privity(self, *words: object) -> Command:
        return Command(self.folder, str(words[0]), [*words, "--state", self.state], self.mark)

    def victim(self, name: str, command: Command) -> int:
        if name == "coordinator":
            return command.pid
        child = b"--child\0dealer\0" if name == "dealer" else b"--child\0party\0" + name.encode() + b"\0"

        def found() -> int:
            for pid in marked(self.mark):
                with suppress(OSError):
                    if child in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return pid
            return -1 if command.process.poll() is not None else 0

        return max(0, int(wait_until(found)))

    def named(self, command: Command, victim: str, at: float, kill: Kill) -> None:
        command.wait(30)
        if victim == "coordinator":
            assert not still_running(self.mark, 5.0), "processes are left"
            kill.stage, kill.seconds = "running", time.monotonic() - at
            return
        kill.sentence = command.sentence
        if command.process.returncode == 0:
            kill.stage = "ended well"
            return
        whom = "the dealer" if victim == "dealer" else f"party {victim}"
        assert f"{whom} died (killed by signal 9)" in kill.sentence, f"{kill}: {command.err}"
        kill.seconds = time.monotonic() - at
        kill.stage = "running" if kill.sentence.startswith("run stopped: ") else "not begun"
        assert not still_running(self.mark), "processes are left"

    def close(self) -> None:
        assert not still_running(self.mark), "processes are left"


def settled(world: World) -> dict[str, int]:
    """After everybody has stopped: journals verify, no key served two sessions, nothing half-done is left."""
    entries = restored = 0
    for root in filter(world_of, world.roots):
        for directory in {home.parent for home in world_of(root)}:
            for one in journals(directory, None, None, None):
                assert one["ok"], one
                entries += len(one["entries"])
                restored += sum(entry["what"] == "checkpoint restored" for entry in one["entries"])
        command = Command(world.folder, "journal", ["journal", "--state", root, "--json", *_cluster(world)], world.mark)
        assert command.wait() == 0, command.err + command.out
        assert command.json["ok"]
    homes = [home for root in world.roots for home in world_of(root)]
    uses = key_uses(homes)
    twice = {key: sessions for key, sessions in uses.items() if len(sessions) > 1}
    assert not twice, f"keys of several sessions: {twice}"
    left = leavings(homes, world.folder / "tmp")
    assert not left, left
    return {"keys": len(uses), "journal_entries": entries, "checkpoints_restored": restored}


def _cluster(world: World) -> list[object]:
    return ["--cluster", world.served.file] if isinstance(world, ServedWorld) else []
