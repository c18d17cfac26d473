"""What can happen to the subject of any chain: it is refused, parked, released, or taken back."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from chain.event import Event, Kind
from chain.problems import MAX_ID, IdCode

RECEIVED = "received"
"""The status before the first event that gives one. A subject that was dispatched shows `PROCESSING` instead."""

NOT_DISPATCHED = "dispatch"
"""The queue before the first, for what is counted by queue."""

PROCESSING = "processing"
PARKED = "parked"

_CONTROLS = r"\x00-\x1f\x7f-\x9f"  # spelled out: not all who read a schema know \p{Cc}
_STEPS = (".", "..")  # which browsers and proxies take out of a path


def _no_step(text: str) -> str:
    if text in _STEPS:
        raise ValueError("a step in a path")
    return text


# Any script, as it was given: it is never normalised, so that two spellings of Unicode are two ids. No control
# character, no blank at an end, and (by pydantic) no lone surrogate. The same in SQL: is_identifier() in schema.sql.
Identifier = Annotated[
    str,
    Field(
        pattern=rf"^[^\s{_CONTROLS}]([^{_CONTROLS}]*[^\s{_CONTROLS}])?$",
        min_length=1,
        max_length=MAX_ID,
        json_schema_extra={"not": {"enum": [*_STEPS]}},
    ),
    AfterValidator(_no_step),
    IdCode.INVALID_ID,
]


class Data(BaseModel, frozen=True, extra="forbid"):
    """What an event carries."""


class Refusal(Data):
    """A business "no", its stable reason, and a sentence for people."""

    reason: str
    detail: str


class Withdrawal(Refusal):
    """Who has taken the subject back: the customer who cancelled it, or the operator who rejected it."""

    by: str


class Parking(Data):
    """Where a subject is parked and why. `reason` groups what failed alike, `attempts` counts those at this link."""

    link: str
    reason: str
    attempts: int
    last_error: str


class Release(Data):
    """Who has released a parked subject, and why. `goes_on_at`: when its turn comes, of those released in turn."""

    link: str
    by: str
    why: str
    goes_on_at: AwareDatetime | None = Field(default=None, exclude_if=lambda time: time is None)


class Parked(Event[Parking]):
    """Its id is the parking's id."""

    kind: ClassVar = Kind.PARKED
    status: ClassVar = PARKED
    type: Literal["lanka.Parked"] = "lanka.Parked"


class Released(Event[Release]):
    """The subject goes on at the link where it was parked. Its id is that of the parking, and `.released`."""

    kind: ClassVar = Kind.RELEASED
    status: ClassVar = PROCESSING
    type: Literal["lanka.Released"] = "lanka.Released"


class Withdrawn(Event[Withdrawal]):
    """Somebody with the right to it has taken the subject back: its end, where the chain has no way back."""

    kind: ClassVar = Kind.END
    status: ClassVar = "withdrawn"
    type: Literal["lanka.Withdrawn"] = "lanka.Withdrawn"
