"""The events of the support chain: a customer calls, and is connected to the operator who can help."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chain.event import Event, Kind
from chain.subject import Data, Identifier
from support.problems import CallCode
from support.words import Status

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$"), CallCode.INVALID_LANGUAGE]


class StartedCall(Data):
    """Who is calling, known before the call is connected. `language` is such as `uk`, `skill` such as `orders`."""

    customer_id: Identifier
    language: Language
    skill: Identifier


class AssignedCall(Data):
    """`order`: the address of the caller's order that is parked or rejected, and why; None where there is none."""

    operator_id: str
    order: str | None = None
    order_status: str | None = None
    order_reason: str | None = None


class EndedCall(Data):
    pass


class SupportCallStarted(Event[StartedCall]):
    kind: ClassVar = Kind.START
    status: ClassVar = Status.RECEIVED
    type: Literal["lanka.SupportCallStarted"] = "lanka.SupportCallStarted"


class CallerWaiting(Event[StartedCall]):
    """Nobody who could help is free."""

    kind: ClassVar = Kind.PENDING
    status: ClassVar = Status.WAITING
    type: Literal["lanka.CallerWaiting"] = "lanka.CallerWaiting"


class OperatorAssigned(Event[AssignedCall]):
    status: ClassVar = Status.ASSIGNED
    type: Literal["lanka.OperatorAssigned"] = "lanka.OperatorAssigned"


class SupportCallEnded(Event[EndedCall]):
    """The telephone system says so. The operator is free for the next caller."""

    kind: ClassVar = Kind.END
    status: ClassVar = Status.ENDED
    type: Literal["lanka.SupportCallEnded"] = "lanka.SupportCallEnded"
