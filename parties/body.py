"""Both planes of one actor that listens, put together: its meshes, its watch, and the actor that drives them."""

from __future__ import annotations

import secrets
from typing import Any

from parties.actor import Actor, Brain
from parties.cluster import Cluster
from parties.keys import KeyPair
from parties.limits import Limits
from parties.liveness import Sign
from parties.mesh import Mesh
from parties.network import allowed, control_endpoint, dial, endpoint, meet
from parties.watch import Watch

__all__ = ["Body"]


class Body:
    """Made before its brain, which asks it who is there. mesh: of the data plane, listening already or not."""

    def __init__(self, mesh: Mesh, keys: KeyPair, cluster: Cluster, me: int, limits: Limits) -> None:
        self.mesh = mesh
        self._cluster = cluster
        self._me = me
        self._keys = keys
        self._limits = limits
        self._watch: Watch | None = None
        self._actor: Actor | None = None
        self._incarnation = secrets.randbits(63) + 1
        mesh.allow(allowed(cluster, me))

    def listen(self) -> int:
        """Open the data port of the cluster file; returns it. Raises PeerError, UsageError."""
        return self.mesh.listen(endpoint(self._cluster.member(self._me)), allowed(self._cluster, self._me))

    def inhabit(self, brain: Brain, **more: Any) -> Actor:
        """Open the control port, call everybody that this actor calls, and give the brain its body."""
        control = Mesh(self._keys)
        member = self._cluster.member(self._me)
        port = control.listen(control_endpoint(member), allowed(self._cluster, self._me))
        watch = Watch(control, port, self._me, self._cluster, self._incarnation, self.mesh.wake, self._limits)
        self._watch = watch
        self._actor = Actor(self.mesh, brain, self._cluster, self._incarnation, watch, **more)
        meet(self.mesh, self._cluster, self._me)
        dial(self.mesh, self._cluster, self._me)
        watch.start()
        return self._actor

    @property
    def control_port(self) -> int:
        """Where the control plane listens."""
        return self._watch.port if self._watch is not None else 0

    def trouble(self, peer: int) -> str:
        """Why an actor is not there, in words; empty if it is."""
        return self._actor.trouble(peer) if self._actor is not None else ""

    def heard(self, peer: int) -> Sign:
        """The last sign of life of an actor."""
        return self._watch.heard(peer) if self._watch is not None else Sign()

    def close(self, seconds: float) -> None:
        """Say goodbye and close everything."""
        if self._actor is not None:
            self._actor.close(seconds)
        else:
            self.mesh.close(0.0)
