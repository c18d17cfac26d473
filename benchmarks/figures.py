"""From what happened to figures: pure arithmetic, with the shapes that `benchmarks/results/` holds as JSON.

Times are in milliseconds where a name does not say otherwise, rates are per second, CPU is in milliseconds per order.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pydantic import BaseModel

from benchmarks.customers import Sent
from benchmarks.measure import Histories, Reading

NOT_THE_SYSTEM = ("client", "payments")


class Latency(BaseModel):
    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency | None":
        if not seconds:
            return None
        return cls(p50=1000 * at_percent(seconds, 50), p99=1000 * at_percent(seconds, 99))


class Stretch(BaseModel):
    """One stretch of work. `orders` are those that were confirmed; what is per order is divided by them."""

    sent: int
    orders: int
    seconds: float
    answer: Latency | None
    confirmation: Latency | None
    accepted_per_s: float
    confirmed_per_s: float
    refused: int = 0
    errors: int = 0
    cpu: dict[str, float] = {}
    transactions: float = 0.0
    statements: float = 0.0
    wal: float = 0.0
    workflows: float | None = None
    events: float | None = None
    history_bytes: float | None = None
    actions: float | None = None


class Kill(BaseModel):
    """After a `kill -9` in a burst. Of the `accepted`, `lost` never ended. Of all that were sent, `half_done` have
    begun and do not end: they hold a payment, or stock. For `paid` the provider took money, and there is no order.
    """

    sent: int
    accepted: int
    lost: int
    half_done: int
    paid: int
    seconds: float


class Session(BaseModel):
    """One system in one round. `own` are the parts that a user would run; `statements` those of the burst that took
    most time: the text, how often, milliseconds in all.
    """

    system: str
    round: int
    own: list[str] = []
    alone: Stretch | None = None
    in_flight: Stretch | None = None
    burst: Stretch | None = None
    kill: Kill | None = None
    funnel: Latency | None = None
    memory: dict[str, float] = {}
    statements: list[tuple[str, int, float]] = []
    failed: str | None = None


class Point(BaseModel):
    """One value of the one thing that a series of the sweep changes."""

    series: str
    system: str
    x: float
    own: list[str]
    alone: Stretch
    burst: Stretch


class Result(BaseModel):
    """A whole run. `left_out`: system -> why. Only a sweep has `points`."""

    at: str
    machine: dict[str, Any]
    sessions: list[Session]
    left_out: dict[str, str] = {}
    points: list[Point] = []


def stretch(
    sent: Sequence[Sent],
    before: Reading,
    after: Reading,
    client_cpu: float,
    told: Histories | None = None,
) -> Stretch:
    answered = [each for each in sent if each.answered]
    confirmed = [each for each in answered if each.confirmed]
    began = min(each.at for each in sent)
    last_answer = max((each.answered or 0.0 for each in answered), default=math.inf)
    end = max((each.confirmed or 0.0 for each in confirmed), default=math.inf)
    number = max(1, len(confirmed))
    cpu = {part: 1000 * (after.cpu[part] - before.cpu.get(part, 0.0)) / number for part in after.cpu}
    return Stretch(
        sent=len(sent),
        orders=len(confirmed),
        seconds=end - began,
        answer=Latency.of([(each.answered or 0.0) - each.at for each in answered]),
        confirmation=Latency.of([(each.confirmed or 0.0) - each.at for each in confirmed]),
        accepted_per_s=len(answered) / (last_answer - began),
        confirmed_per_s=len(confirmed) / (end - began),
        refused=sum(each.refused for each in sent),
        errors=sum(each.error is not None for each in sent),
        cpu=cpu | {"client": 1000 * client_cpu / number},
        transactions=(after.transactions - before.transactions) / number,
        statements=(after.statements - before.statements) / number,
        wal=(after.wal - before.wal) / number,
        workflows=told and told.workflows / number,
        events=told and told.events / number,
        history_bytes=told and told.size / number,
        actions=told and told.actions / number,
    )


def at_percent(values: Sequence[float], percent: float) -> float:
    """By nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


class Spread(BaseModel):
    """The same figure in several rounds."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        return cls(middle=median(values), low=min(values), high=max(values)) if values else None


def spread(result: Result, system: str, path: str) -> Spread | None:
    """`spread(result, "lanka", "burst.confirmed_per_s")`; None where it was not measured."""
    values = [at(session, path) for session in result.sessions if session.system == system]
    return Spread.of([value for value in values if value is not None])


def at(session: Session, path: str) -> float | None:
    """The figure at `path`, None if there is none. `cpu.own` is the CPU of the parts which a user would run, `cpu.all`
    that of everything but the customers and the stand-in for the provider.
    """
    found: Any = session
    for name in path.split("."):
        found = _sum(session, found, name) if isinstance(found, Mapping) else getattr(found, name)
        if found is None:
            return None
    return float(found)


def _sum(session: Session, by_part: Mapping[str, float], name: str) -> float | None:
    if name == "own":
        return sum(by_part.get(part, 0.0) for part in session.own)
    if name == "all":
        return sum(used for part, used in by_part.items() if part not in NOT_THE_SYSTEM or part in session.own)
    return by_part.get(name)
