"""The commands about what outlives a run: resume, status, stock, kept, journal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from parties.shell import SCHEMA_VERSION, cluster_option, json_option, run_answer, say, state_option

__all__ = ["journal", "kept", "resume", "status", "stock"]


@click.command()
@click.argument("run")
@state_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Keep the results here.")
@click.option("--force", is_flag=True, help="Overwrite results that are in the directory already.")
@json_option
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def resume(run: str, state: Path | None, output: Path | None, force: bool, as_json: bool) -> None:
    """Go on with RUN, the id of a run that was stopped, or the first digits of it.

    From the last checkpoint that every party has, else from its beginning. Parties of a cluster must be serving again.
    """
    from parties.again import Again
    from parties.output import Output
    from parties.progress import progress
    from parties.report import run_report

    keep = Output.prepare(output, force) if output else None
    again = Again.find(run, state)
    with progress(again.stored.program, sys.stderr) as on_progress:
        result = again.run(on_progress)
    answer = run_answer("resume", again.stored.program, again.stored.suite, result)
    if keep:
        keep.write({"schema_version": SCHEMA_VERSION, **answer})
        click.echo(f"privity: results are in {keep.directory}", err=True)
    say(as_json, answer, lambda: run_report(again.stored.program, result))


@click.command()
@state_option
@json_option
def status(state: Path | None, as_json: bool) -> None:
    """List the runs that were started here, the latest first, and how they ended."""
    from parties.home.listing import runs_of, status_report

    found = runs_of(state)
    say(as_json, {"command": "status", "runs": found}, lambda: status_report(found))


@click.command()
@state_option
@click.option("--party", metavar="NAME", help="Whose store; every actor's of this world if left out.")
@cluster_option
@click.option("--burn", is_flag=True, help="Give up all that is unused, for good: after a backup was restored.")
@json_option
def stock(state: Path | None, party: str | None, cluster: Path | None, burn: bool, as_json: bool) -> None:
    """List the material that `privity deal` has put into the stores on this host, or give it up."""
    from parties.home.listing import stock_of, stock_report

    found = stock_of(_world(state, cluster), party, burn=burn)
    say(as_json, {"command": "stock", "materials": found}, lambda: stock_report(found))


@click.command()
@click.option("--drop", metavar="NAME", help="Give up the secret of this name, for good.")
@state_option
@click.option("--party", metavar="NAME", help="Whose part; every actor's of this world if left out.")
@cluster_option
@json_option
def kept(drop: str | None, state: Path | None, party: str | None, cluster: Path | None, as_json: bool) -> None:
    """List the secrets that are kept on this host for later programs, or drop one."""
    from parties.home.listing import drop_kept, kept_of, kept_report

    world = _world(state, cluster)
    dropped = drop_kept(world, party, drop) if drop is not None else []
    found = kept_of(world, party)
    answer = {"command": "kept", "secrets": found, **({"dropped": dropped} if drop is not None else {})}
    say(as_json, answer, lambda: kept_report(found, dropped))


@click.command()
@state_option
@click.option("--party", metavar="NAME", help="Whose journal; every actor's of this world if left out.")
@cluster_option
@click.option("--run", metavar="PREFIX", help="Entries of one run only: the beginning of its id.")
@click.option("--head", metavar="N:HASH", help="A head kept from earlier, which must still be there.")
@click.option("--program", metavar="DIGEST", help="Print this program's text: the beginning of its digest.")
@json_option
def journal(
    state: Path | None,
    party: str | None,
    cluster: Path | None,
    run: str | None,
    head: str | None,
    program: str | None,
    as_json: bool,
) -> int:
    """Print what was asked, used and revealed to whom, and verify the chain.

    Exit 1 names the first entry that does not fit.
    """
    from parties.home.reading import journal_report, journals, program_text
    from parties.report import Line

    if program is not None:
        kept = program_text(_world(state, cluster), party, program)
        say(as_json, {"command": "journal", **kept}, lambda: [Line(line) for line in kept["text"].splitlines()])
        return 0
    found = journals(_world(state, cluster), party, run, head)
    ok = all(one["ok"] for one in found)
    say(as_json, {"command": "journal", "ok": ok, "journals": found}, lambda: journal_report(found))
    return 0 if ok else 1


def _world(state: Path | None, cluster: Path | None) -> Path:
    """The directory of a cluster's actors, or of local ones."""
    from parties.cluster import load
    from parties.home import LOCAL, settled, state_root

    if cluster is None:
        return (state or state_root()).absolute() / LOCAL
    members = load(cluster)
    return settled(state, members.keys, members.digest())
