"""Hosts in network namespaces behind one bridge, and their links, which can be cut. Needs root and iproute2."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

__all__ = ["Links", "possible"]

_COUNT = itertools.count()


def ip(*words: object) -> None:
    """`ip …`."""
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


def possible() -> bool:
    """Whether namespaces can be made here."""
    if not shutil.which("ip") or os.geteuid() != 0:
        return False
    name = f"pl{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode == 0
    if made:
        ip("netns", "del", name)
    return made


class Links:
    """Use as a context manager. `addresses` and `before` are what `served.Served` takes."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = f"pl{os.getpid() % 100_000}x{next(_COUNT)}"
        self._stack = ExitStack()
        self._veths = {name: f"{self._prefix}v{i}" for i, name in enumerate(names)}
        self.addresses = {name: f"10.78.0.{i + 1}" for i, name in enumerate(names)}
        self.before = {name: ["ip", "netns", "exec", f"{self._prefix}n{i}"] for i, name in enumerate(names)}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            bridge = f"{self._prefix}b"
            ip("link", "add", bridge, "type", "bridge")
            stack.callback(ip, "link", "del", bridge)
            ip("link", "set", bridge, "up")
            for name, veth in self._veths.items():
                namespace = self.before[name][-1]
                ip("netns", "add", namespace)
                stack.callback(ip, "netns", "del", namespace)
                ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", namespace)
                ip("link", "set", veth, "master", bridge, "up")
                ip("-n", namespace, "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
                ip("-n", namespace, "link", "set", "eth0", "up")
                ip("-n", namespace, "link", "set", "lo", "up")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cut(self, name: str) -> None:
        """Nothing reaches this host any more, and nothing comes from it; nobody is told."""
        ip("link", "set", self._veths[name], "nomaster")

    def mend(self, name: str) -> None:
        """The bridge has it again."""
        ip("link", "set", self._veths[name], "master", f"{self._prefix}b")
