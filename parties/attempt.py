"""One session at one party: keys, stock, parked data and measures. Only the party's brain touches it."""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mpc.exchange import Array, Draw, Exchange, Frame, Owed, Save
from mpc.prg import SEED_BYTES, Entropy, PartyEntropy, fresh_entropy, party_entropy
from parties.agree import PURPOSES, Verdict, dealt_seed, pair_seed
from parties.cluster import DEALER
from parties.machinery import Engine, randomness
from parties.terms import Terms, card
from parties.wire import BadMessage, Buffer, Message, Type, pack_arrays, pack_words, unpack_arrays, unpack_words

__all__ = ["Attempt", "Stage"]


_NONCE_BYTES = 16
_EMPTY_FRAMES = 64
_FEW = 4096  # bytes that are copied: what is short may stay for a whole run, and would keep a long message with it
_EMPTY_CORRECTIONS = 4096  # as many as the stock may hold of corrections without content


class Stage(Enum):
    """How far a session has come."""

    READY = auto()
    STOCKING = auto()
    STARTING = auto()
    RUNNING = auto()
    DONE = auto()
    STOPPED = auto()


class Attempt:
    """The state of one run at one party; `forget` drops key material and data. boss: the coordinator that began it."""

    def __init__(
        self,
        session: bytes,
        boss: int,
        me: int,
        terms: Terms,
        program: Any,
        lowered: Any,
        inputs: dict[str, Any],
        fingerprints: dict[str, str],
        kept: dict[str, Array | None],
        names: list[str],
        entropy: Entropy = secrets.token_bytes,
    ) -> None:
        cost = lowered.cost()
        self.session = session
        self.boss = boss
        self.terms = terms
        self.agreed = terms.digest()
        self.card = card(terms)
        self.nonce = b""  # the dealer's, of material for later
        self.program = program
        self.lowered = lowered
        self.inputs = inputs
        self.fingerprints = fingerprints
        self.kept = kept
        self.stage = Stage.READY
        self.deadline: float | None = None
        self.verdict: Verdict | None = None
        self.engine: Engine | None = None
        self.request: Exchange | Draw | Save | None = None
        self.answered = 0
        self.peers = [i for i in range(len(names)) if i != me]
        self.go = self.stocked = self.dealt = self.reserving = self.reserved = self.finished = self.waited = False
        self.seen = 0
        self.epoch = terms.attempt << 32  # of the last checkpoint; later attempts have later epochs
        self.held: dict[str, Array | None] = {}
        self.held_site = -1
        self.began: float | None = None
        self.shared: float | None = None  # when the last input was
        self.told = 0.0
        self.rounds = 0
        self.where = ""
        self.corrections = 0
        self.drawn = 0
        self.dealt_bytes = 0
        self.bytes_sent = 0
        self._me = me
        self._names = names
        self._key = X25519PrivateKey.from_private_bytes(entropy(32))
        self._pairs: dict[str, dict[int, bytes]] = {purpose: {} for purpose in PURPOSES}
        self._seeds: list[bytes] = []
        self._stock: deque[tuple[Buffer, ...]] = deque()  # messages of corrections, of which the first is being used
        self._views: deque[memoryview] = deque()  # of that first one, what is left
        self._in_stock = 0
        self._uncredited = [0, 0]
        self._dealer_room = int(cost.dealt_bytes[names[me]])
        self._rounds = int(cost.rounds)
        self._parked: dict[int, dict[int, tuple[Buffer, ...]]] = {i: {} for i in self.peers}
        self._room = {i: int(cost.bytes_sent[names[i]]) for i in self.peers}
        self._transcript = hashlib.sha256() if terms.task.insecure else None

    def __repr__(self) -> str:
        return f"<Attempt {self.session.hex()[:8]} {self.stage.name}>"

    # ---------------------------------------------------------------------------------------------------- keys

    @property
    def public(self) -> bytes:
        """This party's fresh X25519 key for the session."""
        return self._key.public_key().public_bytes_raw()

    def add_pair(self, peer: int, key: Buffer) -> None:
        """A peer's key: derive the seeds that the two of them share."""
        if peer in self._pairs["input"] or len(key) != 32:
            raise BadMessage("a second key, or not a key")
        low, high = sorted((self._me, peer))
        for purpose in PURPOSES:
            seed = pair_seed(self._key, bytes(key), self.agreed, (self._names[low], self._names[high]), purpose)
            self._pairs[purpose][peer] = seed

    def add_seeds(self, frames: Sequence[Buffer]) -> None:
        """The dealer's seeds, once; its card; and the id of material for later."""
        count, nonce = 2 * len(self._names) + 1, [_NONCE_BYTES] if self.terms.mode == "deal" else []
        sizes = [count * SEED_BYTES, len(self.card), *nonce]
        if self._seeds or [len(f) for f in frames] != sizes:
            raise BadMessage("seeds twice, or of the wrong length")
        raw = bytes(frames[0])
        seeds = [raw[i : i + SEED_BYTES] for i in range(0, len(raw), SEED_BYTES)]
        if nonce:  # what is stored are the seeds as they came
            self.nonce = bytes(frames[2])
            self.take(seeds)
        else:
            self.take([dealt_seed(seed, self.agreed) for seed in seeds])

    def take(self, seeds: list[bytes]) -> None:
        """The seeds of the dealer's streams."""
        self._seeds = seeds

    @property
    def seeds(self) -> list[bytes]:
        """Every key that this attempt draws from and that is here already."""
        return [*self._seeds, *(seed for by_peer in self._pairs.values() for seed in by_peer.values())]

    @property
    def keyed(self) -> bool:
        """Whether every seed is there."""
        return bool(self._seeds) and self.paired

    @property
    def paired(self) -> bool:
        """Whether every peer has sent its key."""
        return len(self._pairs["input"]) == len(self.peers)

    @property
    def complete(self) -> bool:
        """Whether every seed is there, but for those that are in stored material."""
        return self.paired if self.terms.material else self.keyed

    def heard_from(self, actor: int) -> bool:
        """Whether a peer or the dealer has sent anything for this attempt."""
        return bool(self._seeds or self.corrections) if actor == DEALER else actor in self._pairs["input"]

    def missing_key(self) -> int:
        """An actor that owes a key or material."""
        missing = [p for p in self.peers if p not in self._pairs["input"]]
        return missing[0] if missing else DEALER

    def entropy(self, insecure: str) -> PartyEntropy:
        """All that this party's engine draws from."""
        if insecure:
            return fresh_entropy(len(self._names), randomness(insecure))[1][self._me]
        return party_entropy(self._seeds, self._pairs["input"], self._pairs["zero"])

    # ------------------------------------------------------------------------------------------ what has come

    def room(self, m: Message) -> int:
        """How many bytes of arrays its sender may still send."""
        return self._dealer_room - self.dealt_bytes if m.type is Type.CORRECTION else self._room.get(m.src, 0)

    def add_correction(self, m: Message) -> None:
        """The next corrections, in the dealer's order: bytes that the draws will cut."""
        if m.step != (self.corrections + 1) & 0xFFFFFFFF or self.dealt:
            raise BadMessage("a correction out of order")
        _frugal(m.frames, m.payload, m.src)
        self.put_in_stock(m.frames)

    def put_in_stock(self, frames: tuple[Buffer, ...]) -> None:
        """A message of corrections, from the dealer or from this party's store."""
        self.corrections += 1
        size = sum(len(f) for f in frames)
        self.dealt_bytes += size
        self._in_stock += size
        if self.dealt_bytes > self._dealer_room or len(self._stock) > self._dealer_room + _EMPTY_CORRECTIONS:
            raise BadMessage("more material than the program draws")
        self._stock.append(frames)

    def material(self) -> tuple[bytes, list[tuple[Buffer, ...]]]:
        """All that the dealer gave for later: seeds and corrections in order."""
        return b"".join(self._seeds), list(self._stock)

    def park(self, peer: int, step: int, frames: tuple[Buffer, ...]) -> None:
        """A peer's arrays for an exchange that this party may not have reached yet."""
        parked, size = self._parked[peer], sum(map(len, frames))
        if not 0 < step <= self._rounds:
            raise BadMessage("data of a round that the program does not have", peer)
        _frugal(frames, size, peer)
        self._room[peer] -= size
        if self._room[peer] < 0:
            raise BadMessage("more data than the program lets it send", peer)
        if step in parked or (parked and step < max(parked)):
            raise BadMessage("data of one exchange twice", peer)
        parked[step] = frames

    def owed(self, request: Exchange, came: dict[int, Sequence[Buffer]]) -> Owed | None:
        """What these frames are of an exchange whose turn it is, if they are all that it waits for.

        None, and nothing is done, if they are not what the program expects, or anything else is here: `park` and
        `answer` say what to make of that.
        """
        if len(came) < len(request.expect) or any(self._parked.values()):
            return None
        answer, sizes = {}, {}
        for peer, frames in came.items():
            expect = request.expect[peer]
            sizes[peer] = size = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
            if size > self._room[peer] or len(frames) > len(expect):
                return None
            words = unpack_words(frames, len(expect)) if request.single else None
            try:
                answer[peer] = unpack_arrays(frames, expect) if words is None else words
            except BadMessage:
                return None
        for peer, size in sizes.items():
            self._room[peer] -= size
        self.request = None
        return answer

    def outstanding(self, request: Exchange) -> list[int]:
        """Whose message of an exchange is not here yet."""
        number = request.number & 0xFFFFFFFF
        return [peer for peer in request.expect if number not in self._parked[peer]]

    def answer(self) -> Owed | list[Array] | None:
        """What the engine asked for, when all of it is here."""
        request = self.request
        if isinstance(request, Exchange):
            return self._exchanged(request)
        if isinstance(request, Draw) and self._in_stock >= sum([frame.nbytes for frame in request.expect]):
            self.request = None
            return _arrays([self._cut(frame.nbytes) for frame in request.expect], request.expect, DEALER)
        return None

    def _cut(self, size: int) -> Buffer:
        """The next bytes of what was dealt: without a copy, if they lie in one piece and are worth keeping it for."""
        self._in_stock -= size
        if self._views and len(self._views[0]) > size:
            piece, self._views[0] = self._views[0][:size], self._views[0][size:]
            return piece if size > _FEW else bytes(piece)
        pieces: list[memoryview] = []
        while size:
            if not self._views:
                self._views.extend(memoryview(f) for f in self._stock[0])
            view = self._views[0]
            pieces.append(view[:size])
            size -= len(pieces[-1])
            if len(view) > len(pieces[-1]):
                self._views[0] = view[len(pieces[-1]) :]
            else:
                self._used_up()
        return pieces[0] if len(pieces) == 1 and size > _FEW else b"".join(pieces)

    def _used_up(self) -> None:
        """One frame is; with the last one of a message, that message."""
        self._views.popleft()
        while self._stock and not self._views:
            self.drawn += 1
            self._uncredited[0] += 1
            self._uncredited[1] += sum(len(f) for f in self._stock.popleft())
            if self._stock:
                self._views.extend(memoryview(f) for f in self._stock[0] if len(f))

    def _exchanged(self, request: Exchange) -> Owed | None:
        number, owed, complete = request.number & 0xFFFFFFFF, request.expect, True
        for peer, parked in self._parked.items():
            first = next(iter(parked), None)  # they come in order
            if first is not None and (first < number or (first == number and peer not in owed)):
                raise BadMessage("data where the program expects none", peer)
            complete = complete and (first == number or peer not in owed)
        if not complete:
            return None
        self.request = None
        return {peer: _arrays(self._parked[peer].pop(number), expect, peer) for peer, expect in owed.items()}

    def credit(self, messages: int, size: int) -> bool:
        """Whether the dealer should be told what is used up: after so many of its messages, or so many bytes.

        A function of the draws alone, which the program fixes: the dealer learns the pace and nothing else.
        """
        if self._uncredited[0] < messages and self._uncredited[1] < size:
            return False
        self._uncredited = [0, 0]
        return True

    def waits_for(self) -> int:
        """An actor whose message the engine needs now."""
        owed = self.outstanding(self.request) if isinstance(self.request, Exchange) else []
        return owed[0] if owed else DEALER

    # ------------------------------------------------------------------------------------------------ measures

    def packed(self, request: Exchange) -> dict[int, Sequence[Buffer]]:
        """What goes to whom, in the order of their numbers: it is counted, under test entropy also hashed."""
        parts: dict[int, Sequence[Buffer]] = {}
        pack = pack_words if request.single else pack_arrays
        for peer in sorted(request.send):
            frames = pack(request.send[peer])
            size = sum(map(len, frames))
            if len(frames) > 1 and size <= _FEW:  # a message of one frame has the shortest way
                frames = (b"".join(frames),)
            parts[peer] = frames
            self.bytes_sent += size
            if self._transcript is not None:
                for frame in frames:
                    self._transcript.update(frame)
        return parts

    def measures(self, now: float, memory: int) -> dict[str, Any]:
        """What this party counted."""
        return {
            "rounds": self.rounds,
            "bytes_sent": self.bytes_sent,
            "dealt_bytes": self.dealt_bytes,
            "online_seconds": now - self.began if self.began is not None else 0.0,
            "input_seconds": self.shared - self.began if self.shared is not None and self.began is not None else 0.0,
            "peak_rss_bytes": memory,
            "transcript": self._transcript.hexdigest() if self._transcript is not None else "",
        }

    def for_coordinator(self, results: dict[str, Any], receives: bool) -> dict[str, Any]:
        """The results that the coordinator is a recipient of, and the program's public facts."""
        allowed = set(self.program.facts)
        for output in self.program.outputs:
            everyone = output.to == "everyone"
            if (everyone and receives) or (not everyone and "coordinator" in output.to):
                allowed.add(output.name)
        return {name: value for name, value in results.items() if name in allowed}

    def drop_engine(self) -> None:
        """Close it: it lets go of what it holds, though it may not have been started."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None

    def forget(self) -> None:
        """Drop key material, stock and data."""
        self.drop_engine()
        self.request = None
        self.inputs = {}
        self.kept = {}
        self.held = {}
        self._seeds = []
        self._pairs = {purpose: {} for purpose in PURPOSES}
        self._stock.clear()
        self._views.clear()
        self._parked.clear()


def _frugal(frames: Sequence[Buffer], size: int, peer: int) -> None:
    """Refuse frames without content beyond the few that arrays without elements have: they take memory too."""
    if len(frames) > size + _EMPTY_FRAMES:
        raise BadMessage("frames without content", peer)


def _arrays(frames: Sequence[Buffer], expect: tuple[Frame, ...], peer: int) -> list[Array]:
    try:
        return unpack_arrays(frames, expect)
    except BadMessage as error:
        raise BadMessage(str(error), peer) from None
