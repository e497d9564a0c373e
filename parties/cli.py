"""The command `privity`: run, plan, check, show, deal, catalog, keygen, party, dealer; `cli_state` has the others.

Standard output has the answer, and under --json one JSON object and nothing else; progress and errors go to standard
error, an error as one line. Heavy imports stand inside the commands, so that `privity --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from parties.cli_chaos import chaos
from parties.cli_state import journal, kept, resume, status, stock
from parties.early import ready
from parties.escaping import printable, safe_json
from parties.shell import SCHEMA_VERSION, run_answer, say, state_option, warn

if TYPE_CHECKING:
    from mpc.errors import MpcError
    from parties.job import Job

__all__ = ["cli", "main"]

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
Command = Callable[..., Any]


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from parties.installation import conflicts
    from parties.version import VERSION

    click.echo(f"privity {VERSION}")
    found = conflicts()
    for line in found:
        click.echo(f"privity: {line}", err=True)
    context.exit(1 if found else 0)


@click.group(context_settings=_CONTEXT)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Compute on the data of several parties without pooling it."""


def _job_options(command: Command) -> Command:
    """What run, plan, check and show have in common."""
    options = [
        click.argument("target"),
        click.option("--parties", "count", type=int, metavar="N", help="Local parties: alice, bob, carol, …"),
        click.option("--cluster", type=click.Path(path_type=Path), metavar="FILE", help="Parties on separate hosts."),
        click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="This coordinator's .secret file."),
        click.option(
            "--input", "inputs", multiple=True, metavar="NAME=PARTY:FILE", help="A party's CSV file; repeat it."
        ),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the program; repeat it."
        ),
        click.option("--schema", type=click.Path(path_type=Path), metavar="FILE", help="What is declared of columns."),
        click.option("--suite", default="masked", show_default=True, metavar="NAME", help="masked or beaver."),
        click.option("--verify-ranges", is_flag=True, help="Check stated ranges while running; reveals one bit."),
        click.option("--kept", multiple=True, metavar="PARAMETER=NAME", help="A secret that an earlier program kept."),
        click.option(
            "--checkpoint-every", type=click.IntRange(0), default=0, metavar="K", help="Steps between checkpoints."
        ),
        state_option,
        click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
        click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _job(
    target: str,
    count: int | None,
    cluster: Path | None,
    key: Path | None,
    inputs: Sequence[str],
    settings: Sequence[str],
    suite: str,
    verify_ranges: bool,
    schema: Path | None,
    kept: Sequence[str],
    checkpoint_every: int,
    state: Path | None,
    stocked: bool = False,
) -> Job:
    from parties.job import Job
    from protocols import catalog, suites

    job = Job.from_arguments(
        target,
        count,
        cluster,
        key,
        inputs,
        settings,
        suite,
        verify_ranges,
        schema,
        kept=kept,
        checkpoint_every=checkpoint_every,
        state=state,
        stocked=stocked,
        catalog=catalog,
        suites=suites,
    )
    for note in job.notes:
        click.echo(f"privity: {printable(note)}", err=True)
    return job


@cli.command()
@_job_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Keep the results in this directory."
)
@click.option("--force", is_flag=True, help="Overwrite results that are in the directory already.")
@click.option("--stocked", is_flag=True, help="Use material that `privity deal` has stored, and no dealer.")
def run(as_json: bool, output: Path | None, force: bool, **arguments: Any) -> None:
    """Run TARGET: a catalogue name, or path/to/file.py:function."""
    from mpc.exposure import exposures
    from parties.output import Output
    from parties.progress import progress
    from parties.report import run_report

    kept = Output.prepare(output, force) if output else None
    job = _job(**arguments)
    programs: list[Any] = []
    with progress(job.title, sys.stderr) as on_progress:
        result = job.run(on_progress, programs.append)
    answer = run_answer("run", job.function.name, job.suite_name, result)
    if kept:
        kept.write({"schema_version": SCHEMA_VERSION, **answer})
        click.echo(f"privity: results are in {kept.directory}", err=True)
    say(as_json, answer, lambda: run_report(job.title, result))
    warn(exposures(programs[0]))


@cli.command()
@_job_options
@click.option("--values", "with_values", is_flag=True, help="Show the scale and the range of every secret value.")
def plan(as_json: bool, with_values: bool, **arguments: Any) -> None:
    """Price TARGET exactly, without running it."""
    from mpc.exposure import exposures
    from parties.report import plan_report, values_report

    job = _job(**arguments)
    done = job.compile()
    priced, exposed = done.plan, exposures(done.program)
    warn(exposed)
    answer = {
        **_identity("plan", job, done),
        "rounds": priced.rounds,
        "bytes_sent": priced.bytes_sent,
        "input_bytes": priced.input_bytes,
        "dealt_bytes": priced.dealt_bytes,
        "peak_memory_bytes": priced.peak_memory_bytes,
        "truncations": priced.truncations,
        "opened": priced.opened,
        "by_line": priced.by_line,
        **_disclosure(priced),
        "warnings": exposed,
        "values": priced.values,
    }
    shown = values_report(priced) if with_values else []
    say(as_json, answer, lambda: plan_report(done.program, job.suite_name, priced) + shown)


@cli.command()
@_job_options
def check(as_json: bool, **arguments: Any) -> None:
    """Show that all openings are masked, and list the reveals.

    Names the source line if one is not. Warns of reveals that show single rows, or rest on one owner's data alone.
    """
    from mpc.exposure import exposures
    from parties.report import check_report

    job = _job(**arguments)
    done = job.compile()
    exposed = exposures(done.program)
    answer = {**_identity("check", job, done), "ok": True, **_disclosure(done.plan), "warnings": exposed}
    say(as_json, answer, lambda: check_report(done.program, job.suite_name, done.plan, exposed))


@cli.command()
@_job_options
def show(as_json: bool, **arguments: Any) -> None:
    """Print TARGET before and after lowering.

    Before: as it was traced. After: in shares, masks, deals and openings.
    """
    from parties.report import Line, disclosures_report

    job = _job(**arguments)
    done = job.compile(check=False)  # a program that leaks is shown too, so that its author sees where
    texts = {"source": done.program.text, "lowered": done.lowered.text}
    lines = [line for text in texts.values() for line in text.splitlines()]
    say(
        as_json,
        {**_identity("show", job, done), **texts, "disclosures": done.plan.disclosures},
        lambda: [*map(Line, lines), *disclosures_report(done.plan)],
    )


def _identity(command: str, job: Job, done: Any) -> dict[str, Any]:
    return {
        "command": command,
        "program": done.program.name,
        "suite": job.suite_name,
        "digest": done.program.digest,
        "lowered_digest": done.lowered.digest,
        "parties": list(done.program.parties),
    }


def _disclosure(priced: Any) -> dict[str, Any]:
    from parties.report import plain_value

    return {name: plain_value(getattr(priced, name)) for name in ("reveals", "disclosures", "assumptions", "notes")}


@cli.command()
@_job_options
@click.option("--count", "times", type=click.IntRange(1), default=1, show_default=True, help="For how many runs.")
def deal(as_json: bool, times: int, **arguments: Any) -> None:
    """Make material for runs of TARGET ahead of time, into each party's store.

    The same arguments as for `run`; only the shapes of inputs matter. `run --stocked` uses it, once, without a dealer.
    """
    from parties.report import Line

    job = _job(**arguments)
    made = job.deal(times)
    answer = {"command": "deal", "program": job.function.name, "suite": job.suite_name, "materials": made}
    lines = [Line(f"material {material} is stored at {', '.join(job.parties)}") for material in made]
    say(as_json, answer, lambda: [*lines])


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def catalog(as_json: bool) -> None:
    """List the programs that need no file."""
    from parties.report import Grid
    from protocols import catalog as programs

    summaries = {name: (program.doc.splitlines() or [""])[0] for name, program in programs.items()}
    described: dict[str, dict[str, Any]] = {
        name: {
            "summary": summaries[name],
            "inputs": [p.name for p in program.parameters.values() if p.kind != "setting"],
            "settings": {p.name: p.default for p in program.parameters.values() if p.kind == "setting"},
        }
        for name, program in programs.items()
    }
    rows = [
        (name, ", ".join(d["inputs"]), ", ".join(d["settings"]) or "none", d["summary"])
        for name, d in described.items()
    ]
    say(as_json, {"programs": described}, lambda: [Grid("", ("program", "inputs", "settings", "what it does"), rows)])


@cli.command()
@click.argument("name")
@click.option("--directory", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where to put them.")
def keygen(name: str, directory: Path) -> None:
    """Make the key pair NAME.secret and NAME.public.

    On the host that will use it; the secret half stays there.
    """
    from parties.keys import fingerprint, load_public
    from parties.keys import keygen as make

    secret, public = make(name, directory)
    key = load_public(public)
    click.echo(f"{secret}  stays on this host")
    click.echo(f'{public}  public = "{key}"')
    click.echo(f"fingerprint {fingerprint(key)}: compare it by voice with whoever puts the key into the cluster file")


@cli.command()
@click.option("--cluster", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The cluster file.")
@click.option("--name", required=True, help="Which party of the cluster this is.")
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="Its key; NAME.secret beside the cluster file."
)
@click.option("--data", multiple=True, metavar="NAME=FILE", help="Offer a CSV file under a name; repeat it.")
@click.option(
    "--schema", type=click.Path(path_type=Path), metavar="FILE", help="What is declared of columns: labels, keys."
)
@state_option
def party(
    cluster: Path, name: str, key: Path | None, data: Sequence[str], schema: Path | None, state: Path | None
) -> int:
    """Be one party here, and serve runs until stopped."""
    from parties.arguments import parse_offers
    from parties.launch.hosts import serve_party

    secret = key or cluster.parent / f"{name}.secret"
    return serve_party(cluster, name, secret, parse_offers(data), state=state, schema=schema)


@cli.command()
@click.option("--cluster", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The cluster file.")
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="Its key; dealer.secret beside the cluster file."
)
def dealer(cluster: Path, key: Path | None) -> int:
    """Be the dealer here, and serve runs until stopped."""
    from parties.launch.hosts import serve_dealer

    return serve_dealer(cluster, key or cluster.parent / "dealer.secret")


for command in (resume, status, stock, kept, journal, chaos):
    cli.add_command(command)


# --- the boundary: every error becomes one line and an exit code -----------------------------------------------------


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    from parties.harden import no_dumps

    no_dumps()
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _terminated)
    code = 1
    try:
        code = _answer(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader, a pager for example, has seen enough
    sys.exit(code)


def _answer(arguments: Sequence[str]) -> int:
    try:
        ready()
        with cli.make_context("privity", list(arguments)) as context:
            code = cli.invoke(context)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except KeyboardInterrupt as stopped:
        return _refuse(arguments, "stopped", 143 if isinstance(stopped, _Terminated) else 130)
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message(), err=True)
        return 2
    except click.UsageError as wrong:
        where = wrong.ctx.command_path if wrong.ctx else "privity"
        return _refuse(arguments, f"{wrong.format_message()} (see {where} --help)", 2, wrong)
    except click.ClickException as wrong:
        return _refuse(arguments, wrong.format_message(), wrong.exit_code, wrong)
    except _refusal() as refused:  # looked up when something is raised, so that a page of help loads no language
        return _refuse(arguments, str(refused), refused.exit_code, refused)
    except BrokenPipeError:
        raise
    except Exception as bug:  # noqa: BLE001 - the one place where a bug of ours becomes a line; it may not print data
        return _refuse(
            arguments, f"a bug in privity: {type(bug).__name__}; run it again with --debug to report it", 1, bug
        )


def _refusal() -> type[MpcError]:
    from mpc.errors import MpcError

    return MpcError


def _refuse(arguments: Sequence[str], text: str, code: int, error: BaseException | None = None) -> int:
    """One line on standard error; under --json the object on standard output says it too."""
    if "--debug" in arguments and error is not None:
        import traceback

        traceback.print_exception(error)
    line = printable(" ".join(text.split()))
    click.echo(f"privity: {line}", err=True)
    if "--json" in arguments:
        click.echo(safe_json({"schema_version": SCHEMA_VERSION, "error": line, "exit_code": code}))
    return code


class _Terminated(KeyboardInterrupt):
    """SIGTERM, as an exception, so that every `with` on the way closes its processes as on Ctrl-C."""


def _terminated(*_: object) -> NoReturn:
    raise _Terminated


if __name__ == "__main__":
    main()
