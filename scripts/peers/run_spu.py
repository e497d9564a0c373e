"""SPU, one party: Semi2k over brpc on loopback, triples of its trusted first party (made during the computation).

SPU's wheel has no launcher for real parties: shares go through files of the folder, before and after what is timed.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import Task, leave, named, task, timed, with_ones
from spu import api, libspu
from spu.utils import frontend

SENT = re.compile(r"total send bytes (\d+)")


def _write(path: Path, share: Any) -> None:
    chunks = {f"chunk{i}": np.frombuffer(chunk, np.uint8) for i, chunk in enumerate(share.share_chunks)}
    with path.open("wb") as file:
        np.savez(file, meta=np.frombuffer(share.meta, np.uint8), **chunks)


def _read(path: Path) -> Any:
    stored = np.load(path)
    share = libspu.Share()
    share.meta = stored["meta"].tobytes()
    share.share_chunks = [stored[f"chunk{i}"].tobytes() for i in range(len(stored.files) - 1)]
    return share


def _training(given: Task, batches: int) -> Callable[..., Any]:
    rate, batch = given.settings["rate"], given.settings["batch"]

    def train(x: Any, y: Any) -> Any:
        def step(i: Any, w: Any) -> Any:
            mine, labels = (x[0], y[0]) if batches == 1 else (x[i % batches], y[i % batches])
            return w - rate / batch * (mine.T @ (jax.nn.sigmoid(mine @ w) - labels))

        return jax.lax.fori_loop(0, given.settings["steps"], step, jnp.zeros(x.shape[-1]))

    return train


def _operation(given: Task, arrays: list[Any]) -> Callable[..., Any]:
    if given.kind == "logreg":
        return _training(given, len(arrays[0]))
    operations: dict[str, Callable[..., Any]] = {
        "mul": lambda x, y: x * y,
        "matmul": lambda x, y: x @ y,
        "matvec": lambda x, y: x @ y,
        "less": lambda x, y: x < y,
        "sum": lambda *all_values: sum(all_values),
        "sigmoid": lambda x, y: jax.nn.sigmoid(x + y),
        "chain": lambda x, y: jax.lax.fori_loop(0, given.settings["times"], lambda _, z: z * y, x),
    }
    return operations[given.kind]


def _in_batches(given: Task) -> list[Any]:
    if given.kind != "logreg":
        return given.arrays
    batch = given.settings["batch"]
    batches = len(given.arrays[1]) // batch
    x, y = with_ones(given.arrays[0])[: batches * batch], given.arrays[1][: batches * batch]
    return [x.reshape(batches, batch, -1), y.reshape(batches, batch)]


class _Party:
    """A link to the others, SPU's virtual machine, and shares that come and go by files."""

    def __init__(self, given: Task, **options: Any) -> None:
        self.given = given
        self.config = libspu.RuntimeConfig(
            protocol=libspu.ProtocolKind.SEMI2K, field=libspu.FieldType.FM64, fxp_fraction_bits=16, **options
        )
        self.io = api.Io(given.parties, self.config)

    def joined(self) -> None:
        """Connect."""
        desc = libspu.link.Desc()
        for i, port in enumerate(self.given.ports):
            desc.add_party(f"party{i}", f"127.0.0.1:{port}")
        self.link = libspu.link.create_brpc(desc, self.given.rank)
        self.machine = api.Runtime(self.link, self.config)

    def load(self, executable: Any, arrays: list[Any]) -> None:
        """Share out from rank 0, and put one's own share in."""
        folder, n = self.given.folder, self.given.parties
        if self.given.rank == 0:
            for i, array in enumerate(arrays):
                for rank, share in enumerate(self.io.make_shares(array, libspu.Visibility.VIS_SECRET)):
                    _write(folder / f"share-{i}-{rank}.npz", share)
        self.link.barrier()
        for i in range(len(arrays)):
            self.machine.set_var(executable.input_names[i], _read(folder / f"share-{i}-{self.given.rank}.npz"))
        assert n == self.link.world_size

    def revealed(self, executable: Any) -> Any:
        """The result, at rank 0."""
        folder = self.given.folder
        _write(folder / f"out-{self.given.rank}.npz", self.machine.get_var(executable.output_names[0]))
        self.link.barrier()
        shares = [_read(folder / f"out-{rank}.npz") for rank in range(self.given.parties)]
        return self.io.reconstruct(shares) if self.given.rank == 0 else None


def _sent(party: _Party, executable: Any) -> int | None:
    """Bytes sent, from the report that SPU writes to its standard output and error under its profiler."""
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            party.config.enable_pphlo_profile = True
            profiled = api.Runtime(party.link, party.config)
            for i, name in enumerate(executable.input_names):
                profiled.set_var(name, _read(party.given.folder / f"share-{i}-{party.given.rank}.npz"))
            profiled.run(executable)
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
        file.seek(0)
        found = SENT.findall(file.read().decode(errors="replace"))
    return int(found[-1]) if found else None


def main() -> None:
    """Share, compile, compute, reconstruct."""
    given = task()
    arrays = [np.array(jnp.array(a)) for a in _in_batches(given)]
    names = [f"in{i}" for i in range(len(arrays))]
    secret = [libspu.Visibility.VIS_SECRET] * len(arrays)
    executable, _ = frontend.compile(
        frontend.Kind.JAX, _operation(given, arrays), arrays, {}, names, secret, lambda out: ["out"] * len(out)
    )
    party = _Party(given)
    party.joined()
    party.load(executable, arrays)

    def compute() -> Any:
        party.machine.run(executable)
        return party.revealed(executable) if given.kind == "sum" else None

    found, seconds = timed(given, party.link.barrier, compute)
    found = party.revealed(executable)
    results = named(given.kind, np.asarray(found, dtype=float)) if given.rank == 0 else None
    sent = _sent(party, executable) if given.kind != "sum" else None  # its reveal goes through files
    leave(given, seconds, results, bytes_sent=sent, rounds=None)
    party.link.barrier()
    party.link.stop_link()


if __name__ == "__main__":
    main()
