"""CrypTen, one party: gloo on loopback, triples of its trusted first party (made during the computation)."""

from __future__ import annotations

import os
import sys
import types
from typing import Any

from common import Task, chained, leave, named, task, timed, with_ones


def _imported() -> Any:
    """CrypTen without its converter of models, which needs a package and names that current torch has no more."""
    converter: Any = types.ModuleType("crypten.nn.onnx_converter")
    converter.from_onnx = converter.from_pytorch = converter.from_tensorflow = None
    converter.TF_AND_TF2ONNX = False
    sys.modules[converter.__name__] = converter
    import crypten

    return crypten


def _training(given: Task, x: Any, y: Any, w: Any) -> Any:
    batch, rate = given.settings["batch"], given.settings["rate"]
    batches = x.size(0) // batch
    for i in range(given.settings["steps"]):
        part = slice((i % batches) * batch, (i % batches + 1) * batch)
        mine = x[part]
        off = mine.matmul(w).sigmoid() - y[part]
        w = w - mine.t().matmul(off) * (rate / batch)
    return w


def main() -> None:
    """Share, compute, reveal."""
    given = task()
    os.environ.update(
        RANK=str(given.rank),
        WORLD_SIZE=str(given.parties),
        RENDEZVOUS=f"file://{given.folder / 'rendezvous'}",
        DISTRIBUTED_BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo",
    )
    crypten = _imported()
    import torch

    torch.set_num_threads(1)
    crypten.init()

    def shared(values: Any, source: int) -> Any:
        return crypten.cryptensor(torch.tensor(values), src=source)

    arrays = [with_ones(given.arrays[0]), given.arrays[1][:, None]] if given.kind == "logreg" else given.arrays
    secrets = [shared(a, i % given.parties) for i, a in enumerate(arrays)]

    def summed() -> Any:
        return sum(shared(a, i) for i, a in enumerate(arrays)).get_plain_text()

    operations = {
        "mul": lambda: secrets[0] * secrets[1],
        "matmul": lambda: secrets[0].matmul(secrets[1]),
        "matvec": lambda: secrets[0].matmul(secrets[1]),
        "less": lambda: secrets[0] < secrets[1],
        "sum": summed,
        "sigmoid": lambda: secrets[0].add(secrets[1]).sigmoid(),
        "chain": lambda: chained(given, *secrets[:2]),
        "logreg": lambda: _training(given, *secrets, shared([[0.0]] * arrays[0].shape[1], 0)),
    }
    compute = operations[given.kind]
    communicator = crypten.communicator.get()
    result, seconds = timed(given, communicator.barrier, compute)
    crypten.config.cfg.communicator.verbose = True  # counts messages, and is left off while time is taken
    communicator.reset_communication_stats()
    compute()
    stats = communicator.get_communication_stats()
    crypten.config.cfg.communicator.verbose = False
    sent = int(stats["bytes"]) // 2  # it counts what a party gets as well
    plain = (result if given.kind == "sum" else result.get_plain_text()).numpy()
    leave(given, seconds, named(given.kind, plain), bytes_sent=sent, rounds=int(stats["rounds"]))
    crypten.uninit()


if __name__ == "__main__":
    main()
