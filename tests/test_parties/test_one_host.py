"""Two on one host: a Unix socket that both know by a name made of their secrets, and what if there is none."""

import errno
import socket
import sys
from pathlib import Path

import pytest
from ends import NOW, Gullible, read

from parties import direct as directs
from parties import meetings
from parties.direct import at_home, call_at_home
from parties.sealing import Sealer

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems know Unix sockets by files alone"),
    pytest.mark.parametrize("way", ["one host"], indirect=True),
]


def names():
    """Of Unix sockets of this project that this network namespace knows."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {line.rpartition("@")[2] for line in lines if "@privity " in line}


def invited(e):
    """What the listener has opened for the caller, and by what name the caller will look for it."""
    before = names()
    e.ends[1].turn(NOW)
    e.tell(1)
    (name,) = names() - before
    name, host = name.removeprefix("privity ").split(" ")
    assert host == "127.0.0.1"  # where it listens
    return e.ends[0]._invited[1], name


def families(e):
    return [e.ends[1].standing[0].socket.family, e.ends[0]._met[1].socket.family]


def test_on_one_host_they_meet_at_a_unix_socket_and_its_name_is_gone_then(ends):
    e = ends()
    _, name = invited(e)
    e.tell(0)
    e.until(lambda _: 0 in e.ends[1].standing and 1 in e.ends[0]._met)
    assert families(e) == [socket.AF_UNIX] * 2
    assert e.files(0) == e.files(1) == 1
    leads_nowhere(name)


def leads_nowhere(name):
    """Those who have met there keep the name, and nobody gets there by it any more."""
    with pytest.raises(ConnectionRefusedError):
        call_at_home(name, "127.0.0.1")


def test_the_port_is_open_too_for_a_caller_that_does_not_see_the_socket(ends, monkeypatch):
    e = ends()
    monkeypatch.setattr(meetings, "call_at_home", nobody_there)
    e.meet()
    assert socket.AF_UNIX not in families(e)


def nobody_there(_name, _address):
    raise ConnectionRefusedError(errno.ECONNREFUSED, "another host, or another network namespace")


def test_without_a_port_they_meet_all_the_same(ends, monkeypatch):
    def full(_host):
        raise OSError(errno.EACCES, "no port")

    e = ends()
    monkeypatch.setattr(meetings, "beside", full)
    e.meet()
    assert families(e) == [socket.AF_UNIX] * 2


def test_the_name_is_another_one_each_time_and_is_in_no_word(ends):
    e, found = ends(), []
    for number in range(3):
        here, name = invited(e)
        found.append(name)
        words = [word for _, word in e.said[0]]
        assert all(name.encode() not in word and bytes.fromhex(name) not in word for word in words)
        assert len(here.listeners) == 2
        e.words(0)
        e.ends[1]._failed(0)
        e.ends[1]._wishes[0].at = 0.0
        assert e.ends[1]._number == number + 1
    assert len(set(found)) == 3
    e.ends[0].turn(NOW + 3.0)
    for name in found:
        leads_nowhere(name)


def stranger_first(e):
    """Somebody who has seen the name comes before the caller does; whether they are taken for the caller."""
    here, name = invited(e)
    with call_at_home(name, "127.0.0.1") as stranger:
        stranger.sendall(Sealer(bytes(32)).sealed(bytes(4)))
        e.until(lambda _: here.comers or e.ends[0]._met, only=0)
        e.until(lambda _: not here.comers, only=0)
        return bool(e.ends[0]._met)


def test_a_stranger_who_has_seen_the_name_is_not_taken_for_the_caller(ends):
    e = ends()
    assert not stranger_first(e)
    e.tell(0)
    e.until(lambda _: 0 in e.ends[1].standing and 1 in e.ends[0]._met)
    assert families(e) == [socket.AF_UNIX] * 2


def test_the_broken_twin_that_opens_anything_takes_the_stranger(ends, monkeypatch):
    monkeypatch.setattr(meetings, "Opener", Gullible)
    assert stranger_first(ends())


def test_who_has_the_name_already_is_not_taken_for_the_listener(ends, monkeypatch):
    """The listener cannot have it then, and the caller finds that the other one cannot seal: it calls again."""
    taken, original = [], meetings.at_home

    def late(name, host):
        if not taken:
            taken.append(original(name, host))
        return original(name, host)

    monkeypatch.setattr(meetings, "at_home", late)
    e = ends()
    e.ends[1].turn(NOW)
    e.tell(1)
    assert len(e.ends[0]._invited[1].listeners) == 1
    e.tell(0)
    taken[0].settimeout(5.0)
    impostor, _ = taken[0].accept()
    impostor.sendall(Sealer(bytes(32)).sealed(bytes(4)))
    e.until(lambda _: not e.ends[1]._calls)
    assert e.ends[1].standing == {}
    impostor.close()
    taken[0].close()
    e.meet(now=NOW + 1.0)
    assert families(e) == [socket.AF_UNIX] * 2


def test_one_who_cannot_be_taken_at_once_is_not_waited_for(ends, monkeypatch):
    """A Unix socket whose callers are too many says so; then it is the port."""

    def busy(_name, _address):
        raise BlockingIOError(errno.EAGAIN, "its backlog is full")

    monkeypatch.setattr(meetings, "call_at_home", busy)
    e = ends()
    e.meet()
    assert socket.AF_UNIX not in families(e)


@pytest.mark.parametrize("open_one", [at_home, call_at_home])
def test_other_systems_have_none_and_a_socket_that_failed_is_closed(open_one, monkeypatch, way):
    made, original = [], socket.socket

    def remembered(*given):
        made.append(original(*given))
        return made[-1]

    with at_home("taken", "*"), monkeypatch.context() as patch:
        patch.setattr(directs.socket, "socket", remembered)
        with pytest.raises(OSError, match=r"refused|in use"):
            open_one("taken" if open_one is at_home else "nobody's", "*")
        assert {s.fileno() for s in made} == {-1}
        made.clear()
        patch.setattr(directs.sys, "platform", "darwin")
        with pytest.raises(OSError, match="files alone"):
            open_one("any", "*")
        assert made == []


def test_what_is_said_in_words_is_the_same_as_on_two_hosts(ends):
    """An end that knows nothing of Unix sockets reads a port and a secret."""
    e = ends()
    e.ends[1].turn(NOW)
    e.tell(1)
    kind, number, port, secret = read(e.said[0][0][1])
    assert (kind, number) == (b"H", 1)
    assert port == e.ends[0]._invited[1].listeners[0].getsockname()[1]
    assert secret != bytes(32)


@pytest.mark.parametrize(
    ("listens", "calls", "found"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("*", "10.1.2.3", True),
        ("::", "10.1.2.3", True),
        ("0.0.0.0", "10.1.2.3", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("10.1.2.3", "127.0.0.1", False),
        ("127.0.0.1", "", False),
    ],
)
def test_it_is_found_by_those_who_call_the_address_at_which_is_listened(listens, calls, found, way):
    """A proxy at another address of this host stays in between."""
    with at_home("a name", listens):
        if found:
            call_at_home("a name", calls).close()
        else:
            with pytest.raises(ConnectionRefusedError):
                call_at_home("a name", calls)


def test_where_the_system_gives_little_room_they_meet_at_the_port(ends, monkeypatch):
    """What it holds for whoever computes need not be waited for."""
    monkeypatch.setattr(directs, "_ROOM", 1 << 30)
    e = ends()
    e.meet()
    assert socket.AF_UNIX not in families(e)


def test_a_listener_that_cannot_be_watched_is_closed_and_ends_nobody(ends, monkeypatch):
    e, made = ends(), []
    end, original = e.ends[0], e.ends[0]._selector.register

    def full(file, *given):
        made.append(file)
        if len(made) > 1:
            raise OSError(errno.ENOSPC, "as many as one user may watch")
        return original(file, *given)

    monkeypatch.setattr(end._selector, "register", full)
    e.ends[1].turn(NOW)
    e.tell(1)
    assert [file.fileno() == -1 for file in made] == [False, True]
    assert end._invited[1].listeners == made[:1]
    end.turn(NOW + 3.0)
    assert e.files(0) == 0


def test_where_neither_can_be_opened_nobody_is_invited_and_nobody_called(ends, monkeypatch):
    def full(*_):
        raise OSError(errno.EMFILE, "no more files")

    e, called = ends(), []
    monkeypatch.setattr(meetings, "beside", full)
    monkeypatch.setattr(meetings, "at_home", full)
    monkeypatch.setattr(meetings, "call", lambda *where: called.append(where))
    e.ends[1].turn(NOW)
    e.tell(1)
    assert [read(word) for _, word in e.said[0]] == [(b"H", 1, 0, bytes(32))]
    assert e.ends[0]._invited == {}
    e.tell(0)
    assert called == []
    assert e.ends[1]._calls == {}
