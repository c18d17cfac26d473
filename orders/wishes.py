"""What people may ask of an order that is on its way, and how they are answered."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from orders.reasons import Reason


class Verdict(StrEnum):
    """Decided once, by the workflow. The first three answer a cancel, the others a release or a rejection."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    ALREADY_CANCELLED = "already_cancelled"
    RELEASED = "released"
    REJECTED = "rejected"
    NOT_PARKED = "not_parked"


def again(reason: str) -> Verdict:
    """What a cancel hears of an order that was taken back before, for this reason."""
    return Verdict.ALREADY_CANCELLED if reason == Reason.CANCELLED_BY_CUSTOMER else Verdict.TOO_LATE


def printable(text: str) -> str:
    """What can be written into the journal: PostgreSQL's jsonb has no NUL."""
    return "".join(each for each in text if each.isprintable())


Said = Annotated[str, AfterValidator(printable)]


class Wish(BaseModel):
    """Somebody wants something of one subject: who, and why."""

    model_config = ConfigDict(frozen=True)

    subject: str
    by: Said
    why: Said


class BulkRelease(BaseModel):
    """Release, or with `reject` rejection, of everything parked in a workflow, or of what matches.

    `after` seconds the first goes on, and then one every `apart` seconds, so that many workflows told at once keep a
    common rate.
    """

    model_config = ConfigDict(frozen=True)

    by: Said
    why: Said
    subjects: Sequence[str] | None = None
    stage: str | None = None
    reason: str | None = None
    after: float = 0
    apart: float = 0
    reject: bool = False
