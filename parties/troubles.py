"""Why an actor is not there: the words for it, which of them are plain reasons, and what to see to.

A plain reason is one for which waiting longer is of no use, as far as can be told.
"""

from __future__ import annotations

from parties.cluster import DEALER, Cluster, Member

__all__ = [
    "DIED", "DROPPED", "HANGS", "LEFT_OUT", "REFUSED", "SILENT", "UNANSWERED", "UNCALLED", "UNGREETED", "UNREACHED",
    "apart", "control", "plain", "unreachable",
]  # fmt: skip

DIED = "died ("  # of whom nothing is heard, or who refuses
UNREACHED = "cannot reach"
LEFT_OUT = "cannot be reached by"
UNANSWERED = "no answer yet"
UNCALLED = "it has not called yet"
UNGREETED = "no greeting came back"
SILENT = "no sign of life came"
HANGS = "it takes connections and does not greet: it is stopped or hangs, or the way to it is very slow"
_CONTROL = "at its control port"
REFUSED = "nothing answers at this address: the connection is refused"
_OFF = ", or its host is off"
DROPPED = f"nothing answers at this address: packets are dropped on the way{_OFF}"


def plain(trouble: str) -> bool:
    """Whether this is a plain reason."""
    return trouble not in {"", UNANSWERED, UNCALLED, UNGREETED, SILENT}


def unreachable(member: Member, trouble: str, *, lives: bool = False) -> str:
    """After "cannot be reached" or "cannot reach …": where, why, and what to see to. lives: it gives signs of life."""
    trouble = trouble.replace(_OFF, "") if lives else trouble
    if trouble.startswith(_CONTROL):
        return trouble
    port = member.address.rpartition(":")[2]
    ports = f"ports {port} and {member.control.rpartition(':')[2]} (control)" if member.control else f"port {port}"
    return f"at {member.address}: {trouble}{_cure(trouble, ports)}"


def control(member: Member, address: str, trouble: str) -> str:
    """Of whom is called at its address, and cannot be called at this one for signs of life: the same."""
    why = {REFUSED: "the connection is refused", DROPPED: "packets are dropped on the way"}.get(trouble, trouble)
    cure = _cure(trouble, f"port {address.rpartition(':')[2]}")
    fixed = "" if member.control else "; which port it is, control = 'host:port' in the cluster file says"
    return f"{_CONTROL} {address}, while {member.address} answers: {why}{cure}{fixed}"


def _cure(trouble: str, ports: str) -> str:
    if trouble.startswith(REFUSED):
        return f"; start it, or let {ports} through its firewall, or correct the address"
    return f"; let {ports} through its firewall, or correct the address" if trouble.startswith(DROPPED) else ""


def apart(cluster: Cluster, reporter: int, origin: int, said: str) -> str:
    """What an actor says of another one that it has lost, made true by a coordinator that hears both."""
    name, whom = cluster.name(reporter), cluster.call(origin)
    if UNREACHED in said or LEFT_OUT in said:
        return f"{said.replace(_OFF, '')}; both answer the coordinator"
    if DIED not in said:
        return said
    called = min(reporter, origin) if DEALER not in {reporter, origin} else DEALER
    caller = origin if called == reporter else reporter
    port, fixed = cluster.member(called).address.rpartition(":")[2], cluster.member(called).control.rpartition(":")[2]
    ports = f"ports {port} and {fixed} (control)" if fixed else f"port {port} and its control port"
    return (
        f"{name} hears no more of {whom}, and the coordinator hears both: packets between them are dropped "
        f"({cluster.name(caller)} calls {ports} of {cluster.name(called)})"
    )
