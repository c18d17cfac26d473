"""The envelope of every event, of any chain: CloudEvents 1.0, and what kinds of events there are.

One shape, used as it is in the journal, in Temporal, in HTTP and in the stream.
Source of the rules: the CloudEvents specification 1.0.2, section 3.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel

D = TypeVar("D")


class Kind(StrEnum):
    """What an event means for its subject, whatever it is called. The journal keeps it, and SQL asks for nothing else.

    A refusal and a withdrawal lead to the way back; after an end nothing follows but what came `late`.
    """

    START = "start"
    """The subject begins with it."""
    FACT = "fact"
    """A link has done its work, or the router has joined what several have done."""
    PENDING = "pending"
    """A link has no answer yet: the subject waits for somebody outside."""
    REFUSAL = "refusal"
    """A business "no"."""
    WITHDRAWAL = "withdrawal"
    """Somebody with the right to it has taken the subject back."""
    PARKED = "parked"
    """Something unexpected: the subject stays at its link until an operator decides."""
    RELEASED = "released"
    """A parked subject goes on."""
    LATE = "late"
    """Something that came after the end and still asks for an answer: money for an order that was refused."""
    END = "end"
    """The subject has come to its end."""


BACKWARD = (Kind.REFUSAL, Kind.WITHDRAWAL)
"""What leads to the way back."""


def source_of(link: str) -> str:
    """The `source` of the events that `link` makes."""
    return f"/lanka/{link}"


def maker_of(source: str) -> str:
    """The link that made an event with this `source`; for one from outside its source."""
    return source.removeprefix("/lanka/")


def id_of(subject: str, link: str, given: str | None = None) -> str:
    """The `id` of the event that `link` makes of `subject`: it follows from the two, so making it twice is harmless.

    `given`: the id of the event that it is made of, where the link takes each event by itself.
    """
    return f"{subject}.{link}" if given is None else f"{subject}.{link}.{given}"


class Event(BaseModel, Generic[D], frozen=True, extra="forbid"):
    """An immutable fact in the past tense. `source` and `id` together name it once and for all.

    `subject` is what the chain is about: an order id, a call id.
    """

    kind: ClassVar[Kind] = Kind.FACT
    status: ClassVar[str | None] = None
    """Where the subject stands once this event is in the journal; None: where it stood before."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: AwareDatetime
    data: D

    @classmethod
    def made_by(cls, link: str, subject: str, time: datetime, data: Any, given: str | None = None) -> Self:
        """The event that `link` makes of `subject` (see `id_of`)."""
        return cls.model_validate(
            {
                "id": id_of(subject, link, given),
                "source": source_of(link),
                "type": type_of(cls),
                "subject": subject,
                "time": time,
                "data": data,
            }
        )


AnyEvent = Event[dict[str, Any]]
"""An event whose data nobody needs to look into: what the journal stores and the router directs."""


class EventTypes:
    """The events that chains declare, by their type. A type that no chain declares is a fact that moves nothing."""

    def __init__(self, events: Iterable[type[Event[Any]]]) -> None:
        self._known: Mapping[str, type[Event[Any]]] = {type_of(event): event for event in events}

    def __getitem__(self, event_type: str) -> type[Event[Any]]:
        return self._known.get(event_type, Event)

    def __iter__(self) -> Iterator[type[Event[Any]]]:
        return iter(self._known.values())

    def kind(self, event_type: str) -> Kind:
        return self[event_type].kind

    def of(self, *kinds: Kind) -> frozenset[str]:
        """The types of these kinds."""
        return frozenset(name for name, event in self._known.items() if event.kind in kinds)


@dataclass(frozen=True)
class AcceptedType:
    """A type of event that may come from outside, and what it means for its subject."""

    type: str
    chain: str
    kind: Kind
    status: str | None

    @property
    def starts(self) -> bool:
        return self.kind is Kind.START


def in_words(events: Sequence[AnyEvent]) -> str:
    """`PaymentConfirmed of 01k3...`, or `20 PaymentConfirmed`."""
    name = short(events[0].type)
    return f"{name} of {events[0].subject}" if len(events) == 1 else f"{len(events)} {name}"


def short(event_type: str) -> str:
    """`OrderReceived` for `lanka.OrderReceived`; a type of another house keeps its name."""
    return event_type.removeprefix("lanka.")


@lru_cache
def type_of(event: type[Event[Any]]) -> str:
    """The CloudEvents `type` of an event class: `lanka.OrderReceived`."""
    name = event.model_fields["type"].default
    assert isinstance(name, str), f"{event.__name__} names no type"
    return name
