"""Who calls whom: the higher party calls the lower, every party the dealer, the coordinator everybody."""

from __future__ import annotations

import ipaddress

from parties.cluster import COORDINATOR, DEALER, Cluster, Member
from parties.mesh import Mesh

__all__ = ["allowed", "dial", "endpoint"]


def allowed(cluster: Cluster, me: int) -> dict[str, int]:
    """The keys that may call an actor, and whose they are."""
    n = len(cluster.parties)
    callers = [COORDINATOR, *(range(n) if me == DEALER else range(me + 1, n))]
    return {cluster.member(actor).public: actor for actor in callers}


def dial(mesh: Mesh, cluster: Cluster, me: int) -> None:
    """Call everybody that this actor calls."""
    n = len(cluster.parties)
    if me == DEALER:
        return
    called = [*range(n), DEALER] if me == COORDINATOR else [*range(me), DEALER]
    for actor in called:
        member = cluster.member(actor)
        mesh.dial(actor, member.address, member.public)


def endpoint(member: Member) -> str:
    """Where an actor listens: its `bind`, or its address if that is a number, or its port on every interface."""
    if member.bind:
        return f"tcp://{member.bind}"
    host, _, port = member.address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return f"tcp://127.0.0.1:{port}" if host == "localhost" else f"tcp://*:{port}"
    return f"tcp://{member.address}"
