"""Lies: well formed, and not true. (what it does, message type, state of the victim, how it differs from a sample)"""

from typing import Any

from lab import COORDINATOR, DEALER, ROUNDS, TEXT

from parties.terms import Binding
from parties.values import pack_values
from parties.wire import Type, pack

BOB = 1
BINDING = pack(Binding().document())
FAR = (1 << 32) - 1
ESCAPE = "\x1b]0;mallory\x07\x1b[2J"


def other(card: bytes) -> bytes:
    return bytes(byte ^ 1 for byte in card)


def abort(origin: int, **changes: Any) -> dict[str, Any]:
    return {
        "origin": origin, "kind": "dead", "reason": "lost", "round": 1, "where": "script.py:7", "final": False,
    } | changes  # fmt: skip


NAN = float("nan")
LONG = "x" * 3000
DOCUMENTS = {
    "no document": (),
    "a document that is none": (b"\xc1",),
    "a document 490 lists deep": (b"\x81\xa1r" + b"\x91" * 490 + b"\xc0",),
    "a document that claims 2^32 entries": (b"\xdf" + b"\xff" * 8,),
    "a list": (pack([1, 2]),),
    "five million bytes": (bytes(5_000_000),),
    "other names": (pack({"result": {}, "measure": {}}),),
    "measures that are none": pack_values({"results": {}, "measures": {"rounds": "many"}}),
    "a name that steers the terminal": pack_values({"results": {ESCAPE: 1}, "measures": {}}),
    "an array of another size": (
        pack({"results": {"sum": {"array ": [1, "<f8", [1 << 40]]}}, "measures": {}}), b"12345678",
    ),
    "an array of objects": (pack({"results": {"sum": {"array ": [1, "|O8", [1]]}}, "measures": {}}), b"12345678"),
    "an array that is not there": (pack({"results": {"sum": {"array ": [9, "<f8", [1]]}}, "measures": {}}),),
}  # fmt: skip

Lie = tuple[str, Type, str, dict[str, Any]]
BY_PARTY: list[Lie] = [
    *(("accuses " + name, Type.ABORT, "running", {"meta": abort(origin)}) for name, origin in {
        "an actor that there is not": 7, "a negative actor": -1, "an actor of 2^60": 1 << 60,
        "the coordinator": COORDINATOR,
    }.items()),
    ("accuses carol falsely, in round 2^31", Type.ABORT, "running", {"meta": abort(2, round=1 << 31)}),
    ("accuses itself with escape sequences", Type.ABORT, "running", {"meta": abort(BOB, reason=ESCAPE, where=ESCAPE)}),
    ("accuses itself at length", Type.ABORT, "running", {"meta": abort(BOB, reason="\U0001f600" * 900)}),
    ("accuses itself of an unknown kind", Type.ABORT, "running", {"meta": abort(BOB, kind="?" * 500)}),
    ("gives a final verdict", Type.ABORT, "running", {"meta": abort(2, final=True)}),
    ("accuses a thousand times", Type.ABORT, "running", {"meta": abort(BOB, kind="stall"), "times": 1000}),
    *((f"has {value!r} as its {what}", Type.READY, "preparing", {"meta": {what: value}})
      for what in ("version", "source", "lowered", "agreed") for value in ("other", "")),
    ("refuses with escape sequences", Type.REFUSED, "preparing", {"meta": {"reason": ESCAPE}}),
    ("refuses at length", Type.REFUSED, "preparing", {"meta": {"reason": "\U0001f600" * 900}}),
    ("refuses as an answer that was not asked for", Type.REFUSED, "running", {"meta": {"ask": 5}}),
    ("refuses an ask of 2^63", Type.REFUSED, "running", {"meta": {"ask": 1 << 63}}),
    *((f"is in round {step}", Type.PROGRESS, "running", {"step": step}) for step in (ROUNDS + 1, FAR - 1, FAR)),
    ("is at a line of escape sequences", Type.PROGRESS, "running", {"meta": {"where": ESCAPE}}),
    *((f"has saved epoch {epoch:#x}", Type.SAVED, "running", {"meta": {"epoch": epoch}})
      for epoch in (0, -1, 1, 1 << 32, (1 << 32) + 3, (1 << 63) - 1, (1 << 64) - 1)),
    ("has saved a negative step", Type.SAVED, "running", {"meta": {"iteration": -1, "epoch": (1 << 32) + 2}}),
    ("could not save, with escape sequences", Type.SAVED, "running", {"meta": {"reason": ESCAPE}}),
    *((f"is done in round {step}", Type.DONE, "running", {"step": step}) for step in (ROUNDS + 1, FAR)),
    *((f"is done with {name}", Type.DONE, "running", {"frames": frames}) for name, frames in DOCUMENTS.items()),
    ("is stocked twice", Type.STOCKED, "running", {}),
    ("could not write the end, with escape sequences", Type.ENDED, "ending", {"meta": {"reason": ESCAPE}}),
    ("could not write the end, at length", Type.ENDED, "ending", {"meta": {"reason": "\U0001f600" * 900}}),
    ("has written the end twice", Type.ENDED, "ending", {"times": 2}),
    ("has written the end before there is one", Type.ENDED, "running", {}),
    ("accuses carol of death", Type.ABORT, "ending", {"meta": abort(2)}),
    ("accuses itself", Type.ABORT, "ending", {"meta": abort(BOB)}),
    ("deals in the dealer's name", Type.DEALT, "stocking", {}),
    ("answers what was not asked", Type.SCHEMA, "running", {"meta": {"ask": 1 << 40}}),
]  # fmt: skip
TO_PEER: list[Lie] = [
    *((f"sends data of round {step}", Type.DATA, state, {"step": step})
      for step in (0, 1, ROUNDS + 1, FAR) for state in ("stocking", "running")),
    *((f"sends {name}", Type.DATA, "running", {"step": 5, "frames": frames}) for name, frames in {
        "seven bytes for a word": (b"1234567",), "two words for one": (bytes(16),), "no frame": (),
        "two frames": (b"1234", b"5678"),
        "an empty frame": (b"",), "a megabyte": (bytes(1 << 20),),
    }.items()),
    *((f"sends {name} ahead", Type.DATA, "stocking", {"step": 1, "frames": frames}) for name, frames in {
        "seven bytes for a word": (b"1234567",), "two words for one": (bytes(16),), "no frame": (),
    }.items()),
    ("sends seven bytes where a result is revealed", Type.DATA, "stocking", {"step": ROUNDS, "frames": (b"1234567",)}),
    *((f"sends {name} as its key", Type.PAIR, "ready", {"frames": frames}) for name, frames in {
        "nothing": (), "31 bytes": lambda own: (bytes(31), *own[1:]),
        "a point of low order": lambda own: (bytes(32), *own[1:]), "no record": lambda own: own[:2],
        "a record of 2 MiB": lambda own: (*own[:2], bytes(2 << 20)), "another record": lambda own: (*own[:2], b"other"),
        "four frames": lambda own: (*own, b""), "no terms": lambda own: (own[0], b"", own[2]),
        "terms and more": lambda own: (own[0], own[1] + b"x", own[2]),
        "other terms": lambda own: (own[0], other(own[1]), own[2]),
        "terms with another part": lambda own: (own[0], own[1][:-1] + b"x", own[2]),
    }.items()),
    ("sends a second key", Type.PAIR, "stocking", {}),
]  # fmt: skip
BY_DEALER: list[Lie] = [
    *((f"sends {name} as seeds", Type.SEEDS, "ready", {"frames": frames}) for name, frames in {
        "nothing": (), "one byte": lambda own: (b"x", *own[1:]), "too many": lambda own: (bytes(8 * 16), *own[1:]),
        "two frames": lambda own: (bytes(7 * 8), bytes(7 * 8), *own[1:]), "no terms": lambda own: own[:1],
        "other terms": lambda own: (own[0], other(own[1])), "an id": lambda own: (*own, bytes(16)),
    }.items()),
    ("sends seeds twice", Type.SEEDS, "stocking", {"times": 2}),
    *((f"sends correction {step} next", Type.CORRECTION, "running", {"step": step})
      for step in (0, 1, ROUNDS + 1, FAR)),
    *((f"sends {name} as a correction", Type.CORRECTION, "ready", {"step": 1, "frames": frames}) for name, frames in {
        "seven bytes": (b"1234567",), "nothing": (), "an empty frame": (b"",), "a megabyte": (bytes(1 << 20),),
        "three thousand empty frames": (b"",) * 3000,
    }.items()),
    *((f"has dealt {count}", Type.DEALT, "ready", {"meta": {"count": count}}) for count in (0, 4, -1, 1 << 63)),
    ("has dealt twice", Type.DEALT, "running", {"times": 2}),
]  # fmt: skip
DEALER_TO_COORDINATOR: list[Lie] = [
    *(("accuses " + name, Type.ABORT, "running", {"meta": abort(origin)}) for name, origin in {
        "an actor that there is not": 7, "a negative actor": -1,
    }.items()),
    ("accuses itself with escape sequences", Type.ABORT, "running", {"meta": abort(DEALER, reason=ESCAPE)}),
    *((f"has dealt for {s} s", Type.DEALT, "stocking", {"meta": {"seconds": s}}) for s in (NAN, -1.0, float("inf"))),
    ("has dealt with a record of a megabyte", Type.DEALT, "stocking", {"frames": (bytes(1 << 20),)}),
    ("is done like a party", Type.DONE, "running", {}),
    ("has saved like a party", Type.SAVED, "running", {}),
    ("is in a round like a party", Type.PROGRESS, "running", {}),
    ("is stocked twice", Type.STOCKED, "stocking", {"times": 2}),
]  # fmt: skip


def bound(inputs: dict[str, Any], **more: Any) -> bytes:
    return pack({**Binding().document(), "inputs": inputs, **more})


PREPARED = {
    "version": ["9.9", ESCAPE], "format": [0, 1 << 63], "suite": ["spdz", ""], "cluster": ["0" * 64], "insecure": ["x"],
    "mode": ["walk", ""], "run": ["", "../../etc", "A" * 32, "5a" * 17], "attempt": [0, -1, 1 << 30, 1 << 63],
    "epoch": [-1, 1, 1 << 32, (1 << 64) - 1], "material": ["x", "00" * 16, "'; DROP TABLE runs; --"],
}  # fmt: skip
BY_COORDINATOR: list[Lie] = [
    *((f"prepares with {value!r} as its {what}", Type.PREPARE, "idle", {"meta": {what: value}, "session": b"z" * 16})
      for what, values in PREPARED.items() for value in values),
    *((f"prepares {name}", Type.PREPARE, "idle", {"frames": frames, "session": b"z" * 16}) for name, frames in {
        "nothing": (), "one frame": (BINDING,), "no document": (b"\xc1", TEXT.encode()),
        "a list": (pack([]), TEXT.encode()),
        "numbers for names": (bound({"x": {"alice": 1}}), TEXT.encode()), "text that is none": (BINDING, b"\xff\xfe"),
        "an empty text": (BINDING, b""), "another program": (BINDING, b"script x"),
        "other parties": (BINDING, b"script 3 alice mallory"),
        "data that is not offered": (bound({"x": {"alice": "y"}}), TEXT.encode()),
        "data of nobody": (bound({"x": {"mallory": "y"}}), TEXT.encode()),
        "data for no input": (bound({"z": {"alice": "x"}}), TEXT.encode()),
        "names that are none": (bound({"x": "y"}), TEXT.encode()),
        "a kept secret for nothing": (bound({}, handles={"w": ["model", "5a" * 16]}), TEXT.encode()),
        "a kept secret of no run": (bound({}, handles={"w": ["model"]}), TEXT.encode()),
        "settings that are no text": (bound({}, settings={}), TEXT.encode()),
        "a binding with more in it": (bound({}, more=1), TEXT.encode()),
    }.items()),
    ("starts another agreement", Type.START, "ready", {"meta": {"agreed": "0" * 64}}),
    ("starts twice", Type.START, "stocking", {}),
    ("says go twice", Type.GO, "running", {}),
    ("ends what is not done", Type.END, "running", {}),
    ("ends what is done twice", Type.END, "done", {"times": 2}),
    ("has what is not done forgotten", Type.FORGET, "running", {}),
    ("has what is not ended forgotten", Type.FORGET, "done", {}),
    ("has what it never began forgotten", Type.FORGET, "idle", {"session": b"z" * 16}),
    *((f"commits epoch {epoch:#x}", Type.COMMIT, "running", {"meta": {"epoch": epoch}})
      for epoch in (0, -1, 1, 1 << 32, (1 << 32) + 2, (1 << 63) - 1, (1 << 64) - 1)),
    ("gives a verdict of escape sequences", Type.ABORT, "running", {"meta": abort(2, reason=ESCAPE, final=True)}),
    *((f"asks for data named {name!r}", Type.DESCRIBE, "idle", {"meta": {"name": name}})
      for name in ("", "x", LONG, ESCAPE)),
    *((f"asks for holdings of {run!r}", Type.HELD, "idle", {"meta": {"run": run}}) for run in ("", "%", "'", LONG)),
    *((f"drops {name!r}", Type.DROP, "idle", {"meta": {"name": name}}) for name in ("", "model", LONG)),
]  # fmt: skip
