"""What waits at a link for a person to decide: each parking by itself, with an id of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from chain.commands import BulkCommand, Command, printable
from chain.event import AnyEvent, Event, source_of, type_of
from chain.table import Link, Table
from workflows.ui_details import PARKED_STAGES

MAX_ERROR = 1_000  # characters of the last error that are kept
PARKING_PATCH = "parked-stages-when-changed"
"""The patch from which on the search attribute is written when it changes only, and each parking has its own id."""


@dataclass(eq=False)
class Parking:
    """An event at a link where it waits; `release` is set when somebody has decided that it goes on `after` a while.

    `firm`: it goes on even if its subject is taken back or has ended. `rejecting`: it waits for its turn to
    be rejected. `journalled`: that it was decided.
    """

    id: str
    link: Link
    subject: str
    firm: bool
    reason: str
    last_error: str
    release: Command | None = None
    after: timedelta = field(default_factory=timedelta)
    rejecting: bool = False
    journalled: bool = False

    def parked(self, table: Table, attempts: int) -> AnyEvent:
        why = {"reason": self.reason, "attempts": attempts, "last_error": self.last_error}
        return self._event(table.parked, self.id, why)

    def released(self, table: Table, by: Command) -> AnyEvent:
        goes_on = {"goes_on_at": (workflow.now() + self.after).isoformat()} if self.after else {}
        return self._event(table.released, f"{self.id}.released", {"by": by.by, "why": by.why, **goes_on})

    def matches(self, table: Table, bulk: BulkCommand) -> bool:
        return (
            (bulk.subjects is None or self.subject in bulk.subjects)
            and (bulk.parkings is None or self.id in bulk.parkings)
            and (bulk.link is None or self.link.name == bulk.link)
            and (bulk.stage is None or (self.link.queue == bulk.stage and self.link in table.forward))
            and (bulk.reason is None or self.reason == bulk.reason)
            and not (bulk.reject and self.firm)
        )

    def _event(self, event: type[Event[Any]], event_id: str, data: dict[str, Any]) -> AnyEvent:
        return event_now(event, event_id, self.link.name, self.subject, {"link": self.link.name, **data})


def event_now(event: type[Event[Any]], event_id: str, maker: str, subject: str, data: dict[str, Any]) -> AnyEvent:
    """An event that the router itself makes."""
    return AnyEvent(
        id=event_id, source=source_of(maker), type=type_of(event), subject=subject, time=workflow.now(), data=data
    )


class ShownQueues:
    """The search attribute by which workflows are found in which something is parked: the queues of its links."""

    def __init__(self) -> None:
        self._shown: list[str] = []

    def show(self, parkings: Iterable[Parking]) -> None:
        queues = sorted({parking.link.queue for parking in parkings})
        if workflow.patched(PARKING_PATCH) and queues == self._shown:
            return
        self._shown = queues
        workflow.upsert_search_attributes([PARKED_STAGES.value_set(queues) if queues else PARKED_STAGES.value_unset()])


def why(error: ActivityError) -> tuple[str, str]:
    """The reason, by which is grouped what failed alike, and the error in words, on one line."""
    cause = error.cause
    reason, message = "unknown", str(cause or error)
    if isinstance(cause, ApplicationError):
        reason, message = cause.type or reason, cause.message
    return reason, printable(message.replace("\n", " "))[:MAX_ERROR]
