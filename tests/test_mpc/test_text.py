"""mpc/text.py: one canonical form. It parses back to the same text, or it is refused; nothing else happens."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traced import given as inputs
from traced import shared, some, trace

import mpc
from mpc.text import parse_block, print_block
from protocols import BEAVER, MASKED, catalog


@mpc.protocol(scale=lambda s: 3 * s, range=lambda r: (r[0] ** 3, r[1] ** 3))
def cube(x: Any) -> Any:
    d, lam = mpc.masked(x)
    return d * d * d - 3 * (d * d * lam) + 3 * (d * mpc.deal(lam * lam)) - mpc.deal(lam * lam * lam)


def loop(x: Any, y: Any) -> Any:
    def step(i: Any, s: Any) -> Any:
        return mpc.accept_rounding(mpc.assume_range(s + mpc.sigmoid(x[i % 2] * s), -2, 2))

    return mpc.repeat(7, step, y)


TABLES = {
    p: mpc.owned({"a": [1.0, 2, 3, 4], "b": [4.0, 1, 1, 2], "label": ["y", "n", "y", "n"]}).schema()
    for p in ("alice", "bob")
}
NUMBERS = {p: mpc.Schema((3, 2)) for p in ("alice", "bob")}
PROGRAMS = {
    "secure-sum": catalog["secure-sum"].trace({"values": NUMBERS}, ["alice", "bob"]),
    "mean": catalog["mean"].trace({"values": NUMBERS}, ["alice", "bob", "carol"]),
    "logistic": catalog["logistic-regression"].trace({"data": TABLES}, ["alice", "bob"], {"label": "label"}),
    "loop": shared(loop, (2, 3), (3,), lo=-2, hi=2),
    "cube": shared(lambda x: cube(x) / 3 + np.array([0.1, -2.5]), (2,), lo=-4, hi=4),
    "twice": shared(lambda x: cube(x) + cube(x * 0.5), (2,), lo=-4, hi=4),
    "shapes": shared(lambda x, y: np.stack([x.sum(axis=0), y[0] * 2, (y @ x).ravel()])[..., None], (2, 2), (1, 2)),
}


@pytest.fixture(params=sorted(PROGRAMS))
def program(request: Any) -> mpc.Program:
    return PROGRAMS[request.param]


# --- there and back


def test_round_trip(program: mpc.Program) -> None:
    again = mpc.Program.parse(program.text)
    assert again.text == program.text
    assert again.digest == program.digest == hashlib.sha256(program.text.encode()).hexdigest()
    assert [(o.name, o.to, o.shape) for o in again.outputs] == [(o.name, o.to, o.shape) for o in program.outputs]
    assert again.inputs == program.inputs
    for suite in (MASKED, BEAVER):
        assert again.lower(suite).text == program.lower(suite).text


def test_lowered_text_reads_back(program: mpc.Program) -> None:
    lowered = program.lower(MASKED)
    body = lowered.text.partition("\n\n")[2].rstrip("\n").split("\n")
    assert list(print_block(parse_block(body))) == body
    assert program.digest in lowered.text
    assert lowered.digest == hashlib.sha256(lowered.text.encode()).hexdigest()


def test_text_names_no_path_and_no_value(program: mpc.Program) -> None:
    for text in (program.text, program.lower(MASKED).text):
        assert str(Path(__file__).parent) not in text
        assert "/home" not in text
        assert "0x" not in text
        assert text.isascii()
        assert all(
            re.search(r" @ (-|[\w.]+:\d+( \(\w+\))?( via [\w.]+:\d+)?)$", e) for e in text.split("\n") if " = " in e
        )


def test_a_program_is_its_text() -> None:
    """Parsed programs mean the same."""
    program = PROGRAMS["cube"]
    given = inputs([1.5, -2.0])
    expected = mpc.simulate(program, given)["result"]
    assert np.allclose(expected, np.array([1.5, -2.0]) ** 3 / 3 + [0.1, -2.5], atol=1e-4)
    again = mpc.Program.parse(program.text)
    assert np.array_equal(mpc.simulate(again, given)["result"], expected)
    assert np.allclose(mpc.emulate(again, given, suite=MASKED).results["result"], expected, atol=2**-15)


OPERATIONS: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x + y,
    lambda x, y: x - 2 * y,
    lambda x, y: mpc.assume_range(x * y, -8, 8),
    lambda x, y: mpc.assume_range(x @ y.T, -8, 8),
    lambda x, y: np.concatenate([x[:1], y[1:]]),
    lambda x, y: x / 3,
    lambda x, y: mpc.repeat(3, lambda i, s: mpc.assume_range(s + y[i % 2], -8, 8), x),
    lambda x, y: mpc.sigmoid(x.T) * y.mean(axis=0),
    lambda x, y: mpc.rescale(x, 12) + np.eye(2) * 0.1,
]


@some
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6))
def test_generated_programs_round_trip(chosen: Any) -> None:
    def program(x: Any, y: Any) -> Any:
        values = [x, y]
        for operation, i, j in chosen:
            values.append(mpc.accept_rounding(operation(values[i % len(values)], values[j % len(values)])))
        return values[-1]

    made = shared(program, (2, 2), (2, 2))
    assert mpc.Program.parse(made.text).text == made.text
    assert mpc.Program.parse(made.text).lower(MASKED).text == made.lower(MASKED).text


def test_another_process_writes_the_same_text() -> None:
    code = (
        "from protocols import catalog, MASKED; import mpc;"
        "n = {p: mpc.Schema((3, 2)) for p in ('alice', 'bob')};"
        "t = catalog['secure-sum'].trace({'values': n}, ['alice', 'bob']); print(t.digest, t.lower(MASKED).digest)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = PROGRAMS["secure-sum"]
    assert run.stdout.split() == [here.digest, here.lower(MASKED).digest]


# --- what is refused


def tampered(name: str, old: str, new: str, count: int = 1) -> str:
    text = PROGRAMS[name].text
    assert re.search(old, text), "the test must change something"
    return re.sub(old, new, text, count=count)


TAMPERED = [
    ("loop", r"secret\[2,3\]", "secret[3,2]"),
    ("loop", r"secret\[", "public["),
    ("loop", r"in -2\.0\.\.2\.0", "in -1.0..1.0"),
    ("loop", r"in -2\.0\.\.2\.0", "in nan..nan"),
    ("loop", r" noise \S+", ""),
    ("loop", r"(?s)(in -2\.0\.\.2\.0).*?\(", r"\1("),
    ("loop", r'"times":7', '"times":"7"'),
    ("loop", r'"times":7', '"times":-7'),
    ("loop", r'"times":7', '"times":9999'),
    ("loop", r'"carry":1', '"carry":2'),
    ("loop", r'"carry":1', '"carry":null'),
    ("loop", r'"reach":[\d.]+', '"reach":1000.0'),
    ("loop", r'"noise":[\d.e-]+', '"noise":0.0'),
    ("loop", r'"half":\d+', '"half":7'),
    ("loop", r'"coefficients":\[\d+', '"coefficients":[9'),
    ("loop", r'"period":\d+', '"period":200'),
    ("loop", r"(?m)^%4 = ", "%1 = "),
    ("loop", r"= add\(%\d+", "= add(%9999"),
    ("loop", r"= add\(", "= reveal("),
    ("loop", r"= add\(", "= frobnicate("),
    ("loop", r"= share\(%\d+\)", "= share()"),
    ("loop", r'"scale":16', '"scale":99999'),
    ("loop", r'"scale":16', '"scale":true'),
    ("loop", r'"lo":-2.0', '"lo":NaN'),
    ("loop", r"(?m)^  return .*\n", ""),
    ("loop", r"(?m)^\}\n", ""),
    ("loop", r"(?m)^\{\n", "{\n{\n"),
    ("loop", r'"to":"everyone"', '"to":["zoe"]'),
    ("loop", r'"to":"everyone"', '"to":[]'),
    ("loop", r'"to":"everyone"', '"to":7'),
    ("loop", r" @ ", " @  "),
    ("loop", "\n%", "\n\n%"),
    ("loop", "privity program 1", "privity program 2"),
    ("loop", "notes ", "notes  "),
    ("loop", r"notes .*", "notes 3"),
    ("loop", r"notes .*", "notes [3]"),
    ("loop", r"name .*", "name 3"),
    ("loop", r"facts .*", "facts []"),
    ("loop", r"order .*", 'order ["result","other"]'),
    ("loop", r"order .*", "order []"),
    ("loop", r"order .*", "order 5"),
    ("loop", r"outputs .*", 'outputs {"result":"1"}'),
    ("loop", r"outputs .*", 'outputs {"result":0}'),
    ("loop", r"outputs .*", 'outputs {"result":true}'),
    ("loop", r"parties .*", 'parties ["alice"]'),
    ("loop", r"parties .*", 'parties ["alice","alice"]'),
    ("loop", r"parties .*", 'parties "ab"'),
    ("loop", r"parties .*", "parties [1,2]"),
    ("loop", r"parties .*", 'parties ["alice","eve"]'),
    ("loop", r"parties .*\n", ""),
    ("cube", r'(call\(.*"lo":)-?[\d.]+', r"\g<1>-1.0"),
    ("cube", r'(call\(.*"scale":)\d+', r"\g<1>2"),
    ("cube", r'(call\(.*"shape":)\[2\]', r"\1[3]"),
    ("cube", r"deal\(", "reveal("),
    ("cube", r"deal\(", "cast("),
    ("cube", r"= masked\(%(\d+)\) \{\} : public\[2\]; mask", r"= masked(%\1) {} : public[2]; public"),
    ("cube", r"mask\[2\]", "share[2]"),
    ("cube", r'"value":\[\d+', '"value":[1,2'),
    ("cube", r'"value":\[\d+', '"value":["a"'),
    ("cube", r'"value":3', '"value":[]'),
    ("shapes", r'"shape":\[2,2\]', '"shape":[[2,2]]'),
    ("shapes", r'"axes":\[0\]', '"axes":[5]'),
    ("logistic", r'"names":\["a"', '"names":["c"'),
    ("logistic", r'"columns":\["a"', '"columns":[7'),
    ("mean", "unit 1/6", "unit 0/6"),
    ("mean", "unit 1/6", "unit 1/0"),
]


@pytest.mark.parametrize(("name", "old", "new"), TAMPERED)
def test_tampered_texts_are_refused(name: str, old: str, new: str) -> None:
    with pytest.raises(mpc.MpcError):
        mpc.Program.parse(tampered(name, old, new))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "hello",
        "privity program 1\n\n",
        "privity program 1\nname x\n\n",
        "privity program 1\nname " + "[" * 100_000 + "\n\n",
        PROGRAMS["loop"].text.replace('"times":7', '"times":' + "[" * 100_000),
        PROGRAMS["loop"].text.replace('"times":7', '"times":' + "7" * 5000),
        PROGRAMS["loop"].text + "%999",
        PROGRAMS["loop"].text + "}",
        PROGRAMS["loop"].text * 2,
        PROGRAMS["loop"].text.removesuffix("\n"),
        PROGRAMS["loop"].text.replace("\n", "\r\n"),
        PROGRAMS["loop"].lower(MASKED).text,
    ],
    ids=range(14),
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(mpc.MpcError):
        mpc.Program.parse(text)


def nested(depth: int) -> str:
    def go(x: Any, left: int) -> Any:
        return mpc.repeat(2, lambda i, s: go(s, left - 1), x) if left else -x

    return shared(lambda x: go(x, depth), ()).text


def test_nesting_is_limited() -> None:
    few = nested(3)
    assert mpc.Program.parse(few).text == few
    lines = ["{" if i % 2 else f"%{i} = repeat() {{}} :  @ -" for i in range(200)]
    with pytest.raises(mpc.ProgramError, match="nested deeper"):
        parse_block(lines)


@settings(some, max_examples=400)
@given(st.sampled_from(["loop", "cube", "shapes", "mean"]), st.data())
def test_mutations_are_refused_or_canonical(name: str, data: st.DataObject) -> None:
    text = PROGRAMS[name].text
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        end = at + data.draw(st.integers(0, 3))
        put = data.draw(st.text(alphabet='0123456789.-e%[](){},:;"= \nanrstu\u0661é', max_size=3))
        text = text[:at] + put + text[end:]
    try:
        program = mpc.Program.parse(text)
    except mpc.MpcError:
        return
    assert program.text == text
    for use in (lambda: program.lower(MASKED), lambda: program.lower(MASKED).check(), lambda: program.plan(MASKED)):
        try:
            use()
        except mpc.MpcError:
            return


TOKENS = re.compile(r"-?\d+\.?[\de+-]*|\[[^][]*\]|\"[^\"]*\"|%\d+|[a-z_]+")


@settings(some, max_examples=400)
@given(st.sampled_from(["loop", "cube", "shapes", "logistic"]), st.data())
def test_exchanged_tokens_are_refused_or_canonical(name: str, data: st.DataObject) -> None:
    """Mutations that keep the grammar: a word, number, list or name in the place of another."""
    text = PROGRAMS[name].text
    found = list(TOKENS.finditer(text))
    for _ in range(data.draw(st.integers(1, 2))):
        one = data.draw(st.sampled_from(found))
        other = data.draw(st.sampled_from([m.group() for m in found] + ["[]", "0", "-1", "99999999999999999999", "{}"]))
        text = text[: one.start()] + other + text[one.end() :] if text == PROGRAMS[name].text else text
    try:
        program = mpc.Program.parse(text)
        program.lower(MASKED).check()
        program.plan(MASKED)
    except mpc.MpcError:
        return
    assert program.text == text


def test_names_of_files_with_spaces() -> None:
    code = compile("import mpc\ndef f(x): return mpc.reveal(mpc.share(x) * 2)", "/tmp/my dir/my file.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    text = trace(lambda x: names["f"](x[0]), {"x": {"alice": 1.0}}).text
    assert "@ my_file.py:2" in text
    assert mpc.Program.parse(text).text == text


def test_facts_and_names_may_hold_anything() -> None:
    def program(x: mpc.PerParty[mpc.Private]) -> Any:
        return {'é"\n%1': mpc.reveal(mpc.share(x[0])), "fact": {"ü": ["\n\n", None, 1.5]}}

    made = trace(program, {"x": {"alice": 1.0}})
    assert mpc.Program.parse(made.text).text == made.text
    assert json.loads(made.text.split("\n")[1].removeprefix("facts ")) == {"fact": {"ü": ["\n\n", None, 1.5]}}
