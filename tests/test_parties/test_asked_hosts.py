"""What a curious coordinator gets from parties on hosts of their own, and what each owner sees and finds of it."""

import hashlib
import re

import pytest
from command import privity
from served import SCHEMA, Served

from parties.home import Home
from parties.keys import fingerprint

SSNS = [f"{100 + i}-45-678{i % 10}" for i in range(30)]
PEOPLE = "age,bmi,y,ssn\n" + "".join(
    f"{20 + i},{18 + i / 7:.2f},{('no', 'yes')[i % 3 % 2]},{ssn}\n" for i, ssn in enumerate(SSNS)
)


@pytest.fixture
def served(tmp_path):
    numbers = "\n".join(row.rpartition(",")[0] for row in PEOPLE.splitlines()) + "\n"
    with Served(
        tmp_path, {name: {"people": PEOPLE, "trained": numbers} for name in ("alice", "bob")}, schema=""
    ) as world:
        (tmp_path / "schema.toml").write_text(SCHEMA)
        yield world


def entries(served, name, *kinds):
    with Home.open(served.home(name), name, create=False) as home:
        return [e for e in home.journal.entries() if not kinds or e["what"] in kinds]


def test_show_prints_no_values_unless_their_owners_have_declared_the_column(served):
    for name in ("alice", "bob"):
        served.serve(name, "--schema", "schema.toml", wait=False)
    for command in (served.running["alice"], served.running["bob"], served.serve("dealer")):
        command.says("listening on port")

    def asks(command, label, data, *more):
        given = [w for name in served.names for w in ("--input", f"data={name}:{data}")]
        asked = served.privity(
            command, "logistic-regression", "--cluster", served.file, *given, "--set", f"label={label}", *more
        )
        return asked, asked.wait()

    curious, code = asks("show", "ssn", "people")
    assert code == 5
    assert "[columns.ssn]" in curious.sentence
    assert 'as = "label"' in curious.sentence
    assert not any(ssn in curious.out + curious.err for ssn in SSNS)
    key = fingerprint(served.cluster.coordinator.public)
    stamp = r"alice: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC "
    whom = re.escape(f"coordinator (key {key})")
    served.running["alice"].says(rf"{stamp}told {whom} no values of column 'ssn' of 'people': column 'ssn'")

    shown, code = asks("plan", "y", "trained", "--json")
    assert code == 0, shown.err
    labels = [d for d in shown.json["disclosures"] if d["what"] == "labels"]
    to = ["alice", "bob", "coordinator", "dealer"]
    wanted = {"what": "labels", "name": "y", "columns": ["y"], "to": to, "count": 2}
    assert labels == [{**wanted, "owners": [name]} for name in served.names]
    served.running["alice"].says(rf"{stamp}told {whom} the distinct values of column 'y' of 'trained': 2\n")

    done, code = asks("run", "y", "trained", "--set", "steps=2", "--set", "solver=sgd", "--json")
    assert code == 0, done.err
    assert done.json["results"]["classes"] == ["no", "yes"]
    run, digest = done.json["run"][:10], done.json["digest"]
    about = f"program logistic_regression \\(digest {digest[:12]}\\); data trained as data, columns age, bmi, y"
    for name, command in served.running.items():
        if name != "dealer":
            said = rf"{name}: \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC run {run}"
            command.says(
                rf"{said} asked for by {whom}: {about}; to be learnt: mean .* by alice, bob, coordinator; its text: "
            )
            command.says(rf"{said} is done, asked for by {whom}: {about}; learnt: mean .* by alice, bob, coordinator\n")
    text = served.privity("journal", "--cluster", served.file, "--state", served.state("bob"), "--program", digest[:8])
    assert text.wait() == 0
    assert hashlib.sha256(text.out.encode()).hexdigest() == digest
    look = served.privity("journal", "--cluster", served.file, "--state", served.state("bob"), "--run", run, "--json")
    assert look.wait() == 0
    (journal,) = look.json["journals"]
    kinds = [e["what"] for e in journal["entries"]]
    assert kinds[:2] == ["run begun", "data used"]
    assert kinds.count("intended") == kinds.count("revealed") == len(done.json["reveals"])

    served.close()
    who = {"coordinator": "coordinator", "key": key}
    told = [{k: e[k] for k in ("what", "data", "column", *who)} for e in entries(served, "bob", "values told")]
    assert told == [{"what": "values told", "data": "trained", "column": "y", **who}] * 2  # once for each command
    (refused,) = entries(served, "alice", "values refused")
    assert (refused["data"], refused["column"], refused["key"]) == ("people", "ssn", key)
    assert not entries(served, "bob", "values refused")  # alice was asked first, and said no
    state = b"".join(p.read_bytes() for name in served.names for p in served.home(name).glob("ledger.sqlite*"))
    assert not any(ssn.encode() in state for ssn in SSNS)


def test_a_party_says_at_its_start_what_of_its_schema_will_not_do(served):
    path = served.folder / "schema.toml"
    path.write_text(
        SCHEMA + "[columns.agee]\nrange = [0, 120]\n[columns.bmi]\nrange = [10, 20]\n"
        '[columns.ssn]\nas = "key"\nvalues = ["100-45-6780"]\n'
    )
    command = served.serve("alice", "--schema", "schema.toml")
    assert "alice: schema.toml: no offered data has the column 'agee'; did you mean 'age'?\n" in command.err
    assert "alice: schema.toml: alice-people.csv: row 16 (line 17), column 'bmi' is outside the declared" in command.err
    assert (
        "alice-people.csv: row 2 (line 3), column 'ssn' has none of the values that the schema declares" in command.err
    )
    assert not any(ssn in command.err for ssn in SSNS)
    path.write_text('format = 1\n[columns.y]\nas = "label"\n')
    wrong = served.serve("bob", "--schema", "schema.toml", wait=False)
    assert wrong.wait() == 2
    assert 'schema.toml: [columns.y] as = "label" needs one line more' in wrong.sentence


def test_a_schema_file_counts_as_it_stands_now(served):
    path = served.folder / "schema.toml"
    for name in ("alice", "bob", "dealer"):
        served.serve(name, *(["--schema", "schema.toml"] if name != "dealer" else []))
    alice = served.running["alice"]

    def code():
        given = [w for name in served.names for w in ("--input", f"data={name}:trained")]
        more = ("--cluster", served.file, *given, "--set", "label=y")
        return served.privity("plan", "logistic-regression", *more).wait()

    assert code() == 0
    path.write_text(SCHEMA.replace("[columns.y]", "[columns.z]"))
    alice.says("alice: the schema file schema.toml has changed: counts from here on")
    alice.says("no offered data has the column 'z'")
    assert code() == 5
    path.write_text(SCHEMA)
    alice.says("(?s)counts from here on.*counts from here on")
    assert code() == 0
    path.write_text("format = 1\n[columns.y")
    alice.says("no values are told until it is right: schema.toml: not TOML")
    assert code() == 5
    path.write_text(SCHEMA)
    alice.says("(?s)counts from here on.*counts from here on.*counts from here on")
    assert code() == 0


def test_a_local_run_needs_no_declaration_up_to_twenty_values(tmp_path):
    (tmp_path / "a.csv").write_text("k,v\n" + "".join(f"k{i % 20},{i}\n" for i in range(200)))
    (tmp_path / "b.csv").write_text("k,v\n" + "".join(f"k{i % 21},{i}\n" for i in range(210)))
    (tmp_path / "schema.toml").write_text('format = 1\n[columns.k]\nas = "key"\nat_most = 21\n')

    def grouped(command, file, *more):
        inputs = ["--input", "data=alice:a.csv", "--input", f"data=bob:{file}"]
        return privity(command, "group-by", *inputs, "--set", "key=k", "--set", "column=v", *more, cwd=tmp_path)

    assert grouped("plan", "a.csv").code == 0
    for command in ("plan", "run"):
        refused = grouped(command, "b.csv")
        assert refused.code == 5, refused.err
        assert "column 'k' of 'data' has more distinct values than the 20 of a label or key" in refused.refusal
        assert "[columns.k]" in refused.refusal
    done = grouped("run", "b.csv", "--schema", "schema.toml", "--json")
    assert done.code == 0, done.err
    assert len(done.json["results"]["keys"]) == 21
