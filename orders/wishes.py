"""What people may ask of an order that is on its way, and how they are answered."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    """Decided once, by the workflow. The first three answer a cancel, the others a release or a rejection."""

    CANCELLED = "cancelled"
    TOO_LATE = "too_late"
    ALREADY_CANCELLED = "already_cancelled"
    RELEASED = "released"
    REJECTED = "rejected"
    NOT_PARKED = "not_parked"


class Wish(BaseModel):
    """Somebody wants something of one subject: who, and why."""

    model_config = ConfigDict(frozen=True)

    subject: str
    by: str
    why: str


class BulkRelease(BaseModel):
    """Release of everything parked in a workflow, or of what matches.

    `after` seconds the first goes on, and then one every `apart` seconds, so that many workflows told at once keep a
    common rate.
    """

    model_config = ConfigDict(frozen=True)

    by: str
    why: str
    subjects: Sequence[str] | None = None
    stage: str | None = None
    reason: str | None = None
    after: float = 0
    apart: float = 0
