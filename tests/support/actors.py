"""Actors for tests: brains on a simulated network, bodies in threads of this process, a scripted engine."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from mpc.errors import MpcError
from mpc.exchange import Draw, Exchange, Frame
from parties import keys, records
from parties.attempt import Stage
from parties.body import Body
from parties.cluster import COORDINATOR, DEALER, Cluster, Member
from parties.coordinator import CoordinatorBrain
from parties.data import read_csv
from parties.dealer import DealerBrain
from parties.events import Arrived, Down, Keep, Note, Pump, Say, Send, Swap, Tell, Tick, Up, Write, Written
from parties.home import Home
from parties.limits import Limits
from parties.machinery import Machinery, real
from parties.mesh import Mesh
from parties.party import PartyBrain
from parties.session import Session
from parties.simulation.disk import MemoryHome
from parties.store import Store
from parties.terms import Binding, Terms
from parties.version import VERSION
from parties.wire import Message, decode, encode
from protocols import catalog, suites

NAMES = ["alice", "bob", "carol", "dave", "erin"]


def drop_with_the_end(monkeypatch):
    """A broken twin: a party's checkpoints go as soon as it has written that a run is done."""
    conclude = records.Conclude.apply

    def at_once(self, home):
        conclude(self, home)
        if self.how == "done":
            home.checkpoints.drop(self.terms.run)

    monkeypatch.setattr(records.Conclude, "apply", at_once)


def make_cluster(n=3, address="127.0.0.1:{}", receives=True):
    """A cluster with fresh keys, and the key pairs by actor number."""
    pairs = {actor: keys.fresh() for actor in (*range(n), DEALER, COORDINATOR)}
    parties = tuple(Member(NAMES[i], address.format(7001 + i), pairs[i].public) for i in range(n))
    dealer = Member("dealer", address.format(7000), pairs[DEALER].public)
    coordinator = Member("coordinator", "", pairs[COORDINATOR].public)
    return Cluster(parties, dealer, coordinator, receives), pairs


# ------------------------------------------------------------------------------------------------ a scripted program


@dataclass
class Script:
    """A program of `rounds` exchanges of one word, each after a draw by everybody; its text says so."""

    text: str
    parties: list = field(default_factory=list)
    where: str = "script.py:7"

    def __post_init__(self):
        words = self.text.split()
        self.rounds, self.parties = int(words[1]), words[2:]
        self.name, self.facts, self.order = "script", {"fact": 1}, ["fact", "sum", "own"]
        self.handles, self.keeps = [], []
        self.inputs = [SimpleNamespace(name="x", owner=p, shape=(2,), columns=None) for p in self.parties]
        self.outputs = [
            SimpleNamespace(name="sum", to="everyone", shape=()),
            SimpleNamespace(name="own", to=[self.parties[0]], shape=()),
        ]

    @property
    def digest(self):
        return f"source {self.text}"

    def check(self):
        """Nothing to check."""

    def lower(self, suite):
        return SimpleNamespace(
            digest=f"lowered by {suite} {self.text}", check=lambda: None, cost=self.cost, program=self, reveals=[],
            name=self.name,
        )  # fmt: skip

    def cost(self):
        n = len(self.parties)
        each = dict.fromkeys(self.parties, 8 * (n - 1) * self.rounds)
        return SimpleNamespace(
            rounds=self.rounds,
            bytes_sent=each,
            dealt_bytes=dict.fromkeys(self.parties, 8 * self.rounds),
            input_bytes=dict.fromkeys(self.parties, 0),
            reveals=[],
        )


def scripted_terms(cluster, text, session=b"s" * 16, *, suite="masked", program=None, **which):
    """What actors make of a script's text, whether it is one or not; or of a program that is none."""
    inputs = [SimpleNamespace(name="x", owner=p, shape=(2,), columns=None) for p in cluster.names]
    script = SimpleNamespace(digest=f"source {text}", inputs=inputs, handles=[])
    lowered = SimpleNamespace(digest=f"lowered by M {text}") if program is None else program.lower(suite)
    program = program or script
    return Terms.of(cluster, program, lowered, suite, session, Binding(), **which)


def script_text(rounds=3, n=3):
    return f"script {rounds} " + " ".join(NAMES[:n])


def scripted_party(lowered, me, inputs, entropy, kept=()):
    """Sums what everybody sends, plus the corrections."""
    program = lowered.program
    peers = [i for i in range(len(program.parties)) if i != me]
    word = Frame("<u8", (1,))
    total = np.zeros(1, dtype=np.uint64)
    for number in range(1, program.rounds + 1):
        (dealt,) = yield Draw(number, program.where, (word,))
        mine = inputs["x"][:1].astype(np.uint64)
        got = yield Exchange(number, program.where, {p: [mine] for p in peers}, dict.fromkeys(peers, (word,)))
        total = total + mine + sum(a[0] for a in got.values()) + dealt
    return {"fact": 1, "sum": float(total[0]), "own": 7.0} if me == 0 else {"fact": 1, "sum": float(total[0])}


def scripted_dealer(lowered, entropy):
    for number in range(1, lowered.program.rounds + 1):
        for party in range(len(lowered.program.parties)):
            yield SimpleNamespace(party=party, number=number, arrays=[np.ones(1, dtype=np.uint64)])


def scripted(party=scripted_party, dealer=scripted_dealer, parse=Script):
    return Machinery({"masked": "M", "beaver": "B"}, parse, party, dealer)


# -------------------------------------------------------------------------------------------- brains without sockets


class Held(deque):
    """A link of a `Net` on which everything stays under way: what is sent is kept elsewhere, and does not arrive."""

    def __init__(self):
        super().__init__()
        self.kept = []
        self.append = self.kept.append


class Net:
    """All brains of a cluster on one virtual clock; messages pass through the wire format; `pick` orders links."""

    def __init__(
        self, n=3, machinery=None, pick=None, limits=None, versions=None, offers=None, receives=True, declared=None
    ):
        self.cluster, _ = make_cluster(n, receives=receives)
        self.now = 0.0
        self.pick = pick or (lambda k: 0)
        self.links = {}
        self.said, self.noted, self.told, self.kept = {}, {}, {}, {}
        self.dead = set()
        self.log = []
        self.homes = {i: MemoryHome() for i in range(n)}
        limits = limits or Limits()
        versions = versions or {}
        machinery = machinery or scripted()
        machinery = machinery if isinstance(machinery, dict) else dict.fromkeys([*range(n), DEALER], machinery)
        self.brains = {
            DEALER: DealerBrain(
                self.cluster, machinery[DEALER], self.clock, limits=limits, version=versions.get(DEALER, VERSION)
            )
        }
        for i in range(n):
            store = Store(NAMES[i], read_csv)
            store.offer("x", np.asarray([i + 1, 0]) if offers is None else offers[i])
            how = {"limits": limits, "version": versions.get(i, VERSION), "declared": declared}
            self.brains[i] = PartyBrain(i, self.cluster, store, machinery[i], self.clock, **how)
        self.coordinator = CoordinatorBrain(self.cluster, self.clock, limits)
        self.brains[COORDINATOR] = self.coordinator
        for actor in self.brains:
            for peer in self.brains:
                if actor != peer:
                    self.event(actor, Up(peer))

    def clock(self):
        return self.now

    def event(self, actor, event):
        if actor not in self.dead:
            self.perform(actor, self.brains[actor].handle(event))

    def perform(self, actor, instructions):
        written = []
        for instruction in instructions:
            match instruction:
                case Swap():
                    self._swap(actor, instruction)
                case Send():
                    self._send(actor, instruction)
                case Say(text):
                    self.said.setdefault(actor, []).append(text)
                case Note(text):
                    self.noted.setdefault(actor, []).append(text)
                case Tell(text):
                    self.told.setdefault(actor, []).append(text)
                case Keep(name, value):
                    self.kept.setdefault(actor, {})[name] = value
                case Write(token, record):
                    written.append(self._written(actor, token, record))
        for event in written:
            self.event(actor, event)

    def _written(self, actor, token, record):
        try:
            return Written(token, record.apply(self.homes[actor]))
        except MpcError as error:
            return Written(token, None, str(error))

    def _send(self, actor, s):
        m = Message(s.type, actor, s.to, s.session, s.step, s.meta, tuple(s.frames))
        self.log.append(m)
        self.links.setdefault((actor, s.to), deque()).append(encode(m))

    def _swap(self, actor, swap):
        following = swap.step, swap.parts, swap.owed
        while following is not None:
            swap.step, swap.parts, swap.owed = following
            for peer, frames in swap.parts.items():
                self._send(actor, Send(peer, swap.type, swap.session, swap.step, frames=frames))
            came = {}
            for peer in swap.owed:
                m = self._back(actor, swap, peer)
                if m is None:
                    break
                came[peer] = m.frames
            following = swap.answered(came) if came else None

    def _back(self, actor, swap, peer):
        """What a peer owes in return, if it is next and `pick` would have it at once."""
        link = self.links.get((peer, actor))
        m = decode([bytes(p) for p in link[0]]) if link else None
        owed = m is not None and (m.type, m.session, m.step) == (swap.type, swap.session, swap.step)
        if not owed or not self.pick(2):
            return None
        link.popleft()
        return m

    def inject(self, message):
        """A message as if its `src` had sent it."""
        self.links.setdefault((message.src, message.dst), deque()).append(encode(message))

    def step(self):
        """Deliver one message or let the dealer go on; False if nothing can move."""
        ready = [k for k, q in self.links.items() if q]
        pumping = [a for a in self.brains if self.brains[a].pumping and a not in self.dead]
        if not ready and not pumping:
            return False
        choice = self.pick(len(ready) + len(pumping))
        if choice >= len(ready):
            self.event(pumping[choice - len(ready)], Pump())
            return True
        src, dst = ready[choice]
        parts = self.links[src, dst].popleft()
        if dst not in self.dead:
            self.event(dst, Arrived(decode([bytes(p) for p in parts])))
        return True

    def settle(self, most=100_000):
        for _ in range(most):
            if not self.step():
                return
        raise AssertionError("the network never comes to rest")

    def pass_time(self, seconds):
        """Time passes; everybody whose deadline is over hears of it."""
        self.now += seconds
        for actor, brain in self.brains.items():
            if brain.deadline is not None and brain.deadline <= self.now:
                self.event(actor, Tick())
        self.settle()

    def kill(self, actor, reason="died"):
        self.dead.add(actor)
        for key in list(self.links):
            if actor in key:
                self.links[key].clear()
        for other in self.brains:
            if other not in self.dead:
                self.event(other, Down(actor, reason))

    def begin(self, text=None, session=b"s" * 16, **changes):
        text = text or script_text(n=len(self.cluster.parties))
        cluster = changes.pop("cluster", self.cluster.digest())
        terms = scripted_terms(self.cluster, text, session, **{"run": session.hex(), **changes})
        self.following = self.coordinator.follow(session, replace(terms, cluster=cluster))
        self.perform(COORDINATOR, self.coordinator.begin(self.following, text, Binding()))

    @property
    def outcome(self):
        return self.following.outcome

    @property
    def verdict(self):
        return self.following.verdict

    def attempt(self, party):
        """The only attempt at a party, if there is one."""
        live = list(self.brains[party].sessions.values())
        return live[0].attempt if live else None

    def types(self, dst=None):
        return [m.type.name for m in self.log if dst in (None, m.dst)]


# ------------------------------------------------------------------------------------------------ bodies in threads


class Threads:
    """A cluster with real sockets and CURVE, every actor in a thread of this process: its plaintext can be tapped."""

    def __init__(self, n=3, machinery=None, tap=None, offers=None, limits=None):
        cluster, pairs = make_cluster(n)
        self.pairs = pairs
        self.seen = []
        self.lines = []
        machinery = machinery or real(suites)
        limits = limits or Limits()
        self._stop = threading.Event()
        self._folder = tempfile.TemporaryDirectory()
        meshes = {a: Mesh(pairs[a], self._tap(a, tap)) for a in (*range(n), DEALER)}
        ports = {a: meshes[a].listen("tcp://127.0.0.1:*", {}) for a in meshes}
        parties = tuple(replace(p, address=f"127.0.0.1:{ports[i]}") for i, p in enumerate(cluster.parties))
        dealer = replace(cluster.dealer, address=f"127.0.0.1:{ports[DEALER]}")
        self.cluster = replace(cluster, parties=parties, dealer=dealer)
        self.bodies = {a: Body(mesh, pairs[a], self.cluster, a, limits) for a, mesh in meshes.items()}
        self._threads = []
        for a, body in self.bodies.items():
            if a == DEALER:
                brain = DealerBrain(self.cluster, machinery, time.monotonic, limits=limits)
            else:
                store = Store(NAMES[a], read_csv)
                for name, value in (offers or {}).get(NAMES[a], {}).items():
                    store.offer(name, value)
                how = {"limits": limits, "trouble": body.trouble, "heard": body.heard}
                brain = PartyBrain(a, self.cluster, store, machinery, time.monotonic, **how)
            self._threads.append(threading.Thread(target=self._serve, args=(a, body, brain)))
        for thread in self._threads:
            thread.start()
        self.session = Session(
            self.cluster,
            pairs[COORDINATOR],
            machinery,
            home=Home.open(Path(self._folder.name) / "coordinator", "coordinator"),
            catalog=catalog,
            on_send=self._tap(COORDINATOR, tap),
            limits=limits,
        )

    def _tap(self, actor, tap):
        def taken(to, parts):
            self.seen.append((actor, to, [bytes(p) for p in parts]))
            if tap is not None:
                tap(actor, to, parts)

        return taken

    def _serve(self, a, body, brain):
        name = self.cluster.name(a)
        home = None if a == DEALER else Home.open(Path(self._folder.name) / name, name)

        def told(text, _about):
            self.lines.append(text)

        actor = body.inhabit(brain, home=home, say=self.lines.append, tell=told)
        actor.run(self._stop.is_set, 0.02)
        body.close(0.0)
        if home is not None:
            home.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.session.close()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()


def running(parties, monkeypatch):
    """A net in which party 0 runs three rounds, and has nothing at once."""
    net = Net(parties, pick=lambda k: 0)
    net.begin(script_text(3, parties))
    monkeypatch.setattr(net, "_back", lambda *_: None)
    while net.attempt(0) is None or net.attempt(0).stage is not Stage.RUNNING:
        assert net.step()
    return net
