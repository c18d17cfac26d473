"""Journals what the router itself makes: that a subject is parked, released or withdrawn."""

from temporalio import activity

from activities.consume import Journal
from chain.batch import Batch, Processed


class NoteEvents:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        """Any of the router's own events, as it is."""
        await self._journal.append(batch.events)
        return Processed(events=[])
