"""`lanka parked`: what waits for a person, over HTTP with an operator's key."""

import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from lanka.terminal import DEFAULT_HOME, Api, ApiOption, HomeOption, KeyOption, NotDoneError, operators_api, show

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
    wanted = _given(link=link, stage=stage, reason=reason)
    if parked := operators_api(api, key, home).call("GET", "/operations/parked", params=wanted):
        show(parked, "subject", "link", "reason", "attempts", "since", "last_error", "id")
    else:
        typer.echo("nothing is parked")


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
        operator = operators_api(api, key, home)
        if which and bulk:
            raise typer.BadParameter("one order needs no --link, --stage, --reason, --rate, --limit, --dry-run")
        if which:
            _decide_one(operator, verb, which, decision)
        else:
            _decide_all(operator, verb, done, bulk | decision)


_command("release", "released", "Let one order, or all that match, go on at the link where they are parked.")
_command("reject", "rejected", "Refuse one parked order, or all that match: their stock and their money go back.")


def _decide_one(operator: Api, verb: str, which: str, decision: dict[str, Any]) -> None:
    path = f"/operations/parked/{quote(which, safe='')}/{verb}"
    verdict = operator.call("POST", path, json=decision)["verdict"]
    if verdict == "not_parked":
        raise NotDoneError(f"{which} is not parked, or on its way back already")
    typer.echo(f"{which}: {verdict}")


def _decide_all(operator: Api, verb: str, done: str, wanted: dict[str, Any]) -> None:
    answer = operator.call("POST", f"/operations/parked/{verb}", json=wanted)
    if answer["dry_run"]:
        typer.echo("\n".join([*answer["orders"], f"{answer['matched']} would be {done}"]))
    else:
        typer.echo(f"{answer[done]} of {answer['matched']} {'go on' if verb == 'release' else 'are rejected'}")


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
