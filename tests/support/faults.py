"""Faults of real processes, each a function that breaks something, checks what follows, and returns its figures.

`tests/test_parties/test_faults.py` runs a small part of each, `scripts/soak` the long ones. They wait on what processes
write and on what is in their ledgers; a time is waited for only where it is the fault itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from command import marked, still_running
from garbage import Garbage
from killing import TOLERANCE, LocalWorld, ServedWorld, settled
from links import Links
from proxy import Proxy
from served import BEHIND, Command, Served, wait_until
from workloads import NAMES, SUM, Workload, attempts, checkpoints, offers, regression

import mpc
import parties
from mpc.errors import InputError

__all__ = [
    "disk_full", "endless", "flooded", "interrupted", "partitioned", "resets", "several", "sixteen", "stopped",
]  # fmt: skip

Figures = dict[str, Any]


def begun(world: ServedWorld | LocalWorld, name: str, probe: Callable[[Path], int]) -> Callable[[Command], None]:
    """Waits until a party's ledger has another row, or the command has ended."""
    root = world.served.home(name) if isinstance(world, ServedWorld) else world.state / "local" / name
    before = probe(root)

    def wait(command: Command) -> None:
        wait_until(lambda: probe(root) > before or command.process.poll() is not None, what=f"{name} never began")

    return wait


def run_to_its_end(command: Command, workload: Workload, expected: np.ndarray, seconds: float = 120) -> float:
    """The run succeeds with the right result; how far it is off."""
    assert command.wait(seconds) == 0, command.err
    off = float(np.max(np.abs(workload.numbers(command.json) - expected)))
    assert off <= TOLERANCE, off
    return off


# --------------------------------------------------------------------------------------------------- SIGSTOP, SIGCONT


def stopped(world: ServedWorld, victim: str, seconds: float) -> Figures:
    """A process that is stopped for so long in the middle of a regression. Long ones are named while they sleep."""
    workload = regression(steps=400, every=50)
    expected, _ = world.expected(workload)
    wait = begun(world, victim if victim in NAMES else "alice", checkpoints)
    command = workload.served(world.served)
    wait(command)
    sleeper = world.served.running[victim]
    at = sleeper.send(signal.SIGSTOP)
    timer = threading.Timer(seconds, sleeper.process.send_signal, (signal.SIGCONT,))
    timer.start()
    figures: Figures = {"victim": victim, "stopped_seconds": seconds}
    command.wait(120)
    if command.process.returncode == 0:
        figures |= {"outcome": "went on", "off": run_to_its_end(command, workload, expected)}
    else:
        figures |= {"outcome": "named", "named_seconds": time.monotonic() - at, "sentence": command.sentence}
        assert ("the dealer died" if victim == "dealer" else f"party {victim} died") in command.sentence
        world.served.heard(command.sentence, but=[victim])
        assert timer.is_alive(), "it was named after it had woken up"
    timer.join()
    if figures["outcome"] == "named":
        figures["when_it_wakes"] = sleeper.says(r"run stopped: .*").group(0)
        again = world.privity("resume", command.sentence.split()[-1], "--json")
        figures["off"] = run_to_its_end(again, workload, expected)
    return figures


# -------------------------------------------------------------------------------------------------------- TCP resets


def resets(folder: Path, count: int, steps: int) -> Figures:
    """Every data and control port behind a proxy that resets its connections, `count` times in all."""
    proxies: dict[str, Proxy] = {}

    with ExitStack() as stack:

        def through(name: str, port: int) -> None:
            after = (1500, 2000) if name.endswith("control") else (6000, 9000, 20_000, 12_000)
            proxies[name] = stack.enter_context(Proxy(port, BEHIND, after))

        world = ServedWorld(stack.enter_context(Served(folder, offers(), through=through)))
        workload = regression(steps, every=0)
        expected, smooth = world.expected(workload)
        data = ["alice", "bob", "dealer"]
        control = [f"{name} control" for name in data]
        for names, share in ((data, 0.9), (control, 0.1)):
            for name in names:
                proxies[name].left = -(-round(count * share) // len(names))
        wanted = sum(proxy.left for proxy in proxies.values())
        command = workload.served(world.served)
        off = run_to_its_end(command, workload, expected, 3600)
        seconds = time.monotonic() - command.began
        done = {name: proxy.done for name, proxy in proxies.items() if proxy.done}
        world.close()
        return {
            "rounds": command.json["rounds"], "wanted": wanted, "resets": sum(done.values()), "by_port": done,
            "seconds": seconds, "seconds_without": smooth, "off": off, **settled(world),
        }  # fmt: skip


# ------------------------------------------------------------------------------------------------- a link that is cut


def partitioned(folder: Path, links: Links, seconds: float) -> Figures:
    """bob's host is cut off for so long in the middle of a regression."""
    with Served(folder, offers(), addresses=links.addresses, before=links.before) as served:
        world = ServedWorld(served)
        workload = regression(steps=600, every=100)
        expected, _ = world.expected(workload)
        wait = begun(world, "bob", checkpoints)
        command = workload.served(served)
        wait(command)
        links.cut("bob")
        at = time.monotonic()
        timer = threading.Timer(seconds, links.mend, ("bob",))
        timer.start()
        figures: Figures = {"cut_seconds": seconds}
        command.wait(120)
        if command.process.returncode == 0:
            figures |= {"outcome": "went on", "off": run_to_its_end(command, workload, expected)}
        else:
            figures |= {"outcome": "named", "named_seconds": time.monotonic() - at, "sentence": command.sentence}
            assert "party bob" in command.sentence, command.err
            served.heard(command.sentence, but=["bob"])
            figures["what_bob_says"] = served.running["bob"].says(r"run stopped: .*").group(0)
        timer.join()
        if figures["outcome"] == "named":
            again = world.privity("resume", command.sentence.split()[-1], "--json")
            figures["off"] = run_to_its_end(again, workload, expected)
        world.close()
        return figures | settled(world)


# --------------------------------------------------------------------------------------------------------- disk full


@contextmanager
def small_disk(folder: Path, size: str = "6m") -> Any:
    """A file system that is soon full. Needs root."""
    folder.mkdir(parents=True, mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the room that is left."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            continue
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            continue
    return path


def disk_full(folder: Path) -> Figures:
    """bob's disk is full after his first checkpoint of a regression; there is room again before the run is resumed."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(folder / "disk"))
        served = stack.enter_context(Served(folder / "hosts", offers(), state={"bob": disk}))
        world = ServedWorld(served)
        workload = regression(steps=120, every=10)
        expected, _ = world.expected(workload)
        wait = begun(world, "bob", checkpoints)
        command = workload.served(served)
        wait(command)
        ballast = fill(disk)
        command.wait(120)
        ballast.unlink()
        figures: Figures = {}
        if command.process.returncode == 0:
            off = run_to_its_end(command, workload, expected)
            figures |= {"outcome": "went on", "off": off, "warnings": command.json["warnings"][:2]}
            assert command.json["warnings"]
            assert str(disk) not in str(command.json["warnings"])
        else:
            figures |= {"outcome": "named", "sentence": command.sentence}
            assert "bob" in command.sentence, command.err
            assert str(disk) not in command.sentence, "a path of bob's host was told to others"
            served.heard(command.sentence)
            again = world.privity("resume", command.sentence.split()[-1], "--json")
            figures["off"] = run_to_its_end(again, workload, expected)
        world.close()
        return figures | settled(world)


# ------------------------------------------------------------------------------------------------------------ garbage


def flooded(folder: Path, seconds: float, rate: float = 1000.0) -> Figures:
    """Strangers at both ports of one party while honest commands come and go."""
    with Served(folder, offers()) as served:
        world = ServedWorld(served)
        expected, _ = world.expected(SUM)
        pid = served.running["bob"].pid
        with Garbage(list(served.ports["bob"]), rate) as warm:
            wait_until(lambda: warm.opened > min(2000, rate), what="the flood never came")
            before = resident(pid)
        files, handshakes, peak, runs = descriptors(pid), [], before, 0
        with Garbage(list(served.ports["bob"]), rate) as garbage:
            end = time.monotonic() + seconds
            while time.monotonic() < end or not runs:
                handshakes.append(handshake(served))
                run_to_its_end(SUM.served(served), SUM, expected)
                runs += 1
                peak = max(peak, resident(pid))
        wait_until(lambda: descriptors(pid) <= files + 8, what="connections of strangers stay open")
        world.close()
        return {
            "connections": garbage.opened, "refused": garbage.failed, "per_second": garbage.opened / garbage.seconds,
            "runs": runs, "longest_handshake_seconds": max(handshakes), "grown_bytes": peak - before, **settled(world),
        }  # fmt: skip


def handshake(served: Served) -> float:
    """Seconds until a newcomer with the coordinator's key is let in at bob's data port: CURVE and the allow-list."""
    from parties import keys
    from parties.mesh import Mesh, Reached

    mesh = Mesh(keys.load_secret(served.folder / "coordinator.secret"))
    began = time.monotonic()
    try:
        bob = served.cluster.parties[1]
        mesh.dial(1, bob.address, bob.public)
        wait_until(lambda: any(isinstance(h, Reached) for h in mesh.poll(0.01)), what="never let in")
        return time.monotonic() - began
    finally:
        mesh.close(0.0)


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# --------------------------------------------------------------------------------------------------- many, and for long


def sixteen() -> Figures:
    """Sixteen parties and a dealer on this machine."""
    began = time.monotonic()
    with parties.local(16) as ps:
        started = time.monotonic() - began
        pids = list(ps.pids().values())
        run = ps.run("secure-sum", values={name: np.arange(4.0) for name in ps.parties})
        assert np.array_equal(np.asarray(run.results["sum"]), 16 * np.arange(4.0))
        closing = time.monotonic()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    return {
        "parties": 16, "start_seconds": started, "run_seconds": run.total_seconds, "rounds": run.rounds,
        "close_seconds": time.monotonic() - closing,
    }  # fmt: skip


def endless(folder: Path, seconds: float, warm: int) -> Figures:
    """Small runs back to back in one session: memory, descriptors and files, from after `warm` of them to the end."""
    state = folder / "state"
    with parties.local(3, state=state) as ps:
        pids = {**ps.pids(), "coordinator": os.getpid()}

        def run() -> None:
            done = ps.run("secure-sum", values={name: np.arange(3.0) for name in ps.parties})
            assert np.array_equal(np.asarray(done.results["sum"]), 3 * np.arange(3.0))

        def measure(what: Callable[[int], int]) -> dict[str, int]:
            return {name: what(pid) for name, pid in pids.items()}

        for _ in range(warm):
            run()
        first = {what.__name__: measure(what) for what in (resident, descriptors)}
        names = files(state)
        runs, end = 0, time.monotonic() + seconds
        while time.monotonic() < end or runs < warm:
            run()
            runs += 1
        last = {what.__name__: measure(what) for what in (resident, descriptors)}
        grown = {k: {name: last[k][name] - first[k][name] for name in pids} for k in first}
        assert files(state) == names, files(state) ^ names
    assert all(value <= 0 for value in grown["descriptors"].values()), grown
    return {"warm_up_runs": warm, "runs": runs, "seconds": seconds, "grown": grown, "files": len(names)}


def files(root: Path) -> set[str]:
    """Every file of a state directory."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------------- interrupts


def interrupted(world: ServedWorld | LocalWorld, signum: int, phase: str) -> Figures:
    """A signal for the coordinator's command: while it starts, in the middle of a run, or of a resumed one."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a shell; children inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workload = regression(steps=2000, every=5)
    command = _until(world, workload, phase)
    at = command.send(signum)
    code = command.wait(30)
    # The interpreter dies of the signal itself if it came while a text was executed, as for every dataclass.
    assert code in {128 + signum, -signum}, f"{code}: {command.err}"
    assert "Traceback" not in command.err, command.err
    if isinstance(world, LocalWorld):
        assert not still_running(world.mark, 5.0), "processes are left"
    figures = {"phase": phase, "signal": signal.Signals(signum).name, "code": code, "seconds": time.monotonic() - at}
    if isinstance(world, ServedWorld) and phase != "start":
        for name in [name for name in world.served.running if name != "dealer"]:  # it hears that it is over, not why
            world.served.running[name].says("run stopped: the coordinator was stopped")
    return figures


def _until(world: ServedWorld | LocalWorld, workload: Workload, phase: str) -> Command:
    wait = begun(world, "alice", checkpoints if phase == "run" else attempts)
    command = world.start(workload)
    if phase == "start":
        wait_until(lambda: len(_family(world, command)) > 1 or command.process.poll() is not None)
        return command
    wait(command)
    if phase == "run":
        return command
    command.send(signal.SIGINT)
    assert command.wait(30) == 130, command.err
    runs = world.privity("status", "--json")
    assert runs.wait() == 0, runs.err
    wait = begun(world, "alice", attempts)
    again = world.privity("resume", runs.json["runs"][0]["run"], "--json")
    wait(again)
    return again


def _family(world: ServedWorld | LocalWorld, command: Command) -> Sequence[int]:
    """Its processes; a coordinator of served parties starts none, and counts as started with its first connection."""
    if isinstance(world, LocalWorld):
        return marked(world.mark)
    return [1, 2] if descriptors(command.pid) > 12 else [1]


# ------------------------------------------------------------------------------------------------------------- several


@mpc.program
def chain(x: mpc.Private, y: mpc.Private, *, times: int = 300) -> Any:
    """A product of many factors."""
    a, b = mpc.share(x), mpc.share(y)
    return mpc.reveal(mpc.repeat(times, lambda i, s: mpc.assume_range(s * b, -4, 4), a))


def several(count: int = 4, times: int = 300) -> Figures:
    """Runs side by side in one session, one of them ended by its input: the others go on."""
    with parties.local(3) as ps:
        pending = [ps.start(chain, x={"alice": np.ones(3)}, y={"bob": np.ones(3)}, times=times) for _ in range(count)]
        bad = ps.start(chain, x={"alice": np.ones(3)}, y={"bob": np.array([1.0, np.nan, 1.0])}, times=times)
        sentence = ""
        try:
            bad.result()
        except InputError as error:
            sentence = str(error)
        assert sentence, "an input that is no number was accepted"
        for one in pending:
            assert np.allclose(one.result().results["result"], 1, atol=0.1)
        again = ps.run(chain, x={"alice": np.ones(3)}, y={"bob": np.ones(3)}, times=3)
        assert np.allclose(again.results["result"], 1, atol=0.01)
    return {"side_by_side": count, "ended": sentence, "others": "went on"}
