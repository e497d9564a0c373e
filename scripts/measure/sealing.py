"""What protecting bulk costs: two processes exchange a frame both ways, plain, over CURVE, and sealed with AES-256-GCM.

    python scripts/measure/sealing.py [MEGABYTES ...]        # 8 unless given

Prints a line for each size: medians in milliseconds of an exchange in which both send and then both receive, as in a
round. Sealed frames go over a plain socket, sealed and opened by the thread that exchanges. It is what
docs/decisions/bulk-stays-curve.md weighs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import zmq
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY = bytes(32)  # of a measurement that moves zeros between two processes of one machine
_WAYS = ("plain", "curve", "sealed")
_TIMES, _WARM, _WAIT = 30, 5, 20_000


class _End:
    """One end; `exchange` sends and then receives. Frames are sealed under counters that never repeat."""

    def __init__(self, socket: zmq.Socket[bytes], way: str, direction: int) -> None:
        self._socket, self._cipher = socket, AESGCM(_KEY) if way == "sealed" else None
        self._count, self._direction = 0, direction

    def exchange(self, payload: bytes) -> None:
        self._count += 1
        out = [(d << 64 | self._count).to_bytes(12, "little") for d in (self._direction, 1 - self._direction)]
        sent = payload if self._cipher is None else self._cipher.encrypt(out[0], payload, None)
        self._socket.send(sent, copy=False)
        frame = self._socket.recv(copy=False)
        if self._cipher is not None:
            self._cipher.decrypt(out[1], frame.buffer, None)


def exchanged(way: str, size: int) -> float:
    """Seconds of one exchange of so many bytes each way."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        if way == "curve":
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.linger, socket.rcvtimeo = 0, _WAIT
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        other = subprocess.Popen([sys.executable, __file__, "--other", way, str(port), public.decode(), str(size)])
        try:
            socket.recv()
            end, payload, taken = _End(socket, way, 0), bytes(size), []
            for _ in range(_TIMES + _WARM):
                began = time.perf_counter()
                end.exchange(payload)
                taken.append(time.perf_counter() - began)
        finally:
            other.kill()
            other.wait()
    return statistics.median(taken[_WARM:])


def _other(way: str, port: str, server: str, size: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        if way == "curve":
            socket.curve_serverkey = server.encode()
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.linger, socket.rcvtimeo = 0, _WAIT
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"ready")
        end, payload = _End(socket, way, 1), bytes(int(size))
        for _ in range(_TIMES + _WARM):
            end.exchange(payload)
        time.sleep(1.0)


def main(sizes: list[str]) -> None:
    """A line a size."""
    for size in sizes or ["8"]:
        found = {way: 1000 * exchanged(way, int(float(size) * 1e6)) for way in _WAYS}
        words = ", ".join(f"{way} {ms:.1f} ms" for way, ms in found.items())
        print(f"{size} MB each way: {words}; CURVE takes {found['curve'] / found['sealed']:.2f} of sealed")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--other"]:
        _other(*sys.argv[2:])
    else:
        main(sys.argv[1:])
