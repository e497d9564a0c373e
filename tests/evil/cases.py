"""The table of evil: behaviour × message type × state × who does it to whom. `every()` makes the cases from it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgpack
from actors import scripted_terms
from lab import COORDINATOR, DEALER, ROUNDS, RUN, SESSION, TEXT, Lab
from lies import BINDING, BY_COORDINATOR, BY_DEALER, BY_PARTY, DEALER_TO_COORDINATOR, TO_PEER, Lie, abort
from wirelies import CHANGES

from parties.agree import short_run
from parties.terms import card
from parties.values import pack_values
from parties.version import FORMAT, VERSION
from parties.wire import META, Message, Type, encode, pack

ALICE, BOB = 0, 1
WHO = {ALICE: "alice", BOB: "bob", 2: "carol", DEALER: "dealer", COORDINATOR: "coordinator"}
PAIRS = [
    (BOB, ALICE), (BOB, DEALER), (BOB, COORDINATOR), (DEALER, ALICE), (DEALER, COORDINATOR),
    (COORDINATOR, ALICE), (COORDINATOR, DEALER),
]  # fmt: skip
STATES = ["idle", "preparing", "ready", "stocking", "running", "done", "stopped"]
ENDING = "ending"  # the coordinator has said END, and nobody has answered


@dataclass(frozen=True)
class Case:
    """One row. act: what the evil actor does to the victim once the state is reached."""

    behaviour: str
    message: str
    state: str
    evil: int
    victim: int
    act: Callable[[Lab, int], None] = field(repr=False)
    mode: str = "run"
    much: bool = False  # see how much of it the victim keeps
    early: bool = False  # act before the run begins: it waits for its moment

    @property
    def id(self) -> str:
        mode = "" if self.mode == "run" else f", {self.mode}"
        return f"{WHO[self.evil]}: {self.behaviour}, {self.message} to {WHO[self.victim]}, {self.state}{mode}"

    def play(self) -> Lab:
        """Make the run."""
        lab = Lab(self.evil, self.mode)
        if self.early:
            self.act(lab, self.victim)
        lab.reach(self.state, self.watched)
        before = lab.weight(self.victim)
        if not self.early:
            self.act(lab, self.victim)
        if self.much:
            lab.settle()
            lab.growth = lab.weight(self.victim) - before
        if self.state == "idle":
            lab.settle()
            lab.begin()
        lab.end = lab.finish()
        return lab

    @property
    def watched(self) -> int:
        """The party whose state it is."""
        return self.victim if self.victim < DEALER else (ALICE if self.evil != ALICE else BOB)


# ----------------------------------------------------------------------------------- plausible messages of every type


def sample(lab: Lab, kind: Type) -> dict[str, Any]:
    """What `Lab.speak` takes, as good as the type allows."""
    terms = lab.following.terms if lab.following is not None else None
    agreed = terms.digest() if terms is not None else "0" * 64
    shown = card(terms if terms is not None else scripted_terms(lab.cluster, TEXT))
    meta: dict[Type, dict[str, Any]] = {
        Type.HELLO: {"name": "bob", "version": VERSION, "cluster": lab.cluster.digest(), "control": 7, "knows": 0},
        Type.PING: {"progress": 1, "waiting": False},
        Type.ABORT: abort(2),
        Type.DESCRIBE: {"ask": 1, "name": "x"},
        Type.SCHEMA: {"ask": 1, "offered": True, "table": False, "shape": [2]},
        Type.CLASSES: {"ask": 1, "name": "x", "column": "c"},
        Type.LABELS: {"ask": 1},
        Type.PREPARE: prepare(lab),
        Type.READY: {
            "version": VERSION, "source": f"source {TEXT}", "lowered": f"lowered by M {TEXT}", "agreed": agreed,
        },
        Type.REFUSED: {"ask": -1, "kind": "policy", "reason": "does not want to"},
        Type.START: {"agreed": agreed},
        Type.DEALT: {"count": ROUNDS, "payload": 8 * ROUNDS, "seconds": 0.0},
        Type.STOCKED: {"complete": True},
        Type.PROGRESS: {"where": "script.py:7"},
        Type.HELD: {"ask": 1, "run": RUN, "lowered": "", "task": ""},
        Type.HOLDS: {"ask": 1},
        Type.SAVED: {"epoch": (1 << 32) + 1, "iteration": 2, "reason": ""},
        Type.COMMIT: {"epoch": (1 << 32) + 1},
        Type.DROP: {"ask": 1, "name": "model"},
        Type.ENDED: {"reason": ""},
    }  # fmt: skip
    meta[Type.WELCOME] = meta[Type.HELLO]
    frames: dict[Type, tuple[bytes, ...]] = {
        Type.DATA: (b"12345678",),
        Type.CORRECTION: (b"12345678",),
        Type.PREPARE: (BINDING, TEXT.encode()),
        Type.PAIR: (bytes(range(32)), shown, b""),
        Type.SEEDS: (bytes(7 * 16), shown, *([bytes(16)] if lab.mode == "deal" else [])),
        Type.SCHEMA: (pack([]),),
        Type.LABELS: (pack(["a"]),),
        Type.HOLDS: (pack({"attempts": 0, "checkpoints": [], "materials": [], "handles": []}),),
        Type.DONE: pack_values({"results": {"sum": 35.0}, "measures": {}}),
    }
    step = {Type.DATA: 3, Type.CORRECTION: 3, Type.PROGRESS: 2, Type.CREDIT: 1}.get(kind, 0)
    return {"meta": meta.get(kind, {}), "frames": frames.get(kind, ()), "step": step}


def prepare(lab: Lab, **changes: Any) -> dict[str, Any]:
    return {
        "version": VERSION, "format": FORMAT, "suite": "masked", "cluster": lab.cluster.digest(), "insecure": "",
        "mode": lab.mode if lab.mode == "deal" else "run", "run": RUN, "attempt": 1, "epoch": 0,
        "material": lab.material,
    } | changes  # fmt: skip


def say(lab: Lab, victim: int, kind: Type, times: int = 1, **changes: Any) -> None:
    """A sample, or one that is changed; meta: only the fields that are; frames: or what is made of the sample's."""
    words = sample(lab, kind)
    if callable(changes.get("frames")):
        changes["frames"] = changes["frames"](words["frames"])
    words["meta"] = words["meta"] | changes.pop("meta", {})
    words |= changes
    for _ in range(times):
        lab.speak(victim, kind, **words)


# ------------------------------------------------------------------------------------------------- what does not belong


def out_of_place() -> list[Case]:
    """Every numbered type from everybody to everybody in every state."""
    kinds = [t for t in Type if t not in {Type.HELLO, Type.WELCOME, Type.ACK, Type.PING}]
    return [
        Case("speaks out of place", kind.name, state, evil, victim, partial(say, kind=kind))
        for evil, victim in PAIRS
        for kind in kinds
        for state in STATES
        if not (evil == COORDINATOR and state in {"preparing", "stopped"})
    ] + [
        Case("speaks out of place", kind.name, ENDING, evil, COORDINATOR, partial(say, kind=kind))
        for evil in (BOB, DEALER)
        for kind in kinds
    ]


# ------------------------------------------------------------------------------------------------- bytes on their way

SAYS = {
    BOB: {
        ALICE: ["HELLO", "PAIR", "DATA"], DEALER: ["HELLO"],
        COORDINATOR: ["WELCOME", "READY", "STOCKED", "SAVED", "DONE", "ENDED"],
    },
    DEALER: {ALICE: ["WELCOME", "SEEDS", "CORRECTION", "DEALT"], COORDINATOR: ["READY", "DEALT"]},
    COORDINATOR: {
        ALICE: ["HELLO", "PREPARE", "START", "GO", "COMMIT", "END", "FORGET"], DEALER: ["PREPARE", "START", "END"],
    },
}  # fmt: skip
BY_VALUE = "sends frames of the same size and other content"
ABOUT_FRAMES = {BY_VALUE, "has one frame less"}
FRAMED = {"PAIR", "DATA", "SEEDS", "CORRECTION", "DONE", "PREPARE"}


def changed(lab: Lab, victim: int, name: str, kind: Type, nth: int = 1) -> None:
    """From now on: the nth message of a type to the victim is changed on its way."""
    seen = 0

    def lips(peer: int, parts: list[bytes]) -> list[list[bytes]]:
        nonlocal seen
        if peer != victim or parts[0][5] != kind:
            return [parts]
        seen += 1
        return CHANGES[name](parts) if seen == nth else [parts]

    lab.lips = lips


def on_the_way() -> list[Case]:
    """Every change of the bytes of every message that an actor has to send."""
    found = []
    for evil, by_victim in SAYS.items():
        for victim, kinds in by_victim.items():
            for kind in kinds:
                for name in CHANGES:
                    if name in ABOUT_FRAMES and kind not in FRAMED:
                        continue
                    act = partial(changed, name=name, kind=Type[kind], nth=2 if kind == "DATA" else 1)
                    found.append(Case(name, kind, "idle", evil, victim, act, early=kind in GREETINGS))
    return found


GREETINGS = {"HELLO", "WELCOME"}


# --------------------------------------------------------------------------------------------------------------- lies


def lies() -> list[Case]:
    """What is well formed and not true."""
    who = [
        (BY_PARTY, BOB, COORDINATOR), (TO_PEER, BOB, ALICE), (BY_DEALER, DEALER, ALICE),
        (DEALER_TO_COORDINATOR, DEALER, COORDINATOR), (BY_COORDINATOR, COORDINATOR, ALICE),
    ]  # fmt: skip
    return [
        Case(lie, kind.name, state, evil, victim, partial(say, kind=kind, **dict(how)))
        for table, evil, victim in who
        for lie, kind, state, how in table
    ]


# --------------------------------------------------------------------------------------------- floods, other modes

MANY = 5000


def flood(lab: Lab, victim: int, kind: Type, times: int, **how: Any) -> None:
    """The same many times, by one who reads nothing."""
    lab.deaf.add((victim, lab.evil))
    lab.pour(victim, kind, times, **sample(lab, kind) | how)


def greets(lab: Lab, victim: int, times: int, *, new: bool) -> None:
    """Greetings without end: of one incarnation, or each of another."""
    lab.deaf.add((victim, lab.evil))
    kind = Type.HELLO if lab.bodies[lab.evil]._channels[victim].dials else Type.WELCOME
    meta = sample(lab, Type.HELLO)["meta"]
    for i in range(times):
        incarnation = lab.evil + 1000 + (i + 1 if new else 0)
        lab.throw(victim, encode(Message(kind, lab.evil, victim, meta=meta, incarnation=incarnation)))


def repeats(lab: Lab, victim: int, times: int) -> None:
    """What was sent before, again and again, and nothing of what comes back is read."""
    lab.deaf.add((victim, lab.evil))
    meta = {"origin": lab.evil, "kind": "dead", "reason": "", "round": 0, "where": "", "final": False}
    old = Message(Type.ABORT, lab.evil, victim, b"q" * 16, 0, meta, incarnation=lab.evil + 1000, seq=1)
    for _ in range(times):
        lab.throw(victim, encode(old))


def sessions(lab: Lab, victim: int, times: int) -> None:
    """One run after another prepared, and none of them begun."""
    for i in range(times):
        session, run = i.to_bytes(16, "big"), f"{i:032x}"
        say(lab, victim, Type.PREPARE, session=session, meta={"run": run})


def prepares_with_epochs(lab: Lab, victim: int, times: int) -> None:
    """Checkpoints one after another that nobody else has."""
    for i in range(times):
        say(lab, victim, Type.SAVED, meta={"epoch": (1 << 32) + 2 + i, "iteration": i})


def rounds_ahead(lab: Lab, victim: int, times: int) -> None:
    for i in range(times):
        say(lab, victim, Type.DATA, step=3 + i, frames=())


def empty_corrections(lab: Lab, victim: int, times: int) -> None:
    for i in range(times):
        say(lab, victim, Type.CORRECTION, step=1 + i, frames=(b"",))


def pieces(lab: Lab, victim: int, times: int) -> None:
    """A message in pieces without content that never ends."""
    channel = lab.bodies[lab.evil]._channels[victim]
    for i in range(times):
        m = Message(
            Type.DATA, lab.evil, victim, SESSION, 3, {}, (b"",) * 100, 1, lab.evil + 1000, channel._sent + 1 + i
        )
        lab.throw(victim, encode(m))


def floods() -> list[Case]:
    """Much of everything, at a victim whose memory is measured."""
    found = []
    for evil, victim in PAIRS:
        for new in (False, True):
            name = "greets 5000 times" + (", each time as another process" if new else "")
            act = partial(greets, times=MANY, new=new)
            found.append(Case(name, "HELLO", "running", evil, victim, act, much=True))
        found.append(
            Case(
                "repeats an old message 5000 times",
                "ABORT",
                "running",
                evil,
                victim,
                partial(repeats, times=MANY),
                much=True,
            )
        )
    to_coordinator = [
        Type.PROGRESS,
        Type.SAVED,
        Type.HOLDS,
        Type.SCHEMA,
        Type.LABELS,
        Type.ABORT,
        Type.CREDIT,
        Type.REFUSED,
    ]
    to_party = [Type.DATA, Type.PAIR, Type.CREDIT, Type.ABORT]
    by_coordinator = [Type.DESCRIBE, Type.CLASSES, Type.HELD, Type.DROP, Type.COMMIT, Type.GO, Type.PREPARE]
    for evil, victim, kinds in (
        (BOB, COORDINATOR, to_coordinator), (BOB, ALICE, to_party), (BOB, DEALER, [Type.CREDIT, Type.DATA]),
        (DEALER, ALICE, [Type.CORRECTION, Type.SEEDS, Type.DEALT]), (DEALER, COORDINATOR, [Type.STOCKED, Type.DEALT]),
        (COORDINATOR, ALICE, by_coordinator), (COORDINATOR, DEALER, [Type.PREPARE, Type.START]),
    ):  # fmt: skip
        act = [(kind.name, partial(flood, kind=kind, times=MANY)) for kind in kinds]
        found += [Case("says it 5000 times", name, "running", evil, victim, a, much=True) for name, a in act]
        found += [Case("says it 5000 times", name, "idle", evil, victim, a, much=True) for name, a in act]
    found += [
        Case("prepares 5000 runs", "PREPARE", "idle", COORDINATOR, ALICE, partial(sessions, times=MANY), much=True),
        Case("prepares 5000 runs", "PREPARE", "idle", COORDINATOR, DEALER, partial(sessions, times=MANY), much=True),
        Case(
            "has saved 8000 epochs",
            "SAVED",
            "running",
            BOB,
            COORDINATOR,
            partial(prepares_with_epochs, times=8000),
            much=True,
        ),
        Case(
            "sends 5000 rounds without content",
            "DATA",
            "running",
            BOB,
            ALICE,
            partial(rounds_ahead, times=MANY),
            much=True,
        ),
        Case(
            "sends corrections without content",
            "CORRECTION",
            "ready",
            DEALER,
            ALICE,
            partial(empty_corrections, times=9000),
            much=True,
        ),
        Case("sends a message that never ends", "DATA", "running", BOB, ALICE, partial(pieces, times=500), much=True),
    ]
    return found


def equivocates(lab: Lab, _victim: int, kind: Type, **how: Any) -> None:
    """One thing to alice, another to carol."""
    say(lab, ALICE, kind, **how)
    say(lab, 2, kind)


OTHER_MODES: list[Lie] = [
    ("deals although all is stored", Type.SEEDS, "ready", {}),
    ("deals although all is stored", Type.CORRECTION, "running", {"step": 1}),
    ("deals although all is stored", Type.DEALT, "stocking", {}),
]


def _recorded(own: tuple[bytes, ...], record: bytes) -> tuple[bytes, ...]:
    return *own[:2], record


def in_other_modes() -> list[Case]:
    """While material is dealt for later, and in runs that use it."""
    found = []
    for lie, kind, state, how in OTHER_MODES:
        found.append(Case(lie, kind.name, state, DEALER, ALICE, partial(say, kind=kind, **how), "stored"))
    for record in (b"", b"other", bytes(48)):
        key = partial(_recorded, record=record)
        act = partial(say, kind=Type.PAIR, frames=key)
        found.append(Case(f"brings {len(record)} bytes of record", "PAIR", "ready", BOB, ALICE, act, "stored"))
        act = partial(equivocates, kind=Type.PAIR, frames=key)
        found.append(Case(f"brings {len(record)} bytes of record", "PAIR", "ready", BOB, ALICE, act, "stored"))
    kinds = [t for t in Type if t not in {Type.HELLO, Type.WELCOME, Type.ACK, Type.PING, Type.BYE}]
    states = {"deal": ["ready", "stocking", "done"], "stored": ["ready", "stocking", "starting", "running"]}
    for mode, stages in states.items():
        for evil, victim in ((BOB, ALICE), (BOB, COORDINATOR), (DEALER, ALICE), (COORDINATOR, ALICE)):
            for state in stages:
                for kind in kinds:
                    act = partial(say, kind=kind)
                    found.append(Case("speaks out of place", kind.name, state, evil, victim, act, mode))
    short = {"meta": {"count": ROUNDS - 1}}
    for how in (
        {"frames": ()},
        {"frames": (bytes(16),)},
        {"frames": (bytes(16), bytes(96))},
        {"frames": (b"", b"")},
        short,
    ):
        act = partial(say, kind=Type.DEALT, **how)
        found.append(Case(f"ends the material with {sorted(how)}", "DEALT", "stocking", DEALER, ALICE, act, "deal"))
    return found


def every() -> list[Case]:
    """The whole table."""
    return [*out_of_place(), *on_the_way(), *lies(), *in_other_modes(), *floods()]


__all__ = ["CHANGES", "META", "Case", "every", "floods", "msgpack", "short_run"]
