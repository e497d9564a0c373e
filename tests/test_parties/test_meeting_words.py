"""What two ends say in order to meet, handed over by hand, word by word, at times that the test says."""

import errno
import socket
import struct
from types import SimpleNamespace

import pytest
from actors import make_cluster
from ends import NOW, read

from parties import meetings, network
from parties.cluster import COORDINATOR, DEALER
from parties.direct import beside, call
from parties.happenings import Reached
from parties.meetings import Meetings
from parties.sealing import Sealer, keys_of


def test_the_words_are_what_is_written_down_about_them(ends):
    """Two ends that are wrong in the same way understand each other, and nobody else does them."""
    e = ends()
    e.ends[1].turn(NOW)
    ((to, called),) = e.words(1)
    kind, number, port, secret = read(called)
    assert (to, kind, number, port) == (0, b"C", 1, 0)
    assert e.ends[0].heard(1, "key 1", called, "127.0.0.1") is False
    ((to, here),) = e.words(0)
    kind, number, port, own = read(here)
    assert (to, kind, number) == (1, b"H", 1)
    assert port == e.ends[0]._invited[1].listeners[0].getsockname()[1]
    assert len({secret, own, bytes(32)}) == 3
    assert e.ends[1].heard(0, "key 0", here, "127.0.0.1") is False
    e.until(lambda _: 0 in e.ends[1].standing)
    e.ends[1]._ended(e.ends[1].standing[0])
    ((to, left),) = e.words(1)
    assert (to, left) == (0, b"PRVM" + b"L" + bytes(38))
    assert e.ends[0].heard(1, "key 1", left, "127.0.0.1") is True
    assert e.files(0) == e.files(1) == 0


def test_a_word_that_is_none_changes_nothing(ends):
    e = ends()
    e.meet()
    standing, left = e.ends[1].standing[0], b"PRVM" + b"L" + bytes(38)
    for word in (left[:-1], left + b"\0", left[:5], left.replace(b"L", b"?")):
        assert e.ends[1].heard(0, "key 0", word, "127.0.0.1") is False
    assert e.ends[1].standing == {0: standing}
    assert e.words(0) == e.words(1) == []


def test_only_who_is_to_be_met_is_called_and_invited(ends):
    e = ends()
    e.ends[0].turn(NOW)
    assert e.words(0) == []  # it has called nobody over ZeroMQ
    e.ends[1].reached(5, "key 5")
    e.ends[1].turn(NOW)
    ((to, called),) = e.words(1)
    assert to == 0
    assert e.ends[0].heard(5, "key 5", called, "127.0.0.1") is False
    assert e.words(0) == []
    assert e.files(0) == 0


def test_one_of_which_nothing_is_known_calls_nobody_and_invites_nobody():
    said = []
    meeting = Meetings("key", lambda *word: said.append(word))
    meeting.reached(0, "key 0")
    meeting.turn(NOW)
    meeting.heard(0, "key 0", struct.pack("<4scIH32s", b"PRVM", b"C", 1, 0, bytes(32)), "127.0.0.1")
    assert said == []
    meeting.close(0.0)


@pytest.mark.parametrize("me", [0, 1, 2, DEALER, COORDINATOR])
def test_parties_and_dealer_meet_each_other_and_nobody_else(me):
    """The dealer looks round again in a moment, and waits for no socket."""
    cluster, _ = make_cluster(3, "127.0.0.1:{}")
    met = []
    mesh = SimpleNamespace(meet=lambda *given, **more: met.append((*given, more)))
    network.meet(mesh, cluster, me)
    if me == COORDINATOR:
        assert met == []
    else:
        others = {0, 1, 2, DEALER} - {me}
        assert met == [("127.0.0.1", cluster.digest(), others, {"finishing": me != DEALER})]


def test_a_system_that_cannot_wait_for_many_sockets_at_once_meets_nobody(monkeypatch):
    meeting = Meetings("key", lambda *_: True)
    monkeypatch.setattr(meeting, "_selector", SimpleNamespace(close=meeting._selector.close))
    assert meeting.open("*", "digest", frozenset({0})) is False
    meeting.reached(0, "key 0")
    assert meeting._wishes == {}
    meeting.close(0.0)


def test_the_numbers_of_calls_begin_anew_after_the_last(ends):
    e = ends()
    e.ends[1]._number = (1 << 32) - 2
    for number, now in (((1 << 32) - 1, NOW), (0, NOW + 10), (1, NOW + 20)):
        e.ends[1].turn(now)
        ((_, called),) = e.words(1)
        assert read(called)[1] == number
        e.ends[1]._failed(0)
        e.ends[1]._wishes[0].at = 0.0


def test_everybody_is_called_once_and_given_up_together(ends):
    e = ends(1, 2, 3)
    one = e.ends[1]
    one.open("*", "digest", frozenset({0, 2, 3}))
    for peer in (2, 3):
        one.reached(peer, f"key {peer}")
    one.turn(NOW)
    one.turn(NOW + 2.9)
    assert [(to, read(word)[:2]) for to, word in e.words(1)] == [(0, (b"C", 1)), (2, (b"C", 2)), (3, (b"C", 3))]
    one.turn(NOW + 3.0)
    assert one._calls == {}
    assert e.words(1) == []  # not again at once
    one.turn(NOW + 1.0)
    assert [to for to, _ in e.words(1)] == [0, 2, 3]


def test_who_has_a_direct_connection_is_not_called(ends):
    e = ends()
    e.meet()
    e.ends[1].turn(NOW + 50)
    assert e.words(1) == []


def test_it_is_called_again_at_growing_intervals(ends):
    e = ends()
    pauses, one = [], e.ends[1]
    for _ in range(8):
        one.turn(one._wishes[0].at)
        one._failed(0)
        pauses.append(one._wishes[0].at - NOW)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert len(e.words(1)) == 8


def test_ports_are_open_for_three_seconds_each(ends):
    e = ends(1, 2, 3)
    for at in (1, 2, 3):
        e.ends[at].turn(NOW)
        e.tell(at)
    assert e.files(0) == 3
    opened = [read(word)[2] for _, word in e.words(0)]
    e.ends[0].turn(NOW + 2.9)
    assert e.files(0) == 3
    e.ends[0].turn(NOW + 3.0)
    assert e.files(0) == 0
    assert e.ends[0]._invited == {}
    for port in opened:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_whoever_calls_again_has_one_port(ends):
    e = ends()
    for now in (NOW, NOW + 10):
        e.ends[1].turn(now)
        e.ends[1]._calls.clear()
        e.tell(1)
    assert e.files(0) == 1
    first, second = (read(word)[2] for _, word in e.words(0))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    socket.create_connection(("127.0.0.1", second)).close()


def test_an_answer_to_another_call_or_a_second_one_changes_nothing(ends):
    e = ends()
    e.ends[1].turn(NOW)
    e.tell(1)
    ((_, here),) = e.words(0)
    kind, number, port, secret = read(here)
    one = e.ends[1]
    other = struct.pack("<4scIH32s", b"PRVM", kind, number + 1, port, secret)
    one.heard(0, "key 0", other, "127.0.0.1")
    assert one._calls[0].direct is None
    one.heard(2, "key 2", here, "127.0.0.1")
    assert e.files(1) == 0
    one.heard(0, "key 0", here, "127.0.0.1")
    under_way = one._calls[0].direct
    assert under_way is not None
    one.heard(0, "key 0", here, "127.0.0.1")
    assert one._calls[0].direct is under_way
    assert e.files(1) == 1
    e.until(lambda _: 0 in one.standing)
    one.heard(0, "key 0", here, "127.0.0.1")
    assert one._calls == {}
    assert one.standing == {0: under_way}


def raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize("why", ["no port there", "no way there", "nobody there", "no answer"])
def test_a_call_that_fails_leaves_no_socket_and_is_made_again(ends, monkeypatch, why):
    e = ends()
    one = e.ends[1]
    one.turn(NOW)
    with monkeypatch.context() as patch:
        if why == "no port there":
            patch.setattr(meetings, "beside", raising(OSError(errno.EMFILE, "no more files")))
        if why == "no way there":
            patch.setattr(meetings, "call", raising(OSError("no way there")))
        e.tell(1)
        if why == "nobody there":
            e.ends[0]._uninvite(1)
        e.tell(0)
        if why == "no answer":
            e.ends[0]._uninvite(1)  # whoever had come is turned away
        e.until(lambda _: not one._calls)
    e.ends[0].turn(NOW + 3.0)
    assert (one._wishes[0].at, one._wishes[0].pause) == (NOW + 1.0, 2.0)
    assert e.files(0) == e.files(1) == 0
    e.meet(now=NOW + 1.0)


def test_where_no_port_can_be_opened_that_is_said(ends, monkeypatch):
    e = ends()
    e.ends[1].turn(NOW)
    monkeypatch.setattr(meetings, "beside", raising(ValueError("no address")))
    e.tell(1)
    assert [(to, read(word)) for to, word in e.words(0)] == [(1, (b"H", 1, 0, bytes(32)))]


def empty(sealer):
    return sealer.sealed(bytes(4))


def one_part(sealer):
    return sealer.sealed(struct.pack("<2I", 1, 1) + b"x")


def no_head(sealer):
    return sealer.sealed(b"x")


def not_sealed(_sealer):
    return empty(Sealer(bytes(32)))


def half(sealer):
    return empty(sealer)[:-1]


@pytest.mark.parametrize("answer", [empty, one_part, no_head, not_sealed, half])
def test_only_an_empty_message_is_an_answer(ends, answer):
    e = ends()
    one = e.ends[1]
    one.turn(NOW)
    _, number, _, secret = read(e.words(1)[0][1])
    with beside("127.0.0.1") as listener:
        here = struct.pack("<4scIH32s", b"PRVM", b"H", number, listener.getsockname()[1], b"o" * 32)
        one.heard(0, "key 0", here, "127.0.0.1")
        listener.settimeout(5.0)
        connection, _ = listener.accept()
    with connection:
        connection.sendall(answer(Sealer(keys_of("key 1", "key 0", "digest", secret + b"o" * 32)[1])))
        if answer is half:
            e.until(lambda _: 0 not in one._calls or one._calls[0].direct.unread)
            assert 0 in one._calls
            assert one.standing == {}
            return
        told = e.until(lambda _: not one._calls)
    assert told[1] == ([Reached(0)] if answer is empty else [])
    assert list(one.standing) == ([0] if answer is empty else [])
    assert e.files(1) == (answer is empty)
    assert one._wishes[0].at == (0.0 if answer is empty else NOW + 1.0)


# ------------------------------------------------------------------------------------------- whoever comes to a port


def invited(e):
    """The port that is open for the caller, what the listener knows of it, and what the caller would seal with."""
    e.ends[1].turn(NOW)
    e.tell(1)
    _, _, port, own = read(e.said[0][0][1])
    sealer = Sealer(keys_of("key 1", "key 0", "digest", e.ends[1]._calls[0].secret + own)[0])
    return port, e.ends[0]._invited[1], sealer


def ports(here):
    return [comer.socket.getpeername()[1] for comer in here.comers]


def test_of_many_who_come_and_say_nothing_the_longest_silent_make_room(ends):
    e, strangers = ends(), []
    port, here, _ = invited(e)
    for count in range(1, 11):
        strangers.append(socket.create_connection(("127.0.0.1", port)))
        e.until(lambda _: ports(here) == [stranger.getsockname()[1] for stranger in strangers[-8:]])
        assert e.files(0) == 1 + min(count, 8)
    e.tell(0)
    e.until(lambda _: 0 in e.ends[1].standing)
    assert e.files(0) == 1  # who has come may greet; all others are gone, and so is the port
    for stranger in strangers:
        stranger.settimeout(5.0)
        assert stranger.recv(1) == b""
        stranger.close()


@pytest.mark.parametrize("word", [empty, one_part, no_head, not_sealed, half])
def test_only_who_seals_an_empty_message_is_the_caller(ends, word):
    e = ends()
    port, here, sealer = invited(e)
    with socket.create_connection(("127.0.0.1", port)) as comer:
        e.until(lambda _: here.comers)
        known = here.comers[0]
        comer.sendall(word(sealer))
        e.until(lambda _: known.unread or not here.comers)
        assert here.comers == ([known] if word is half else [])
        assert e.ends[0]._met == ({1: known} if word is empty else {})
        assert list(e.ends[0]._invited) == ([] if word is empty else [1])
        assert e.files(0) == (2 if word is half else 1)
        assert (known.socket.fileno() == -1) == (word not in (empty, half))


@pytest.mark.parametrize(("number", "open_still"), [(errno.EMFILE, 0), (errno.ENFILE, 0), (errno.ECONNABORTED, 1)])
def test_a_system_without_files_closes_the_port_and_one_who_is_gone_already_does_not(ends, number, open_still):
    """A listener that cannot accept is ready again and again, and this thread would do nothing else."""
    e = ends()
    _, here, _ = invited(e)

    class Failing:
        def __init__(self, listener):
            self.listener = listener

        def accept(self):
            raise OSError(number, "as the system says it")

        def __getattr__(self, name):
            return getattr(self.listener, name)

    (listener,) = here.listeners
    e.ends[0]._comes(1, here, Failing(listener))
    assert len(e.ends[0]._invited) == open_still
    assert e.files(0) == open_still


def test_sockets_of_those_who_come_block_nobody(ends):
    e = ends()
    port, here, _ = invited(e)
    with call("127.0.0.1", port):
        e.until(lambda _: here.comers)
        assert not here.comers[0].socket.getblocking()


@pytest.mark.parametrize("first", ["caller", "stranger"])
def test_of_two_whose_words_are_here_together_the_caller_is_taken_and_the_other_turned_away(ends, first):
    """Whoever is dealt with first may end others that are ready as well."""
    e = ends()
    port, here, sealer = invited(e)
    words = [empty(sealer), not_sealed(sealer)[:-1]]
    if first == "stranger":
        words.reverse()
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as two:
        e.until(lambda _: len(here.comers) == 2)
        known = {comer.socket.getpeername(): comer for comer in here.comers}
        for comer, word in zip((one, two), words, strict=True):
            comer.sendall(word)
            known[comer.getsockname()].wait(5.0)
        e.ends[0].happened()
        caller = two if first == "stranger" else one
        assert e.ends[0]._met == {1: known[caller.getsockname()]}
        assert e.files(0) == 1
