"""Lists for operators: page by page from a cursor, with how many there are, or all of it as CSV."""

import base64
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter

from api.problems import MAX_RELEASE, Code, Text, flaw_in, flawed

MAX_LISTED = MAX_RELEASE

Limit = Annotated[int, Field(ge=1, le=MAX_LISTED, description=f"1 to {MAX_LISTED}"), Code.INVALID_LIMIT]

LISTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One page as JSON, or with `format=csv` everything that matches.",
        "headers": {
            "Total-Count": {"description": "How many match.", "schema": {"type": "integer"}},
            "Link": {
                "description": '`<...>; rel="next"` (RFC 8288), while there is more.',
                "schema": {"type": "string"},
            },
        },
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}


_PLACE: TypeAdapter[str] = TypeAdapter(Text)


class Paged(BaseModel, frozen=True, extra="forbid"):
    """How to list: at most `limit` from where `cursor` says, or all of it as CSV."""

    limit: Limit = 100
    cursor: Annotated[str | None, Field(description="from the `Link` of the page before"), Code.INVALID_CURSOR] = None
    format: Annotated[Literal["json", "csv"], Code.INVALID_FORMAT] = "json"


class Page(NamedTuple):
    """`total`: how many there are of all pages, where that is known. `after` names the place behind the last item."""

    items: Sequence[BaseModel]
    total: int | None
    after: str | None


Read = Callable[[str | None, int], Awaitable[Page]]
"""Reads a page behind a place (the `after` of an earlier one), with at most so many items.

A ValueError means that the place is none of ours.
"""


async def listed(
    request: Request, response: Response, paged: Paged, columns: type[BaseModel], read: Read
) -> Sequence[Any] | Response:
    """The answer to a request for a list of `columns`."""
    try:
        page = await read(_place(paged.cursor), MAX_LISTED if paged.format == "csv" else paged.limit)
    except ValueError:
        raise flawed([flaw_in("cursor", Code.INVALID_CURSOR)]) from None
    if paged.format == "csv":
        name = request.url.path.rsplit("/", 1)[-1]
        headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return StreamingResponse(_csv(page, read, [*columns.model_fields]), headers=headers, media_type="text/csv")
    if page.total is not None:
        response.headers["Total-Count"] = str(page.total)
    if page.after is not None:
        url = request.url.include_query_params(cursor=_cursor(page.after))
        response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return page.items


def position_at(place: str | None) -> int:
    """Of a list that goes by a number from 1 on. Raises a ValueError for what is no such place."""
    position = int(place) if place is not None else 0
    if not 0 <= position < 2**63:
        raise ValueError(place)
    return position


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place(cursor: str | None) -> str | None:
    """Raises a ValueError for what is no base64, no UTF-8, or no place."""
    if cursor is None:
        return None
    place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    return _PLACE.validate_python(place)


async def _csv(page: Page, read: Read, columns: Sequence[str]) -> AsyncIterator[str]:
    """A page at a time, so that no more than one is ever held."""
    yield "\ufeff" + _lines([columns])  # by which Excel knows UTF-8
    while True:
        rows = (item.model_dump(mode="json") for item in page.items)
        yield _lines([[_cell(row[name]) for name in columns] for row in rows])
        if page.after is None:
            return
        page = await read(page.after, MAX_LISTED)


def _lines(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    """A text that a spreadsheet would take for a formula begins with an apostrophe (OWASP, CSV injection)."""
    if isinstance(value, list):
        value = " ".join(":".join(map(str, each.values())) if isinstance(each, dict) else str(each) for each in value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
