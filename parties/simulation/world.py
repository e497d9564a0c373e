"""A whole cluster on virtual time: real brains, channels, signs of life and engines; processes that die and come back.

Everything that happens is an event in one queue; which comes first is decided by delays, and delays by the seed. The
same plan gives the same run to the byte, keys included.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from parties.actor import Actor
from parties.channel import Channel
from parties.cluster import COORDINATOR, DEALER, Cluster, Member
from parties.coordinator import CoordinatorBrain
from parties.data import read_csv
from parties.dealer import DealerBrain
from parties.events import Send, Swap, Write, Written
from parties.happenings import Packet
from parties.limits import Limits
from parties.party import PartyBrain
from parties.simulation.dice import Dice
from parties.simulation.disk import MemoryHome
from parties.simulation.faults import FOR_EVER, Fault, Plan, call
from parties.simulation.network import HEARTBEAT, Pair, Plane, Vigil
from parties.simulation.person import Person
from parties.simulation.programs import Case, Library
from parties.simulation.rules import Rules, Violation
from parties.store import Store
from parties.wire import Buffer, Message, Type

__all__ = ["LIMITS", "Kit", "World"]

LIMITS = Limits(stall=15.0)
_LONGEST = 150.0  # virtual seconds after the last fault; whatever is not over then hangs
_LATEST = 10.0  # seconds after the end in which last words arrive
_LOOK = 0.5
_RETRY = 0.05
_LAGS = (0.0, 0.0, 2.0)  # how long a process takes to read what has come, in delays of the network


class _Crash(BaseException):
    """The process dies here."""


class Kit:
    """What a simulated actor is made of; tests break one part on purpose."""

    channel: Callable[..., Channel] = Channel
    party: Callable[..., PartyBrain] = PartyBrain
    dealer: Callable[..., DealerBrain] = DealerBrain
    coordinator: Callable[..., CoordinatorBrain] = CoordinatorBrain
    disk: Callable[[], MemoryHome] = MemoryHome
    limits: Limits = LIMITS

    def entropy(self, seed: int, actor: int, life: int) -> Callable[[int], bytes]:
        """Where a process has its keys from."""
        return Dice(seed, f"entropy {actor} {life}")


class _Body(Actor):
    """A real body, in which a fuse burns: it dies before or after any instruction."""

    burn: Callable[[], None]
    rules: Rules

    def _send(
        self, to: int, kind: Type, session: bytes, step: int, meta: dict[str, Any], frames: Sequence[Buffer]
    ) -> None:
        self.burn()
        self.rules.sent(self.brain.me, Send(to, kind, session, step, meta, frames))
        super()._send(to, kind, session, step, meta, frames)

    def _write(self, w: Write) -> Written:
        self.burn()
        written = super()._write(w)
        self.rules.wrote(self.brain.me, w, written)
        self.burn()
        return written

    def _owed(self, channel: Channel, s: Swap, packet: Packet, now: float) -> Sequence[Buffer] | None:
        frames = super()._owed(channel, s, packet, now)
        if frames is not None:
            me, theirs = self.brain.me, channel._theirs or 0
            m = Message(s.type, channel.peer, me, s.session, s.step, {}, tuple(frames), incarnation=theirs)
            self.rules.delivered(me, channel.peer, m)
        return frames

    def _digest(self, peer: int, channel: Channel) -> None:
        self.rules.digested(self.brain.me, peer, channel)
        super()._digest(peer, channel)

    def _flush(self, peer: int, channel: Channel) -> None:
        super()._flush(peer, channel)
        self.rules.flushed(self.brain.me, channel)

    def channel(self, peer: int) -> Channel:
        """Its end of a channel."""
        return self._channels[peer]


class Life:
    """One process of one actor."""

    def __init__(self, world: World, me: int, number: int) -> None:
        self.me, self.number = me, number
        self.awake = True
        self.person: Person | None = None
        self._busy = False
        self.incarnation = world.next_incarnation()
        self._lag = Dice(world.plan.seed, f"lag {me} {number}").one_of(_LAGS) * world.plan.delay
        self.plane = Plane(world, me, self._comes)
        self.vigil = Vigil(world, me, self.incarnation, self.incarnation, self.poke)
        self._world = world
        self._armed: float | None = None
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.brain = self._brain()
        home = world.homes.get(me)
        if home is not None:
            home.before = lambda: world.burn(self)
        self.body = _Body(
            self.plane, self.brain, world.cluster, self.incarnation, self.vigil, home=home, clock=world.clock,
            say=lambda line: world.rules.said(me, line), channel=world.kit.channel,
            keep=lambda name, value, _session: world.rules.kept(me, name, value),
        )  # fmt: skip
        self.body.burn = lambda: world.burn(self)
        self.body.rules = world.rules
        world.rules.born(me, self.incarnation, self.body.channel)
        self.vigil.turn()
        world.later(world.dice.between(0, _LOOK), self._look)

    def _brain(self) -> Any:
        world, me, kit = self._world, self.me, self._world.kit
        limits, entropy = kit.limits, kit.entropy(world.plan.seed, me, self.number)
        if me == COORDINATOR:
            return kit.coordinator(world.cluster, world.clock, limits, self.vigil.heard)
        machinery = world.rules.machinery(me, world.library.machinery(), world.homes.get(me))
        if me == DEALER:
            return kit.dealer(world.cluster, machinery, world.clock, limits=limits, entropy=entropy)
        store = Store(world.cluster.name(me), read_csv)
        for name, value in world.case.inputs[me].items():
            store.offer(name, value)
        return kit.party(
            me, world.cluster, store, machinery, world.clock, limits=limits, entropy=entropy, heard=self.vigil.heard
        )

    # ------------------------------------------------------------------------------------------------ what happens

    def poke(self) -> None:
        """Something has come in: go through it, now or when the process runs again."""
        if self._busy:
            self._world.later(0.0001, self.poke)
        else:
            self.when_awake(self._step)

    def _comes(self) -> None:
        """Something is in the inbox of data; a process that is slow finds more there than the first of it."""
        if self._lag:
            self._world.later(self._lag, self.poke)
        else:
            self.poke()

    def when_awake(self, act: Callable[..., None], *args: Any) -> None:
        """Do something now, or when the process runs again."""
        if self._world.lives.get(self.me) is not self:
            return
        if self.awake:
            act(*args)
        elif (act, args) not in self._waiting:
            self._waiting.append((act, args))

    def hears(self, peer: int, m: Any) -> None:
        """A message on the control plane."""
        self.when_awake(self.vigil.take, peer, m)

    def _look(self) -> None:
        self.when_awake(self._looks)

    def _looks(self) -> None:
        self.vigil.turn()
        self._world.later(_LOOK, self._look)

    def _step(self) -> None:
        self._busy = True
        try:
            self.body.step(0.0)
            while self.plane.inbox:
                self.body.step(0.0)
            if self.person is not None:
                self.body.perform(self.person.turn())
        except _Crash:
            return
        finally:
            self._busy = False
        self._arm()

    def _arm(self) -> None:
        """See to it that the process is woken when it has something to do."""
        world = self._world
        wait = self.body.patience(FOR_EVER)
        if self.person is not None:
            wait = min(wait, self.person.patience)
        when = world.now + wait
        if wait < FOR_EVER and (self._armed is None or when < self._armed or self._armed <= world.now):
            self._armed = when
            world.later(max(wait, 0.0005), self._wake, when)

    def _wake(self, when: float) -> None:
        if self._armed == when:
            self._armed = None
        self.poke()

    def stand_still(self) -> None:
        """The process is stopped (SIGSTOP)."""
        self.awake = False

    def go_on(self) -> None:
        """It runs again; which of its threads runs first is chance."""
        if self._world.lives.get(self.me) is not self or self.awake:
            return
        self.awake = True
        waiting, self._waiting = self._waiting, []
        while waiting:
            act, args = waiting.pop(0 if len(waiting) < 2 else self._world.dice.below(2))
            self.when_awake(act, *args)


class World:
    """One run of a plan. trace: write down what happens; variant: other inputs of the same shapes."""

    def __init__(
        self, plan: Plan, library: Library, kit: Kit | None = None, *, trace: bool = False, variant: int = 0
    ) -> None:
        self.plan, self.library, self.kit = plan, library, kit or Kit()
        self.limits = self.kit.limits
        self.now = 0.0
        self.dice = Dice(plan.seed, "world")
        self.cluster = _cluster(plan.parties)
        self.case: Case = library.case(plan.program, plan.parties, variant)
        self.log: list[str] | None = [] if trace else None
        self.homes = {i: self.kit.disk() for i in range(plan.parties)}
        self.lives: dict[int, Life] = {}
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = self._processes = 0
        self._kept: list[Any] = []
        self._numbers = dict.fromkeys(self.cluster.actors(), 0)
        self._burnt = dict.fromkeys(self.cluster.actors(), 0)
        self._fuses: dict[int, list[Fault]] = {a: [] for a in self.cluster.actors()}
        self._stopped: dict[int, float] = {}
        self.rules = Rules(self)
        actors = list(self.cluster.actors())
        self._pairs = {frozenset((a, b)): Pair(self, a, b) for i, a in enumerate(actors) for b in actors[i + 1 :]}
        self.person = Person(self)

    # ------------------------------------------------------------------------------------------------------- time

    def clock(self) -> float:
        """Virtual seconds since the beginning."""
        return self.now

    def later(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        """Do something after so long."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + seconds, self._count, act, args))

    def delay(self) -> float:
        """How long a message takes: mostly about as long as any other, sometimes much longer."""
        d = self.plan.delay
        return self.dice.between(0.2 * d, d) if self.dice.chance(0.9) else self.dice.between(d, 8 * d)

    def note(self, text: str, *actors: int) -> None:
        """A line of the log; actors by number."""
        if self.log is not None:
            self.log.append(f"{self.now:10.4f}  {text.format(*map(call, actors))}")

    def keep_alive(self, thing: Any) -> None:
        """Keep a thing whose identity somebody has written down."""
        self._kept.append(thing)

    def next_incarnation(self) -> int:
        """The number of the next process."""
        self._processes += 1
        return self._processes

    def pair(self, a: int, b: int) -> Pair:
        """What joins two actors."""
        return self._pairs[frozenset((a, b))]

    # ------------------------------------------------------------------------------------------------------ running

    def run(self) -> None:
        """From the start to the end. Raises Violation."""
        for actor in self.cluster.actors():
            self.later(self.dice.between(0, 0.2), self.start, actor)
        for fault in self.plan.faults:
            if fault.kind == "crash":
                self._fuses[fault.who[0]].append(fault)
            else:
                self.later(fault.at, self._strike, fault)
        ended: float | None = None
        while self._queue:
            self.now, _, act, args = heapq.heappop(self._queue)
            self.events += 1
            act(*args)
            if self.person.final is not None:
                ended = self.now if ended is None else ended
                if self._quiet() and (self.now > ended + _LATEST or not self.rules.left_over()):
                    break
            if self.now > self.rules.troubled_until + _LONGEST:
                raise Violation(f"still not over after {self.now:.0f} s: {self._who_is_busy()}")
        self.rules.finish()

    def _quiet(self) -> bool:
        return not any(life.awake and self._in_a_run(life) for life in self.lives.values())

    def _in_a_run(self, life: Life) -> bool:
        """Nobody waits for a dealer that has dealt all; severed for ever, it does not hear of the end."""
        if life.me == DEALER and self.rules.severed(DEALER, COORDINATOR):
            return any(not deal.finished for deal in life.brain.sessions.values())
        return bool(life.brain.sessions)

    def _who_is_busy(self) -> str:
        busy = [call(a) for a, life in self.lives.items() if self._in_a_run(life)]
        return f"the person is {self.person.doing}, {', '.join(busy) or 'nobody'} in a run"

    def start(self, actor: int) -> None:
        """A process begins."""
        if actor in self.lives:
            return
        self._numbers[actor] += 1
        if self._numbers[actor] > 1 and actor in self.homes:
            self.homes[actor].restart()
        life = Life(self, actor, self._numbers[actor])
        self.lives[actor] = life
        self.note("{} starts, process " + str(life.number), actor)
        if actor == COORDINATOR:
            life.person = self.person
            self.person.sits_down(life.brain)
            life.poke()
        self._calls(actor)

    def _calls(self, actor: int) -> None:
        """Connections that can be made now."""
        for other in self.cluster.actors():
            if other != actor:
                self.later(self.dice.between(0, 0.15), self.pair(actor, other).call)

    # ------------------------------------------------------------------------------------------------------- faults

    def _strike(self, fault: Fault) -> None:
        self.note(str(fault).replace("{", "").replace("}", ""))
        self.rules.struck(fault)
        if fault.kind == "stall":
            self._stall(fault.who[0], fault.seconds)
        elif fault.kind == "full":
            home = self.homes[fault.who[0]]
            home.full = True
            self.later(fault.seconds, setattr, home, "full", False)
        elif fault.kind in {"reset", "severed"}:
            self.pair(*fault.who).snap(fault.seconds)
        elif fault.kind == "moved":
            self.pair(*fault.who).move()
        else:
            self.pair(*fault.who).hold(fault.seconds)

    def _stall(self, actor: int, seconds: float) -> None:
        life = self.lives.get(actor)
        if life is None:
            return
        life.stand_still()
        if actor == COORDINATOR and seconds >= FOR_EVER:
            self.person.is_alone()
        self._stopped[actor] = max(self._stopped.get(actor, 0.0), self.now + seconds)
        self.later(seconds, self._thaw, actor)
        if seconds > HEARTBEAT:
            for other in self.cluster.actors():
                if other != actor:
                    self.later(HEARTBEAT, self.pair(actor, other).snap, seconds - HEARTBEAT)

    def _thaw(self, actor: int) -> None:
        life = self.lives.get(actor)
        if life is not None and self.now >= self._stopped[actor] - 1e-9:
            self.note("{} goes on", actor)
            life.go_on()
            self._calls(actor)

    def burn(self, life: Life) -> None:
        """An instruction is carried out: the process may die of it."""
        if self.lives.get(life.me) is not life:
            raise _Crash
        self._burnt[life.me] += 1
        for fault in self._fuses[life.me]:
            if self._burnt[life.me] == fault.at:
                self._crash(life.me, fault)
                raise _Crash

    def _crash(self, actor: int, fault: Fault) -> None:
        self.note(str(fault))
        self.rules.struck(fault)
        del self.lives[actor]
        if actor == COORDINATOR:
            self.person.is_alone()
        for other in self.cluster.actors():
            if other != actor:
                self.pair(actor, other).snap(0.0)
        self.later(fault.seconds, self.start, actor)


def _cluster(parties: int) -> Cluster:
    def member(actor: int) -> Member:
        name = call(actor)
        return Member(name, "" if actor == COORDINATOR else f"{name}.example.org:7000", name.ljust(40, "x"))

    return Cluster(tuple(member(i) for i in range(parties)), member(DEALER), member(COORDINATOR))
