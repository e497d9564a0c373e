"""Who gets a direct connection, and what happens where there is none, or where it ends."""

import contextlib
import socket
import time

import pytest
from ends import Gullible

from parties import direct as directs
from parties import meetings
from parties.happenings import Gone, Packet, Reached
from parties.sealing import MALFORMED, Opener, Sealer


def stranger_first(p, monkeypatch):
    """Somebody reaches alice's open port before bob does; the port of whom she takes for bob, and the stranger."""
    strangers, original = [], meetings.call

    def late(host, port):
        strangers.append(socket.create_connection((host, port)))
        strangers[0].sendall(Sealer(bytes(32)).sealed(bytes(4)))
        p.turns(0.05)
        return original(host, port)

    monkeypatch.setattr(meetings, "call", late)
    p.until(lambda: strangers)
    end = time.monotonic() + 2.0
    while time.monotonic() < end and not p.meshes[0]._meetings._met:
        p.turn()
    met = p.meshes[0]._meetings._met
    return met[1].socket.getpeername()[1] if met else None, strangers[0]


def test_a_stranger_at_the_port_is_not_taken_for_the_caller(pair, monkeypatch):
    p = pair()
    whom, stranger = stranger_first(p, monkeypatch)
    assert whom is not None
    assert whom != stranger.getsockname()[1]
    stranger.settimeout(5.0)
    with contextlib.suppress(ConnectionResetError):  # closed, with what it had sent unread or read
        assert stranger.recv(1) == b""
    stranger.close()


def test_the_broken_twin_that_opens_anything_takes_the_stranger(pair, monkeypatch):
    monkeypatch.setattr(meetings, "Opener", Gullible)
    p = pair()
    whom, stranger = stranger_first(p, monkeypatch)
    assert whom == stranger.getsockname()[1]
    stranger.close()


def test_many_strangers_do_not_keep_the_caller_out_nor_files_open(pair, monkeypatch):
    strangers, original = [], meetings.call

    def late(host, port):
        strangers.extend(socket.create_connection((host, port)) for _ in range(12))
        p.turns(0.05)
        invited = p.meshes[0]._meetings._invited[1]
        assert 0 < len(invited.comers) <= 8
        return original(host, port)

    monkeypatch.setattr(meetings, "call", late)
    p = pair()
    p.meet()
    assert p.meshes[0]._meetings._invited == {}
    for stranger in strangers:
        stranger.close()


def test_a_caller_that_calls_again_and_again_and_uses_nothing_keeps_one_file_open(pair):
    p, unused, files = pair(), [], set()
    for _ in range(4):
        p.until(lambda: p.direct(1))
        p.turns(0.02)
        files.add(len(p.meshes[0]._meetings._selector.get_map()))
        unused.append(p.meshes[1]._meetings.standing.pop(0))
        p.meshes[1]._meetings._wishes[0].at = 0.0
    assert files == {1}
    for direct in unused:
        direct.close()


# ------------------------------------------------------------------------------------- when it cannot be, or ends


def test_where_the_port_cannot_be_reached_zeromq_carries_on(pair, monkeypatch):
    asked = []

    def walled(host, port):
        asked.append((host, port))
        return directs.call(host, 1)

    monkeypatch.setattr(meetings, "call", walled)
    monkeypatch.setattr(meetings, "_FIRST_AGAIN", 0.05)
    p = pair()
    p.until(lambda: len(asked) >= 3)  # at growing intervals
    assert not p.direct(1)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])
    assert {host.removeprefix("::ffff:") for host, _ in asked} == {"127.0.0.1"}


def test_where_the_other_end_does_not_answer_zeromq_carries_on(pair, monkeypatch):
    monkeypatch.setattr(meetings, "_PATIENCE", 0.1)
    p = pair(answers=False)
    p.until(lambda: p.meshes[1]._meetings._wishes and p.meshes[1]._meetings._wishes[0].pause > meetings._FIRST_AGAIN)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


def test_where_no_port_can_be_opened_zeromq_carries_on(pair, monkeypatch):
    def full(_host):
        raise OSError("no more files")

    monkeypatch.setattr(meetings, "beside", full)
    p = pair()
    p.until(lambda: p.meshes[1]._meetings._wishes and p.meshes[1]._meetings._wishes[0].pause > meetings._FIRST_AGAIN)
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


@pytest.mark.parametrize("first", [0, 1], ids=["at the caller", "at the listener"])
def test_a_socket_that_does_not_settle_ends_nobody(pair, monkeypatch, first):
    original, asked = directs._settle, []

    def stubborn(connection):
        asked.append(connection)
        if len(asked) > first:
            raise OSError("as when the other end is gone already, or the system does not know an option")
        original(connection)

    monkeypatch.setattr(directs, "_settle", stubborn)
    p = pair()
    p.until(lambda: len(asked) > first and p.meshes[1]._meetings._calls == {})
    assert not p.direct(1)
    assert asked[-1].fileno() == -1
    assert p.meshes[1].send(0, [b"x"])
    p.until(lambda: p.packets(0) == [[b"x"]])


def reached(listener, address):
    """Whether whoever calls this address comes to the listener, at a port that is nobody's; nothing of it blocks."""
    with listener:
        port = listener.getsockname()[1]
        assert port >= 1024
        assert not listener.getblocking()
        with directs.call(address, port) as caller:
            assert not caller.getblocking()
            listener.settimeout(1.0)
            listener.accept()[0].close()
    return True


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return socket.has_dualstack_ipv6()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "*"])
def test_a_listener_on_all_interfaces_is_reached_where_zeromq_reaches_it(host):
    assert reached(directs.beside(host), "127.0.0.1")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::", "*"])
def test_a_listener_is_reached_over_ipv6_as_well(host):
    assert reached(directs.beside(host), "::1")


@pytest.mark.parametrize("host", ["::", "*"])
def test_without_a_socket_for_both_it_is_reached_over_ipv4(monkeypatch, host):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert reached(directs.beside(host), "127.0.0.1")


def test_only_numbers_are_called():
    """A name could be anybody's, and looking it up takes as long as it likes."""
    with directs.beside("*") as listener, pytest.raises(socket.gaierror):
        directs.call("localhost", listener.getsockname()[1])


def test_a_call_that_fails_at_once_leaves_no_socket(monkeypatch):
    made = []

    class Refused(socket.socket):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

        def connect(self, _address):
            raise OSError("no way there")

    monkeypatch.setattr(socket, "socket", Refused)
    with pytest.raises(OSError, match="no way"):
        directs.call("127.0.0.1", 1)
    assert [connection.fileno() for connection in made] == [-1]


@pytest.mark.parametrize("at", [0, 1], ids=["listener", "caller"])
@pytest.mark.parametrize("how", ["read", "written"])
def test_one_that_breaks_while_it_is_awaited_is_told_once(pair, at, how):
    p = pair().meet()
    p.turns(0.02)
    p.direct(1 - at).socket.shutdown(socket.SHUT_RDWR)
    p.direct(at).wait(5.0)
    if how == "written":
        p.direct(at).socket.shutdown(socket.SHUT_WR)
        assert not p.meshes[at].send(1 - at, [b"x"])
    found = []
    for _ in range(3):
        found += p.meshes[at].poll(0.05, awaited=1 - at)
    assert [h for h in found if isinstance(h, Gone)] == [Gone(1 - at)]


@pytest.mark.parametrize("at", [0, 1], ids=["listener", "caller"])
@pytest.mark.parametrize("waiting", [False, True], ids=["nothing waits", "something waits"])
def test_last_words_are_read_when_nothing_more_can_be_written(pair, at, waiting):
    p = pair().meet()
    p.turns(0.02)
    p.happened[:] = [], []
    while not p.direct(at).pending and p.meshes[at].send(1 - at, [bytes(1_000_000)]) and waiting:
        pass
    assert p.meshes[1 - at].send(at, [b"last words"])
    p.direct(1 - at).wait(1.0)
    p.direct(1 - at).close()  # with something unread: the other end cannot write any more
    p.direct(at).wait(1.0)
    if not waiting:
        assert not p.meshes[at].send(1 - at, [b"x"])
    for _ in range(5):
        p.happened[at] += p.meshes[at].poll(0.01)
    assert p.happened[at][:2] == [Packet(1 - at, [b"last words"]), Gone(1 - at)]


@pytest.mark.parametrize("who", [0, 1], ids=["listener", "caller"])
def test_one_that_breaks_is_told_at_both_ends_and_made_again(pair, monkeypatch, who):
    monkeypatch.setattr(meetings, "_FIRST_AGAIN", 0.2)
    p = pair().meet()
    p.happened[:] = [], []
    broken = p.direct(who)
    broken.socket.shutdown(socket.SHUT_RDWR)
    p.until(lambda: Gone(1) in p.happened[0] or any(isinstance(h, Packet) for h in p.happened[0]))
    p.until(lambda: p.happened[1][:2] == [Gone(0), Reached(0)])
    assert p.meshes[1].send(0, [b"over zeromq"])
    p.until(lambda: Packet(1, [b"over zeromq"], True) in p.happened[0])
    assert p.meshes[0].send(1, [b"too"])
    p.until(lambda: [b"too"] in p.packets(1))
    p.until(lambda: p.direct(1))
    assert p.direct(1) is not broken


def test_what_was_not_sealed_for_this_place_ends_it_and_nobody_is_blamed(pair):
    p = pair().meet()
    p.happened[:] = [], []
    p.direct(1).socket.send(Sealer(bytes(32)).sealed(b"\1\0\0\0\0\0\0\0"))
    p.until(lambda: p.happened[0] == [Gone(1)])
    p.until(lambda: p.happened[1][:2] == [Gone(0), Reached(0)])


def test_a_false_message_of_the_peers_is_handed_up_to_be_judged(pair):
    p = pair().meet()
    p.direct(1).socket.send(p.direct(1)._sealer.sealed(b"no head"))
    p.until(lambda: [bytes(x) for x in MALFORMED] in p.packets(0))


def test_it_ends_with_the_zeromq_connection(pair):
    p = pair().meet()
    p.meshes[1].dial(0, f"127.0.0.1:{p.port}", p.meshes[1]._dialled[0].public)
    assert not p.direct(1)
    p.until(lambda: Reached(0) in p.happened[1][2:])
    assert p.meshes[1].send(0, [b"again"])
    p.until(lambda: Packet(1, [b"again"], True) in p.happened[0])
    assert not p.direct(0)


def test_words_that_nobody_asked_for_change_nothing(pair):
    p = pair().meet()
    standing = [p.direct(0), p.direct(1)]
    word = meetings._WORD
    for mark in (
        word.pack(meetings.MARK, b"H", 77, 1, bytes(32)),
        word.pack(meetings.MARK, b"?", 0, 0, bytes(32)),
        meetings.MARK + b"short",
    ):
        for at in (0, 1):
            assert p.meshes[at]._word(1 - at, mark)
    p.turns(0.1)
    assert [p.direct(0), p.direct(1)] == standing
    assert len(p.packets(0)) == 1


def test_no_secret_of_it_is_in_a_repr():
    calling = meetings._Calling(1, b"s" * 32, 0.0)
    invited = meetings._Invited(None, (b"s" * 32, b"t" * 32), 0.0)
    assert "ss" not in repr((calling, invited, Opener(b"s" * 32)))
