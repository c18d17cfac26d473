"""The last day of a chain, hour by hour, and whether its subjects take as long as they usually do."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel

from api.auth import Operator
from api.chains import chain_named, ends_of
from api.funnel import hour_of, percentile
from api.problems import Code, Text, raises, refuse_repeated
from api.shared import Here
from chain.table import Table
from store.funnel import Made
from store.orders import CHAIN

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAYS = 7


class HourNow(BaseModel):
    """`hour` is when it begins, in UTC. `ended`: how many came to each end, by its status."""

    hour: AwareDatetime
    received: int
    ended: dict[str, int]


class Took(BaseModel):
    """`count` subjects have ended; from being received to their end they took so many seconds, exact to a tenth."""

    count: int
    p50: float | None
    p95: float | None


class Usual(Took):
    """The same of the seven days before. `days`: so many saw any end; `count`: of one of these, the mean."""

    days: int


class HoursAnswer(BaseModel):
    """The last 24 hours, the one that is not over yet among them; `today` is all of them together."""

    chain: str
    hours: list[HourNow]
    today: Took
    usual: Usual


class HoursAsked(BaseModel, extra="forbid"):
    chain: Text = CHAIN


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("/hours")
@raises(Code.CHAIN_NOT_FOUND)
async def read_hours(request: Request, here: Here, _: Operator, asked: Annotated[HoursAsked, Query()]) -> HoursAnswer:
    """How many subjects have begun and ended in each of the last 24 hours, and how long they took."""
    refuse_repeated(request)
    table = chain_named(asked.chain)
    until = hour_of(await here.counts.store.now()) + HOUR
    made = await here.counts.store.whole(asked.chain, until - (1 + DAYS) * DAY, until)
    return hours_of(asked.chain, table, made, until)


def hours_of(chain: str, table: Table, made: Sequence[Made], until: datetime) -> HoursAnswer:
    """`made`: of the last eight days, up to the hour that ends with `until`."""
    today = [each for each in made if each.hour >= until - DAY]
    before = [each for each in made if each.hour < until - DAY]
    days = {(until - each.hour - HOUR) // DAY for each in before if _ends(table, each)}
    took = _took(table, before)
    usual = Usual(days=len(days), count=round(took.count / (len(days) or 1)), p50=took.p50, p95=took.p95)
    hours = [_hour(table, today, until - nth * HOUR) for nth in range(24, 0, -1)]
    return HoursAnswer(chain=chain, hours=hours, today=_took(table, today), usual=usual)


def _hour(table: Table, made: Sequence[Made], hour: datetime) -> HourNow:
    ended = Counter(dict.fromkeys(ends_of(table).values(), 0))
    received = 0
    for each in made:
        if each.hour == hour and (status := _ends(table, each)):
            ended[status] += each.events
        elif each.hour == hour:
            received += each.events
    return HourNow(hour=hour, received=received, ended=ended)


def _took(table: Table, made: Sequence[Made]) -> Took:
    seconds: Counter[float] = Counter()
    for each in made:
        if each.seconds is not None and _ends(table, each):
            seconds[each.seconds] += each.events
    return Took(count=seconds.total(), p50=percentile(seconds, 0.50), p95=percentile(seconds, 0.95))


def _ends(table: Table, made: Made) -> str | None:
    return ends_of(table).get(table.types[made.type])
