"""Who takes part and where: the cluster TOML, identical on every host, and its hash.

    format = 1

    [coordinator]
    public = "..."                  # the key of whoever starts runs; receives = false: sees no results

    [dealer]
    address = "dealer.example.org:7000"
    public = "..."

    [[party]]
    name = "alice"
    address = "alice.example.org:7001"
    control = "alice.example.org:7101"  # for signs of life; without it a free port, which a firewall has to let through
    public = "..."

There is no insecure option. The hash of the content is part of every session, so two different files never talk.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mpc.errors import UsageError
from parties.keys import NAME, is_public
from parties.version import CLUSTER_FORMAT

__all__ = [
    "COORDINATOR",
    "DEALER",
    "SEATS",
    "Cluster",
    "Member",
    "is_coordinator",
    "load",
    "parse",
    "take_seat",
    "write",
]

DEALER = 0xFFFE
COORDINATOR = 0xFFFF
SEATS = range(0xE000, 0xF000)  # for coordinators that are at work at the same time: each takes one by chance
_RESERVED = ("coordinator", "dealer", "everyone")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MOST_PARTIES = 64
_PLACE = {"address", "public", "bind", "control"}


@dataclass(frozen=True)
class Member:
    """One actor: name, `host:port` where it listens (the coordinator listens nowhere), public key, own bind address.

    control: where it listens for signs of life and verdicts; empty: a port of the system's choice, told in greetings.
    """

    name: str
    address: str
    public: str
    bind: str = ""
    control: str = ""


@dataclass(frozen=True)
class Cluster:
    """Parties in their agreed order, the dealer, the coordinator, and whether the coordinator receives results.

    Actors are numbered: parties 0..n−1, `DEALER`, `COORDINATOR`. Whoever has the coordinator's key may start several
    processes; each has a seat, a number of its own, and is the coordinator of what it has begun.
    ephemeral: the keys are those of one local session, and what is stored outlives them.
    """

    parties: tuple[Member, ...]
    dealer: Member
    coordinator: Member
    receives: bool = True
    ephemeral: bool = False

    @property
    def names(self) -> list[str]:
        """The parties' names, in order."""
        return [p.name for p in self.parties]

    @property
    def keys(self) -> list[str]:
        """The parties' public keys, in order."""
        return [p.public for p in self.parties]

    def member(self, actor: int) -> Member:
        """The actor with this number."""
        if actor == DEALER:
            return self.dealer
        return self.coordinator if is_coordinator(actor) else self.parties[actor]

    def name(self, actor: int) -> str:
        """Its name."""
        return self.member(actor).name

    def call(self, actor: int) -> str:
        """How a sentence names it: `party bob`, `the dealer`, `the coordinator`."""
        if is_coordinator(actor):
            return "the coordinator"
        return "the dealer" if actor == DEALER else f"party {self.name(actor)}"

    def actors(self) -> Iterable[int]:
        """Every actor's number."""
        return (*range(len(self.parties)), DEALER, COORDINATOR)

    def index(self, name: str) -> int:
        """The number of the party with this name."""
        if name not in self.names:
            raise UsageError(f"{name!r} is no party of this cluster; it has {', '.join(self.names)}")
        return self.names.index(name)

    def digest(self) -> str:
        """SHA-256 of the canonical content."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        content = {
            "format": CLUSTER_FORMAT,
            "receives": self.receives,
            "members": [
                [m.name, m.address, m.public, m.bind, m.control] for m in (*self.parties, self.dealer, self.coordinator)
            ],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_coordinator(actor: int) -> bool:
    """Whether this number is the coordinator's, whichever seat it has."""
    return actor == COORDINATOR or actor in SEATS


def take_seat() -> int:
    """A number for one coordinator process."""
    return SEATS.start + secrets.randbelow(len(SEATS))


def load(path: Path) -> Cluster:
    """Read and check a cluster file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such cluster file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})") from None
    return parse(text, str(path))


def parse(text: str, source: str = "cluster file") -> Cluster:
    """A cluster from TOML text; every refusal names the file and the field."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source}: not TOML: {error}") from None
    _only(source, "the file", content, {"format", "coordinator", "dealer", "party"})
    if content.get("format") != CLUSTER_FORMAT or isinstance(content.get("format"), bool):
        raise UsageError(f"{source}: format must be {CLUSTER_FORMAT}")
    tables = content.get("party")
    if not isinstance(tables, list) or len(tables) < 2:
        raise UsageError(f"{source}: at least two [[party]] tables are needed, or nothing would be secret")
    if len(tables) > _MOST_PARTIES:
        raise UsageError(f"{source}: at most {_MOST_PARTIES} parties")
    parties = tuple(_party(source, f"[[party]] {i + 1}", t) for i, t in enumerate(tables))
    dealer = _table(source, "[dealer]", content.get("dealer"), _PLACE)
    coordinator = _table(source, "[coordinator]", content.get("coordinator"), {"name", "public", "receives"})
    receives = coordinator.get("receives", True)
    if not isinstance(receives, bool):
        raise UsageError(f"{source}: [coordinator] receives must be true or false")
    cluster = Cluster(
        parties,
        Member("dealer", *_place(source, "[dealer]", dealer)),
        Member(_coordinator_name(source, coordinator), "", _key(source, "[coordinator]", coordinator)),
        receives,
    )
    _distinct(source, cluster)
    return cluster


def write(cluster: Cluster) -> str:
    """The TOML text of a cluster; `parse(write(c)) == c`."""
    head = [f'name = "{cluster.coordinator.name}"', f'public = "{cluster.coordinator.public}"']
    lines = [f"format = {CLUSTER_FORMAT}", "", "[coordinator]", *head]
    lines += [f"receives = {'true' if cluster.receives else 'false'}", "", "[dealer]", *_lines(cluster.dealer)]
    for party in cluster.parties:
        lines += ["", "[[party]]", f'name = "{party.name}"', *_lines(party)]
    return "\n".join(lines) + "\n"


def _lines(member: Member) -> list[str]:
    more = {"bind": member.bind, "control": member.control}
    lines = [f'{key} = "{value}"' for key, value in more.items() if value]
    return [f'address = "{member.address}"', f'public = "{member.public}"', *lines]


def _coordinator_name(source: str, fields: dict[str, Any]) -> str:
    name = fields.get("name", "coordinator")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in {"dealer", "everyone"}:
        raise UsageError(f"{source}: [coordinator] name must be small letters, digits, - and _")
    return name


def _only(source: str, where: str, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{source}: {where} has an unknown field {key!r}; it takes {', '.join(sorted(known))}")


def _table(source: str, where: str, table: object, known: set[str]) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UsageError(f"{source}: {where} is missing")
    _only(source, where, table, known)
    return table


def _party(source: str, where: str, table: object) -> Member:
    fields = _table(source, where, table, {"name", *_PLACE})
    name = fields.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in _RESERVED:
        raise UsageError(
            f"{source}: {where} name must be small letters, digits, - and _, starting with a letter, and none of "
            f"{', '.join(_RESERVED)}"
        )
    return Member(name, *_place(source, f"[[party]] {name}", fields))


def _key(source: str, where: str, fields: dict[str, Any]) -> str:
    public = fields.get("public")
    if not is_public(public):
        raise UsageError(f"{source}: {where} public is not a public key (40 characters, from NAME.public)")
    return str(public)


def _place(source: str, where: str, fields: dict[str, Any]) -> tuple[str, str, str, str]:
    given = {"address": fields.get("address"), "bind": fields.get("bind", ""), "control": fields.get("control", "")}
    for key, value in given.items():
        if (key == "address" or value != "") and not is_address(value):
            raise UsageError(f"{source}: {where} {key} must be host:port, as alice.example.org:7001 or [::1]:7001")
    return str(given["address"]), _key(source, where, fields), str(given["bind"]), str(given["control"])


def is_address(value: object) -> bool:
    """Whether it is `host:port` with a port from 1 to 65535; an IPv6 address stands in brackets."""
    if not isinstance(value, str):
        return False
    host, colon, port = value.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        return False
    if host.startswith("[") and host.endswith("]"):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return False
        return True
    return bool(_HOST.fullmatch(host))


def _distinct(source: str, cluster: Cluster) -> None:
    members = [*cluster.parties, cluster.dealer, cluster.coordinator]
    for what in ("name", "address", "control", "public"):
        seen: dict[str, str] = {}
        for member in members:
            value = getattr(member, what)
            if value and value in seen:
                raise UsageError(f"{source}: {seen[value]} and {member.name} have the same {what}")
            seen[value] = member.name
