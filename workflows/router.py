"""The router: directs every event to the consumers that the table names, until nothing follows. One way, no step back.

It knows events by their type and subject only. Groups of events go on side by side and never wait for each other.
What people want of a subject on its way (withdraw, release) comes in here as well, and is decided here, once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError

from chain.batch import Batch, Processed
from chain.commands import BulkCommand, Command, Verdict, again, printable
from chain.event import AnyEvent, Event, class_of, id_of, in_words, source_of, type_of
from chain.table import Join, Link, Route, Table
from orders.words import Reason
from workflows.ui_details import now_list

OUTAGE_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=250), maximum_interval=timedelta(seconds=10))
"""Without end. A consumer that reports an outage says itself when to try again; this is for a worker that died."""

HEARTBEAT_TIMEOUT = timedelta(seconds=5)
"""How long a worker may be silent before its work is given to another."""

FAULT_PAUSES = (timedelta(seconds=1), timedelta(seconds=3))
"""Before an event that failed unexpectedly, alone, is tried again. When they are used up it is parked."""

NOTE_PAUSE, LONGEST_NOTE_PAUSE = timedelta(seconds=1), timedelta(hours=1)
"""Before what could not be told is told again: doubled each time, as a history holds 51,200 events."""

MAX_ERROR = 1_000
"""Characters of the last error that are kept."""

PARKED_STAGES = SearchAttributeKey.for_keyword_list("ParkedStages")

PARKING_PATCH = "parked-stages-when-changed"
"""The patch from which on the search attribute is written when it changes only, and each parking has its own id."""

Onward = Callable[[dict[str, AnyEvent | None]], Coroutine[Any, Any, None]]
"""Takes what a link made of each subject that it has processed: the next event, or None."""


@dataclass
class Parked:
    """A subject at a link where it waits for a person; `release` is set when one has decided to go on."""

    stage: str
    reason: str
    release: Command | None = None
    after: timedelta = timedelta()


class Router:
    def __init__(self, table: Table) -> None:
        self._table = table
        self._seen: set[tuple[str, str]] = set()
        self._carried: dict[str, None] = {}
        self._too_late: set[str] = set()
        self._going_back: set[str] = set()
        self._withdrawn: dict[str, AnyEvent] = {}
        self._rung: set[str] = set()
        self._parked: dict[tuple[str, str], Parked] = {}
        self._parkings = 0
        self._shown_parked: list[str] = []
        self._here: Counter[str] = Counter()
        self._notes: set[asyncio.Task[None]] = set()
        self._ended: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether something was received and nothing remains to be told."""
        return bool(self._seen) and not self._notes

    # ---- the chain -----------------------------------------------------------------------------------------------

    async def receive(self, events: Sequence[AnyEvent]) -> None:
        """Directs events that were not here before, and what becomes of them, and returns when all have ended."""
        back = type_of(self._table.withdrawn)
        fresh = [
            event
            for event in events
            if (event.source, event.id) not in self._seen
            and not (event.type == back and event.subject in self._carried)
        ]
        self._seen.update((event.source, event.id) for event in fresh)
        self._carried.update(dict.fromkeys(event.subject for event in fresh))
        # A subject that was taken back begins with that where its workflow was lost, or was told of the command first.
        self._withdrawn.update({event.subject: event for event in fresh if event.type == back})
        # The caller hung up: whatever is parked or fails for this subject, nobody waits for it any more.
        self._ended.update(event.subject for event in fresh if class_of(event.type).ends)
        await self._direct(fresh)

    async def _direct(self, events: Sequence[AnyEvent]) -> None:
        groups: dict[str, list[AnyEvent]] = {}
        for event in events:
            if self._is_withdrawn(event.subject):
                event = self._withdrawn[event.subject]  # noqa: PLW2901, it goes on in place of what came
            if event.type in self._table.routes:
                groups.setdefault(event.type, []).append(event)
        await asyncio.gather(*(self._along(self._table.routes[kind], group) for kind, group in groups.items()))

    async def _along(self, route: Route, events: list[AnyEvent]) -> None:
        given = {event.subject: event for event in events}
        made: dict[str, dict[str, AnyEvent | None]] = {event.subject: {} for event in events}
        if route.too_late:
            self._too_late.update(given)
        if route.back:
            self._going_back.update(given)

        async def arrive(link: Link, outcome: dict[str, AnyEvent | None]) -> None:
            for subject, event in outcome.items():
                made[subject][link.name] = event
            through = [subject for subject in outcome if len(made[subject]) == len(route.links)]
            await self._beyond(route, {s: given[s] for s in through}, {s: made[s] for s in through})

        await asyncio.gather(*(self._bring(link, events, partial(arrive, link)) for link in route.links))

    async def _beyond(
        self, route: Route, given: dict[str, AnyEvent], made: dict[str, dict[str, AnyEvent | None]]
    ) -> None:
        """Behind the links side by side, with those subjects that all of them have processed."""
        if not given:
            return
        if route.then:
            await asyncio.gather(*(self._bring(link, list(given.values()), self._onward) for link in route.then))
        elif route.join:
            await self._direct([_joined(route.join, route.links, given[subject], made[subject]) for subject in given])
        else:
            await self._direct([event for outcome in made.values() for event in outcome.values() if event])

    async def _onward(self, outcome: dict[str, AnyEvent | None]) -> None:
        await self._direct([event for event in outcome.values() if event])

    async def _bring(self, link: Link, events: list[AnyEvent], onward: Onward) -> None:
        """To the link, and in the Web UI one can see who is there."""

        async def leave(outcome: dict[str, AnyEvent | None]) -> None:
            self._here[link.name] -= len(outcome)
            self._show()
            await onward(outcome)

        self._here[link.name] += len(events)
        self._show()
        await self._at(link, events, leave)

    async def _at(self, link: Link, events: list[AnyEvent], onward: Onward, tried: int = 0) -> None:
        """Brings the events to the link until each is processed; those that are go on, not held up by the rest."""
        attempts = 0  # since it was last parked
        while True:
            if link.asks_again:
                await self._wait(link.asks_again, events)
                if withdrawn := self._withdrawn_among(events):
                    await self._part(link, events, withdrawn, onward, tried=tried)
                    return
            self._rung.difference_update(event.subject for event in events)
            try:
                processed = await self._consume(link, events, tried)
            except ActivityError as error:
                attempts, tried = attempts + 1, tried + _attempts(error)
                if len(events) > 1:  # one bad event harms no other
                    await asyncio.gather(*(self._at(link, [event], onward, tried) for event in events))
                    return
                gone = self._withdrawn_among(events) or self._ended_among(events)
                if not gone and attempts <= len(FAULT_PAUSES):
                    await workflow.sleep(FAULT_PAUSES[attempts - 1])
                    continue
                if not gone:
                    await self._park(link, events[0], attempts, error)
                    attempts = 0
                    gone = self._withdrawn_among(events) or self._ended_among(events)
                if gone:
                    await onward(gone)
                    return
                continue
            left_out = set(processed.left_out)
            if len(left_out) < len(events):
                made = {event.subject: event for event in processed.events}
                outcome = {e.subject: made.get(e.subject) for e in events if e.subject not in left_out}
                await self._part(link, events, outcome, onward, pause=processed.pause, tried=processed.tried)
                return

    async def _part(
        self,
        link: Link,
        events: list[AnyEvent],
        outcome: dict[str, AnyEvent | None],
        onward: Onward,
        pause: float = 0,
        tried: int = 0,
    ) -> None:
        """Those with an outcome go on, the others stay at the link, and are brought to it again after the pause."""
        stay = [event for event in events if event.subject not in outcome]

        async def again() -> None:
            if pause:
                with suppress(TimeoutError):
                    await workflow.wait_condition(lambda: bool(self._withdrawn_among(stay)), timeout=pause)
            await self._at(link, stay, onward, tried)

        await asyncio.gather(onward(outcome), *([again()] if stay else []))

    async def _consume(self, link: Link, events: list[AnyEvent], tried: int = 0) -> Processed:
        return await workflow.execute_activity(
            link.consumer,
            args=[
                Batch(
                    link=link.name,
                    events=events,
                    unrecorded=events[0].type in self._table.own,
                    closes=link.closes,
                    tried=tried,
                )
            ],
            task_queue=link.queue,
            start_to_close_timeout=link.start_to_close,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OUTAGE_RETRIES,
            summary=in_words(events),
        )

    async def _wait(self, first: timedelta, events: Sequence[AnyEvent]) -> None:
        """Until the consumer is to be asked again, or somebody rings for one of the subjects."""
        subjects = {event.subject for event in events}
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: bool(subjects & self._rung), timeout=_pause(first, events))

    def _withdrawn_among(self, events: Sequence[AnyEvent]) -> dict[str, AnyEvent | None]:
        """What goes on in place of what the link would have made, for each subject that was taken back."""
        return {e.subject: self._withdrawn[e.subject] for e in events if self._is_withdrawn(e.subject)}

    def _ended_among(self, events: Sequence[AnyEvent]) -> dict[str, AnyEvent | None]:
        return {event.subject: None for event in events if event.subject in self._ended}

    # ---- parking -------------------------------------------------------------------------------------------------

    async def _park(self, link: Link, event: AnyEvent, attempts: int, error: ActivityError) -> None:
        """Keeps the subject at its link until somebody has released or withdrawn it."""
        cause = error.cause
        reason, last_error = "unknown", str(cause or error)
        if isinstance(cause, ApplicationError):
            reason, last_error = cause.type or reason, cause.message
        parked = self._parked[event.subject, link.name] = Parked(stage=link.queue, reason=reason)
        self._show_parked()
        self._parkings += 1
        # By chance, because in a workflow that takes the place of one that was lost it is another parking.
        told = f"{link.name}.parked.{workflow.uuid4().hex[:8] if workflow.patched(PARKING_PATCH) else self._parkings}"
        here = {"link": link.name, "stage": parked.stage}
        last_error = printable(last_error.replace("\n", " "))[:MAX_ERROR]
        details = here | {"reason": reason, "attempts": attempts, "last_error": last_error}
        await self._note(self._made(self._table.parked, told, event.subject, details))
        await workflow.wait_condition(
            lambda: bool(parked.release) or self._is_withdrawn(event.subject) or event.subject in self._ended
        )
        del self._parked[event.subject, link.name]
        self._show_parked()
        if parked.release:
            decision = here | {"by": parked.release.by, "why": parked.release.why}
            await self._note(self._made(self._table.released, f"{told}.released", event.subject, decision))
            if parked.after:
                with suppress(TimeoutError):
                    await workflow.wait_condition(partial(self._is_withdrawn, event.subject), timeout=parked.after)

    def _is_withdrawn(self, subject: str) -> bool:
        return subject in self._withdrawn and subject not in self._going_back

    def _show(self) -> None:
        """The Web UI asks the worker for it: neither an event of the history nor an action."""
        parked = {at: each.reason for at, each in self._parked.items()}
        workflow.set_current_details(now_list(self._here, parked))

    def _show_parked(self) -> None:
        self._show()
        stages = sorted({parked.stage for parked in self._parked.values()})
        if workflow.patched(PARKING_PATCH) and stages == self._shown_parked:
            return
        self._shown_parked = stages
        workflow.upsert_search_attributes([PARKED_STAGES.value_set(stages) if stages else PARKED_STAGES.value_unset()])

    async def _note(self, event: AnyEvent) -> None:
        """Told once it can be told: that the journal cannot be written must not cost anybody the workflow."""
        pause = NOTE_PAUSE
        while True:
            try:
                await self._consume(self._table.note, [event])
            except ActivityError:
                await workflow.sleep(pause)
                pause = min(2 * pause, LONGEST_NOTE_PAUSE)
            else:
                return

    def _made(self, kind: type[Event[Any]], link: str, subject: str, data: dict[str, Any]) -> AnyEvent:
        return AnyEvent(
            id=id_of(subject, link),
            source=source_of(link.partition(".")[0]),
            type=type_of(kind),
            subject=subject,
            time=workflow.now(),
            data=data,
        )

    # ---- what people want ----------------------------------------------------------------------------------------

    def ring(self, subjects: Sequence[str]) -> None:
        """There is news of these subjects: whatever waits for it asks now."""
        self._rung.update(subjects)

    def cancel(self, command: Command) -> Verdict:
        """The customer takes the order back: possible until its finalisation begins, and before it is received."""
        if earlier := self._withdrawn.get(command.subject):
            return again(earlier.data["reason"])
        if command.subject in self._too_late:
            return Verdict.TOO_LATE
        self._withdraw(command, Reason.CANCELLED_BY_CUSTOMER)
        return Verdict.CANCELLED

    def cancel_all(self, by: str, why: str) -> None:
        """All that is carried here is to be taken back, where it is not too late."""
        for subject in self._carried:
            self.cancel(Command(subject=subject, by=by, why=why))

    def reject(self, command: Command) -> Verdict:
        """The operator takes a parked order back; one that is parked on the way back can only be released."""
        if not self._waiting(command.subject) or command.subject in self._going_back:
            return Verdict.NOT_PARKED
        self._withdraw(command, Reason.REJECTED_BY_OPERATOR)
        return Verdict.REJECTED

    def release(self, command: Command) -> Verdict:
        """The operator lets a parked order go on at the same link."""
        waiting = self._waiting(command.subject)
        for parked in waiting:
            parked.release = command
        return Verdict.RELEASED if waiting else Verdict.NOT_PARKED

    def release_all(self, bulk: BulkCommand) -> None:
        """The operator lets go on, or rejects, what is parked here and matches, oldest first, at the rate asked for."""
        decided = 0
        for subject in self._carried:
            matching = [
                parked
                for parked in self._waiting(subject)
                if (bulk.subjects is None or subject in bulk.subjects)
                and (bulk.stage is None or parked.stage == bulk.stage)
                and (bulk.reason is None or parked.reason == bulk.reason)
            ]
            command = Command(subject=subject, by=bulk.by, why=bulk.why)
            after = timedelta(seconds=bulk.after + decided * bulk.apart)
            if matching and bulk.reject:
                self._keep(asyncio.create_task(self._reject_later(command, after)))
            elif matching:
                for parked in matching:
                    parked.release, parked.after = command, after
            decided += bool(matching)

    async def _reject_later(self, command: Command, after: timedelta) -> None:
        if after:
            await workflow.sleep(after)
        self.reject(command)  # `not_parked` if somebody else has decided meanwhile

    def _waiting(self, subject: str) -> list[Parked]:
        """Where the subject is parked and nobody has decided yet."""
        if self._is_withdrawn(subject):
            return []
        return [
            parked
            for (parked_subject, _), parked in self._parked.items()
            if parked_subject == subject and not parked.release
        ]

    def _withdraw(self, command: Command, reason: Reason) -> None:
        data = {"reason": reason, "detail": command.why, "by": command.by}
        event = self._made(self._table.withdrawn, "withdrawal", command.subject, data)
        self._withdrawn[command.subject] = event
        self.ring([command.subject])
        # Told at once, as the way back may have to wait for a consumer that is under way.
        self._keep(asyncio.create_task(self._note(event)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """The workflow does not end before this is done."""
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


def _joined(join: Join, links: Sequence[Link], given: AnyEvent, made: dict[str, AnyEvent | None]) -> AnyEvent:
    """What goes on when all links side by side have spoken: the first "no", or the event that says all agreed."""
    confirming = [type_of(kind) for kind in join.of]
    for link in links:
        event = made[link.name]
        if event and event.type not in confirming:
            return event
    return AnyEvent(
        id=id_of(given.subject, join.name),
        source=source_of(join.name),
        type=type_of(join.into),
        subject=given.subject,
        time=workflow.now(),
        data=given.data,
    )


def _attempts(error: ActivityError) -> int:
    """As many as Temporal has made (see activities/failures.py)."""
    told = error.cause.details if isinstance(error.cause, ApplicationError) else ()
    return int(told[0]) if told else 1


def _pause(first: timedelta, events: Sequence[AnyEvent]) -> timedelta:
    """Until the consumer is asked again: as long again as it has waited here; by the deadline at last."""
    now = workflow.now()
    deadlines = [datetime.fromisoformat(e.data["deadline"]) - now for e in events if "deadline" in e.data]
    pause = max(first, now - max(min(event.time for event in events), workflow.info().start_time))
    return max(timedelta(seconds=1), min([pause, *deadlines]))
