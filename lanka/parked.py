"""`lanka parked`: what waits for a person, over HTTP with an operator's key."""
# ruff: noqa: PLC0415  # heavy imports stand inside, so that --help is quick

import getpass
import sys
from typing import Annotated, Any

import typer

from lanka.terminal import DEFAULT_HOME, ApiOption, HomeOption, KeyOption, call, fail, where_to

app = typer.Typer(name="parked", help="What waits for a person: list, release, reject.", no_args_is_help=True)

LinkOption = Annotated[str | None, typer.Option(help="Only at this link; `lanka chains` shows them.")]
StageOption = Annotated[str | None, typer.Option(help="Only at the forward links of this task queue; older.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only for this reason.")]
WhyOption = Annotated[str, typer.Option(help="Why you decide so; it goes into the journal.")]
SomeArgument = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of one order, or of one parking; without it, all that match.")
]
RateOption = Annotated[float | None, typer.Option(help="Orders each second, from 0.01 to 1000.", show_default="20")]
LimitOption = Annotated[int | None, typer.Option(help="Orders at most, the oldest first.", show_default="1000")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only tell which orders those would be.")]
ByOption = Annotated[str, typer.Option(help="Who decides.", default_factory=getpass.getuser, show_default="you")]


@app.command(name="list")
def list_parked(
    link: LinkOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show what is parked, the oldest first; into a pipe a line each, with tabs between."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    parked = call("GET", "/parked", where_to(api, key, home), params=_given(link=link, stage=stage, reason=reason))
    if not parked:
        typer.echo("nothing is parked")
        return
    names = ("subject", "link", "reason", "attempts", "since", "last_error", "id")
    if not sys.stdout.isatty():
        for each in parked:
            typer.echo("\t".join(" ".join(str(each[name]).split()) for name in names))
        return
    # An order's id is there to be copied, whatever the width.
    table = Table(Column("subject", no_wrap=True, min_width=16), *(name.replace("_", " ") for name in names[1:]))
    for each in parked:
        # As text: an error message may hold what Rich would take for its markup.
        table.add_row(*(Text(str(each[name]), overflow="fold") for name in names))
    Console().print(table)


def _command(verb: str, done: str, doc: str) -> None:
    """Releasing and rejecting are asked for in the same way."""

    @app.command(name=verb, help=doc)
    def decide(
        why: WhyOption,
        by: ByOption,
        which: SomeArgument = None,
        link: LinkOption = None,
        stage: StageOption = None,
        reason: ReasonOption = None,
        rate: RateOption = None,
        limit: LimitOption = None,
        dry_run: DryOption = False,
        api: ApiOption = None,
        key: KeyOption = None,
        home: HomeOption = DEFAULT_HOME,
    ) -> None:
        bulk = _given(link=link, stage=stage, reason=reason, rate_per_second=rate, limit=limit, dry_run=dry_run or None)
        decision = {"why": why, "by": by}
        where = where_to(api, key, home)
        if which and bulk:
            raise typer.BadParameter("one order needs no --link, --stage, --reason, --rate, --limit, --dry-run")
        if which:
            _decide_one(verb, which, where, decision)
        else:
            _decide_all(verb, done, where, bulk | decision)


_command("release", "released", "Let one order, or all that match, go on at the link where they are parked.")
_command("reject", "rejected", "Refuse one parked order, or all that match: their stock and their money go back.")


def _decide_one(verb: str, which: str, where: tuple[str, str], decision: dict[str, Any]) -> None:
    from urllib.parse import quote

    verdict = call("POST", f"/parked/{quote(which, safe='')}/{verb}", where, json=decision)["verdict"]
    if verdict == "not_parked":
        fail(f"{which} is not parked, or on its way back already")
    typer.echo(f"{which}: {verdict}")


def _decide_all(verb: str, done: str, where: tuple[str, str], wanted: dict[str, Any]) -> None:
    answer = call("POST", f"/parked/{verb}", where, json=wanted)
    if answer["dry_run"]:
        typer.echo("\n".join([*answer["orders"], f"{answer['matched']} would be {done}"]))
    else:
        typer.echo(f"{answer[done]} of {answer['matched']} {'go on' if verb == 'release' else 'are rejected'}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
