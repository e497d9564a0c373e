"""What actors tell each other of their cluster files, so that whoever has another one hears in which field.

    <digest>:<receives>;coordinator=<name>.<key>;dealer=<4 hashes>;alice=<4 hashes>;bob=<4 hashes>

A greeting has room for the names in their order and four hexadecimal digits of a hash of each field. The digest decides
whether two files are the same; this only says where they differ.
"""

from __future__ import annotations

import hashlib

from parties.cluster import Cluster, Member
from parties.keys import NAME

__all__ = ["difference", "outline", "same"]

_FIELDS = ("address", "public", "bind", "control")
_MOST_SAID = 3
_LONGEST = 4096


def outline(cluster: Cluster) -> str:
    """The digest of a cluster file, and what it says about what, in short."""
    return f"{cluster.digest()}:" + ";".join(f"{name}={'.'.join(hashes)}" for name, hashes in _entries(cluster))


def same(one: str, other: str) -> bool:
    """Whether two outlines are of the same cluster file."""
    return one.partition(":")[0] == other.partition(":")[0]


def difference(cluster: Cluster, theirs: str) -> str:
    """In what another actor's cluster file differs from this one, in words that continue "its cluster file"."""
    here, there = dict(_entries(cluster)), _parsed(theirs)
    if there is None or list(there)[:3] != list(here)[:3]:
        return "has another form"
    ours, others = list(here)[3:], list(there)[3:]
    found = [f"has no party {name}" for name in ours if name not in there]
    found += [f"has a party {name}, which this one has not" for name in others if name not in here]
    if not found and ours != others:
        found.append(f"lists the parties as {', '.join(others)}, this one as {', '.join(ours)}")
    for name, hashes in here.items():
        found += [
            f"has another {what}"
            for what, a, b in zip(_words(name), hashes, there.get(name, hashes), strict=False)
            if a != b
        ]
    more = [f"differs in {len(found) - _MOST_SAID} more"] if len(found) > _MOST_SAID else []
    return ", ".join([*found[:_MOST_SAID], *more]) or "differs in some field"


def _entries(cluster: Cluster) -> list[tuple[str, list[str]]]:
    boss = cluster.coordinator
    of_members = [(member.name, _hashes(member)) for member in (cluster.dealer, *cluster.parties)]
    return [
        ("receives", [_short(str(cluster.receives))]),
        ("coordinator", [_short(boss.name), _short(boss.public)]),
        *of_members,
    ]


def _hashes(member: Member) -> list[str]:
    return [_short(getattr(member, field)) for field in _FIELDS]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]


def _words(name: str) -> list[str]:
    """What the hashes of an entry are of."""
    match name:
        case "receives":
            return ["'receives' of the coordinator"]
        case "coordinator":
            return ["name of the coordinator", "public key of the coordinator"]
        case "dealer":
            return [f"{field} of the dealer" for field in _FIELDS]
    return [f"{field} of {name}" for field in _FIELDS]


def _parsed(text: str) -> dict[str, list[str]] | None:
    """The entries of an outline; None for anything else. Its names are shown to people."""
    entries = [entry.partition("=") for entry in text[:_LONGEST].partition(":")[2].split(";")]
    if not all(NAME.fullmatch(name) for name, _, _ in entries):
        return None
    return {name: hashes.split(".") for name, _, hashes in entries}
