"""What has to be true of every simulated run, whatever goes wrong: watched while it goes on, and at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mpc.exchange import Exchange, Save
from mpc.prg import PartyEntropy, Position, block
from parties import records
from parties.channel import Broken, Channel, Delivered, Joined, Left, Restarted
from parties.cluster import COORDINATOR, DEALER
from parties.coordinator import Following
from parties.events import Send, Write, Written
from parties.home import key_id
from parties.machinery import Engine, Machinery
from parties.simulation.disk import MemoryHome
from parties.simulation.faults import Fault, call
from parties.wire import HEADER, Buffer, Message, Type

if TYPE_CHECKING:
    from parties.simulation.world import World

__all__ = ["Rules", "Violation"]

_WINDOW = 64
_AFTER = 8.0  # seconds after a fault in which its consequences may show
_VERDICT = 1.0  # seconds of a fault that may keep a verdict from somebody until it has decided for itself
_STOPPED = "run stopped: "


class Violation(BaseException):  # a brain makes a report of every Exception of its engine
    """A rule was broken; the text says which and how."""


@dataclass
class _Struck:
    fault: Fault
    began: float

    def touches(self, began: float, ended: float) -> bool:
        """Whether it may be the reason of what happened in a span of time."""
        return self.began <= ended and self.began + self.fault.seconds + _AFTER >= began


@dataclass
class _End:
    """One process's end of a channel: what it was given to send to the peer's process, and what went out."""

    incarnation: int
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    posted: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    greetings: int = 0


class Rules:
    """Told of everything that happens. dealt: all that reached the dealer, if `listening`."""

    def __init__(self, world: World) -> None:
        self.listening = False
        self.dealer_view: list[tuple[float, int, bytes]] = []
        self.troubled_until = 0.0
        self._world = world
        self._struck: list[_Struck] = []
        self._ends: dict[tuple[int, int], _End] = {}
        self._book: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
        self._delivered: dict[tuple[int, int], int] = {}
        self._incarnations: dict[int, int] = {}
        self._channels: dict[int, Callable[[int], Channel]] = {}
        self._engines = 0
        self._masks: dict[tuple[int, bytes, int, int], tuple[int, bytes]] = {}
        self._seeds: dict[tuple[int, bytes], int] = {}
        self._reveals: dict[tuple[int, int], tuple[str, ...]] = {}
        self._said: list[tuple[float, int, str]] = []
        self._verdicts: list[str] = []
        self._began = 0.0
        self._committed, self._run = 0, ""
        self._forgotten = False  # the coordinator has let checkpoints go
        self._unwritten: list[str] = []

    @property
    def faults(self) -> list[Fault]:
        """The faults so far."""
        return [s.fault for s in self._struck]

    def severed(self, *actors: int) -> bool:
        """Whether nothing but signs of life will ever pass between two actors."""
        return any(f.kind == "severed" and f.for_ever and set(f.who) == set(actors) for f in self.faults)

    def struck(self, fault: Fault) -> None:
        """A fault begins."""
        self._struck.append(_Struck(fault, self._world.now))
        if not fault.for_ever:
            self.troubled_until = max(self.troubled_until, self._world.now + fault.seconds)

    # --------------------------------------------------------------------------------- channels: exactly once, in order

    def born(self, me: int, incarnation: int, channel: Callable[[int], Channel]) -> None:
        """A process begins."""
        self._incarnations[me] = incarnation
        self._channels[me] = channel
        for peer in self._world.cluster.actors():
            self._ends[me, peer] = _End(incarnation)

    def sent(self, me: int, s: Send) -> None:
        """A body gives a message to a channel."""
        self._world.note(f"{{}} -> {{}} {s.type.name} {s.step or ''}", me, s.to)
        self._ends[me, s.to].sent.append(_summary(s.type, s.session, s.step, s.meta, s.frames))
        if s.type is Type.DATA:
            self._reveals_journalled(me, s)
        elif s.type is Type.FORGET and not self._forgotten:
            self._all_hold()
            self._forgotten = True

    def greeted(self, me: int, peer: int) -> None:
        """A greeting comes in."""
        self._ends[me, peer].greetings += 1

    def digested(self, me: int, peer: int, channel: Channel) -> None:
        """A channel has something to say to its body."""
        for event in channel.events:
            match event:
                case Left() | Broken():
                    self._world.note("{} from {}: " + str(event), me, peer)
                case Restarted():
                    self._world.note("{} sees that {} has restarted", me, peer)
                    self._ends[me, peer] = _End(self._incarnations[me], greetings=1)
                case Joined(theirs):
                    end = self._ends[me, peer]
                    self._book[end.incarnation, theirs] = end.sent
                case Delivered(message):
                    self.delivered(me, peer, message)

    def delivered(self, me: int, peer: int, m: Message) -> None:
        """A channel has delivered a message."""
        pair = (m.incarnation, self._incarnations[me])
        count = self._delivered.get(pair, 0)
        sent = self._book.get(pair)
        if sent is None:  # the other end does not know yet that this is the process it talks to
            sent = self._ends[peer, me].sent
        summary = _summary(m.type, m.session, m.step, m.meta, m.frames)
        if count >= len(sent) or sent[count] != summary:
            what = f"{m.type.name} of step {m.step} from {call(peer)} to {call(me)}"
            raise Violation(f"a channel delivered {what}, which is not the next message that was sent")
        self._delivered[pair] = count + 1
        self._world.note(f"{{}} <- {{}} {m.type.name} {m.step or ''}", me, peer)

    def posted(self, me: int, peer: int, parts: Sequence[Buffer]) -> None:
        """A message goes onto the wire, for the first time or again."""
        seq = HEADER.unpack(parts[0])[8]
        if not seq:
            return
        end = self._ends[me, peer]
        raw = b"".join(parts)
        before, times = end.posted.get(seq, (raw, 0))
        if before != raw:
            raise Violation(f"{call(me)} sent other bytes to {call(peer)} under a number that it had used")
        if times > end.greetings:
            raise Violation(
                f"{call(me)} sent a message to {call(peer)} {times + 1} times for {end.greetings} greetings"
            )
        end.posted[seq] = (raw, times + 1)

    def arrived(self, me: int, peer: int, parts: Sequence[Buffer]) -> None:
        """A message comes off the wire."""
        if parts[0][5] <= Type.WELCOME:
            self.greeted(me, peer)
        if self.listening and me == DEALER:
            self.dealer_view.append((self._world.now, peer, b"".join(parts)))

    def flushed(self, me: int, channel: Channel) -> None:
        """A channel has put on the wire what it could."""
        if len(channel._flying) > _WINDOW:
            raise Violation(f"{call(me)} has {len(channel._flying)} messages under way to {call(channel.peer)}")

    # --------------------------------------------------------------------------------- masks: each for one value, ever

    def machinery(self, me: int, machinery: Machinery, home: MemoryHome | None) -> Machinery:
        """The same, with every draw from a stream and every exchange looked at."""

        def run_party(lowered: Any, _me: int, inputs: Any, entropy: PartyEntropy, kept: Any) -> Engine:
            drawn: set[tuple[bytes, int, int]] = set()
            blocks: set[bytes] = set()
            self._engines += 1
            number = self._engines

            def stream(seed: bytes, at: Position, shape: tuple[int, ...]) -> Any:
                self._draws(me, number, seed, home)
                drawn.add((seed, at.number, at.iteration))
                words = block(seed, at, shape)
                blocks.add(words.tobytes())
                return words

            engine = machinery.run_party(lowered, me, inputs, replace(entropy, stream=stream), kept)
            return self._watched(me, engine, drawn, blocks)

        return replace(machinery, run_party=run_party)

    def _watched(self, me: int, engine: Engine, drawn: set[tuple[bytes, int, int]], blocks: set[bytes]) -> Engine:
        answer: Any = None
        while True:
            try:
                request = engine.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # the results
            if isinstance(request, Exchange):
                self._exchanges(me, request, drawn)
                drawn.clear()
            elif isinstance(request, Save):
                self._saves(me, request, blocks)
            answer = yield request

    def _saves(self, me: int, request: Save, blocks: set[bytes]) -> None:
        """What is put away are shares, re-randomised: no mask, and nothing that came from one stream alone."""
        for name, array in request.arrays.items():
            if array is not None and array.size and array.tobytes() in blocks:
                raise Violation(f"{call(me)} puts a mask away in a checkpoint, as {name}")

    def _draws(self, me: int, number: int, seed: bytes, home: MemoryHome | None) -> None:
        known = self._seeds.setdefault((me, seed), number)
        if known != number:
            raise Violation(f"{call(me)} draws masks of an earlier attempt again")
        if home is not None and key_id(seed) not in home.ledger.streams:
            raise Violation(f"{call(me)} draws from a stream that its ledger does not know yet")

    def _exchanges(self, me: int, request: Exchange, drawn: set[tuple[bytes, int, int]]) -> None:
        digest = hashlib.sha256()
        for peer, arrays in sorted(request.arrays.items()):
            digest.update(peer.to_bytes(2, "little"))
            for array in arrays:
                digest.update(array.tobytes())
        stored = (request.number, digest.digest())
        for seed, place, iteration in drawn:
            if self._masks.setdefault((me, seed, place, iteration), stored) != stored:
                raise Violation(f"{call(me)} uses mask {place} of iteration {iteration} for a second value")
        self._reveals[me, request.number] = request.reveals

    def _reveals_journalled(self, me: int, s: Send) -> None:
        names = self._reveals.get((me, s.step), ())
        if names:
            entries = self._world.homes[me].journal.entries
            if not set(names) <= {name for _, _, what, name in entries if what == "intended"}:
                raise Violation(f"{call(me)} sends shares of {', '.join(names)}, which its journal does not know")

    # --------------------------------------------------------------------------------------------------- durable state

    def wrote(self, me: int, w: Write, written: Written) -> None:
        """A record was applied, or refused."""
        if not written.error and isinstance(w.record, records.Begin):
            self._world.note(f"{{}} writes down {len(w.record.keys)} keys", me)
        if written.error:
            self._world.note("{} cannot write: " + written.error.replace("{", "(").replace("}", ")"), me)

    def watches(self, following: Following) -> None:
        """The coordinator looks at its run: what it has committed is there, at every party, until it says FORGET."""
        if following.committed is None or following.committed[0] <= self._committed:
            return
        self._committed, self._run = following.committed[0], following.terms.run
        self._world.note(f"checkpoint before step {following.committed[1]} counts")
        self._all_hold()

    def _all_hold(self) -> None:
        for party, home in self._world.homes.items() if self._committed and not self._forgotten else ():
            if not any(c.epoch >= self._committed for c in home.checkpoints.held(self._run)):
                raise Violation(f"{call(party)} has lost the checkpoint that all were said to hold")

    # ------------------------------------------------------------------------------------------------ ends of attempts

    def begins(self) -> None:
        """An attempt begins. One that comes after FORGET has no checkpoint to go on from."""
        self._began = self._world.now
        if self._forgotten:
            self._forgotten, self._committed = False, 0

    def resumes(self, epoch: int) -> None:
        """The person has asked what there is to go on from."""
        if epoch < self._committed and not self._forgotten:
            raise Violation("a checkpoint that all were said to hold is not there any more")

    def done(self, following: Following) -> None:
        """An attempt has succeeded."""
        outcome, self._unwritten = following.outcome, following.unwritten
        if outcome is None or not self._world.case.right(outcome.results):
            raise Violation(f"wrong results: {outcome and outcome.results}")

    def kept(self, me: int, name: str, value: Any) -> None:
        """A party has a result for itself."""
        if not self._world.case.right({name: value}):
            raise Violation(f"a wrong result at {call(me)}: {name} = {value}")

    def stopped(self, following: Following) -> None:
        """An attempt has ended in a verdict: it has to name somebody who is to blame."""
        verdict = following.verdict
        assert verdict is not None
        self._verdicts.append(verdict.sentence)
        self._blames([verdict.origin], verdict.sentence)

    def unreachable(self, missing: Sequence[int]) -> None:
        """The person cannot reach somebody."""
        self._blames(missing, "cannot be reached: " + ", ".join(map(call, missing)))

    def _blames(self, actors: Sequence[int], sentence: str) -> None:
        hard = [s for s in self._struck if not s.fault.mild and s.touches(self._began, self._world.now)]
        guilty = {actor for s in hard for actor in s.fault.who}
        innocent = [a for a in actors if a not in guilty]
        if innocent:
            culprits = ", ".join(sorted(call(a) for a in guilty)) or "nobody"
            raise Violation(f"{call(innocent[0])} is blamed, but the trouble was with {culprits}: {sentence}")

    def said(self, me: int, line: str) -> None:
        """An actor prints a line."""
        self._world.note("{} says: " + line.replace("{", "(").replace("}", ")"), me)
        if line.startswith(_STOPPED):
            self._said.append((self._world.now, me, line))

    def finish(self) -> None:
        """The run is over."""
        world = self._world
        if world.plan.mild and world.person.history != ["done"]:
            raise Violation(f"faults that have to be survived ended an attempt: {world.person.history}")
        if world.plan.bounded and world.person.final != "right":
            raise Violation(f"all faults ended, and the run did not succeed: {world.person.final}")
        for when, actor, line in self._said:
            if line not in self._verdicts and not self._cut_off(actor, when):
                raise Violation(f"{call(actor)} prints another sentence than the verdict: {line}")
        for party in self.left_over():
            if not any(party in s.fault.who for s in self._struck):  # else it may not know
                raise Violation(f"{call(party)} keeps checkpoints of a run that is done")

    def left_over(self) -> list[int]:
        """The parties that keep checkpoints although all have written that the run is done."""
        world = self._world
        done = world.person.final == "right" and not self._unwritten
        return [p for p, home in world.homes.items() if done and world.lives.get(p) and home.checkpoints.kept]

    def _cut_off(self, actor: int, when: float) -> bool:
        """Whether an actor or the coordinator was in trouble, so that it may not have heard the verdict."""
        troubled = [s for s in self._struck if s.fault.seconds >= _VERDICT or s.fault.kind == "crash"]
        return any(s.touches(when, when) and {actor, COORDINATOR} & set(s.fault.who) for s in troubled)


def _summary(
    kind: Type, session: bytes, step: int, meta: Mapping[str, Any], frames: Sequence[Buffer]
) -> tuple[Any, ...]:
    return kind, session, step, tuple(meta.values()), tuple(bytes(f) for f in frames)
