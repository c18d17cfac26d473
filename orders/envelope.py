"""The envelope of every event, of any chain: CloudEvents 1.0.

One shape, used as it is in the journal, in Temporal, in HTTP and in the stream.
Source of the rules: the CloudEvents specification 1.0.2, section 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

D = TypeVar("D")


@dataclass(frozen=True)
class Outside:
    """A type of event that may come from outside, and what it means for its subject."""

    type: str
    chain: str
    starts: bool
    status: str | None
    ends: bool


def source_of(link: str) -> str:
    """The `source` of the events that `link` makes."""
    return f"/lanka/{link}"


def id_of(subject: str, link: str) -> str:
    """The `id` of the event that `link` makes of `subject`: it follows from the two, so making it twice is harmless."""
    return f"{subject}.{link}"


class Event(BaseModel, Generic[D]):
    """An immutable fact in the past tense. `source` and `id` together name it once and for all.

    `subject` is what the chain is about: an order id, a call id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ClassVar[str | None] = None
    """Where the subject stands once this event is in the journal; None: where it stood before."""
    ends: ClassVar[bool] = False
    """Whether nothing follows this event."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: AwareDatetime
    data: D

    @classmethod
    def made_by(cls, link: str, subject: str, time: datetime, data: Any) -> Self:
        """The event that `link` makes of `subject`."""
        return cls.model_validate(
            {
                "id": id_of(subject, link),
                "source": source_of(link),
                "type": type_of(cls),
                "subject": subject,
                "time": time,
                "data": data,
            }
        )


AnyEvent = Event[dict[str, Any]]
"""An event whose data nobody needs to look into: what the journal stores and the router directs."""


def in_words(events: Sequence[AnyEvent]) -> str:
    """`PaymentConfirmed of 01k3...`, or `20 PaymentConfirmed`."""
    kind = events[0].type.removeprefix("lanka.")
    return f"{kind} of {events[0].subject}" if len(events) == 1 else f"{len(events)} {kind}"


@lru_cache
def class_of(event_type: str) -> type[Event[Any]]:
    """The class that says what events of this type mean for their subject; a type nobody knows means nothing."""
    return next((kind for kind in _kinds(Event) if kind.model_fields["type"].default == event_type), Event)


def _kinds(kind: type[Event[Any]]) -> Iterator[type[Event[Any]]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


@lru_cache
def type_of(event: type[Event[Any]]) -> str:
    """The CloudEvents `type` of an event class: `lanka.OrderReceived`."""
    name = event.model_fields["type"].default
    assert isinstance(name, str), f"{event.__name__} names no type"
    return name
