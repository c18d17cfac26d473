"""`lanka parked`: what waits for a person, over HTTP with an operator's key."""

import getpass
import os
from typing import Annotated, Any
from urllib.parse import quote

import typer

from lanka.output import printable, say, show, show_json
from lanka.terminal import (
    DEFAULT_HOME,
    ApiOption,
    CursorOption,
    HomeOption,
    JsonOption,
    KeyOption,
    LimitOption,
    NotDoneError,
    operators_api,
)

app = typer.Typer(name="parked", help="What waits for a person: list, release, reject.", no_args_is_help=True)

LinkOption = Annotated[str | None, typer.Option(help="Only at this link; `lanka chains` shows them.")]
StageOption = Annotated[str | None, typer.Option(help="Only at the forward links of this task queue; older.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only for this reason.")]
ChainOption = Annotated[str | None, typer.Option(help="Only of this chain.")]
CustomerOption = Annotated[str | None, typer.Option("--customer", help="Only of this customer's orders.")]
SinceOption = Annotated[str | None, typer.Option(help="Only what is parked since then: 2026-11-26T09:00:00Z.")]
BeforeOption = Annotated[str | None, typer.Option(help="Only what was parked before: 2026-11-26T09:00:00Z.")]
WhyOption = Annotated[str, typer.Option(help="Why you decide so; it goes into the journal.")]
SomeArgument = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of one order, or of one parking; without it, all that match.")
]
RateOption = Annotated[float | None, typer.Option(help="Orders each second, from 0.01 to 1000.", show_default="20")]
MostOption = Annotated[
    int | None, typer.Option("--limit", help="Orders at most, the oldest first.", show_default="1000")
]
AllOption = Annotated[bool, typer.Option("--all", help="Whatever is parked, where nothing else chooses.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only tell which orders those would be.")]


def _you() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container a number may have no name
        return f"uid {os.getuid()}"


ByOption = Annotated[str, typer.Option(help="Who decides.", default_factory=_you, show_default="you")]


@app.command(name="list")
def list_parked(
    chain: ChainOption = None,
    link: LinkOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    customer: CustomerOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show what is parked, the oldest first; into a pipe a line each, with tabs between."""
    which = _given(chain=chain, link=link, stage=stage, reason=reason, customer_id=customer, since=since, before=before)
    page = operators_api(api, key, home).page("/operations/parked", which | {"limit": limit}, cursor)
    if as_json:
        show_json(page.rows)
    elif page.rows:
        rows = [{**row, "about": _about(row)} for row in page.rows]
        show(rows, "subject", "link", "reason", "attempts", "since", below=("last_error", "id", "about"))
    else:
        say("nothing is parked")
    page.tell_what_follows()


def _about(parked: dict[str, Any]) -> str:
    from orders.money import written  # noqa: PLC0415

    money = "" if parked["amount"] is None else written(parked["amount"], parked["currency"])
    earlier = f"parked {parked['earlier']} times before" if parked["earlier"] else ""
    return ", ".join(filter(None, (money, parked["customer_id"] or "", earlier)))


def _command(verb: str, done: str, doc: str) -> None:
    """Releasing and rejecting are asked for in the same way."""

    @app.command(name=verb, help=doc)
    def decide(
        why: WhyOption,
        by: ByOption,
        parking: SomeArgument = None,
        chain: ChainOption = None,
        link: LinkOption = None,
        stage: StageOption = None,
        reason: ReasonOption = None,
        customer: CustomerOption = None,
        since: SinceOption = None,
        before: BeforeOption = None,
        rate: RateOption = None,
        limit: MostOption = None,
        everything: AllOption = False,
        dry_run: DryOption = False,
        as_json: JsonOption = False,
        api: ApiOption = None,
        key: KeyOption = None,
        home: HomeOption = DEFAULT_HOME,
    ) -> None:
        chosen = _given(
            chain=chain, link=link, stage=stage, reason=reason, customer_id=customer, since=since, before=before
        )
        bulk = chosen | _given(rate_per_second=rate, limit=limit, dry_run=dry_run or None)
        if parking is not None and (bulk or everything):
            raise typer.BadParameter("one order needs none of the options that choose among many")
        if parking is not None and not parking.strip():
            raise typer.BadParameter("the ID is empty")
        if parking is None and not (chosen or everything or dry_run):
            raise typer.BadParameter("name one order, choose by --link, --reason, ..., or say --all")
        operator = operators_api(api, key, home)
        one = f"/{quote(parking, safe='')}" if parking else ""
        answer = operator.call("POST", f"/operations/parked{one}/{verb}", json=bulk | {"why": why, "by": by})
        if as_json:
            show_json(answer)
        elif not parking:
            say(_told(answer, verb, done))
        if answer.get("verdict") == "not_parked":
            raise NotDoneError(f"{parking} is not parked")
        if parking and not as_json:
            say(f"{printable(parking)}: {answer['verdict']}")


_command("release", "released", "Let one order, or all that match, go on at the link where they are parked.")
_command("reject", "rejected", "Refuse one parked order, or all that match: their stock and their money go back.")


def _told(answer: dict[str, Any], verb: str, done: str) -> str:
    if answer["dry_run"]:
        return "\n".join([*map(printable, answer["orders"]), f"{answer['matched']} would be {done}"])
    return f"{answer[done]} of {answer['matched']} {'go on' if verb == 'release' else 'are rejected'}"


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
