"""A whole cluster in memory, one of whose actors is evil: real bodies, channels and brains, one message at a time.

The evil actor has a body like the others'. What it does wrong is put into its mouth: another message through its own
channel (`speak`), bytes of its own making (`throw`), or a change of what its channel sends (`lips`).
"""

import gc
import sys
from collections import Counter, deque
from types import FunctionType, ModuleType

import numpy as np
from actors import NAMES, Script, scripted_dealer, scripted_terms

from mpc.exchange import Draw, Exchange, Frame, Save
from parties.actor import Actor
from parties.attempt import Stage
from parties.cluster import COORDINATOR, DEALER, Cluster, Member
from parties.control import Control
from parties.coordinator import CoordinatorBrain
from parties.data import read_csv
from parties.dealer import DealerBrain
from parties.limits import Limits
from parties.machinery import Machinery
from parties.mesh import Packet, Reached
from parties.network import dials
from parties.party import PartyBrain
from parties.simulation.dice import Dice
from parties.simulation.disk import MemoryHome
from parties.store import Store
from parties.terms import Binding
from parties.wire import Message, Type, decode, encode

LIMITS = Limits(stall=6.0, startup=8.0)
LONGEST = 100.0  # virtual seconds; whatever is not over then hangs
MOST = 100_000  # messages
ROUNDS = 5
SAVED = 2  # the round before which there is a checkpoint
RUN = "5a" * 16
SESSION = b"s" * 16
SUM = float(ROUNDS * (1 + 2 + 3 + 1))
TEXT = f"script {ROUNDS} " + " ".join(NAMES[:3])


class Program(Script):
    """Five rounds of one word, a checkpoint before the second, and a result in the last."""

    def lower(self, suite):
        lowered = super().lower(suite)
        lowered.reveals = [{"name": "sum", "to": "everyone"}]
        return lowered

    def continued(self, _site, _iteration):
        return self


def party(lowered, me, inputs, entropy, kept=()):
    """Adds what everybody sends and what was dealt."""
    program = lowered.program
    peers = [i for i in range(len(program.parties)) if i != me]
    word = Frame("<u8", (1,))
    total = np.zeros(1, dtype=np.uint64)
    for number in range(1, program.rounds + 1):
        if number == SAVED:
            yield Save("checkpoint", 0, number, {"carry.0": total}, program.where)
        (dealt,) = yield Draw(number, program.where, (word,))
        mine = inputs["x"][:1].astype(np.uint64)
        reveals = ("sum",) if number == program.rounds else ()
        sent, wanted = {p: [mine] for p in peers}, dict.fromkeys(peers, (word,))
        got = yield Exchange(number, program.where, sent, wanted, reveals)
        total = total + mine + sum(a[0] for a in got.values()) + dealt
    return {"fact": 1, "sum": float(total[0]), "own": 7.0} if me == 0 else {"fact": 1, "sum": float(total[0])}


def cluster(n=3):
    def member(name):
        return Member(name, "" if name == "coordinator" else f"{name}.example.org:7000", name.ljust(40, "x"))

    return Cluster(tuple(map(member, NAMES[:n])), member("dealer"), member("coordinator"))


class Wires:
    """An actor's end of all connections."""

    def __init__(self, lab, me):
        self.lab, self.me, self.inbox = lab, me, []

    def poll(self, _seconds):
        found, self.inbox = self.inbox, []
        return found

    def at_once(self, peer):
        link = self.lab.links.get((peer, self.me))
        return Packet(peer, link.popleft()) if link and not self.inbox else None

    def send(self, peer, parts):
        if (self.me, peer) in self.lab.deaf:
            return False
        copies = [bytes(p) for p in parts]
        self.lab.sent[self.me, Type(copies[0][5])] += 1
        if copies[0][5] == Type.DATA:
            self.lab.first.setdefault((self.me, peer), b"".join(copies[2:]))
        said = self.lab.lips(peer, copies) if self.me == self.lab.evil else [copies]
        self.lab.links.setdefault((self.me, peer), deque()).extend(said)
        return True

    def trouble(self, _peer):
        return ""

    def close(self, linger=1.0):
        """Nothing to close."""


class Signs:
    """An actor's control plane; its messages arrive at once."""

    port = 7

    def __init__(self, lab, me):
        self.lab, self.me = lab, me
        self.control = Control(me, [a for a in lab.cluster.actors() if a != me], me + 1000, LIMITS)
        self.waiting = []

    @property
    def sign(self):
        return self.control.sign

    @sign.setter
    def sign(self, sign):
        self.control.sign = sign

    def news(self):
        found, self.waiting = self.waiting, []
        return found

    def joined(self, peer, _port):
        self.control.joined(peer, self.lab.now)

    def alarm(self, message):
        self.pass_on(self.control.stamped(message))

    def pass_on(self, m):
        them = self.lab.signs[m.dst]
        them.waiting += them.control.receive(self.me, [bytes(p) for p in encode(m)], self.lab.now)

    def turn(self):
        signs, lost = self.control.turn(self.lab.now)
        for m in signs:
            self.pass_on(m)
        self.waiting += lost

    def trouble(self, _peer):
        return ""

    def close(self, _linger):
        """Nothing to close."""


class Body(Actor):
    """A body whose disk may be slow: what is written is answered when somebody says so."""

    slow = False

    def perform(self, instructions):
        if self.slow:
            self._perform(instructions)
        else:
            super().perform(instructions)

    def catch_up(self):
        self.slow = False
        self.perform(iter(()))


class Lab:
    """evil: who. mode: `run` with the dealer, `stored` material, `deal`.

    machinery, offers (of each party, by name): others than a script and its words. coordinator: the class of its brain.
    """

    def __init__(self, evil, mode="run", *, machinery=None, offers=None, coordinator=CoordinatorBrain):
        self.evil, self.mode = evil, mode
        self.cluster = cluster()
        self.offers = offers or [{"x": np.asarray([i + 1, 0])} for i in range(3)]
        self._coordinator = coordinator
        self.now = 0.0
        self.links, self.signs, self.bodies = {}, {}, {}
        self.deaf = set()
        self.sent = Counter()  # messages, by sender and type
        self.first = {}  # data of a run, by sender and addressee
        self.lips = lambda _peer, parts: [parts]
        self.said = {a: [] for a in self.cluster.actors()}
        self.kept = {a: {} for a in self.cluster.actors()}
        self.homes = {i: MemoryHome() for i in range(3)}
        self.machinery = machinery or Machinery({"masked": "M"}, Program, party, scripted_dealer)
        self._turn = 0
        for a in self.cluster.actors():
            self._start(a)
        for a, body in self.bodies.items():
            body.mesh.inbox += [Reached(p) for p in self.bodies if p != a and dials(a, p)]
        self.tick()
        self.settle()
        self.session = SESSION
        self.following = None
        self.material = ""

    def _start(self, a):
        entropy = Dice(1, f"evil {a}")
        signs = self.signs[a] = Signs(self, a)
        how = {"limits": LIMITS, "entropy": entropy}
        if a == COORDINATOR:
            brain = self._coordinator(self.cluster, self.clock, LIMITS, signs.control.heard)
        elif a == DEALER:
            brain = DealerBrain(self.cluster, self.machinery, self.clock, **how)
        else:
            store = Store(self.cluster.name(a), read_csv)
            for name, value in self.offers[a].items():
                store.offer(name, value)
            brain = PartyBrain(
                a, self.cluster, store, self.machinery, self.clock, heard=signs.control.heard, memory=lambda: 1, **how
            )
        self.bodies[a] = Body(
            Wires(self, a), brain, self.cluster, a + 1000, signs, home=self.homes.get(a), clock=self.clock,
            say=self.said[a].append, tell=lambda text, _about: self.said[a].append(text),
            keep=lambda name, value, _session: self.kept[a].update({name: value}),
        )  # fmt: skip

    def clock(self):
        return self.now

    # ------------------------------------------------------------------------------------------------ going on

    def step(self):
        """Deliver one message, or let the dealer go on; False if nothing can move."""
        ready = [link for link, queue in self.links.items() if queue]
        if ready:
            self._turn += 1
            self.deliver(*ready[self._turn % len(ready)])
            return True
        moved = [body for body in self.bodies.values() if body.brain.pumping]
        for body in moved:
            body.step(0.0)
        return bool(moved)

    def deliver(self, src, dst):
        parts = self.links[src, dst].popleft()
        body = self.bodies[dst]
        body.mesh.inbox.append(Packet(src, parts))
        body.step(0.0)

    def settle(self):
        for _ in range(MOST):
            if not self.step():
                return
        raise AssertionError("the messages never end")

    def tick(self):
        """Everybody looks at the clock."""
        for signs in self.signs.values():
            signs.turn()
        for body in self.bodies.values():
            body.step(0.0)

    @property
    def honest(self):
        return [a for a in self.bodies if a != self.evil]

    def over(self):
        done = self.following is None or self.following.outcome is not None or self.following.verdict is not None
        if self.evil == COORDINATOR:  # which can keep the dealer waiting; nobody waits for that one then
            return not any(self.bodies[a].brain.sessions for a in self.honest if a != DEALER)
        return done and not any(self.bodies[a].brain.sessions for a in self.honest)

    def conclude(self):
        """To the end; AssertionError if there is none."""
        self.settle()
        end = self.now + LONGEST
        while not self.over():
            self.now += 0.25
            self.tick()
            self.settle()
            assert self.now < end, f"hangs: {[a for a in self.honest if self.bodies[a].brain.sessions]} in a run"
        self.settle()

    # ---------------------------------------------------------------------------------------------------- the run

    def begin(self):
        """The run of the case; its material is made first if it is to be stored."""
        if self.mode == "stored":
            self._begin("deal", b"d" * 16, "4d" * 16, "")
            self.conclude()
            self.material = self.following.outcome.material
        self._begin("deal" if self.mode == "deal" else "run", SESSION, RUN, self.material)

    def _begin(self, mode, session, run, material):
        terms = scripted_terms(self.cluster, TEXT, session, mode=mode, run=run, material=material)
        brain = self.bodies[COORDINATOR].brain
        self.session = session
        self.following = brain.follow(session, terms, ROUNDS)
        self.bodies[COORDINATOR].perform(brain.begin(self.following, TEXT, Binding()))

    def attempt(self, actor):
        participation = self.bodies[actor].brain.sessions.get(self.session)
        return participation.attempt if participation is not None else None

    def until(self, condition):
        for _ in range(MOST):
            if condition():
                return
            assert self.step(), "the state is never reached"

    def reach(self, state, actor):
        """Go on until a party is in a state: `idle`, or the name of a stage; `ending`: until the coordinator is."""
        if state == "idle":
            return
        if state == "starting":
            self.bodies[actor].slow = False
        self.begin()
        if state == "preparing":
            return
        if state == "ending":
            self.until(lambda: self.following.phase == "ending")
            return
        if state == "starting":
            self.until(lambda: self.attempt(actor) and self.attempt(actor).reserved)
            self.bodies[actor].slow = True
        if state == "stopped":
            self.until(lambda: self.attempt(actor) and self.attempt(actor).rounds >= 2)
            self.bodies[actor].perform(self.bodies[actor].brain.stop("its operator ends it"))
            return
        stage = Stage[state.upper()]
        self.until(lambda: self.attempt(actor) is not None and self.attempt(actor).stage is stage)
        if state == "running":
            self.until(lambda: self.attempt(actor).rounds >= 2)

    def weight(self, actor):
        """Bytes that an actor's body holds: brain, channels, what has come in and is not read."""
        body = self.bodies[actor]
        known = {id(x) for x in (self, self.cluster, self.machinery, LIMITS, body._home, *self.bodies.values())}
        todo = [body.brain, body._channels, body._written, body.mesh.inbox, self.signs[actor].control]
        total = 0
        while todo:
            thing = todo.pop()
            if id(thing) in known or isinstance(thing, type | ModuleType | FunctionType):
                continue
            known.add(id(thing))
            total += sys.getsizeof(thing)
            todo += gc.get_referents(thing)
        return total

    # -------------------------------------------------------------------------------------------------- misdeeds

    def speak(self, to, type_, *, session=None, step=0, meta=None, frames=()):
        """A message of its own, through its own channel."""
        session = self.session if session is None else session
        body = self.bodies[self.evil]
        channel = body._channels[to]
        channel.send(Message(type_, self.evil, to, session, step, meta or {}, tuple(frames)))
        body._flush(to, channel)

    def pour(self, to, type_, times, *, step=0, meta=None, frames=()):
        """The same many times, with the right numbers, without waiting for anything."""
        channel = self.bodies[self.evil]._channels[to]
        for _ in range(times):
            channel._sent += 1
            about = (0, self.evil + 1000, channel._sent, 0)
            self.throw(to, encode(Message(type_, self.evil, to, self.session, step, meta or {}, tuple(frames), *about)))

    def throw(self, to, parts):
        """Bytes of its own."""
        self.links.setdefault((self.evil, to), deque()).append([bytes(p) for p in parts])

    # ------------------------------------------------------------------------------------------------------ the end

    def finish(self):
        """The run ends; how: `right`, or the sentences that were said."""
        for body in self.bodies.values():
            body.catch_up()
        self.conclude()
        return self.ending()

    def ending(self):
        f = self.following
        if self.evil == COORDINATOR:
            return sorted({line for a in self.honest for line in self.said[a]})
        if f is None:
            return ["no run"]
        return ["right"] if f.outcome is not None and f.outcome.results.get("sum", SUM) == SUM else [
            f.verdict.sentence if f.verdict is not None else f"WRONG {f.outcome.results}"
        ]  # fmt: skip


__all__ = ["COORDINATOR", "DEALER", "LIMITS", "SUM", "Lab", "Message", "Type", "decode", "encode"]
