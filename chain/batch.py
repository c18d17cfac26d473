"""What the router hands to a consumer and gets back: events of one type that travel together."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from chain.event import AnyEvent, Event, id_of

E = TypeVar("E", bound=Event[Any])


class Batch(BaseModel, frozen=True):
    """Events of one type, one for each subject, oldest acceptance first, for the consumer at `link`.

    `unrecorded`: the router made these events itself, so the consumer's transaction journals them first.
    `closes`: links that have nothing more to do with these subjects once this one has worked on them.
    `tried`: attempts at this link before, in other company or with a fault.
    `each`: the link works once on each event, not once on each subject.
    """

    link: str
    events: list[AnyEvent]
    unrecorded: bool = False
    each: bool = False
    closes: list[str] = Field(default_factory=list)
    tried: int = 0

    def made_id(self, event: Event[Any]) -> str:
        """The id of what the link makes of the event: one of each subject, or one of each event."""
        return id_of(event.subject, self.link, event.id if self.each else None)


class Processed(BaseModel, frozen=True):
    """The next event of each subject that has one, and the subjects that could not be processed yet.

    A subject in neither list is done at this link and had nothing to say (a refund where nothing was paid). `pause`:
    seconds before what was left out is brought again; `tried`: attempts at it so far.
    """

    events: list[AnyEvent]
    left_out: list[str] = Field(default_factory=list)
    pause: float = 0
    tried: int = 0


@dataclass(frozen=True)
class Work:
    """One transaction at the link of a batch. `transaction` is the store's; a consumer only passes it on."""

    transaction: Any
    batch: Batch
    time: datetime

    def made(self, kind: type[E], of: Event[Any], data: Any) -> E:
        """The event that this link makes of the subject of `of`."""
        return kind.made_by(self.batch.link, of.subject, self.time, data, of.id if self.batch.each else None)


Decide = Callable[[Work, Sequence[E]], Awaitable[Sequence[Event[Any]]]]
"""What a link makes of the events that it works on for the first time."""
