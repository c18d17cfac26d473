"""What is known of one subject, and the steps that follow from it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from api.chains import chain_named
from api.shared import Shared
from chain.event import AnyEvent, Kind
from chain.steps import Seen, Step, Trying, steps
from chain.table import Table, in_order
from store.operations import Carried, ParkedSubject, WantedParkings

MOVES_WITHIN = timedelta(seconds=0.75)
"""What has happened to a subject within this time shows that it moves."""

AT_ONCE = 100
"""Parkings of one subject that are looked at."""


class Known(NamedTuple):
    """`events`: its journal in the order of its chain; `parked`: where it waits for a person."""

    table: Table
    carriage: Carried
    events: Sequence[AnyEvent]
    parked: Sequence[ParkedSubject]

    @property
    def moves(self) -> bool:
        dispatched = self.carriage.dispatched_at
        if dispatched is None:
            return False
        return self.carriage.seen_at - max([dispatched, *(event.time for event in self.events)]) < MOVES_WITHIN

    def steps(self, *, moves: bool, trying: Mapping[str, Trying] | None = None) -> Sequence[Step]:
        parked = {each.link: Trying(each.attempts, each.last_error) for each in self.parked}
        dispatched = self.carriage.dispatched_at is not None or self.carriage.ended
        seen = Seen(self.events, self.carriage.done, self.carriage.version, parked, trying, moves, dispatched)
        return steps(self.table, seen)


async def known_subject(here: Shared, subject: str) -> Known | None:
    """None where nobody knows it. Raises the problem `chain_not_found`, where this code has not its chain."""
    carriage, events = await asyncio.gather(here.operations.carried(subject), here.journal.of(subject))
    return await known_by(here, subject, carriage, events) if carriage and events else None


async def known_by(here: Shared, subject: str, carriage: Carried, events: Sequence[AnyEvent]) -> Known:
    table = chain_named(carriage.chain)
    has_parked = any(table.types.kind(event.type) is Kind.PARKED for event in events)
    if not has_parked:
        return Known(table, carriage, in_order(table, events), [])
    page = await here.operations.parked(WantedParkings(subject=subject), limit=AT_ONCE)
    return Known(table, carriage, in_order(table, events), page.parked)
