"""`lanka funnel`: where the subjects of a chain are, and what became of them, as a table."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from lanka.output import duration, printable

NUMBERS = ("waiting", "working", "parked", "oldest", "done", "rejected", "on", "p50", "p95")

NO_ENDS = {"since", "until", "conversion", "links", "hours"}


def shown(funnel: Mapping[str, Any], hours: int) -> RenderableType:
    """The answer of `GET /operations/funnel`."""
    table = Table(  # fits 80 columns
        Column("link", overflow="fold"),
        *(Column(name, justify="right", no_wrap=True) for name in NUMBERS),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for link in funnel["links"]:
        table.add_row(
            Text(printable(link["link"])),
            *(_number(link[name]) for name in ("waiting", "in_progress")),
            Text(_number(link["parked"]), style="bold red" if link["parked"] else ""),
            duration(link["oldest_age_seconds"]),
            *(_number(link[name]) for name in ("done", "rejected")),
            _percent(link["conversion"]),
            *(duration(link[name]) for name in ("p50_seconds", "p95_seconds")),
        )
    names = [name for name in funnel if name not in NO_ENDS]
    ends = ", ".join(f"{funnel[name]} {name}" for name in names)
    of_those = f" ({_percent(funnel['conversion'])} of those that ended)" if funnel["conversion"] is not None else ""
    when = "this hour" if hours == 1 else f"the last {hours} hours"
    why = [line for link in funnel["links"] for line in _why(link)]
    return Group(table, *why, Text(f"{when}: {ends}{of_those}"), *_by_hour(names, funnel["hours"]))


def _by_hour(names: Sequence[str], hours: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Hour by hour, where there is more than one in which anything happened. `names`: received, and each end."""
    busy = [hour for hour in hours if any(hour[name] for name in names)]
    if len(busy) < 2:  # noqa: PLR2004, the line above has told of one
        return
    table = Table(Column("hour", no_wrap=True), *(Column(name, justify="right") for name in names), box=None)
    for hour in busy:
        begins = datetime.fromisoformat(hour["hour"]).astimezone()
        table.add_row(f"{begins:%m-%d %H:%M}", *(_number(hour[name]) for name in names))
    yield table


def _number(number: int) -> str:
    return str(number) if number else "·"


def _percent(part: float | None) -> str:
    return "" if part is None else f"{part:.0%}" if part in (0, 1) else f"{part:.1%}"


def _why(link: Mapping[str, Any]) -> Iterator[Text]:
    # As text: a reason may hold what Rich would take for its markup.
    for word, name in (("rejected", "reasons"), ("parked", "parked_reasons")):
        if reasons := ", ".join(f"{reason} {number}" for reason, number in link[name].items()):
            yield Text(printable(f"{word} at {link['link']}: {reasons}"))
