"""The events of the support chain: a customer calls, and is connected to the operator who can help."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from chain.event import Event
from chain.subject import Data
from orders.order import Identifier


class StartedCall(Data):
    """Who is calling, known before the call is connected. `language` is such as `uk`, `skill` such as `orders`."""

    customer_id: Identifier
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
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
    status: ClassVar = "received"
    type: Literal["lanka.SupportCallStarted"] = "lanka.SupportCallStarted"


class CallerWaiting(Event[StartedCall]):
    """Nobody who could help is free."""

    status: ClassVar = "waiting"
    type: Literal["lanka.CallerWaiting"] = "lanka.CallerWaiting"


class OperatorAssigned(Event[AssignedCall]):
    status: ClassVar = "assigned"
    type: Literal["lanka.OperatorAssigned"] = "lanka.OperatorAssigned"


class SupportCallEnded(Event[EndedCall]):
    """The telephone system says so. The operator is free for the next caller."""

    status: ClassVar = "ended"
    ends: ClassVar = True
    type: Literal["lanka.SupportCallEnded"] = "lanka.SupportCallEnded"
