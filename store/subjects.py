"""The subjects behind a number: of any chain, at a link, by status, reason, customer or time, page by page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel

from chain.event import source_of
from chain.steps import State, states_at
from chain.subject import PROCESSING, RECEIVED
from chain.table import Table
from store.database import Pool, Store, columns
from store.overview import Group, Overview

LOOKED_AT = 5_000
"""Subjects that one question looks at, where ended ones may match as well: there may be millions of them."""


class Standing(BaseModel, frozen=True):
    """A link where a subject stands, and how."""

    link: str
    state: State


class ListedSubject(BaseModel, frozen=True):
    """`links`: where it stands now; none after its end. `reason`: why it is parked, else why it goes or went back.

    `customer_id`, `amount` (in minor units) and `currency` are there for orders only.
    """

    chain: str
    subject: str
    status: str
    links: Sequence[Standing]
    received_at: AwareDatetime
    updated_at: AwareDatetime
    customer_id: str | None
    amount: int | None
    currency: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class WantedSubjects:
    """Those that have all of what is given. `text` is an id of the subject, or of an order its number, customer or
    payment. They were received from `since` on and up to `before`.
    """

    chain: str | None = None
    link: str | None = None
    state: State | None = None
    text: str | None = None
    status: str | None = None
    reason: str | None = None
    customer_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether only what is on its way can match."""
        return self.link is not None or self.state is not None


class SubjectPage(NamedTuple):
    """`total` counts all that match; None where more would have to be looked at. `after` asks for the next page, which
    there may be although this one is short.
    """

    subjects: Sequence[ListedSubject]
    total: int | None
    after: str | None


class _Look(NamedTuple):
    """What matches of those that were looked at; `last` is the last of these, if there may be more behind it."""

    names: Sequence[str]
    last: str | None


class Subjects(Store):
    """`tables`: of all chains. What is on its way is listed oldest first, what may have ended by its id, falling: of
    orders the newest first.
    """

    def __init__(self, pool: Pool, overview: Overview, tables: Mapping[str, Table]) -> None:
        super().__init__(pool)
        self._overview = overview
        self._tables = tables
        self._sources = [source_of(link.name) for table in tables.values() for link in table.links]

    async def page(self, wanted: WantedSubjects, *, after: str | None = None, limit: int) -> SubjectPage:
        """Behind the subject `after`. Raises `Outage`."""
        if wanted.open:
            return await self._of_those_on_their_way(wanted, after, limit)
        return await self._of_all(wanted, after, limit)

    async def _of_those_on_their_way(self, wanted: WantedSubjects, after: str | None, limit: int) -> SubjectPage:
        groups = await self._overview.groups(named=True)
        there = [name for group in groups if self._matches(wanted, group) for name in group.names]
        rows = await self._fetch(_OPEN, *self._filter(wanted), there, after, limit + 1)
        page = [row["subject"] for row in rows[:limit] if row["subject"]]
        return SubjectPage(await self._listed(page), rows[0]["total"], page[-1] if len(rows) > limit else None)

    async def _of_all(self, wanted: WantedSubjects, after: str | None, limit: int) -> SubjectPage:
        found = await self._look(wanted, after)
        first = found if after is None else await self._look(wanted, None)
        page = found.names[:limit]
        behind = page[-1] if len(found.names) > limit else found.last
        total = len(first.names) if first.last is None else None
        return SubjectPage(await self._listed(page), total, behind)

    async def _look(self, wanted: WantedSubjects, before: str | None) -> "_Look":
        source, values = self._source(wanted)
        row = await self._first(_matching(source), *self._filter(wanted), *values, before, LOOKED_AT)
        assert row, "an aggregate has a row"
        return _Look(row["names"] or [], row["last"])

    def _filter(self, wanted: WantedSubjects) -> Sequence[object]:
        asked = (wanted.chain, wanted.status, wanted.reason, wanted.customer_id, wanted.since, wanted.before)
        return (*asked, self._sources)

    def _source(self, wanted: WantedSubjects) -> tuple[str, Sequence[object]]:
        """Where those that may match are looked for."""
        if wanted.text is not None:
            return _BY_TEXT, [wanted.text, None]
        if wanted.customer_id is not None:
            return _BY_CUSTOMER, [wanted.customer_id, None]
        return _BY_STATUS, columns([*self._statuses(wanted)], 2)

    def _statuses(self, wanted: WantedSubjects) -> Iterator[tuple[str, str]]:
        """Each chain with the statuses that its subjects are stored with."""
        for name, table in self._tables.items():
            # What is shown as being processed may still be stored as received.
            shown_of = {wanted.status, RECEIVED if wanted.status == PROCESSING else wanted.status}
            if wanted.chain in (None, name):
                yield from ((name, status) for status in table.statuses if wanted.status is None or status in shown_of)

    def _matches(self, wanted: WantedSubjects, group: Group) -> bool:
        if group.chain not in self._tables or wanted.chain not in (None, group.chain):
            return False
        at = states_at(self._tables[group.chain], group)
        return any(wanted.link in (None, link) and wanted.state in (None, state) for link, state in at.items())

    async def _listed(self, subjects: Sequence[str]) -> Sequence[ListedSubject]:
        """In this order."""
        if not subjects:
            return []
        groups = [group for group in await self._overview.groups_of(subjects) if group.chain in self._tables]
        links = {name: states_at(self._tables[group.chain], group) for group in groups for name in group.names}
        found = {}
        for row in await self._fetch(_LISTED, subjects, self._sources):
            at = [Standing(link=link, state=state) for link, state in links.get(row["subject"], {}).items()]
            found[row["subject"]] = ListedSubject(**row, links=at)
        return [found[each] for each in subjects]


_REASON = """
    coalesce(
        (
            SELECT data ->> 'reason' FROM parkings
            WHERE parkings.subject = subjects.subject ORDER BY position LIMIT 1
        ), (  -- the same that decides where a subject stands: a withdrawal, else the refusal of the earliest link
            SELECT data ->> 'reason' FROM journal
            WHERE journal.subject = subjects.subject AND kind IN ('refusal', 'withdrawal')
            ORDER BY kind = 'withdrawal' DESC, array_position({sources}::text[], source), position LIMIT 1
        )
    )
"""

_FILTER = f"""
    ($1::text IS NULL OR chain = $1) AND ($2::text IS NULL OR status_shown(status, dispatched_at) = $2)
    AND ($3::text IS NULL OR $3 = {_REASON.format(sources="$7")})
    AND ($4::text IS NULL OR $4 = (SELECT customer_id FROM orders WHERE order_id = subjects.subject))
    AND ($5::timestamptz IS NULL OR received_at >= $5) AND ($6::timestamptz IS NULL OR received_at < $6)
"""  # noqa: S608

_OPEN = f"""
    WITH matching AS MATERIALIZED (
        SELECT subject, received_at FROM subjects WHERE subject = ANY($8::text[]) AND {_FILTER}
    )
    SELECT counted.total, page.* FROM (SELECT count(*) AS total FROM matching) AS counted
    LEFT JOIN (
        SELECT * FROM matching WHERE $9::text IS NULL OR (received_at, subject) > (
            SELECT received_at, subject FROM subjects WHERE subject = $9
        )
        ORDER BY received_at, subject LIMIT $10
    ) AS page ON true
    ORDER BY page.received_at, page.subject
"""  # noqa: S608  # every value is a parameter

_KNOWN = "subject, chain, status, dispatched_at, received_at"

_BY_STATUS = f"""
    SELECT found.* FROM unnest($8::text[], $9::text[]) AS stored (of_chain, of_status)
    CROSS JOIN LATERAL (
        SELECT {_KNOWN} FROM subjects
        WHERE chain = of_chain AND status = of_status AND ($10::text IS NULL OR subject < $10)
        ORDER BY subject DESC LIMIT $11
    ) AS found
"""  # noqa: S608
_BY_CUSTOMER = """
    SELECT subject, chain, status, dispatched_at, subjects.received_at FROM subjects JOIN orders ON order_id = subject
    WHERE customer_id = $8 AND $9::text IS NULL AND ($10::text IS NULL OR order_id < $10)
"""
_BY_TEXT = f"""
    SELECT {_KNOWN} FROM (
        SELECT subject FROM subjects WHERE subject = ANY(ARRAY[$8, lower($8)])
        UNION SELECT order_id FROM orders WHERE order_number = upper($8)
        UNION SELECT order_id FROM orders WHERE payment_id = $8
        UNION (SELECT order_id FROM orders WHERE customer_id = $8 ORDER BY order_id DESC LIMIT $11)
    ) AS found JOIN subjects USING (subject)
    WHERE $9::text IS NULL AND ($10::text IS NULL OR subject < $10)
"""  # noqa: S608


def _matching(source: str) -> str:
    """Of those in `source` at most $11, the newest. `last` is where more may be, if there may be more."""
    return f"""
        WITH looked_at AS MATERIALIZED ({source} ORDER BY subject DESC LIMIT $11)
        SELECT (SELECT array_agg(subject ORDER BY subject DESC) FROM looked_at AS subjects WHERE {_FILTER}) AS names,
               (SELECT min(subject) FROM looked_at HAVING count(*) = $11) AS last
    """  # noqa: S608


_LISTED = f"""
    SELECT chain, subject, status_shown(status, dispatched_at) AS status, subjects.received_at,
           coalesce(last.time, subjects.received_at) AS updated_at, customer_id, ordered.total AS amount, currency,
           {_REASON.format(sources="$2")} AS reason
    FROM unnest($1::text[]) AS wanted (name)
    CROSS JOIN LATERAL (SELECT * FROM subjects WHERE subject = wanted.name OFFSET 0) AS subjects
    LEFT JOIN LATERAL (
        SELECT customer_id, total, currency FROM orders WHERE order_id = wanted.name LIMIT 1
    ) AS ordered ON true
    LEFT JOIN LATERAL (
        SELECT time FROM journal WHERE journal.subject = wanted.name ORDER BY position DESC LIMIT 1
    ) AS last ON true
"""  # noqa: S608
