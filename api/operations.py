"""What waits for an operator, and the operator's decisions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from api.auth import Caller, Operator
from api.body import Body
from api.chains import Spoken, chain_named, title_of
from api.commands import Answer
from api.paging import LISTED, MAX_LISTED, Limit, Page, Paged, listed, position_at
from api.problems import MAX_RELEASE, Code, PerSecond, Problem, Text, Time, flaw_in, flawed, raises, refuse_repeated
from api.shared import Here
from chain.commands import BulkCommand
from chain.subject import RECEIVED
from chain.table import Link
from chain.words import Language
from store.operations import OwedRefund, ParkedSubject, WantedParkings
from workflows.chains import CHAINS

LINKS: Sequence[Link] = [
    link for chain in CHAINS.values() for link in chain.table.links if link is not chain.table.note
]
FORWARD: Sequence[Link] = [link for chain in CHAINS.values() for link in chain.table.forward]
REJECTED_AT = {(name, link.name) for name, chain in CHAINS.items() for link in chain.table.forward}
"""What is parked at any other link is on its way back, or beside the way, and can only be released."""

QUEUES = {(name, link.name): link.queue for name, chain in CHAINS.items() for link in chain.table.links}


def one_of(known: set[str], code: Code) -> tuple[object, ...]:
    def checked(name: str) -> str:
        if name not in known:
            raise ValueError(f"{name!r} is none of {', '.join(sorted(known))}")
        return name

    return AfterValidator(checked), Field(json_schema_extra={"enum": [*sorted(known)]}), code


LinkName = Annotated[str, *one_of({link.name for link in LINKS}, Code.INVALID_LINK)]
Stage = Annotated[str, *one_of({link.queue for link in LINKS}, Code.INVALID_STAGE)]

SHOWN = 100
"""Subjects that a dry run names."""


def of_one_chain(chain: str | None, link: str | None) -> None:
    """Raises the problems `chain_not_found` and `invalid_link`."""
    if chain is not None and link not in {None, RECEIVED, *chain_named(chain).by_name}:
        raise flawed([flaw_in("link", Code.INVALID_LINK)])


class Reasoned(BaseModel, frozen=True, extra="forbid"):
    """Why (older: `reason`), and who: an API key may be shared, so `by` names the person. Both go into the journal."""

    why: Annotated[Text, Field(validation_alias=AliasChoices("why", "reason"))]
    by: Text | None = None


class Filter(BaseModel, frozen=True, extra="forbid"):
    """What is parked at this link for this reason, from `since` on and up to `before`. A customer has orders only.
    `stage`, the older way, means all forward links of a task queue.
    """

    chain: Text | None = None
    link: LinkName | None = None
    stage: Stage | None = None
    reason: Text | None = None
    customer_id: Text | None = None
    since: Time | None = None
    before: Time | None = None

    def links(self) -> Sequence[str] | None:
        """The names of the links that are meant; None: all."""
        if self.stage is None:
            return None if self.link is None else [self.link]
        forward = [link.name for link in FORWARD if link.queue == self.stage]
        return forward if self.link is None else [name for name in forward if name == self.link]

    def wanted(self) -> WantedParkings:
        """Raises the problem `chain_not_found`."""
        of_one_chain(self.chain, self.link)
        given = self.model_dump(include={"chain", "reason", "customer_id", "since", "before"})
        return WantedParkings(links=self.links(), **given)


class Parked(Paged, Filter):
    """A list is as long as a bulk decision."""

    limit: Limit = MAX_LISTED


class BulkRequest(Filter):
    """The same, oldest first, at most `limit`, at this rate. `reason` is that of the parking, `why` the person's."""

    rate_per_second: PerSecond = 20
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_RELEASE), Code.INVALID_LIMIT] = MAX_RELEASE
    dry_run: Annotated[bool, Field(strict=True)] = False
    why: Text
    by: Text | None = None


class BulkAnswer(BaseModel):
    """`matched` subjects match, more than `limit` perhaps. A dry run names the first; otherwise this call `released` or
    `rejected` so many of them, which go on in their turn: what another call has decided before is not counted again.
    """

    matched: int
    released: int | None = None
    rejected: int | None = None
    orders: list[str] | None = None
    dry_run: bool


class ParkedAnswer(ParkedSubject):
    """`title` is the link's. `order_id` and `stage` are older names of `subject` and of the link's task queue. What is
    not `rejectable`, as it is on its way back, can only be released.
    """

    title: str
    rejectable: bool
    order_id: str
    stage: str

    @classmethod
    def about(cls, parked: ParkedSubject, language: Language) -> "ParkedAnswer":
        stage = QUEUES.get((parked.chain, parked.link), parked.link)
        title = title_of(parked.chain, parked.link, language)
        return cls(
            order_id=parked.subject, stage=stage, title=title, rejectable=can_be_rejected(parked), **dict(parked)
        )


def can_be_rejected(parked: ParkedSubject) -> bool:
    return (parked.chain, parked.link) in REJECTED_AT


router = APIRouter(prefix="/operations", tags=["operations"])


async def rejects(request: Request) -> bool:
    """Which of the two: they have routes of their own, so that traces and metrics name them."""
    return request.url.path.endswith("/reject")


Reject = Annotated[bool, Depends(rejects)]
ParkingId = Annotated[Text, Path(description="the `id` of a parking, or a subject's id: then all of its parkings")]


@router.get("/parked", response_model=list[ParkedAnswer], responses=LISTED)
@raises(Code.CHAIN_NOT_FOUND)
async def list_parked(
    request: Request,
    response: Response,
    here: Here,
    _: Operator,
    asked: Annotated[Parked, Query()],
    language: Spoken,
) -> Sequence[ParkedAnswer] | Response:
    """What waits for a person, the oldest first."""
    refuse_repeated(request)
    wanted = asked.wanted()

    async def read(place: str | None, limit: int) -> Page:
        page = await here.operations.parked(wanted, after=position_at(place), limit=limit)
        items = [ParkedAnswer.about(each, language) for each in page.parked]
        return Page(items, page.total, None if page.after is None else str(page.after))

    return await listed(request, response, asked, ParkedAnswer, read)


@router.post("/parked/{parking}/release")
@router.post("/parked/{parking}/reject")
@raises(Code.ORDER_NOT_FOUND, Code.NOT_DECIDED, Code.ONLY_RELEASED)
async def decide_parked(
    here: Here,
    caller: Operator,
    parking: ParkingId,
    reject: Reject,
    wanted: Annotated[Reasoned, Depends(Body(Reasoned))],
) -> Answer:
    """`release`: the subject goes on at the same link. `reject`: what was done for it is undone.

    `not_parked` where nothing waits for it, also when it is on its way back already.
    """
    by = _name(caller, wanted.by)
    if reject and (at := await here.commands.parkings(parking)) and not any(map(can_be_rejected, at)):
        raise Problem(Code.ONLY_RELEASED)
    return Answer(verdict=await here.commands.decide(parking, by=by, why=wanted.why, reject=reject))


_IN_BULK: dict[str, Any] = {
    "status_code": 202,
    "response_model_exclude_none": True,
    "responses": {200: {"description": "A dry run: nothing was changed.", "model": BulkAnswer}},
}


@router.post("/parked/release", **_IN_BULK)
@router.post("/parked/reject", **_IN_BULK)
@raises(Code.NOT_DECIDED, Code.CHAIN_NOT_FOUND, Code.ONLY_RELEASED)
async def decide_many(
    response: Response,
    here: Here,
    caller: Operator,
    reject: Reject,
    wanted: Annotated[BulkRequest, Depends(Body(BulkRequest))],
) -> BulkAnswer:
    """`release`: they go on at the links where they are parked. `reject`: what was done for them is undone.

    One that is parked on its way back can only be released, so a rejection matches none of these.
    """
    meant = wanted.wanted()
    page = await here.operations.parked(_rejectable(meant) if reject else meant, limit=wanted.limit)
    if wanted.dry_run:
        response.status_code = 200
        subjects = list(dict.fromkeys(each.subject for each in page.parked))
        return BulkAnswer(matched=page.subjects, orders=subjects[:SHOWN], dry_run=True)
    number = await here.commands.decide_all(_in_turn(page.parked, wanted, _name(caller, wanted.by), reject=reject))
    decided = {"rejected" if reject else "released": number}
    return BulkAnswer(matched=page.subjects, **decided, dry_run=False)


def _rejectable(wanted: WantedParkings) -> WantedParkings:
    """Raises the problem `only_released` where only links are named at which nothing can be rejected."""
    forward = {link for chain, link in REJECTED_AT if wanted.chain in (None, chain)}
    links = sorted(forward.intersection(wanted.links) if wanted.links is not None else forward)
    if wanted.links and not links:
        raise Problem(Code.ONLY_RELEASED)
    return replace(wanted, links=links)


class Refunds(Paged):
    """What is owed, the oldest first."""

    limit: Limit = MAX_LISTED


@router.get("/refunds", response_model=list[OwedRefund], responses=LISTED)
async def list_refunds(
    request: Request, response: Response, here: Here, _: Operator, asked: Annotated[Refunds, Query()]
) -> Sequence[OwedRefund] | Response:
    """Refunds that are owed and have not succeeded yet, the oldest first. They are retried without end."""
    refuse_repeated(request)

    async def read(place: str | None, limit: int) -> Page:
        owed = {_place_of(each): each for each in await here.operations.refunds()}
        behind = [each for each in sorted(owed) if place is None or each > place]
        page = behind[:limit]
        return Page([owed[each] for each in page], len(owed), page[-1] if len(behind) > limit else None)

    return await listed(request, response, asked, OwedRefund, read)


def _place_of(owed: OwedRefund) -> str:
    """Sorts as the time does."""
    return f"{owed.since.astimezone(UTC).isoformat(timespec='microseconds')} {owed.order_id} {owed.late}"


def _name(caller: Caller, by: str | None) -> str:
    return f"{by} ({caller.name})" if by else caller.name


def _in_turn(parked: Sequence[ParkedSubject], wanted: BulkRequest, by: str, *, reject: bool) -> dict[str, BulkCommand]:
    """The command for each workflow, so that over all of them one subject after the other goes on at the wanted rate.

    The subjects of one workflow go on one behind the other, at the turn of its oldest.
    """
    first = {each.workflow_id: nth for nth, each in reversed(list(enumerate(parked)))}
    commands: dict[str, BulkCommand] = {}
    gone = 0
    in_groups = sorted(parked, key=lambda each: first[each.workflow_id])
    for workflow_id, group in groupby(in_groups, key=lambda each: each.workflow_id):
        here = list(group)
        subjects = list(dict.fromkeys(each.subject for each in here))
        commands[workflow_id] = BulkCommand(
            by=by,
            why=wanted.why,
            subjects=subjects,
            link=wanted.link,
            stage=wanted.stage,
            reason=wanted.reason,
            parkings=[each.id for each in here],
            after=gone / wanted.rate_per_second,
            apart=1 / wanted.rate_per_second,
            reject=reject,
        )
        gone += len(subjects)
    return commands
