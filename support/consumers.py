"""support: connects each caller to the least busy operator who can help, the oldest caller first; frees them after."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from pydantic import ValidationError
from temporalio import activity

from activities.consume import Journal, NotYet, call_then_consume, consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from support.events import (
    AssignedCall,
    CallerWaiting,
    OperatorAssigned,
    StartedCall,
    SupportCallEnded,
    SupportCallStarted,
)


class Support(Protocol):
    async def assign(self, calls: Mapping[str, StartedCall]) -> Mapping[str, AssignedCall | None]: ...
    async def end(self, tx: Any, call_ids: Sequence[str]) -> None: ...


class AssignOperator:
    def __init__(self, journal: Journal, support: Support) -> None:
        self._journal = journal
        self._support = support

    @activity.defn
    async def assign_operator(self, batch: Batch) -> Processed:
        """SupportCallStarted -> OperatorAssigned | CallerWaiting."""
        assigned = await self._assign(batch)

        async def decide(work: Work, events: Sequence[SupportCallStarted]) -> list[Event[Any]]:
            return [
                work.made(OperatorAssigned, event, operator)
                if (operator := assigned.get(event.subject))
                else work.made(CallerWaiting, event, event.data)
                for event in events
                if assigned.get(event.subject, event)  # None: the caller has hung up
            ]

        return await consume(self._journal, batch, SupportCallStarted, decide)

    @activity.defn
    async def assign_waiting(self, batch: Batch) -> Processed:
        """CallerWaiting -> OperatorAssigned; left out while nobody is free who could help."""
        assigned = await self._assign(batch)

        async def ask(event: CallerWaiting, _: float) -> AssignedCall | None:
            if event.subject not in assigned:
                raise NotYet(f"nobody is free for {event.subject}")
            return assigned[event.subject]

        async def decide(
            work: Work, events: Sequence[CallerWaiting], operators: dict[str, AssignedCall | None]
        ) -> list[Event[Any]]:
            return [
                work.made(OperatorAssigned, event, operator)
                for event in events
                if (operator := operators[event.subject])  # None: the caller has hung up
            ]

        return await call_then_consume(self._journal, batch, CallerWaiting, ask, decide)

    @activity.defn
    async def free_operator(self, batch: Batch) -> Processed:
        """SupportCallEnded -> nothing: the operator is free for the next caller."""

        async def decide(work: Work, events: Sequence[SupportCallEnded]) -> list[Event[Any]]:
            await self._support.end(work.transaction, [event.subject for event in events])
            return []

        return await consume(self._journal, batch, SupportCallEnded, decide)

    async def _assign(self, batch: Batch) -> Mapping[str, AssignedCall | None]:
        calls: dict[str, StartedCall] = {}
        for event in batch.events:
            with suppress(ValidationError):  # left out below, so that it is in nobody's way
                calls[event.subject] = StartedCall.model_validate(event.data)
        return await self._support.assign(calls)
