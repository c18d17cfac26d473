"""What an operator sees of one subject: how it came to where it is, what is being tried, and where else to look."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from api.auth import Operator
from api.chains import Spoken
from api.known_subject import known_subject
from api.operations import LINKS, ParkedAnswer, of_one_chain, one_of
from api.orders import Links, OrderAnswer, OrderId
from api.paging import LISTED, Page, Paged, listed
from api.problems import Code, Problem, Text, Time, raises, refuse_repeated
from api.shared import Here, Shared
from chain.event import AnyEvent
from chain.steps import State, Step, Trying
from chain.subject import RECEIVED, Identifier
from chain.table import Table
from chain.words import Language
from dispatch.temporal import Temporal
from store.subjects import ListedSubject, WantedSubjects
from workflows.chains import CHAINS

Place = Annotated[str, *one_of({RECEIVED, *(link.name for link in LINKS)}, Code.INVALID_LINK)]
KnownStatus = Annotated[
    str, *one_of({each for chain in CHAINS.values() for each in chain.table.statuses}, Code.INVALID_STATUS)
]
TOO_LONG = "Failure exceeds size limit"
"""How the message begins that Temporal puts in the place of a failure that is too large for it."""

ANSWERED_WITHIN = 1.0
"""Seconds that Temporal gets to tell what it is trying; the page is shown without it."""


class StepAnswer(BaseModel):
    """The subject at one link, `stage` being an older name of its `queue`. `since`: when the event came that the link
    takes; `ended`: when it had made the next.

    `attempts` and `last_error` are those of what is being tried now, as Temporal tells them (in a batch: of the batch),
    or of the parking. Where it is done, `attempts` are those that it took if the first did not succeed.
    """

    link: str
    queue: str
    stage: str
    title: str
    state: State
    since: AwareDatetime | None
    ended: AwareDatetime | None
    attempts: int | None
    last_error: str | None
    reason: str | None

    @classmethod
    def about(cls, table: Table, step: Step, language: Language) -> "StepAnswer":
        title = table.words.link(step.link.name).title.in_language(language)
        link = {"link": step.link.name, "queue": step.link.queue, "stage": step.link.queue, "title": title}
        return cls.model_validate({**vars(step), **link})


class SubjectSeen(BaseModel):
    """`workflow_url` and `trace_url` are null where nobody has said where such pages are, or the subject has none.

    `trace_id` is in the log lines about the subject as well, also where its trace is not sampled and has no page.
    """

    chain: str
    subject: str
    workflow_id: str | None
    workflow_url: str | None
    trace_id: str | None
    trace_url: str | None
    steps: list[StepAnswer]
    parked: list[ParkedAnswer]
    events: list[AnyEvent]


class OrderSeen(SubjectSeen):
    order: OrderAnswer


class SubjectFilter(BaseModel, frozen=True, extra="forbid"):
    """At this link in this state (then of open ones only), with this status, for this reason, received from `since` on
    and up to `before`. `q`: with this id, or an order of this number, payment or customer.
    """

    chain: Text | None = None
    link: Place | None = None
    state: Annotated[Literal[State.WAITING, State.IN_PROGRESS, State.PARKED] | None, Code.INVALID_STATE] = None
    q: Text | None = None
    status: KnownStatus | None = None
    reason: Text | None = None
    customer_id: Text | None = None
    since: Time | None = None
    before: Time | None = None

    def wanted(self) -> WantedSubjects:
        """Raises the problem `chain_not_found`."""
        of_one_chain(self.chain, self.link)
        names = [each.name for each in fields(WantedSubjects) if each.name != "text"]
        text = self.q.strip() if self.q else None
        return WantedSubjects(text=text, **{name: getattr(self, name) for name in names})


class SubjectsAsked(Paged, SubjectFilter):
    """How to list them."""


class ExternalLinks:
    """Pages outside of Lanka. `trace_url` holds `{trace_id}`."""

    def __init__(self, temporal_ui: str | None, trace_url: str | None) -> None:
        self._temporal_ui = temporal_ui
        self._trace_url = trace_url
        self._namespace = ClientConfig.load_client_connect_config().get("namespace", "default")

    def history_of(self, workflow_id: str | None) -> str | None:
        if self._temporal_ui is None or workflow_id is None:
            return None
        return f"{self._temporal_ui.rstrip('/')}/namespaces/{self._namespace}/workflows/{quote(workflow_id, safe='')}"

    def trace_of(self, traceparent: str | None) -> str | None:
        trace_id, sampled = _parts(traceparent)
        if self._trace_url is None or trace_id is None or not sampled:
            return None
        return self._trace_url.replace("{trace_id}", trace_id)


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("/orders/{order_id}")
@raises(Code.ORDER_NOT_FOUND)
async def see_order(here: Here, _: Operator, order_id: OrderId, language: Spoken) -> OrderSeen:
    """One order with its journal, where it stands at each link, and what is being tried now."""
    order = await here.orders.find(order_id)
    seen = await _seen(here, order_id, language) if order else None
    if order is None or seen is None:
        raise Problem(Code.ORDER_NOT_FOUND)
    return OrderSeen(order=OrderAnswer.about(order, Links.to(order_id, here.order_links)), **dict(seen))


@router.get("/subjects", response_model=list[ListedSubject], responses=LISTED)
@raises(Code.CHAIN_NOT_FOUND)
async def list_subjects(
    request: Request, response: Response, here: Here, _: Operator, asked: Annotated[SubjectsAsked, Query()]
) -> Sequence[ListedSubject] | Response:
    """Subjects of any chain. With `link` or `state` those on their way, the oldest first.

    Without, also those that have ended, by their id, falling: of orders the newest first. Then `Total-Count` is left
    out where thousands would have to be looked at, and a page may be short although there is a next.
    """
    refuse_repeated(request)
    wanted = asked.wanted()

    async def read(place: str | None, limit: int) -> Page:
        page = await here.subjects.page(wanted, after=place, limit=limit)
        return Page(page.subjects, page.total, page.after)

    return await listed(request, response, asked, ListedSubject, read)


@router.get("/subjects/{subject}")
@raises(Code.SUBJECT_NOT_FOUND)
async def see_subject(here: Here, _: Operator, subject: Annotated[Identifier, Path()], language: Spoken) -> SubjectSeen:
    """The same of the subject of any chain: an order id, a call id, ..."""
    seen = await _seen(here, subject, language)
    if seen is None:
        unbegun = "Events of it are kept (GET /events/{subject}), but none has begun a chain with it yet."
        raise Problem(Code.SUBJECT_NOT_FOUND, unbegun if await here.journal.of(subject) else None)
    return seen


async def _seen(here: Shared, subject: str, language: Language) -> SubjectSeen | None:
    known = await known_subject(here, subject)
    if known is None:
        return None
    carriage = known.carriage
    trying = {} if carriage.ended else await _tried(here.temporal, carriage.workflow_id)
    seen = known.steps(moves=known.moves, trying=trying)
    return SubjectSeen(
        chain=carriage.chain,
        subject=subject,
        workflow_id=carriage.workflow_id,
        workflow_url=here.elsewhere.history_of(carriage.workflow_id),
        trace_id=_parts(carriage.traceparent)[0],
        trace_url=here.elsewhere.trace_of(carriage.traceparent),
        steps=[StepAnswer.about(known.table, step, language) for step in seen],
        parked=[ParkedAnswer.about(each, language) for each in known.parked],
        events=list(known.events),
    )


def _parts(traceparent: str | None) -> tuple[str | None, bool]:
    """The trace id, and whether it is sampled. W3C Trace Context: version, trace id, parent id, flags."""
    if traceparent is None:
        return None, False
    _, trace_id, _, flags = traceparent.split("-")[:4]
    return trace_id, bool(int(flags, 16) & 1)


async def _tried(temporal: Temporal, workflow_id: str | None) -> dict[str, Trying]:
    """By the name of the consumer, what Temporal tries and has failed at; nothing while Temporal is away."""
    tried: dict[str, Trying] = {}
    if workflow_id is None:
        return tried
    with suppress(TimeoutError, RPCError):
        async with asyncio.timeout(ANSWERED_WITHIN):
            client = await temporal.client()
            described = await client.get_workflow_handle(workflow_id).describe()
        for pending in described.raw_description.pending_activities:
            # Where a failure with all its traces was too long, Temporal keeps the words of its cause.
            cause = pending.last_failure.cause.message if pending.last_failure.message.startswith(TOO_LONG) else ""
            error = cause or pending.last_failure.message or None
            known = tried.get(pending.activity_type.name)
            if known is None or (known.attempts or 0) < pending.attempt:
                tried[pending.activity_type.name] = Trying(pending.attempt, error)
    return tried
