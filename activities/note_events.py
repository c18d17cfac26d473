"""Journals what the router itself has to tell: that a subject is parked, released or withdrawn."""

from collections.abc import Sequence
from typing import Protocol

from temporalio import activity

from chain.batch import Batch, Processed
from chain.event import AnyEvent


class Journal(Protocol):
    async def append(self, events: Sequence[AnyEvent]) -> None: ...


class NoteEvents:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        """Any of the router's own events, as it is."""
        await self._journal.append(batch.events)
        return Processed(events=[])
