"""The funnel, from a journal in a real PostgreSQL."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from asyncpg.connection import LoggedQuery

from api.funnel import Counts
from api.live import pictured
from benchmarks.funnel import count_step, counted, plant, standing_in
from chain.event import AnyEvent
from store.database import Pool, open_pool, transaction
from store.funnel import Funnel
from store.intake import Intake, register
from store.journal import record
from store.overview import Overview
from tests.integration.conftest import OPERATOR, SHOP
from tests.servers import HANGS_AFTER
from tests.shop import accept, an_order
from workflows.chains import CHAINS, TYPES, accepted
from workflows.order_confirmation import TABLE

WAY = (("payment", "PaymentConfirmed"), ("cart", "StockReserved"), ("price", "PriceConfirmed"))
HOUR = timedelta(hours=1)
MANNERS = ("waiting", "in_progress", "parked")
NOT_YET = -3600.0
"""Ago: what is to have just happened is as new as that for as long as a test may take."""


@pytest.fixture
def standing(pool: Pool) -> Overview:
    return standing_in(pool)


@pytest.fixture
def counts(pool: Pool, standing: Overview) -> Counts:
    return Counts(pool, standing)


@pytest.fixture
async def operator(api: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    api.headers.update(OPERATOR)
    yield api
    api.headers.update(SHOP)


def an_event(order_id: str, link: str, kind: str, at: datetime, /, **data: Any) -> AnyEvent:
    return AnyEvent(
        id=f"{order_id}.{link}.{kind}",
        source=f"/lanka/{link}",
        type=f"lanka.{kind}",
        subject=order_id,
        time=at,
        data=data,
    )


async def an_order_that(pool: Pool, *way: tuple[str, str], each: float = 1.0, ago: float = 0.0, **data: Any) -> str:
    """Accepted, then one event after the other, `each` so many seconds after the one before, the last one `ago`.

    None is of the future unless `ago` says so: the funnel tells of the hours up to now.
    """
    received = datetime.now(UTC) - timedelta(seconds=ago + each * len(way))
    order = an_order(cup=1).model_copy(update={"received_at": received})
    await accept(pool, order)
    taken = "UPDATE subjects SET workflow_id = subject, taken_at = received_at, dispatched_at = received_at"
    await pool.execute(f"{taken} WHERE subject = $1", order.order_id)
    events = [
        an_event(order.order_id, link, kind, received + timedelta(seconds=each * nth), **data)
        for nth, (link, kind) in enumerate(way, start=1)
    ]
    async with transaction(pool) as tx:
        await record(tx, events, TYPES)
        for link in {link for link, kind in way if kind not in {"OrderParked", "OrderReleased"}}:
            await tx.execute("INSERT INTO claims (subject, link) VALUES ($1, $2)", order.order_id, link)
    return order.order_id


async def funnel(client: httpx.AsyncClient, **params: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    answer = await client.get("/operations/funnel", params=params)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return told, {link["link"]: link for link in told["links"]}


async def test_it_tells_where_the_orders_are(operator: httpx.AsyncClient, pool: Pool) -> None:
    at_price = {"link": "price", "stage": "price", "reason": "zero_division_error"}
    began = datetime.now(UTC)
    await an_order_that(pool, ago=NOT_YET)
    await an_order_that(pool, *WAY[:1], ago=50, each=0)
    await an_order_that(pool, *WAY[:2], ago=60, each=0)
    await an_order_that(pool, *WAY[:2], ("price", "OrderParked"), ago=70, each=0, **at_price)
    await an_order_that(pool, *WAY, ("finalize", "OrderConfirmed"), ago=80)
    await accept(pool, an_order(cup=1))  # not given to Temporal yet

    _, links = await funnel(operator)
    here = {name: (each["waiting"], each["in_progress"], each["parked"]) for name, each in links.items()}

    assert here["received"] == (1, 0, 0)
    assert here["payment"] == (0, 1, 0)
    assert here["cart"] == (1, 0, 0)
    assert here["price"] == (2, 0, 1)
    assert here["finalize"] == (0, 0, 0)
    assert links["finalize"]["oldest_age_seconds"] is None
    assert 70 <= links["price"]["oldest_age_seconds"] <= 70 + (datetime.now(UTC) - began).total_seconds()


async def test_funnel_console_and_the_orders_own_page_count_alike(
    operator: httpx.AsyncClient, pool: Pool, standing: Overview
) -> None:
    """Long on the way, but something has just happened: it moves. Its payment is pending: it waits from the start."""
    pending = ("payment", "PaymentPending")
    at_payment = {"link": "payment", "stage": "payment", "reason": "a_bug", "attempts": 3, "last_error": "ouch"}
    orders = [
        await an_order_that(pool, ago=NOT_YET),
        await an_order_that(pool, ago=50),
        await an_order_that(pool, *WAY[:1], ago=NOT_YET, each=100),
        await an_order_that(pool, *WAY[:1], ago=50, each=1),
        await an_order_that(pool, pending, ago=NOT_YET, each=100, order=None, deadline=datetime.now(UTC).isoformat()),
        await an_order_that(pool, ("payment", "OrderParked"), ago=NOT_YET, each=100, **at_payment),
    ]
    (picture,) = pictured({"orders": TABLE}, await standing.look(), None).chains
    shown = {link.name: (link.waiting, link.in_progress, link.parked) for link in picture.links}
    _, links = await funnel(operator)
    told: dict[str, Counter[str]] = {name: Counter() for name in links}
    for order_id in orders:
        page = (await operator.get(f"/operations/orders/{order_id}")).json()
        for step in page["steps"]:
            told[step["link"]][step["state"]] += 1

    assert (shown["payment"], shown["settlement"]) == ((1, 1, 1), (1, 0, 0))
    assert shown["cart"] == shown["price"] == (1, 1, 0)
    for name, here in links.items():
        assert shown[name] == tuple(here[word] for word in MANNERS), name
        assert shown[name] == tuple(told[name][word] for word in MANNERS), name


async def test_it_tells_what_became_of_the_orders(operator: httpx.AsyncClient, pool: Pool) -> None:
    for _ in range(3):
        await an_order_that(pool, *WAY, ("checks", "CartConfirmed"), ("finalize", "OrderConfirmed"), each=2)
    await an_order_that(pool, WAY[0], ("cart", "CartUnavailable"), WAY[2], reason="out_of_stock", detail="", each=0.1)

    told, links = await funnel(operator)

    assert (told["received"], told["confirmed"], told["rejected"], told["conversion"]) == (4, 3, 0, 1.0)
    cart = links["cart"]
    assert (cart["done"], cart["rejected"], cart["conversion"]) == (3, 1, 0.75)
    assert cart["reasons"] == {"out_of_stock": 1}
    assert cart["p50_seconds"] == cart["p95_seconds"] == pytest.approx(2, rel=0.1)
    assert links["price"]["p95_seconds"] == pytest.approx(4, rel=0.1)
    assert links["payment"]["p50_seconds"] == pytest.approx(2, rel=0.1)
    assert links["finalize"]["p50_seconds"] == pytest.approx(2, rel=0.1)


async def test_what_begins_and_ends_from_outside_is_counted(pool: Pool) -> None:
    now = datetime.now(UTC)
    caller = {"customer_id": "cus_1", "language": "uk", "skill": "orders"}
    told = [
        AnyEvent(id=kind, source="/phones/assign", type=f"lanka.{kind}", subject="call_1", time=now, data=data)
        for kind, data in (("SupportCallStarted", caller), ("SupportCallEnded", {}))
    ]
    async with transaction(pool) as tx:
        await register(tx, accepted())
    await Intake(pool).publish(told)

    made = await Funnel(pool, {"support": CHAINS["support"].table.inputs}).made("support", now - HOUR, now + HOUR)

    assert sorted((each.link, each.type, each.events) for each in made) == [
        ("", "lanka.SupportCallEnded", 1),
        ("", "lanka.SupportCallStarted", 1),
    ]


async def test_hours_are_told_apart(operator: httpx.AsyncClient, pool: Pool) -> None:
    now = datetime.now(UTC)
    this = now.replace(minute=0, second=0, microsecond=0)
    for hours, orders in ((0, 1), (1, 2), (30, 3)):
        ago = (now - this + hours * HOUR - timedelta(milliseconds=1)).total_seconds()
        for _ in range(orders):
            await an_order_that(pool, ("finalize", "OrderConfirmed"), ago=ago, each=0)

    told, _ = await funnel(operator)
    assert [(each["received"], each["confirmed"]) for each in told["hours"]] == [(2, 2), (1, 1)]
    told, _ = await funnel(operator, hours=100)
    assert told["confirmed"] == 6
    old = {"from": (this - 40 * HOUR).isoformat(), "to": (this - 20 * HOUR).isoformat()}
    told, _ = await funnel(operator, **old)
    assert (told["confirmed"], told["links"][0]["done"]) == (3, 3)


async def test_counting_changes_nothing_in_what_is_told(
    operator: httpx.AsyncClient, pool: Pool, counts: Counts
) -> None:
    for nth in range(3):
        await an_order_that(pool, *WAY, ("finalize", "OrderConfirmed"), each=1 + nth)
    before, _ = await funnel(operator)
    await counted(counts, pool)
    after, _ = await funnel(operator)
    assert [each["done"] for each in after["links"]] == [each["done"] for each in before["links"]]
    assert after["hours"] == before["hours"]
    assert await pool.fetchval("SELECT sum(events) FROM link_hours WHERE link <> '*'") == 15


async def test_an_event_that_commits_late_is_counted(pool: Pool, counts: Counts) -> None:
    order_id = await an_order_that(pool)
    async with transaction(pool) as late:
        await record(late, [an_event(order_id, "cart", "StockReserved", datetime.now(UTC))], TYPES)
        await an_order_that(pool, *WAY)
        for _ in range(4):
            await count_step(counts, pool)
        assert await pool.fetchval("SELECT coalesce(sum(events), 0) FROM link_hours WHERE link = 'cart'") == 0
    await counted(counts, pool)
    assert await pool.fetchval("SELECT sum(events) FROM link_hours WHERE link = 'cart'") == 2


async def test_processes_that_count_side_by_side_count_once(pool: Pool, counts: Counts, standing: Overview) -> None:
    for _ in range(5):
        await an_order_that(pool, *WAY)
    for _ in range(4):
        await pool.execute("UPDATE link_hours_progress SET at = at - interval '1 minute'")
        await asyncio.gather(*(Counts(pool, standing).store.count_on() for _ in range(5)))
    await counted(counts, pool)
    assert await pool.fetchval("SELECT sum(events) FROM link_hours WHERE link <> '*'") == await pool.fetchval(
        "SELECT count(*) FROM journal"
    )


@pytest.mark.parametrize(
    "params",
    [
        {"hours": 0},
        {"hours": "many"},
        {"from": "yesterday"},
        {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00"},
        {"from": "0001-01-01T00:00:00+14:00"},
        {"to": "9999-12-31T23:59:59-14:00"},
    ],
)
async def test_a_window_that_makes_no_sense_is_refused(operator: httpx.AsyncClient, params: dict[str, str]) -> None:
    answer = await operator.get("/operations/funnel", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_window")


async def test_only_operators_see_it(api: httpx.AsyncClient) -> None:
    assert (await api.get("/operations/funnel")).status_code == 403


async def test_the_last_day_is_told_hour_by_hour_beside_what_is_usual(
    operator: httpx.AsyncClient, pool: Pool, counts: Counts
) -> None:
    now = datetime.now(UTC)
    this = now.replace(minute=0, second=0, microsecond=0)

    async def ended(number: int, seconds: float, hours_before: float) -> None:
        ago = (now - this + hours_before * HOUR).total_seconds() - 0.5 * 3600 if hours_before else 0.0
        for _ in range(number):
            await an_order_that(pool, ("finalize", "OrderConfirmed"), ago=ago, each=seconds)

    await ended(2, 10, 0)
    await ended(1, 10, 23)
    await ended(4, 2, 24)
    await ended(2, 2, 24 + 6 * 24)
    await ended(5, 2, 24 + 8 * 24)  # too long ago
    await an_order_that(pool)
    answers = []
    for _ in range(2):
        answer = await operator.get("/operations/hours")
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
        await counted(counts, pool)  # which changes nothing in what is told

    for told in answers:
        assert len(told["hours"]) == 24
        by_hour = {datetime.fromisoformat(each["hour"]): each for each in told["hours"]}
        assert by_hour[this]["ended"] == {"confirmed": 2, "rejected": 0, "cancelled": 0}
        assert by_hour[this - 23 * HOUR]["ended"]["confirmed"] == 1
        assert sum(each["received"] for each in told["hours"]) == 4
        assert (told["today"]["count"], told["usual"]["count"], told["usual"]["days"]) == (3, 3, 2)
        assert told["today"]["p50"] == told["today"]["p95"] == pytest.approx(10, rel=0.1)
        assert told["usual"]["p50"] == told["usual"]["p95"] == pytest.approx(2, rel=0.1)


async def test_a_day_on_which_nothing_happened_is_told_as_well(operator: httpx.AsyncClient) -> None:
    told = (await operator.get("/operations/hours", params={"chain": "support"})).json()
    assert {each["received"] for each in told["hours"]} == {0}
    assert told["today"] == {"count": 0, "p50": None, "p95": None}
    assert told["usual"] == {"days": 0, "count": 0, "p50": None, "p95": None}
    assert (await operator.get("/operations/hours", params={"chain": "none"})).json()["code"] == "chain_not_found"


@pytest.mark.timeout(10 * HANGS_AFTER)
async def test_an_answer_reads_no_more_of_a_million_events_than_of_a_tenth_of_them(
    database_url: str, pool: Pool, counts: Counts, standing: Overview
) -> None:
    """With 10,000 open orders. Nobody has asked shortly before, so nothing is known yet."""
    ended, running = 125_000, 10_000
    read, of_the_day = [], []
    for upto in (ended // 10, ended):
        await plant(pool, upto, running)
        await counted(counts, pool)
        now = datetime.now(UTC)
        told = await Counts(pool, standing).funnel("orders", now - 100 * HOUR, now, "en")
        assert told.model_extra
        assert (told.received, told.model_extra["confirmed"]) == (upto + running, upto)
        read.append(await pages_read_by_an_answer(database_url, now - 100 * HOUR, now))
        of_the_day.append(await pages_read_for_the_day(database_url))
    at = {link.link: link.waiting + link.in_progress for link in told.links}
    assert at["payment"] == at["finalize"] == running // 4
    assert await pool.fetchval("SELECT count(*) FROM journal") > 1_000_000
    assert await pool.fetchval("SELECT count(*) FROM link_hours") < 10_000

    few, many = read
    assert many < 1.2 * few, f"{many} pages, and {few} of a tenth"
    assert many < 6 * running, "with an index less, 7 of each open order"
    few, many = of_the_day
    assert many < few + 10_000, f"{many} pages for eight days by the hour, and {few} of a tenth"


async def pages_read_by_an_answer(database_url: str, since: datetime, until: datetime) -> int:
    return await pages_read(database_url, lambda counts: counts.funnel("orders", since, until, "en"))


async def pages_read_for_the_day(database_url: str) -> int:
    now = datetime.now(UTC)
    return await pages_read(database_url, lambda counts: counts.store.whole("orders", now - 8 * 24 * HOUR, now))


async def pages_read(database_url: str, ask: Callable[[Counts], Awaitable[object]]) -> int:
    """How many pages of tables and indexes PostgreSQL looks at for it."""
    asked: list[LoggedQuery] = []
    async with open_pool(database_url, size=1) as alone:
        async with alone.acquire() as connection:
            connection.add_query_logger(asked.append)
        await ask(Counts(alone, standing_in(alone)))
        return sum([await pages_of(alone, each) for each in tuple(asked) if "FROM" in each.query])


async def pages_of(pool: Pool, asked: LoggedQuery) -> int:
    told = await pool.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked.query}", *asked.args)
    plan = json.loads(told)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
