"""What the dealer gets to see of how a run ends: the same bytes, whatever the reason (docs/rules.md, 5)."""

import numpy as np
from actors import Net, script_text, scripted, scripted_party

from mpc.errors import InputError, PeerError, ProgramError
from mpc.exchange import Exchange
from parties.cluster import DEALER
from parties.events import Send
from parties.wire import Type, encode


def fails(error, number=3):
    """A party that fails in a round, as an engine does."""

    def driven(lowered, me, inputs, entropy, kept):
        engine, answer = scripted_party(lowered, me, inputs, entropy), None
        while True:
            try:
                request = engine.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(request, Exchange) and request.number == number:
                raise error
            answer = yield request

    return driven


ENDS = {
    "done": None,
    "input": InputError("b.csv: row 3, column 'age' is NaN"),
    "program": ProgramError("wrong"),
    "peer": PeerError("what is kept is not there"),
    "internal": ValueError("could not convert 31415926"),
}


def bytes_to_the_dealer(error, who=1, offers=None, told=None):
    """All that anybody sends to the dealer in a run that ends so, as it stands on the wire."""
    machinery = scripted()
    odd = {who: scripted(party=fails(error))} if error is not None else {}
    net = Net(3, dict.fromkeys([0, 1, 2, DEALER], machinery) | odd, offers=offers)
    if told is not None:
        net.coordinator._over = told.__get__(net.coordinator)
    net.begin(script_text(5))
    net.settle()
    assert (net.outcome is None) == (error is not None)
    assert net.verdict is None or net.verdict.sentence.startswith("run stopped: ")
    sent = [m for m in net.log if m.dst == DEALER]
    raw = b"".join(bytes(part) for m in sent for part in encode(m))
    for own in (net.cluster.digest(), net.following.terms.digest()):  # of fresh keys in every net
        raw = raw.replace(own.encode(), b"?" * len(own))
    return raw, net


def test_the_dealer_gets_the_same_bytes_however_a_run_ends():
    seen = {how: bytes_to_the_dealer(error) for how, error in ENDS.items()}
    (same,) = {raw for raw, _ in seen.values()}
    for _, net in seen.values():
        (line,) = net.noted[DEALER]
        assert line.endswith("ended: 120 bytes dealt")
        assert not net.said.get(DEALER)
    elsewhere, _ = bytes_to_the_dealer(ENDS["input"], who=0, offers=[np.full(2, 7)] * 3)
    assert elsewhere == same
    assert seen["input"][1].verdict.sentence == "run stopped: bob: input refused"  # which the coordinator is told


def test_a_coordinator_that_tells_the_dealer_the_verdict_is_seen():
    def over(self, s, v):  # as it was: the sentence to every actor
        del self.sessions[s.id]
        meta = {"origin": v.origin, "kind": v.kind, "reason": v.sentence, "round": v.round, "where": v.where}
        for peer in s.actors:
            yield Send(peer, Type.ABORT, s.id, meta={**meta, "final": True})

    views = [bytes_to_the_dealer(ENDS[how], told=over)[0] for how in ("input", "peer")]
    assert b"input refused" in views[0]
    assert b"input refused" not in views[1]
