"""The router: directs every event to the consumers that the table names, until nothing follows. One way, no step back.

It knows events by their type, kind and subject only. Groups of events go on side by side and never wait for each other.
What people want of a subject on its way (withdraw, release) comes in here as well, and is decided here, once.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from chain.batch import Batch, Processed
from chain.commands import CANCELLED_BY_CUSTOMER, REJECTED_BY_OPERATOR, BulkCommand, Command, Verdict, verdict_again
from chain.event import BACKWARD, AnyEvent, Kind, id_of, in_words, type_of
from chain.table import Join, Link, Route, Table
from workflows.parking import PARKING_PATCH, Parking, ShownQueues, event_now, why
from workflows.ui_details import now_list

# Without end. A consumer that reports an outage says itself when to try again; this is for a worker that died.
OUTAGE_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=250), maximum_interval=timedelta(seconds=10))
HEARTBEAT_TIMEOUT = timedelta(seconds=5)  # how long a worker may be silent before its work is given to another
# Before an event that failed unexpectedly, alone, is tried again. When they are used up it is parked.
FAULT_PAUSES = (timedelta(seconds=1), timedelta(seconds=3))
# Before what could not be journalled is brought again: doubled each time, as a history holds 51,200 events.
NOTE_PAUSE, LONGEST_NOTE_PAUSE = timedelta(seconds=1), timedelta(hours=1)
JOURNALLED_WITHIN = 2.0  # seconds that releases get to be journalled before whoever decided them is answered
AFTER_ALL = (Kind.END, Kind.LATE)  # what is done about these events is done whatever has become of their subject

Outcome = Mapping[str, AnyEvent | None]
"""For each subject that is through: what the link made of it, or None."""


@dataclass(eq=False)
class Subject:
    """All that is remembered of one subject. `carried`: events of it were received.

    `withdrawn`: the event that takes it back. `going_back`: it is on the way back, and nothing leads it forward again.
    `ended`: nobody waits any more for what is parked or fails. `news`: whether there ever was any; `heard`: ids of
    the events for which it is old.
    """

    carried: bool = False
    withdrawn: AnyEvent | None = None
    going_back: bool = False
    too_late: bool = False
    ended: bool = False
    news: bool = False
    heard: set[str] = field(default_factory=set)
    parkings: list[Parking] = field(default_factory=list)

    @property
    def taken_back(self) -> bool:
        return self.going_back or self.withdrawn is not None


class Way(NamedTuple):
    """A route, and those of its stages that are still ahead. `firm`: no withdrawal and no end of a subject stops it."""

    route: Route
    stages: Sequence[Sequence[Link]]
    firm: bool


class At(NamedTuple):
    """A link on such a way. `onward` takes what has become of the events that the link has processed."""

    link: Link
    firm: bool
    onward: Callable[[Outcome], Coroutine[Any, Any, None]]


class Router:
    def __init__(self, table: Table, version: int) -> None:
        self._table = table
        self._version = version
        self._seen: set[tuple[str, str]] = set()
        self._subjects: defaultdict[str, Subject] = defaultdict(Subject)
        self._here: Counter[str] = Counter()
        self._shown = ShownQueues()
        self._parked_so_far = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def done(self) -> bool:
        """Whether something was received and nothing remains to be journalled."""
        return bool(self._seen) and not self._tasks

    def _kind(self, event: AnyEvent) -> Kind:
        return self._table.types.kind(event.type)

    # ---- the chain -----------------------------------------------------------------------------------------------

    async def receive(self, events: Sequence[AnyEvent]) -> None:
        """Directs events that were not here before, and what becomes of them, and returns when all have ended."""
        back = type_of(self._table.withdrawn)
        fresh = [
            event
            for name, event in {(event.source, event.id): event for event in events}.items()
            if name not in self._seen and not (event.type == back and self._subjects[event.subject].carried)
        ]
        for event in fresh:
            self._seen.add((event.source, event.id))
            self._subjects[event.subject].carried = True
            if event.type == back:  # its workflow was lost, or got the command first
                self._subjects[event.subject].withdrawn = event
        await self._direct(fresh)

    async def _direct(self, events: Sequence[AnyEvent], *, firm: bool = False) -> None:
        self._mark_ended(events)
        groups: dict[tuple[str, int], list[AnyEvent]] = {}
        before: Counter[tuple[str, str]] = Counter()  # so that no group holds two events of one subject
        for event in filter(None, [self._next(event, firm=firm) for event in events]):
            same = event.type, event.subject
            groups.setdefault((event.type, before[same]), []).append(event)
            before[same] += 1
        await asyncio.gather(
            *(self._along(self._table.by_type[kind], group, firm=firm) for (kind, _), group in groups.items())
        )

    def _mark_ended(self, events: Sequence[AnyEvent]) -> None:
        for event in events:
            self._subjects[event.subject].ended |= self._kind(event) is Kind.END

    def _next(self, event: AnyEvent, *, firm: bool) -> AnyEvent | None:
        """The event that goes on, or the withdrawal of its subject in its place; None where no route leads on."""
        subject = self._subjects[event.subject]
        if not firm and self._kind(event) not in AFTER_ALL:
            if subject.ended or subject.going_back:
                return None
            event = subject.withdrawn or event
        route = self._table.by_type.get(event.type)
        if route is None:
            return None
        subject.too_late |= route.too_late
        subject.going_back |= self._kind(event) in BACKWARD
        return event

    async def _along(self, route: Route, events: list[AnyEvent], *, firm: bool) -> None:
        firm = firm or route.back or self._kind(events[0]) in AFTER_ALL
        way = Way(route, route.of_version(self._version), firm)
        if way.stages:
            await self._through(way, events)
        else:  # all of its links are newer than what travels here
            await self._beyond(way, [(event, ()) for event in events])

    async def _through(self, way: Way, events: list[AnyEvent]) -> None:
        """Through the next stage; behind it no subject waits for another."""
        stage = way.stages[0]
        made: dict[str, dict[str, AnyEvent | None]] = {event.subject: {} for event in events}

        async def arrive(link: Link, outcome: Outcome) -> None:
            for subject, event in outcome.items():
                made[subject][link.name] = event
            through = [e for e in events if e.subject in outcome and len(made[e.subject]) == len(stage)]
            spoken = [[each for link in stage if (each := made[e.subject][link.name])] for e in through]
            if through:
                await self._beyond(way, list(zip(through, spoken, strict=True)))

        await asyncio.gather(*(self._bring(At(link, way.firm, partial(arrive, link)), events) for link in stage))

    async def _beyond(self, way: Way, processed: Sequence[tuple[AnyEvent, Sequence[AnyEvent]]]) -> None:
        """Behind a stage, with the events that all of its links have processed, and what they have made of each."""
        following = {given.subject: self._following(way, given, made) for given, made in processed}
        onward = [event for events in following.values() for event in events or ()]
        staying = [given for given, _ in processed if following[given.subject] is None]
        if not staying:
            await self._direct(onward, firm=way.firm)
        elif not onward:
            await self._through(way._replace(stages=way.stages[1:]), staying)
        else:
            later = self._through(way._replace(stages=way.stages[1:]), staying)
            await asyncio.gather(self._direct(onward, firm=way.firm), later)

    def _following(self, way: Way, given: AnyEvent, made: Sequence[AnyEvent]) -> Sequence[AnyEvent] | None:
        """What goes on along a route of its own; None where the given event goes on to the next stage."""
        if self._stopped(given, firm=way.firm):
            return [given]  # so that the withdrawal takes its place
        self._mark_ended(made)
        if refusals := [event for event in made if self._kind(event) in BACKWARD]:
            return refusals[:1]
        routed = [event for event in made if event.type in self._table.by_type]
        if routed or self._stopped(given, firm=way.firm):
            return routed
        if len(way.stages) > 1:
            return None
        return [_joined(way.route, way.route.join, given)] if way.route.join else []

    def _stopped(self, event: AnyEvent, *, firm: bool) -> bool:
        """Whether nobody waits any more for what would come of it."""
        subject = self._subjects[event.subject]
        return not firm and (subject.taken_back or subject.ended)

    async def _bring(self, at: At, events: list[AnyEvent]) -> None:
        """To the link, and in the Web UI one can see who is there."""

        async def leave(outcome: Outcome) -> None:
            self._here[at.link.name] -= len(outcome)
            self._show()
            await at.onward(outcome)

        self._here[at.link.name] += len(events)
        self._show()
        await self._at(at._replace(onward=leave), events)

    async def _at(self, at: At, events: list[AnyEvent], tried: int = 0) -> None:
        """Brings the events to the link until each is processed; those that are go on, not held up by the rest."""
        attempts = 0  # since it was last parked
        while True:
            if at.link.asks_again:
                await self._wait(at.link.asks_again, events)
                if gone := self._taken_back(at, events):
                    await self._part(at, events, gone, tried=tried)
                    return
            try:
                processed = await self._consume(at.link, events, tried)
            except ActivityError as error:
                attempts, tried = attempts + 1, tried + _attempts(error)
                if len(events) > 1:  # one bad event harms no other
                    await asyncio.gather(*(self._at(at, [event], tried) for event in events))
                    return
                attempts = await self._failed(at, events[0], attempts, error)
                if self._stopped(events[0], firm=at.firm):
                    await at.onward({events[0].subject: None})
                    return
                continue
            left_out = set(processed.left_out)
            if len(left_out) < len(events):
                made = {event.subject: event for event in processed.events}
                outcome = {e.subject: made.get(e.subject) for e in events if e.subject not in left_out}
                await self._part(at, events, outcome, pause=processed.pause, tried=processed.tried)
                return

    async def _failed(self, at: At, event: AnyEvent, attempts: int, error: ActivityError) -> int:
        """Waits until it is brought again, or nobody waits for it; returns the attempts that count from then on."""
        if self._stopped(event, firm=at.firm):
            return attempts
        if attempts <= len(FAULT_PAUSES):
            await workflow.sleep(FAULT_PAUSES[attempts - 1])
            return attempts
        await self._park(at, event, attempts, error)
        return 0

    async def _part(
        self, at: At, events: list[AnyEvent], outcome: Outcome, *, pause: float = 0, tried: int = 0
    ) -> None:
        """Those with an outcome go on, the others stay at the link, and are brought to it again after the pause."""
        stay = [event for event in events if event.subject not in outcome]

        async def again() -> None:
            if pause:
                with suppress(TimeoutError):
                    await workflow.wait_condition(lambda: bool(self._taken_back(at, stay)), timeout=pause)
            await self._at(at, stay, tried)

        await asyncio.gather(at.onward(outcome), *([again()] if stay else []))

    def _taken_back(self, at: At, events: Sequence[AnyEvent]) -> Outcome:
        return {e.subject: None for e in events if not at.firm and self._subjects[e.subject].taken_back}

    async def _consume(self, link: Link, events: list[AnyEvent], tried: int = 0) -> Processed:
        for event in events:
            self._subjects[event.subject].heard.add(event.id)
        batch = Batch(
            link=link.name,
            events=events,
            unrecorded=events[0].type in self._table.own,
            each=link.once == "event",
            closes=self._table.closes(link),
            tried=tried,
        )
        processed = await workflow.execute_activity(
            link.consumer,
            args=[batch],
            task_queue=link.queue,
            start_to_close_timeout=link.start_to_close,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OUTAGE_RETRIES,
            summary=in_words(events),
        )
        self._hear(events, processed)
        return processed

    # ---- news ----------------------------------------------------------------------------------------------------

    def wake(self, subjects: Sequence[str]) -> None:
        """There is news of these subjects: whatever waits for it asks now."""
        for subject in subjects:
            self._subjects[subject].news = True
            self._subjects[subject].heard.clear()

    def _hear(self, events: Sequence[AnyEvent], processed: Processed) -> None:
        """News that came while a link was at work is news for what it has made as well; older is not."""
        known = {event.subject for event in events if event.id in self._subjects[event.subject].heard}
        for made in processed.events:
            if made.subject in known:
                self._subjects[made.subject].heard.add(made.id)

    def _unheard(self, event: AnyEvent) -> bool:
        subject = self._subjects[event.subject]
        return subject.news and event.id not in subject.heard

    async def _wait(self, first: timedelta, events: Sequence[AnyEvent]) -> None:
        """Until the consumer is to be asked again, or there is news of one of the subjects."""
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: any(map(self._unheard, events)), timeout=_pause(first, events))

    # ---- parking -------------------------------------------------------------------------------------------------

    async def _park(self, at: At, event: AnyEvent, attempts: int, error: ActivityError) -> None:
        """Keeps the event at its link until somebody has released it, or nobody waits for it any more."""
        parking_id = id_of(event.subject, f"{at.link.name}.parked.{self._parking_number()}")
        parking = Parking(parking_id, at.link, event.subject, at.firm, *why(error))
        parkings = self._subjects[event.subject].parkings
        parkings.append(parking)
        self._show_parked()
        await self._note(parking.parked(self._table, attempts))
        await workflow.wait_condition(lambda: bool(parking.release) or self._stopped(event, firm=at.firm))
        parkings.remove(parking)
        self._show_parked()
        if parking.release:
            await self._note(parking.released(self._table, parking.release))
            parking.journalled = True
            if parking.after:
                with suppress(TimeoutError):
                    await workflow.wait_condition(lambda: self._stopped(event, firm=at.firm), timeout=parking.after)

    def _parking_number(self) -> str:
        """By chance, because in a workflow that takes the place of one that was lost it is another parking."""
        self._parked_so_far += 1
        return workflow.uuid4().hex[:8] if workflow.patched(PARKING_PATCH) else f"{self._parked_so_far}"

    def _all_parkings(self) -> Iterator[Parking]:
        return (parking for subject in self._subjects.values() for parking in subject.parkings)

    def _show(self) -> None:
        """The Web UI asks the worker for it: neither an event of the history nor an action."""
        parked = [(parking.subject, parking.link.name, parking.reason) for parking in self._all_parkings()]
        workflow.set_current_details(now_list(self._here, parked))

    def _show_parked(self) -> None:
        self._show()
        self._shown.show(self._all_parkings())

    async def _note(self, event: AnyEvent) -> None:
        """Journals it as soon as that can be done: a journal that is away must not cost anybody the workflow."""
        pause = NOTE_PAUSE
        while True:
            try:
                await self._consume(self._table.note, [event])
            except ActivityError:
                await workflow.sleep(pause)
                pause = min(2 * pause, LONGEST_NOTE_PAUSE)
            else:
                return

    # ---- what people want ----------------------------------------------------------------------------------------

    def cancel(self, command: Command) -> Verdict:
        """The subject is taken back: possible until a route that is too late for it, and before it is received."""
        subject = self._subjects[command.subject]
        if subject.withdrawn:
            return verdict_again(subject.withdrawn.data["reason"])
        if subject.too_late or subject.ended:
            return Verdict.TOO_LATE
        self._withdraw(command, CANCELLED_BY_CUSTOMER)
        return Verdict.CANCELLED

    def cancel_all(self, by: str, why: str) -> None:
        """All that is carried here is to be taken back, where it is not too late."""
        for subject in self._carried():
            self.cancel(Command(subject=subject, by=by, why=why))

    def reject(self, command: Command) -> Verdict:
        """An operator takes a parked subject back; what is parked on the way back can only be released."""
        if all(parking.firm for parking in self._waiting(command.subject, command.parking)):
            return Verdict.NOT_PARKED
        self._withdraw(command, REJECTED_BY_OPERATOR)
        return Verdict.REJECTED

    def release(self, command: Command) -> Verdict:
        """An operator lets what is parked go on at the same link."""
        waiting = self._waiting(command.subject, command.parking)
        for parking in waiting:
            parking.release = command
        return Verdict.RELEASED if waiting else Verdict.NOT_PARKED

    async def decide_all(self, bulk: BulkCommand) -> int:
        """The same as `command_all`; returns, once the releases are journalled, of how many subjects this decided."""
        decided = self.command_all(bulk, again=False)
        if not bulk.reject:
            with suppress(TimeoutError):
                there = lambda: all(parking.journalled for parking in decided)  # noqa: E731
                await workflow.wait_condition(there, timeout=JOURNALLED_WITHIN)
        return len({parking.subject for parking in decided})

    def command_all(self, bulk: BulkCommand, *, again: bool = True) -> Sequence[Parking]:
        """An operator lets go on, or rejects, what is parked here and matches, oldest first, at the rate asked for.

        `again`: also what waits for its turn to be rejected (as signals do: histories replay).
        """
        decided: list[Parking] = []
        for subject in self._carried():
            matching = [parking for parking in self._waiting(subject) if parking.matches(self._table, bulk)]
            if bulk.reject and not again and any(parking.rejecting for parking in matching):
                continue
            for parking in matching[:1] if bulk.reject else matching:
                command = Command(subject=subject, by=bulk.by, why=bulk.why, parking=parking.id)
                after = timedelta(seconds=bulk.after + len(decided) * bulk.apart)
                decided.append(parking)
                if bulk.reject:
                    parking.rejecting = True
                    self._keep(asyncio.create_task(self._reject_later(command, after)))
                else:
                    parking.release, parking.after = command, after
        return decided

    async def _reject_later(self, command: Command, after: timedelta) -> None:
        if after:
            await workflow.sleep(after)
        self.reject(command)  # `not_parked` if somebody else has decided meanwhile

    def _carried(self) -> Sequence[str]:
        return [name for name, subject in self._subjects.items() if subject.carried]

    def _waiting(self, name: str, parking_id: str | None = None) -> Sequence[Parking]:
        """Where the subject is parked and nobody has decided yet."""
        subject = self._subjects[name]
        gone = subject.taken_back or subject.ended
        undecided = [each for each in subject.parkings if not each.release and (each.firm or not gone)]
        return [each for each in undecided if parking_id in (None, each.id)]

    def _withdraw(self, command: Command, reason: str) -> None:
        data = {"reason": reason, "detail": command.why, "by": command.by}
        event_id = id_of(command.subject, "withdrawal")
        event = event_now(self._table.withdrawn, event_id, "withdrawal", command.subject, data)
        self._subjects[command.subject].withdrawn = event
        self.wake([command.subject])
        # Journalled at once, as the way back may have to wait for a consumer that is under way.
        self._keep(asyncio.create_task(self._note(event)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """The workflow does not end before this is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _joined(route: Route, join: Join, given: AnyEvent) -> AnyEvent:
    """What goes on when all links have agreed."""
    each = any(link.once == "event" for link in route.links)
    event_id = id_of(given.subject, join.name, given.id if each else None)
    return event_now(join.into, event_id, join.name, given.subject, given.data)


def _attempts(error: ActivityError) -> int:
    """As many as Temporal has made (see activities/failures.py)."""
    details = error.cause.details if isinstance(error.cause, ApplicationError) else ()
    return int(details[0]) if details else 1


def _pause(first: timedelta, events: Sequence[AnyEvent]) -> timedelta:
    """Until the consumer is asked again: as long again as it has waited here; by the deadline at last."""
    now = workflow.now()
    deadlines = [datetime.fromisoformat(e.data["deadline"]) - now for e in events if "deadline" in e.data]
    pause = max(first, now - max(min(event.time for event in events), workflow.info().start_time))
    return max(timedelta(seconds=1), min([pause, *deadlines]))
