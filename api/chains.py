"""The chains: what each is made of and what everything in it is called. Pages draw from it, so they know no link."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from api.auth import Anybody
from api.problems import Code, Problem, raises
from chain.event import Event, Kind, type_of
from chain.graph import Stages, good_ends, graph, routes
from chain.subject import PARKED, PROCESSING, RECEIVED
from chain.table import Link, Table
from chain.words import Language, Words, preferred
from workflows.chains import CHAINS

Names = list[list[str]]
"""Names of links, stage by stage."""


class ChainName(BaseModel):
    name: str
    title: str
    links: dict[str, str]


class ChainAnswer(BaseModel):
    """A chain. `forward` is the straight way, `back` the way back, `aside` what belongs to neither, each stage by stage
    with the links of one stage side by side; a link that settles another is drawn at the place of that one.

    `links`, in the order of the table: `name`, `queue`, `title`, `icon`, `since` (a version), `back` (it is on the way
    back), `settles` (the link that it answers for), `undoes` (the link whose effect it takes back), and `customer`:
    `title`, and what a customer hears while it works (`doing`), when it has (`done`), and when that was taken back
    (`undone`); null for a link that customers are not shown.
    `routes`: `events` (types), `stages`, `join` (`name`, `into`; or null), `too_late`, `back`.
    `events`: `type`, `name`, `kind`, `status` (or null), `title`.
    `statuses`: `code`, `title`, `mood` (`busy`, `wait`, `bad`, `good` or `soft`).
    `ends`: `status`, `title`, `event` (its type), `good` (a subject comes to it when nothing goes wrong).
    `reasons`: `code`, `sentence`.
    """

    name: str
    version: int
    title: str
    subject: str
    subjects: str
    links: list[dict[str, Any]]
    forward: Names
    back: Names
    aside: Names
    routes: list[dict[str, Any]]
    events: list[dict[str, Any]]
    statuses: list[dict[str, str]]
    ends: list[dict[str, Any]]
    reasons: list[dict[str, str]]


async def language_of(request: Request, response: Response) -> Language:
    """The caller's language, of those that there are words in."""
    response.headers.append("Vary", "Accept-Language")
    return spoken(request)


def spoken(request: Request) -> Language:
    return preferred(_weighed(request.headers.getlist("accept-language")))


Spoken = Annotated[Language, Depends(language_of)]

router = APIRouter(prefix="/chains", tags=["chains"])


@router.get("")
async def list_chains(_: Anybody, language: Spoken) -> list[ChainName]:
    """The chains of this installation, those of other packages among them."""
    return [
        ChainName(name=name, title=_title(name, chain.table, language), links={"self": f"/chains/{name}"})
        for name, chain in CHAINS.items()
    ]


@router.get("/{name}")
@raises(Code.CHAIN_NOT_FOUND)
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
    moods = _moods(table, good)
    codes = dict.fromkeys([*(code for code in words.statuses if code in moods), *moods])
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
        routes=[
            {
                "events": [type_of(event) for event in events],
                "stages": _names(route.stages),
                "join": {"name": route.join.name, "into": type_of(route.join.into)} if route.join else None,
                "too_late": route.too_late,
                "back": route.back,
            }
            for events, route in routes(table)
        ],
        events=[
            {
                "type": type_of(event),
                "name": event.__name__,
                "kind": event.kind,
                "status": event.status,
                "title": words.event(event.__name__).in_language(language),
            }
            for event in table.events
        ],
        statuses=[
            {"code": code, "title": words.status(code).in_language(language), "mood": moods[code]} for code in codes
        ],
        ends=[
            {
                "status": status,
                "title": words.status(status).in_language(language),
                "event": type_of(event),
                "good": event in good,
            }
            for event, status in ends_of(table).items()
        ],
        reasons=[{"code": code, "sentence": text.in_language(language)} for code, text in words.reasons.items()],
    )


def ends_of(table: Table) -> dict[type[Event[Any]], str]:
    """The events with which a subject comes to its end, and the status that each gives."""
    return {event: str(event.status) for event in table.events if event.kind is Kind.END}


def title_of(chain: str, link: str, language: Language) -> str:
    """What a link is called; one that no table has, by its name."""
    words = CHAINS[chain].table.words if chain in CHAINS else Words()
    return words.link(link).title.in_language(language)


def _title(name: str, table: Table, language: Language) -> str:
    return table.words.title.in_language(language) if table.words.title else name


def _names(stages: Stages) -> Names:
    return [[link.name for link in stage] for stage in stages]


def _link(table: Table, link: Link, language: Language) -> dict[str, Any]:
    words = table.words.link(link.name)
    customer = {"title": words.customer, "doing": words.doing, "done": words.done, "undone": words.undone}
    said = {name: text.in_language(language) if text else None for name, text in customer.items()}
    return {
        "name": link.name,
        "queue": link.queue,
        "title": words.title.in_language(language),
        "customer": said if words.customer else None,
        "icon": words.icon,
        "since": link.since,
        "back": any(route.back and link in route.links for route in table.all_routes),
        "settles": table.settles.get(link.name),
        "undoes": link.undoes,
    }


def _moods(table: Table, good: Sequence[type[Event[Any]]]) -> dict[str, str]:
    """Of each status, in the order of the events; one that says more than that the subject moves comes first."""
    ends = {event: "good" if event in good else "soft" for event in ends_of(table)}
    kinds = {Kind.PARKED: "bad", Kind.PENDING: "wait"}
    moods = {RECEIVED: "busy", PROCESSING: "busy", PARKED: "bad"}
    for event in table.events:
        if event.status and moods.get(event.status, "busy") == "busy":
            moods[event.status] = ends.get(event) or kinds.get(event.kind, "busy")
    return moods


def _weighed(headers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """`uk-UA;q=0.8` is `("uk-UA", 0.8)`. What has the weight 0, or none that is a number, is not wanted."""
    for wanted in ",".join(headers).split(","):
        language, _, weight = wanted.partition(";")
        with suppress(ValueError):
            number = float(weight.strip().removeprefix("q=") or 1)
            if number > 0:
                yield language.strip(), number
