"""Who calls whom: the higher party calls the lower, every party the dealer, the coordinator everybody."""

from __future__ import annotations

import ipaddress

from parties.cluster import DEALER, Cluster, Member, is_coordinator
from parties.mesh import Mesh

__all__ = ["allowed", "control_address", "control_endpoint", "dial", "dials", "endpoint", "meet"]


def called(cluster: Cluster, me: int) -> list[int]:
    """Whom an actor calls."""
    return [actor for actor in cluster.actors() if not is_coordinator(actor) and actor != me and dials(me, actor)]


def dials(me: int, peer: int) -> bool:
    """Whether the first of two actors calls the second."""
    if is_coordinator(me) or is_coordinator(peer):
        return is_coordinator(me)
    return peer == DEALER or (me != DEALER and me > peer)


def allowed(cluster: Cluster, me: int) -> dict[str, int]:
    """The keys that may call an actor, and whose they are."""
    callers = [actor for actor in cluster.actors() if actor != me and dials(actor, me)]
    return {cluster.member(actor).public: actor for actor in callers}


def dial(mesh: Mesh, cluster: Cluster, me: int) -> None:
    """Call everybody that this actor calls."""
    for actor in called(cluster, me):
        member = cluster.member(actor)
        mesh.dial(actor, member.address, member.public)


def meet(mesh: Mesh, cluster: Cluster, me: int) -> None:
    """Parties, and each of them and the dealer, have a direct connection besides.

    The dealer looks round after every megabyte that it deals, and a party may compute for long.
    """
    those = frozenset({*range(len(cluster.parties)), DEALER})
    if me in those:
        host = endpoint(cluster.member(me)).removeprefix("tcp://").rpartition(":")[0].strip("[]")
        mesh.meet(host, cluster.digest(), those - {me}, finishing=me != DEALER)


def endpoint(member: Member) -> str:
    """Where an actor listens: its `bind`, or its address if that is a number, or its port on every interface."""
    return f"tcp://{member.bind}" if member.bind else _bound(member.address)


def control_endpoint(member: Member) -> str:
    """Where its control plane listens: as the cluster file says, else any free port of the same interface."""
    host = endpoint(member).rpartition(":")[0]
    return f"{host}:{member.control.rpartition(':')[2]}" if member.control else f"{host}:*"


def control_address(member: Member, port: int) -> str:
    """Where to call its control plane, which says that it listens on `port`."""
    return member.control or f"{member.address.rpartition(':')[0]}:{port}"


def _bound(address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return f"tcp://127.0.0.1:{port}" if host == "localhost" else f"tcp://*:{port}"
    return f"tcp://{address}"
