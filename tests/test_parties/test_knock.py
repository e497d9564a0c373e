"""Knocking at real ports: what refuses, and what only says nothing."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from links import Links, possible

from parties.knock import Knocks, refuses


@pytest.fixture
def listener():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s


def address(s, host="127.0.0.1"):
    return f"{host}:{s.getsockname()[1]}"


def test_a_port_that_somebody_listens_at_does_not_refuse(listener):
    assert not refuses(address(listener))
    assert not refuses(address(listener, "localhost"))


def test_a_port_that_nobody_listens_at_refuses(listener):
    listener.close()
    with socket.socket() as taken:  # bound, so that nobody else takes it, and not listening
        taken.bind(("127.0.0.1", 0))
        assert refuses(address(taken))
        assert refuses(address(taken, "localhost"))


@pytest.mark.parametrize("nonsense", ["", "nowhere", "127.0.0.1:", "127.0.0.1:x", "no-such-host.invalid:7000"])
def test_what_is_no_address_does_not_refuse(nonsense):
    assert not refuses(nonsense)


def test_a_stopped_process_takes_connections_and_a_dead_one_refuses():
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        where = f"127.0.0.1:{int(process.stdout.readline())}"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert not refuses(where)
        process.kill()
        process.wait()
        assert refuses(where)


def test_answers_come_by_whom_they_are_of(listener):
    knocks = Knocks()
    knocks.at(3, address(listener))
    listener.accept()[0].close()
    found = []
    while not found:
        found = knocks.answers()
    assert found == [(3, False)]
    assert knocks.answers() == []


@pytest.mark.slow
def test_a_host_that_is_cut_off_says_nothing():
    if not possible():
        pytest.skip("network namespaces need root and iproute2")
    with Links(["here", "there"]) as links:
        ask = [
            sys.executable,
            "-c",
            f"from parties.knock import refuses; print(refuses('{links.addresses['there']}:7'))",
        ]

        def answer():
            return subprocess.run([*links.before["here"], *ask], capture_output=True, text=True, check=True).stdout

        assert answer() == "True\n"
        links.cut("there")
        assert answer() == "False\n"
