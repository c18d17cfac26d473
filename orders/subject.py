"""What can happen to the subject of any chain: it is parked, released, or taken back."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from orders.envelope import Event
from orders.reasons import Reason, Status


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Refusal(Data):
    """A business "no", its stable reason, and a sentence for people."""

    reason: Reason
    detail: str


class Withdrawal(Refusal):
    """Who has taken the order back: the customer who cancelled it, or the operator who rejected it."""

    by: str


class Parking(Data):
    """Where an order is parked and why. `reason` groups what failed alike, `attempts` counts those at this link."""

    link: str
    stage: str
    reason: str
    attempts: int
    last_error: str


class Release(Data):
    """Who has released a parked order, and why."""

    link: str
    stage: str
    by: str
    why: str


class Parked(Event[Parking]):
    """Something unexpected: the subject stays at its link until an operator decides."""

    status: ClassVar = Status.PARKED
    type: Literal["lanka.Parked"] = "lanka.Parked"


class Released(Event[Release]):
    """The subject goes on at the link where it was parked."""

    status: ClassVar = Status.PROCESSING
    type: Literal["lanka.Released"] = "lanka.Released"


class Withdrawn(Event[Withdrawal]):
    """Somebody with the right to it has taken the subject back."""

    status: ClassVar = "withdrawn"
    ends: ClassVar = True
    type: Literal["lanka.Withdrawn"] = "lanka.Withdrawn"
