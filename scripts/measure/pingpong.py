"""A bare ZeroMQ CURVE ping-pong of two processes: what a round cannot be faster than, on this machine, now.

64 bytes (or more) there and back, blocking sockets, no poller; the median of many. The second process is this file.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import zmq

__all__ = ["pingpong"]

_TIMES = 5000
_WARM = 500
_WAIT = 10_000


def pingpong(times: int = _TIMES, size: int = 64) -> float:
    """Seconds of a round trip of so many bytes."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = public, secret
        socket.linger, socket.rcvtimeo = 0, _WAIT
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        count = times + _WARM
        echo = subprocess.Popen([sys.executable, __file__, str(port), public.decode(), str(count)])
        try:
            socket.recv()
            taken, message = [], bytes(size)
            for _ in range(count):
                began = time.perf_counter()
                socket.send(message)
                socket.recv()
                taken.append(time.perf_counter() - began)
        finally:
            echo.kill()
            echo.wait()
    return statistics.median(taken[_WARM:])


def _echo(port: str, server: str, count: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.curve_serverkey = server.encode()
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.linger, socket.rcvtimeo = 0, _WAIT
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"ready")
        for _ in range(int(count)):
            socket.send(socket.recv())
        time.sleep(1.0)


if __name__ == "__main__":
    _echo(*sys.argv[1:])
