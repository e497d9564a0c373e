"""A coordinator that tells each actor what it likes, and a program whose honest result gives way to one party's data.

The program counts flags, or shows bob's one by one: parties do the same whatever the dealer puts into its tables, and
send the same to whom they believe to be a recipient.
"""

from dataclasses import dataclass, replace

import numpy as np
from lab import COORDINATOR, DEALER, RUN, SESSION, Lab

import mpc
from parties.agree import Verdict
from parties.coordinator import CoordinatorBrain
from parties.events import Arrived, Send
from parties.simulation.programs import Library
from parties.terms import Binding, Terms
from parties.version import FORMAT
from parties.wire import Type, pack
from protocols import suites

ALICE, BOB, CAROL = range(3)
LIBRARY = Library(suites)  # each text is compiled once
NAMES = ["alice", "bob", "carol"]
BITS = [1, 0, 1, 1, 0, 1]
SECRET = sum(bit << i for i, bit in enumerate(BITS))
OTHER_BITS = [0, 1, 1, 0, 1, 0]
OFFERS = [
    {"flags": np.zeros((6, 1))},
    {"flags": np.array(BITS, float)[:, None], "hidden": np.array(OTHER_BITS, float)[:, None]},
    {"flags": np.zeros((6, 1))},
]


@mpc.protocol(scale=lambda _: 0, range=lambda _: (0.0, 64.0))
def weighed(x, weights):
    """x · weight for bits x, by a table of one bit that the dealer fills: the parties' part knows no weights."""
    c, r = mpc.masked_low(x, 1)
    low, weight = mpc.bit(r, 0), np.array(weights, dtype=object)
    return mpc.deal(low * weight) + mpc.bit(c, 0) * mpc.deal(weight - 2 * (low * weight))


def tallied(x, one_by_one, to):
    """Of the second party's flags the count, or all of them in one number."""
    total = 0
    for position, v in enumerate(x):
        bits = mpc.share(v, range=(0, 1), scale=0).reshape((6, 1))
        weights = [[2**i if one_by_one and position == 1 else 1] for i in range(6)]
        total = total + weighed(bits, weights=weights).sum()
    return {"flags": mpc.reveal(total, to=to)}


@mpc.program
def asked(flags: mpc.PerParty[mpc.Private], *, one_by_one: bool, to: str):
    """What is asked is in the settings."""
    return tallied(flags, one_by_one, to)


def coded(one_by_one, to):
    """What is asked is in the code."""

    @mpc.program
    def asked(flags: mpc.PerParty[mpc.Private]):
        return tallied(flags, one_by_one, to)

    return asked


def depending(usual, otherwise, is_usual):
    """What is asked depends on the inputs' shapes, or on the order of their owners."""

    @mpc.program
    def asked(flags: mpc.PerParty[mpc.Private]):
        return tallied(flags, *(usual if is_usual(flags) else otherwise))

    return asked


def text_of(function, settings=None, shapes=((6, 1),) * 3, names=NAMES):
    """The program as the coordinator would have it."""
    given = {name: np.zeros(shape) for name, shape in zip(names, shapes, strict=True)}
    return function.trace({"flags": given}, names, settings or {}).text


@dataclass(frozen=True)
class Told:
    """What an actor is told. session: if it is another. changes: of the fields of PREPARE."""

    text: str
    binding: Binding
    session: bytes = b""
    changes: tuple[tuple[str, object], ...] = ()


class Hostile(CoordinatorBrain):
    """Compares nothing, starts whoever agrees on what it was told, and says GO before anybody is ready.

    deaf: it hears of no trouble and gives no verdict. breaks: it ends a run when all have saved a checkpoint. refusals:
    why an actor takes no part.
    """

    deaf, breaks = True, False

    def apart(self, following, told):
        """Have each actor prepare its own."""
        self.following, terms = following, following.terms
        self.told, self.agreed, self.refusals, self.saved = told, {}, {}, set()
        for session in {t.session for t in told.values()}:
            self.sessions[session] = self.following
        for peer, t in told.items():
            meta = {
                "version": terms.task.version, "format": FORMAT, "suite": "masked", "cluster": terms.cluster,
                "insecure": "", "mode": terms.mode, "run": terms.run, "attempt": terms.attempt, "epoch": terms.epoch,
                "material": terms.material, **dict(t.changes),
            }  # fmt: skip
            yield Send(peer, Type.PREPARE, t.session, meta=meta, frames=(pack(t.binding.document()), t.text.encode()))

    def handle(self, event):
        match event:
            case Arrived(m) if m.type is Type.READY:
                self.agreed[m.src] = m.meta["agreed"]
                yield from self._answers(m)
            case Arrived(m) if m.type is Type.REFUSED and self.deaf:
                self.refusals[m.src] = m.meta["reason"]
                yield from self._answers(m)
            case Arrived(m) if m.type is Type.ABORT and self.deaf:
                return
            case Arrived(m) if m.type is Type.SAVED and self.breaks:
                self.saved.add(m.src)
                if self.saved == set(self.following.parties) and m.session in self.sessions:
                    yield from super()._judge(self.following, Verdict(self.me, "stopped", "enough"))
            case _:
                for instruction in super().handle(event):
                    to = self.told.get(instruction.to) if isinstance(instruction, Send) else None
                    if to is not None:
                        instruction.session = to.session
                    yield instruction

    def _judge(self, s, verdict):
        return iter(()) if self.deaf else super()._judge(s, verdict)

    def _answers(self, m):
        self.following.ready.add(m.src)
        if len(self.following.ready) == len(self.told):
            yield from self._start()

    def _start(self):
        for peer, agreed in self.agreed.items():
            yield Send(peer, Type.START, self.told[peer].session, meta={"agreed": agreed})
        if self.following.terms.mode == "deal":
            return
        self.following.went = self._clock()
        for peer in self.agreed:
            if peer != DEALER:
                yield Send(peer, Type.GO, self.told[peer].session)


class Plot:
    """A hostile coordinator's cluster in memory. base: what everybody is told, unless it is told something else."""

    def __init__(self, base, offers=OFFERS):
        self.lab = Lab(COORDINATOR, machinery=LIBRARY.machinery(), offers=offers, coordinator=Hostile)
        self.base = base

    def run(self, told, mode="run", material="", number=0, **which):
        """One run, to its end. told: by actor, what it is told instead. number: of the session, and of the run.

        which: other terms.
        """
        lab = self.lab
        session = bytes([number or SESSION[0]]) * 16
        actors = [*range(3), *([] if material else [DEALER])]
        each = {a: told.get(a, self.base) for a in actors}
        each = {a: replace(t, session=t.session or session, binding=_of(mode, t.binding)) for a, t in each.items()}
        terms = replace(self.terms(mode, session, material, number), **which)
        brain = lab.bodies[COORDINATOR].brain
        lab.session = session
        lab.following = brain.follow(session, terms)
        lab.bodies[COORDINATOR].perform(brain.apart(lab.following, each))
        lab.conclude()
        return self

    def terms(self, mode, session, material, number):
        """Those of whoever was told what everybody is."""
        program = self.lab.machinery.parse(self.base.text)
        which = {"mode": mode, "run": f"{number:032x}" if number else RUN, "material": material}
        lowered = program.lower(suites["masked"])
        return Terms.of(self.lab.cluster, program, lowered, "masked", session, self.base.binding, **which)

    @property
    def refusals(self):
        """Why actors took no part, by number."""
        return self.lab.bodies[COORDINATOR].brain.refusals

    @property
    def told_coordinator(self):
        """What each party gave the coordinator as the result."""
        results = {peer: list(done["results"].values()) for peer, done in self.lab.following.done.items()}
        return {peer: values[0] for peer, values in results.items() if values}


def _of(mode, binding):
    return Binding(settings=binding.settings) if mode == "deal" else binding
