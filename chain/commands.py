"""What people may ask of a subject that is on its way, and how they are answered."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel


class Verdict(StrEnum):
    """Decided once, by the workflow. The first three answer a cancel, the others a release or a rejection."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    ALREADY_CANCELLED = "already_cancelled"
    RELEASED = "released"
    REJECTED = "rejected"
    NOT_PARKED = "not_parked"


CANCELLED_BY_CUSTOMER = "cancelled_by_customer"
REJECTED_BY_OPERATOR = "rejected_by_operator"


def verdict_again(reason: str) -> Verdict:
    """What a cancel hears of a subject that was taken back before, for this reason."""
    return Verdict.ALREADY_CANCELLED if reason == CANCELLED_BY_CUSTOMER else Verdict.TOO_LATE


def printable(text: str) -> str:
    """What can be written into the journal: PostgreSQL's jsonb has no NUL."""
    return "".join(each for each in text if each.isprintable())


Said = Annotated[str, AfterValidator(printable)]


class Command(BaseModel, frozen=True):
    """Somebody wants something of one subject: who, and why. `parking` names one of its parkings; None means all."""

    subject: str
    by: Said
    why: Said
    parking: str | None = None


class BulkCommand(BaseModel, frozen=True):
    """Release, or with `reject` rejection, of everything parked in a workflow, or of what matches.

    `parkings` names them by their ids. `stage` is the older way to name links: all forward ones of that task queue.
    `after` seconds the first goes on, and then one every `apart` seconds, so that many workflows signalled at once keep
    a common rate.
    """

    by: Said
    why: Said
    subjects: Sequence[str] | None = None
    link: str | None = None
    stage: str | None = None
    reason: str | None = None
    parkings: Sequence[str] | None = None
    after: float = 0
    apart: float = 0
    reject: bool = False
