#!/usr/bin/env python3
"""Start every party of a cluster file, and its dealer, on this machine; stop them all on Ctrl-C.

    launch_local.py cluster.toml --data alice:patients=a.csv --data bob:patients=b.csv
    launch_local.py --make DIR --parties 3 --data ...       # first makes keys and a cluster file in DIR
    launch_local.py cluster.toml --schema FILE --data ...   # which columns are labels and keys, at every party

Then, from another terminal: privity run TARGET --cluster cluster.toml
"""

from __future__ import annotations

import argparse
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn, Self

from mpc.errors import MpcError, UsageError
from mpc.memory import names_of
from parties.cluster import Cluster, Member, load, write
from parties.keys import keygen, load_public

PATIENCE = 5.0  # seconds between asking a process to stop and ending it


def make_cluster(folder: Path, n: int) -> Path:
    """Keys for n parties, a dealer and a coordinator, and the cluster file that names them, on free loopback ports."""
    if n < 2:
        raise UsageError(f"--parties {n}: at least 2 parties are needed")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "cluster.toml"
    if file.exists():
        raise UsageError(f"{file} exists already; start it without --make, or name another folder")
    names = names_of(n)
    public = {}
    for name in (*names, "dealer", "coordinator"):
        _, path = keygen(name, folder)
        public[name] = load_public(path)
    ports = free_ports(n + 1)
    members = [
        Member(name, f"127.0.0.1:{port}", public[name]) for name, port in zip((*names, "dealer"), ports, strict=True)
    ]
    coordinator = Member("coordinator", "", public["coordinator"])
    file.write_text(write(Cluster(tuple(members[:-1]), members[-1], coordinator)), encoding="utf-8")
    return file


def free_ports(n: int) -> list[int]:
    """n ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def offers(texts: Sequence[str], names: list[str]) -> dict[str, list[str]]:
    """`alice:patients=a.csv` → {"alice": ["patients=a.csv"]}."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for text in texts:
        party, colon, offer = text.partition(":")
        if not colon or "=" not in offer:
            raise UsageError(f"--data {text!r} is not PARTY:NAME=FILE.csv, for example alice:patients=a.csv")
        if party not in found:
            raise UsageError(f"--data {text!r}: no party {party!r} (there are {', '.join(names)})")
        found[party].append(offer)
    return found


def commands(file: Path, data: Sequence[str], schema: Path | None = None) -> Iterator[tuple[str, list[str]]]:
    """Name and command line of every process."""
    names = load(file).names
    base = [sys.executable, "-m", "parties"]
    given = offers(data, names)
    declared = ["--schema", str(schema)] if schema is not None else []
    yield "dealer", [*base, "dealer", "--cluster", str(file)]
    for name in names:
        more = [word for offer in given[name] for word in ("--data", offer)]
        yield name, [*base, "party", "--cluster", str(file), "--name", name, *more, *declared]


class Children:
    """The processes: their lines are passed on with their names, and none outlives this object."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def start(self, name: str, command: list[str]) -> None:
        """Start one, with a thread that passes its lines on."""
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.running[name] = child
        threading.Thread(target=self._pass_on, args=(name, child), daemon=True).start()

    def _pass_on(self, name: str, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            print(f"{name}: {line.rstrip()}", flush=True)
        self.ended.put(name)

    def __exit__(self, *_: object) -> None:
        for child in self.running.values():
            if child.poll() is None:
                child.terminate()
        for child in self.running.values():
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def serve(file: Path, data: Sequence[str], schema: Path | None = None) -> int:
    """Run them until Ctrl-C, or until one ends by itself."""
    with Children() as children:
        for name, command in commands(file, data, schema):
            children.start(name, command)
            print(f"{name}: started, process {children.running[name].pid}", flush=True)
        print(f"cluster file: {file.resolve()}\nCtrl-C stops all of them", flush=True)
        try:
            name = children.ended.get()
        except KeyboardInterrupt:
            print("stopping", flush=True)
            return 130
        code = children.running[name].wait()
        print(f"{name} ended with exit code {code}; stopping the others", file=sys.stderr, flush=True)
        return 4


def main() -> int:
    """The script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cluster", nargs="?", type=Path, help="a cluster file whose keys lie beside it")
    parser.add_argument("--make", type=Path, metavar="DIR", help="make keys and cluster.toml in this folder first")
    parser.add_argument("--parties", type=int, default=3, metavar="N", help="with --make: how many (default 3)")
    parser.add_argument("--data", action="append", default=[], metavar="PARTY:NAME=FILE", help="a party's file")
    parser.add_argument("--schema", type=Path, metavar="FILE", help="what is declared of columns, at every party")
    given = parser.parse_args()
    if (given.cluster is None) == (given.make is None):
        parser.error("give a cluster file, or --make DIR")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        file = given.cluster or make_cluster(given.make, given.parties)
        return serve(file, given.data, given.schema)
    except MpcError as refused:
        print(f"launch_local: {refused}", file=sys.stderr)
        return refused.exit_code


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
