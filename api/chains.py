"""The chains: what each is made of and what everything in it is called. Pages draw from it, so they know no link."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from api.auth import Anybody
from api.problems import Code, Problem, documented
from chain.event import Event, Kind, type_of
from chain.graph import Stages, good_ends, graph, routes
from chain.subject import PARKED, PROCESSING, RECEIVED
from chain.table import Link, Table
from chain.words import Language, LinkWords, Text, preferred
from workflows.chains import CHAINS

Mood = Literal["busy", "wait", "bad", "good", "soft"]

Names = list[list[str]]
"""Names of links, stage by stage."""


class ChainName(BaseModel):
    name: str
    title: str
    links: dict[str, str]


class CustomerWords(BaseModel):
    """What a customer hears of a link: its name, and sentences while it works, when it has, and when it was undone."""

    title: str
    doing: str | None
    done: str | None
    undone: str | None


class LinkAnswer(BaseModel):
    """`settles`: the link that this one answers for. `undoes`: the link whose effect it takes back. `customer` is null
    for a link that customers are not shown.
    """

    name: str
    queue: str
    title: str
    customer: CustomerWords | None
    icon: str
    since: int
    back: bool
    settles: str | None
    undoes: str | None


class RouteAnswer(BaseModel):
    events: list[str]
    stages: Names
    join: dict[str, str] | None
    too_late: bool
    back: bool


class EventAnswer(BaseModel):
    type: str
    name: str
    kind: Kind
    status: str | None
    title: str


class StatusAnswer(BaseModel):
    code: str
    title: str
    mood: Mood


class EndAnswer(BaseModel):
    """`good`: an end that a subject comes to when nothing goes wrong."""

    status: str
    title: str
    event: str
    good: bool


class ReasonAnswer(BaseModel):
    code: str
    sentence: str


class ChainAnswer(BaseModel):
    """A chain. `links` are in the order of the table. `forward` is the straight way, `back` the way back, `aside` what
    belongs to neither, each stage by stage with the links of one stage side by side; a link that settles another is
    drawn at the place of that one.
    """

    name: str
    version: int
    title: str
    subject: str
    subjects: str
    links: list[LinkAnswer]
    forward: Names
    back: Names
    aside: Names
    routes: list[RouteAnswer]
    events: list[EventAnswer]
    statuses: list[StatusAnswer]
    ends: list[EndAnswer]
    reasons: list[ReasonAnswer]


def language_of(request: Request, response: Response) -> Language:
    """The caller's language, of those that there are words in."""
    response.headers.append("Vary", "Accept-Language")
    return preferred(_weighed(request.headers.getlist("accept-language")))


Spoken = Annotated[Language, Depends(language_of)]

router = APIRouter(prefix="/chains", tags=["chains"])

_NOT_ALLOWED = (Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.DATABASE_UNAVAILABLE)


@router.get("", responses=documented(*_NOT_ALLOWED))
async def list_chains(_: Anybody, language: Spoken) -> list[ChainName]:
    """The chains of this installation, those of other packages among them."""
    return [
        ChainName(name=name, title=_title(name, chain.table, language), links={"self": f"/chains/{name}"})
        for name, chain in CHAINS.items()
    ]


@router.get("/{name}", responses=documented(*_NOT_ALLOWED, Code.CHAIN_NOT_FOUND))
async def read_chain(_: Anybody, name: str, language: Spoken) -> ChainAnswer:
    """One chain, its texts in the language of `Accept-Language`: English (`en`) or Ukrainian (`uk`)."""
    return described(name, chain_named(name), language)


def chain_named(name: str) -> Table:
    """Raises the problem `chain_not_found`."""
    if name not in CHAINS:
        raise Problem(Code.CHAIN_NOT_FOUND)
    return CHAINS[name].table


def described(name: str, table: Table, language: Language) -> ChainAnswer:
    """All of it follows from the table."""
    shape, words, good = graph(table), table.words, good_ends(table)
    return ChainAnswer(
        name=name,
        version=table.version,
        title=_title(name, table, language),
        subject=words.subject.in_language(language),
        subjects=words.subjects.in_language(language),
        links=[_link(table, link, language) for link in table.links if link is not table.note],
        forward=_names(shape.forward),
        back=_names(shape.back),
        aside=_names(shape.aside),
        routes=_routes(table),
        events=[_event(table, event, language) for event in table.events],
        statuses=list(_statuses(table, language)),
        ends=[
            EndAnswer(status=status, title=words.status(status).in_language(language), event=type_of(e), good=e in good)
            for e, status in ends_of(table).items()
        ],
        reasons=[ReasonAnswer(code=code, sentence=text.in_language(language)) for code, text in words.reasons.items()],
    )


def ends_of(table: Table) -> dict[type[Event[Any]], str]:
    """The events with which a subject comes to its end, and the status that each gives."""
    return {event: event.status for event in table.events if event.kind is Kind.END and event.status}


def _title(name: str, table: Table, language: Language) -> str:
    return table.words.title.in_language(language) if table.words.title else name


def _names(stages: Stages) -> Names:
    return [[link.name for link in stage] for stage in stages]


def _link(table: Table, link: Link, language: Language) -> LinkAnswer:
    words = table.words.link(link.name)
    return LinkAnswer(
        name=link.name,
        queue=link.queue,
        title=words.title.in_language(language),
        customer=_customer(words, language),
        icon=words.icon,
        since=link.since,
        back=any(route.back and link in route.links for route in table.all_routes),
        settles=table.settles.get(link.name),
        undoes=link.undoes,
    )


def _customer(words: LinkWords, language: Language) -> CustomerWords | None:
    def said(text: Text | None) -> str | None:
        return text.in_language(language) if text else None

    if words.customer is None:
        return None
    title = words.customer.in_language(language)
    return CustomerWords(title=title, doing=said(words.doing), done=said(words.done), undone=said(words.undone))


def _routes(table: Table) -> list[RouteAnswer]:
    return [
        RouteAnswer(
            events=[type_of(event) for event in events],
            stages=_names(route.stages),
            join={"name": route.join.name, "into": type_of(route.join.into)} if route.join else None,
            too_late=route.too_late,
            back=route.back,
        )
        for events, route in routes(table)
    ]


def _event(table: Table, event: type[Event[Any]], language: Language) -> EventAnswer:
    return EventAnswer(
        type=type_of(event),
        name=event.__name__,
        kind=event.kind,
        status=event.status,
        title=table.words.event(event.__name__).in_language(language),
    )


def _statuses(table: Table, language: Language) -> Iterator[StatusAnswer]:
    """In the order of the words, and then of the events."""
    moods: dict[str, Mood] = {RECEIVED: "busy", PROCESSING: "busy", PARKED: "bad"}
    good = good_ends(table)
    for event in table.events:
        if event.status and moods.get(event.status, "busy") == "busy":  # what says more than that it moves
            moods[event.status] = _mood(event, good)
    for code in dict.fromkeys([*(code for code in table.words.statuses if code in moods), *moods]):
        yield StatusAnswer(code=code, title=table.words.status(code).in_language(language), mood=moods[code])


def _mood(event: type[Event[Any]], good: Sequence[type[Event[Any]]]) -> Mood:
    if event.kind is Kind.END:
        return "good" if event in good else "soft"
    return "bad" if event.kind is Kind.PARKED else "wait" if event.kind is Kind.PENDING else "busy"


def _weighed(headers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """`uk-UA;q=0.8` is `("uk-UA", 0.8)`. What has the weight 0, or none that is a number, is not wanted."""
    for wanted in ",".join(headers).split(","):
        language, _, weight = wanted.partition(";")
        with suppress(ValueError):
            number = float(weight.strip().removeprefix("q=") or 1)
            if number > 0:
                yield language.strip(), number
