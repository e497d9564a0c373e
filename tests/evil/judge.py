"""How a case ended, in words, and whether that is an end that the protocol promises."""

from cases import WHO, Case
from lab import COORDINATOR, Lab

from parties.wire import printable

MOST_KEPT = 2 << 20  # bytes of a flood
OWN = "its operator ends it"  # of a run that was being stopped already
DIFFER = "report different values"


def play(case: Case) -> tuple[str, str]:
    """How it ended: a word of `ENDS`, and what was said."""
    lab = case.play()
    if case.much:
        assert lab.growth < MOST_KEPT, f"{lab.growth} bytes are kept"
    for lines in lab.said.values():
        assert all(line == printable(line) for line in lines), lines
    return _of_coordinator(case, lab) if case.evil == COORDINATOR else _of_actor(case, lab)


def _of_actor(case: Case, lab: Lab) -> tuple[str, str]:
    (end,) = lab.end
    name = lab.cluster.call(case.evil)
    if end == "right" and (warnings := [text for text in lab.following.troubles if WHO[case.evil] in text]):
        return "warned", warnings[0]
    if end == "right":
        return "ignored", "the run gives the right result"
    verdict = lab.following.verdict
    if case.state == "stopped" and OWN in end:
        return "ignored", "the run ends as it would have"
    if verdict is not None and verdict.origin == case.evil and (name in end or WHO[case.evil] in end):
        return "named", end
    if verdict is not None and verdict.reporter == case.evil and end.partition(";")[2].startswith(" reported by"):
        return "named as reporter", end
    return ("by value" if DIFFER in end else "WRONG"), end


def _of_coordinator(case: Case, lab: Lab) -> tuple[str, str]:
    """What the honest actors said; the coordinator's own word is no evidence."""
    said = sorted({line for a in lab.honest for line in lab.said[a] if not line.startswith("alice: 'x' is an array")})
    own = [m.sentence for m in [lab.following.verdict] if m is not None]
    stops = [line for line in said if line.startswith("run stopped")]
    if any("the coordinator" in line for line in said):
        return "named", next(line for line in said if "the coordinator" in line)
    if not stops and lab.following.ending is not None:
        return "ignored", "the run gives the right result"
    if own and set(said) <= {*own}:
        return "its verdict", own[0]
    if own:
        return "its verdict", own[0]
    victim = lab.cluster.call(case.victim)
    if all(victim in line for line in stops):
        return "kept apart", "; ".join(said)
    return "WRONG", "; ".join(said)
