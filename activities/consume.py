"""The one way a consumer works: external calls first, side by side; then one transaction through the journal.

What fails alone is left out and the others go on. If nothing could be processed the failure is raised.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError
from temporalio import activity

from chain.batch import Batch, Decide, Processed, Work
from chain.event import AnyEvent, Event
from chain.failures import Failure, Outage, UnreadableEvent

E = TypeVar("E", bound=Event[Any])
A = TypeVar("A")

CALLS_AT_ONCE = 20  # external calls of one batch that are under way side by side
IN_COMPANY, ALONE = 2.0, 10.0  # seconds a call may take in a batch of several, for nobody waits for another, and alone
ALL_CALLS = 20.0  # seconds for all calls of a batch, so that what is answered is recorded before Temporal gives up


class Journal(Protocol):
    """See `store.journal.Journal`."""

    async def process_once(
        self, batch: Batch, events: Sequence[E], decide: Decide[E], attempt: int
    ) -> list[AnyEvent]: ...
    async def done(self, batch: Batch, events: Sequence[Event[Any]]) -> set[str]: ...
    async def append(self, events: Sequence[AnyEvent]) -> None: ...
    async def now(self) -> datetime: ...
    def about(self, subject: str) -> AbstractContextManager[object]: ...


class NotYet(Failure):
    """Nothing is wrong, but the answer is not there yet: left out, without counting as a failure."""


async def consume(journal: Journal, batch: Batch, kind: type[E], decide: Decide[E]) -> Processed:
    """Lets `decide` work on the events of the batch, once each, in one transaction."""
    events, failures = _read(batch, kind)
    return await _record(journal, batch, events, failures, decide)


async def call_then_consume(
    journal: Journal,
    batch: Batch,
    kind: type[E],
    ask: Callable[[E, float], Awaitable[A]],
    decide: Callable[[Work, Sequence[E], dict[str, A]], Awaitable[Sequence[Event[Any]]]],
) -> Processed:
    """The same with an external call for each event before the transaction.

    `ask` gets the event and how many seconds it may take; `decide` gets the answers by subject.
    What this link has already done is not asked again.
    """
    events, failures = _read(batch, kind)
    done = await journal.done(batch, events)
    answers: dict[str, A] = {}
    limit = asyncio.Semaphore(CALLS_AT_ONCE)
    # If the whole batch failed before, there is no quick neighbour to be held up, and all may be slow.
    seconds = ALONE if len(batch.events) == 1 or _attempt() > 1 else IN_COMPANY
    clock = asyncio.get_running_loop().time
    last = clock() + ALL_CALLS

    async def answer(event: E) -> None:
        try:
            async with limit, asyncio.timeout_at(min(last, clock() + seconds)):
                with journal.about(event.subject):
                    answers[event.subject] = await ask(event, seconds)
        except TimeoutError:
            silence = f"no answer within {seconds:.0f} s"
            failures[event.subject] = Outage(silence, for_all=silence)
        except Exception as failure:  # noqa: BLE001, whatever it is, it is this event's alone
            failures[event.subject] = failure

    undone = [event for event in events if batch.made_id(event) not in done]
    await asyncio.gather(*map(answer, undone))

    ready = [event for event in events if event.subject not in failures]
    return await _record(journal, batch, ready, failures, lambda work, fresh: decide(work, fresh, answers))


def _attempt() -> int:
    return activity.info().attempt if activity.in_activity() else 1


def _read(batch: Batch, kind: type[E]) -> tuple[list[E], dict[str, Exception]]:
    events: list[E] = []
    failures: dict[str, Exception] = {}
    for event in batch.events:
        try:
            events.append(kind.model_validate(vars(event)))
        except ValidationError as error:
            failures[event.subject] = UnreadableEvent(f"{event.type} of {event.subject} cannot be read: {error}")
    return events, failures


async def _record(
    journal: Journal, batch: Batch, events: Sequence[E], failures: dict[str, Exception], decide: Decide[E]
) -> Processed:
    serious = [failure for failure in failures.values() if not isinstance(failure, NotYet)]
    if serious and len(failures) == len(batch.events):
        # A fault first: the router then lets each go its own way, and what is faulty parks while an outage lasts.
        raise next((failure for failure in serious if not isinstance(failure, Outage)), max(serious, key=_asked_for))
    made: list[AnyEvent] = []
    attempt = batch.tried + _attempt()
    if events:
        made = await journal.process_once(batch, events, decide, attempt)
    left_out = [event.subject for event in batch.events if event.subject in failures]
    tried = attempt if serious else batch.tried
    return Processed(events=made, left_out=left_out, pause=max(map(_asked_for, serious), default=0.0), tried=tried)


def _asked_for(failure: Exception) -> float:
    """For how many seconds the dependency wants to be left alone."""
    return (failure.retry_after or 0.0) if isinstance(failure, Outage) else 0.0
