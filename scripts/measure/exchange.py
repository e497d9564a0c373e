"""What an exchange of two parties costs: over ZeroMQ and CURVE, and over direct connections, sealed.

    python scripts/measure/exchange.py [BYTES ...]        # 64 and 8000000 unless given

Prints a line for each size: medians of an exchange in which both send and then both receive, as in a round, between two
processes on loopback. It is what docs/decisions/direct-connections.md weighs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import zmq

from parties.direct import Direct, at_home, beside, call, call_at_home
from parties.sealing import Opener, Sealer

_KEYS = (bytes(32), bytes(31) + b"1")  # of a measurement that moves zeros between two processes of one machine
_WARM, _WAIT, _BYTES = 5, 20_000, 2e8
_READY = b"ready"

Exchange = Callable[[bytes], None]


def exchanged(way: str, size: int) -> float:
    """Seconds of one exchange of so many bytes each way."""
    exchange, other = (_curve_listener if way == "curve" else _direct_listener)(way, size)
    payload, taken = bytes(size), []
    try:
        for _ in range(_times(size)):
            began = time.perf_counter()
            exchange(payload)
            taken.append(time.perf_counter() - began)
    finally:
        other.kill()
        other.wait()
    return statistics.median(taken[_WARM:])


def _times(size: int) -> int:
    return _WARM + max(30, min(3000, int(_BYTES / max(1, size) / 4)))


def _other(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--other", *words])


def _over(socket: zmq.Socket[bytes]) -> Exchange:
    def exchange(payload: bytes) -> None:
        socket.send(payload, copy=False)
        socket.recv(copy=False)

    return exchange


def _through(direct: Direct) -> Exchange:
    def exchange(payload: bytes) -> None:
        direct.send([payload])
        answer = direct.receive()
        while answer is None or direct.pending:
            direct.push()
            answer = direct.receive() if answer is None else answer

    return exchange


def _curve_listener(way: str, size: int) -> tuple[Exchange, subprocess.Popen[bytes]]:
    public, secret = zmq.curve_keypair()
    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.curve_server, socket.curve_publickey, socket.curve_secretkey = True, public, secret
    socket.linger, socket.rcvtimeo = 0, _WAIT
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    other = _other(way, str(size), str(port), public.decode())
    socket.recv()
    return _over(socket), other


def _direct_listener(way: str, size: int) -> tuple[Exchange, subprocess.Popen[bytes]]:
    name = f"measure {os.getpid()}"
    listener = beside("127.0.0.1") if way == "tcp" else at_home(name, "127.0.0.1")
    listener.setblocking(True)
    other = _other(way, str(size), str(listener.getsockname()[1]) if way == "tcp" else name, "")
    connection, _ = listener.accept()
    connection.setblocking(False)
    return _through(Direct(0, connection, Sealer(_KEYS[0]), Opener(_KEYS[1]))), other


def _answer(way: str, size: str, where: str, server: str) -> None:
    if way == "curve":
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.curve_serverkey = server.encode()
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.linger, socket.rcvtimeo = 0, _WAIT
        socket.connect(f"tcp://127.0.0.1:{where}")
        socket.send(_READY)
        exchange = _over(socket)
    else:
        connection = call("127.0.0.1", int(where)) if way == "tcp" else call_at_home(where, "127.0.0.1")
        direct = Direct(1, connection, Sealer(_KEYS[1]), Opener(_KEYS[0]))
        time.sleep(0.1)  # until it is connected
        exchange = _through(direct)
    payload = bytes(int(size))
    for _ in range(_times(int(size))):
        exchange(payload)
    time.sleep(1.0)  # killed meanwhile


def main(sizes: list[str]) -> None:
    """A line a size."""
    for size in sizes or ["64", "8000000"]:
        found = {way: 1e6 * exchanged(way, int(size)) for way in ("curve", "tcp", "unix")}
        words = ", ".join(f"{way} {us:,.0f} µs" for way, us in found.items())
        ratios = " and ".join(f"{found['curve'] / found[way]:.2f} of {way}" for way in ("tcp", "unix"))
        print(f"{int(size):,} bytes each way: {words}; CURVE takes {ratios}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--other"]:
        _answer(*sys.argv[2:])
    else:
        main(sys.argv[1:])
