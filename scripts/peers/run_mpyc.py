"""MPyC, one party: asyncio over TCP on loopback, Shamir shares over a prime field, honest majority, no dealer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from common import Task, chained, leave, named, task, timed


def _runtime(given: Task) -> Any:
    """MPyC reads its command line when it is imported."""
    addresses = [word for port in given.ports for word in ("-P", f"127.0.0.1:{port}")]
    sys.argv = [sys.argv[0], *addresses, "-I", str(given.rank), "--no-log"]
    from mpyc.runtime import mpc

    return mpc


def main() -> None:
    """Share, compute, open."""
    given = task()
    mpc = _runtime(given)
    number = mpc.SecFxp(48, 16)
    mpc.run(mpc.start())

    def shared(values: Any, sender: int) -> Any:
        if np.ndim(values) == 0:
            return mpc.input(number(float(values)), sender)
        return mpc.input(number.array(np.asarray(values, dtype=float)), sender)

    secrets = [] if given.kind == "sum" else [shared(a, i % given.parties) for i, a in enumerate(given.arrays)]

    def summed() -> Any:
        total = shared(given.arrays[0], 0)
        for i, a in enumerate(given.arrays[1:], 1):
            total += shared(a, i)
        return mpc.run(mpc.output(total))

    def ready(value: Any) -> Any:
        mpc.run(mpc.gather(value))
        return value

    operations = {
        "mul": lambda: ready(secrets[0] * secrets[1]),
        "matvec": lambda: ready(secrets[0] @ secrets[1]),
        "less": lambda: ready(secrets[0] < secrets[1]),
        "sum": summed,
        "chain": lambda: ready(chained(given, *secrets[:2])),
    }
    before = 0

    def barrier() -> None:
        nonlocal before
        mpc.run(mpc.barrier())
        before = _sent(mpc)

    result, seconds = timed(given, barrier, operations[given.kind])
    sent = _sent(mpc) - before
    found = result if given.kind == "sum" else mpc.run(mpc.output(result))
    leave(given, seconds, named(given.kind, np.asarray(found, dtype=float)), bytes_sent=sent, rounds=None)
    mpc.run(mpc.shutdown())


def _sent(mpc: Any) -> int:
    return sum(peer.protocol.nbytes_sent for peer in mpc.parties if peer.pid != mpc.pid)


if __name__ == "__main__":
    main()
