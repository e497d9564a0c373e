"""The committed table of evil: `python tests/evil/table.py --write` makes it anew, without it is compared."""

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "evidence" / "evil-cases.md"
MEANS = {
    "named": "refused or stopped in a sentence that names the evil actor",
    "ignored": "the protocol takes no notice, and the run ends as it would have",
    "warned": "the run gives its result, with a warning that names the evil actor",
    "its verdict": "the coordinator is evil, and the parties repeat its verdict: a run is the coordinator's to end",
    "named as reporter": "a false accusation: the sentence says who reports it",
    "by value": "a wrong number of the right form: found because results differ, and without a culprit, for nothing is "
    "promised about parties that deviate (SECURITY.md)",
}

INTRODUCTION = """\
Made by `scripts/evil --write`. Every case is a whole cluster in memory (three parties, dealer, coordinator; real
bodies, channels and brains) in which one actor does what the row says, once the run has reached the state. No case
raises an exception or hangs (100 virtual seconds), and a flood leaves less than 2 MiB with its victim. `stored`: a
run on stored material; `deal`: material is made for later."""


def row(case, end, words):
    from cases import WHO

    words = words.removeprefix("run stopped: ").partition("; resume with")[0].replace("|", "/")
    mode = "" if case.mode == "run" else f" ({case.mode})"
    cells = (WHO[case.evil], case.behaviour, case.message, WHO[case.victim], case.state + mode, end, words[:110])
    return "| " + " | ".join(cells) + " |"


def rows():
    """The rows of the committed page."""
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][len(MEANS) + 2 :]


def page(cases, ends):
    count = Counter(end for end, _ in ends)
    lines = [
        "# Evil actors", "", *INTRODUCTION.splitlines(), "",
        f"{len(cases)} cases:", "", "| end | cases | meaning |", "|---|---|---|",
        *(f"| {end} | {count[end]} | {text} |" for end, text in MEANS.items()), "",
        "| who | does what | message | to | state | end | words |", "|---|---|---|---|---|---|---|",
        *(row(case, *end) for case, end in zip(cases, ends, strict=True)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main():
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "evil")]
    from cases import every
    from judge import play

    cases = every()
    ends = [play(case) for case in cases]
    wrong = [case.id for case, (end, _) in zip(cases, ends, strict=True) if end not in MEANS]
    for one in wrong:
        print(f"ends as it must not: {one}")
    text = page(cases, ends)
    if "--write" in sys.argv:
        PAGE.write_text(text)
    elif PAGE.read_text() != text:
        print(f"{PAGE.relative_to(ROOT)} is out of date: scripts/evil --write")
        return 1
    print(f"{len(cases)} cases, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
