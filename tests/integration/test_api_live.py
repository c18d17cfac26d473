"""The operators' live picture: what it counts, who may watch, how often anybody looks, and how it ends."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.live import ChainNow, LivePicture, Picture, pictured
from chain.event import Event
from chain.failures import Outage
from chain.subject import Parked
from orders.events import (
    CartUnavailable,
    OrderConfirmed,
    OrderParked,
    OrderReleased,
    OrderWithdrawn,
    PaymentArrivedLate,
    PaymentConfirmed,
    PaymentDeclined,
    PaymentPending,
)
from orders.order import Order
from store.database import Pool, open_pool, transaction
from store.journal import record
from store.link_failures import LinkFailures
from store.operations import Operations
from store.overview import RATE_OVER, Overview
from store.payments import Payments
from telemetry.exposition import compensation
from tests.integration.conftest import OPERATOR
from tests.servers import HANGS_AFTER, Started, free_port, process, until
from tests.shop import accept, an_order, fetch, paid
from workflows.chains import CHAINS, TYPES

# ---- what it counts ----------------------------------------------------------------------------------------------


async def on_the_way(pool: Pool, *done: str, seconds: float = 0) -> Order:
    """An order that was received and dispatched so many seconds ago, at which these links have worked."""
    received = datetime.now(UTC) - timedelta(seconds=seconds)
    order = an_order(cup=1).model_copy(update={"received_at": received})
    await accept(pool, order)
    await fetch(
        pool,
        "UPDATE subjects SET workflow_id = 'w', taken_at = now(), dispatched_at = now() - $1::interval "
        "WHERE subject = $2",
        timedelta(seconds=seconds),
        order.order_id,
    )
    for link in done:
        await fetch(pool, "INSERT INTO claims VALUES ($1, $2)", order.order_id, link)
    return order


async def tell(pool: Pool, kind: type[Event[Any]], order: Order, made_by: str, /, **data: Any) -> None:
    async with transaction(pool) as tx:
        await record(tx, [kind.made_by(made_by, order.order_id, datetime.now(UTC), data)], TYPES)


async def park(pool: Pool, order: Order, link: str, reason: str = "unexpected_answer") -> None:
    data = {"link": link, "reason": reason, "attempts": 3, "last_error": "nonsense"}
    await tell(pool, OrderParked, order, f"{link}.parked.1", **data)


async def release(pool: Pool, order: Order, link: str) -> None:
    released = OrderReleased.made_by(
        f"{link}.parked.1", order.order_id, datetime.now(UTC), {"link": link, "by": "ann", "why": "mended"}
    )
    async with transaction(pool) as tx:
        await record(tx, [released.model_copy(update={"id": f"{released.id}.released"})], TYPES)


@pytest.fixture
def overview(pool: Pool) -> Overview:
    return Overview(pool, moves_within=timedelta(hours=1), compensation=compensation())


async def look(overview: Overview) -> Picture:
    return pictured({name: chain.table for name, chain in CHAINS.items()}, await overview.look(), None)


def of(picture: Picture, chain: str = "orders") -> ChainNow:
    return next(each for each in picture.chains if each.name == chain)


def counts(picture: Picture, chain: str = "orders") -> dict[str, tuple[int, int, int]]:
    """Waiting, in progress and parked, at each link where there is anybody."""
    counted = {link.name: (link.waiting, link.in_progress, link.parked) for link in of(picture, chain).links}
    return {name: numbers for name, numbers in counted.items() if any(numbers)}


async def test_every_open_order_is_counted_where_it_stands(pool: Pool, overview: Overview) -> None:
    assert counts(await look(overview)) == {}
    await accept(pool, an_order(cup=1))
    oldest = await on_the_way(pool, seconds=7200)
    await on_the_way(pool)
    pending = await on_the_way(pool, "payment")
    await tell(pool, PaymentPending, pending, "payment", order=pending, deadline=datetime.now(UTC))
    await on_the_way(pool, "payment", seconds=7200)
    await on_the_way(pool, "payment", "cart", "price")
    picture = await look(overview)
    assert counts(picture) == {
        "received": (1, 0, 0),
        "payment": (1, 1, 0),
        "settlement": (1, 0, 0),
        "cart": (1, 0, 0),
        "price": (1, 0, 0),
        "finalize": (0, 1, 0),
    }
    assert of(picture).open == 6
    assert next(link.oldest for link in of(picture).links if link.name == "payment") == oldest.received_at


async def test_what_is_parked_is_counted_by_reason_until_it_is_released(pool: Pool, overview: Overview) -> None:
    first, second, third = [await on_the_way(pool, seconds=7200) for _ in range(3)]
    await park(pool, first, "payment")
    await park(pool, second, "payment")
    await park(pool, third, "payment", "key_error")
    picture = await look(overview)
    assert counts(picture) == {"payment": (0, 0, 3)}
    assert [(group.chain, group.link, group.reason, group.subjects) for group in picture.parked] == [
        ("orders", "payment", "unexpected_answer", 2),
        ("orders", "payment", "key_error", 1),
    ]
    await release(pool, first, "payment")
    assert counts(await look(overview)) == {"payment": (0, 1, 2)}


async def test_an_order_that_goes_back_is_counted_there_with_the_money_that_is_owed(
    pool: Pool, overview: Overview
) -> None:
    unpaid, refused = await on_the_way(pool, "payment"), await on_the_way(pool, "payment", "cart", "price")
    await tell(pool, PaymentDeclined, unpaid, "payment", reason="payment_declined", detail="no")
    await tell(pool, CartUnavailable, refused, "cart", reason="out_of_stock", detail="none left")
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {refused.order_id: paid(refused)})
    picture = await look(overview)
    assert counts(picture) == {"release": (0, 2, 0), "refund": (0, 2, 0)}
    assert picture.owed == 1
    for link in ("release", "refund"):
        await fetch(pool, "INSERT INTO claims VALUES ($1, $2)", refused.order_id, link)
    picture = await look(overview)
    assert counts(picture)["reject"] == (0, 1, 0)
    assert picture.owed == 0


async def test_the_picture_counts_as_owed_what_the_list_of_refunds_has(pool: Pool, overview: Overview) -> None:
    taken_back = await on_the_way(pool, "payment")  # its payment was not checked: it may be paid
    await tell(pool, OrderWithdrawn, taken_back, "withdrawal", reason="rejected_by_operator", detail="", by="ann")
    assert (await look(overview)).owed == 1 == len(await Operations(pool, compensation()).refunds())
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'refund')", taken_back.order_id)
    assert (await look(overview)).owed == 0 == len(await Operations(pool, compensation()).refunds())


async def test_money_that_comes_after_the_end_is_owed(pool: Pool, overview: Overview) -> None:
    order = await on_the_way(pool, "payment", "release", "refund", "reject", seconds=7200)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await fetch(pool, "UPDATE subjects SET status = 'rejected', ended_at = now()")
    assert counts(await look(overview)) == {}
    await tell(pool, PaymentArrivedLate, order, "late.1", payment_id=order.payment_id)
    picture = await look(overview)
    assert (counts(picture), picture.owed, of(picture).open) == ({"late-refund": (0, 1, 0)}, 1, 0)
    await park(pool, order, "late-refund")
    assert counts(await look(overview)) == {"late-refund": (0, 0, 1)}


async def test_what_was_made_is_counted_once_and_what_was_there_before_as_well(pool: Pool, overview: Overview) -> None:
    def done(picture: Picture) -> dict[str, int]:
        orders = of(picture)
        return {each.name: each.done for each in orders.links if each.done} | {
            end.status: end.done for end in orders.ends if end.done
        }

    began = time.monotonic()
    first = await on_the_way(pool, "payment")
    await tell(pool, PaymentConfirmed, first, "payment", order=first, payment=paid(first))
    assert done(await look(overview)) == {"received": 1, "payment": 1}
    second = await on_the_way(pool, "payment")
    await tell(pool, PaymentConfirmed, second, "payment", order=second, payment=paid(second))
    await park(pool, second, "payment")
    ending = {"order_number": "L1", "customer_id": "c", "payment_id": "p", "total": 1, "currency": "EUR"}
    await tell(pool, OrderConfirmed, first, "finalize", **ending)
    picture = await look(overview)
    assert done(picture) == {"received": 2, "payment": 2, "finalize": 1, "confirmed": 1}
    assert done(await look(overview)) == done(picture)
    over, took = RATE_OVER.total_seconds(), time.monotonic() - began
    chain = of(picture)
    counted = [(each.done, each.per_second) for each in chain.links] + [(e.done, e.per_second) for e in chain.ends]
    for number, per_second in counted:
        least = number / (over + took) if took < over else 0  # after that time the first are counted no more
        assert round(least, 1) <= per_second <= round(number / over, 1)


async def test_the_subjects_of_each_chain_are_counted_in_their_own(pool: Pool, overview: Overview) -> None:
    order = await on_the_way(pool, seconds=60)
    await park(pool, order, "payment")
    await fetch(
        pool,
        """
        INSERT INTO subjects (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at)
        VALUES ('call_1', 'support', 'received', now(), 'call-call_1', now(), now() - interval '1 minute')
        """,
    )
    data = {"link": "assign", "reason": "a_bug", "attempts": 3, "last_error": "a bug"}
    async with transaction(pool) as tx:
        await record(tx, [Parked.made_by("assign.parked.1", "call_1", datetime.now(UTC), data)], TYPES)

    picture = await look(overview)

    assert counts(picture) == {"payment": (0, 0, 1)}
    assert counts(picture, "support") == {"assign": (0, 0, 1)}
    assert {(each.chain, each.link, each.subjects) for each in picture.parked} == {
        ("orders", "payment", 1),
        ("support", "assign", 1),
    }
    assert [end.status for end in of(picture).ends] == ["confirmed", "rejected", "cancelled"]


# ---- how often anybody looks -------------------------------------------------------------------------------------


class Looker:
    """Counts the looks; each time it sees what it is told."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.looks = 0
        self.away = False

    async def look(self) -> Picture:
        self.looks += 1
        if self.away:
            raise Outage("PostgreSQL is away")
        return self.picture


@pytest.fixture
async def looker(overview: Overview) -> Looker:
    return Looker(await look(overview))


async def test_however_many_watch_there_is_one_look_at_a_time_and_none_when_nobody_does(looker: Looker) -> None:
    live = LivePicture(looker.look, every=0.01)
    for _ in range(3):
        await asyncio.sleep(0)
    assert looker.looks == 0
    with live.watching():
        await live.news_since(None)
        first = live.frame
        contexts = [live.watching() for _ in range(100)]
        for context in contexts:
            context.__enter__()
        assert live.frame is first, "the next to come sees at once what is known"
        assert looker.looks <= 2
        for context in contexts:
            context.__exit__(None, None, None)
        before = looker.looks
        await until(lambda: looker.looks > before + 1, HANGS_AFTER, "the next looks")
        assert live.frame is first, "nothing has changed, so nothing is told"
    before = looker.looks
    await asyncio.sleep(0.05)
    assert looker.looks == before


async def test_a_database_that_is_away_is_told_and_so_is_its_return(looker: Looker) -> None:
    live = LivePicture(looker.look, every=0.01)
    with live.watching():
        async with asyncio.timeout(HANGS_AFTER):
            await live.news_since(None)
            assert live.frame
            assert live.frame.kind == "picture"
            looker.away = True
            await live.news_since(live.frame)
            assert live.frame.kind == "away"
            looker.away = False
            await live.news_since(live.frame)
            assert live.frame.kind == "picture"


# ---- over the wire -----------------------------------------------------------------------------------------------


async def test_only_an_operator_watches(api: httpx.AsyncClient) -> None:
    answer = await api.get("/operations/live")
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")


@asynccontextmanager
async def api_process(database_url: str) -> AsyncIterator[tuple[Started, httpx.AsyncClient]]:
    port = free_port()
    command = (sys.executable, "-m", "lanka", "api", "--port", port)
    env = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}"}
    async with (
        process(*map(str, command), env=env) as started,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=OPERATOR, timeout=HANGS_AFTER) as client,
    ):
        await until(lambda: client.get("/livez"), HANGS_AFTER, "the API")
        yield started, client


def orders(picture: dict[str, Any]) -> dict[str, Any]:
    chain: dict[str, Any] = next(each for each in picture["chains"] if each["name"] == "orders")
    return chain


async def test_a_stream_shows_what_happens_and_ends_when_the_process_is_told_to_stop(shop: str, pool: Pool) -> None:
    async with api_process(shop) as (started, client), client.stream("GET", "/operations/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()

        async def next_picture() -> dict[str, Any]:
            async for line in lines:
                if line.startswith("data: "):
                    picture: dict[str, Any] = json.loads(line.removeprefix("data: "))
                    return picture
            raise AssertionError("the stream has ended")

        async with asyncio.timeout(HANGS_AFTER):
            assert orders(await next_picture())["open"] == 0
            await on_the_way(pool)
            assert orders(await next_picture())["open"] == 1
            started.popen.terminate()
            rest = [line async for line in lines]  # ends in good order: a broken one raises
            await until(lambda: started.exit_code is not None, HANGS_AFTER, "the end of the API")
        assert not [line for line in rest if line.startswith("event: away")]


async def test_a_watcher_whose_key_is_revoked_sees_no_more(shop: str, pool: Pool) -> None:
    async with api_process(shop) as (_, client), client.stream("GET", "/operations/live") as answer:
        await fetch(pool, "UPDATE api_keys SET revoked_at = now()")
        async with asyncio.timeout(HANGS_AFTER):
            _ = [line async for line in answer.aiter_lines()]
    assert answer.status_code == httpx.codes.OK


# ---- why subjects wait --------------------------------------------------------------------------------------------


def why(picture: Picture, link: str, chain: str = "orders") -> tuple[str, str | None, int] | None:
    told = next(each.why for each in of(picture, chain).links if each.name == link)
    return (told.kind, told.error, told.subjects) if told else None


@pytest.fixture
async def failures(pool: Pool) -> AsyncIterator[LinkFailures]:
    """Those of a worker."""
    async with worker_with(pool) as told:
        yield told


@asynccontextmanager
async def worker_with(pool: Pool) -> AsyncIterator[LinkFailures]:
    told = LinkFailures(pool, {"OrderConfirmation": "orders"})
    writing = asyncio.create_task(told.run())
    yield told
    writing.cancel()
    await asyncio.wait([writing])


async def becomes(overview: Overview, link: str, wanted: object) -> Picture:
    async def so() -> Picture | None:
        picture = await look(overview)
        return picture if why(picture, link) == wanted else None

    picture: Picture = await until(so, HANGS_AFTER, f"{link}: {wanted}")
    return picture


async def test_a_link_says_why_orders_wait_there_until_it_works_again(
    pool: Pool, overview: Overview, failures: LinkFailures
) -> None:
    waiting = [(await on_the_way(pool, seconds=7200)).order_id for _ in range(3)]
    assert why(await look(overview), "payment") is None
    failures.failed("OrderConfirmation", "payment", waiting[:1], "outage", "sandbox is too\0\ud83d slow", 10)
    failures.failed("OrderConfirmation", "payment", waiting[1:], "outage", "sandbox answered 503", 10)
    picture = await becomes(overview, "payment", ("outage", "sandbox answered 503", 2))
    assert why(picture, "cart") is None
    (row,) = await fetch(pool, "SELECT since, until FROM link_failures")
    failures.failed("OrderConfirmation", "payment", waiting[1:], "outage", "sandbox answered 503", 20)
    renewed = "SELECT since FROM link_failures WHERE until > $1::timestamptz + interval '5 s'"
    again = await until(lambda: fetch(pool, renewed, row["until"]), HANGS_AFTER, "the next write")
    assert again == [{"since": row["since"]}], "for who watches nothing has changed"

    failures.works("OrderConfirmation", "payment", waiting[1:])
    await becomes(overview, "payment", ("outage", "sandbox is too slow", 1))
    failures.works("OrderConfirmation", "payment", waiting[:1])
    await becomes(overview, "payment", None)
    assert await fetch(pool, "SELECT 1 FROM link_failures") == []


async def test_several_workers_together_say_how_many_wait(pool: Pool, overview: Overview) -> None:
    waiting = [(await on_the_way(pool, seconds=7200)).order_id for _ in range(3)]
    async with worker_with(pool) as one, worker_with(pool) as other:
        one.failed("OrderConfirmation", "payment", waiting[:1], "outage", "away", 10)
        other.failed("OrderConfirmation", "payment", waiting[1:], "outage", "away", 10)
        await becomes(overview, "payment", ("outage", "away", 3))
        one.failed("OrderConfirmation", "payment", waiting, "outage", "away", 10)  # each tries what the other did
        rows = "SELECT 1 FROM link_failures GROUP BY chain HAVING sum(subjects) = 5"
        await until(lambda: fetch(pool, rows), HANGS_AFTER, "both rows")
        await becomes(overview, "payment", ("outage", "away", 3))


async def test_what_failed_at_one_worker_and_works_at_another_fails_no_more(pool: Pool, overview: Overview) -> None:
    waiting = [(await on_the_way(pool, seconds=7200)).order_id for _ in range(3)]
    async with worker_with(pool) as one, worker_with(pool) as other:
        one.failed("OrderConfirmation", "payment", waiting, "outage", "away", 10)
        await becomes(overview, "payment", ("outage", "away", 3))
        other.works("OrderConfirmation", "payment", waiting[:1])
        await becomes(overview, "payment", ("outage", "away", 2))
        other.works("OrderConfirmation", "payment", waiting[1:])
        await becomes(overview, "payment", None)


async def test_a_failure_that_nobody_renews_or_nobody_waits_for_is_not_shown(
    pool: Pool, overview: Overview, failures: LinkFailures
) -> None:
    order = await on_the_way(pool, seconds=7200)
    failures.failed("OrderConfirmation", "payment", [order.order_id], "outage", "away", 10)
    failures.failed("OrderConfirmation", "price", ["somebody-else"], "outage", "away", 10)
    picture = await becomes(overview, "payment", ("outage", "away", 1))
    assert why(picture, "price") is None
    await fetch(pool, "UPDATE link_failures SET until = now()")
    await becomes(overview, "payment", None)


async def test_what_is_parked_and_what_is_pending_are_told_apart_from_an_outage(
    pool: Pool, overview: Overview, failures: LinkFailures
) -> None:
    pending = [await on_the_way(pool, "payment", seconds=7200) for _ in range(2)]
    for order in pending:
        await tell(pool, PaymentPending, order, "payment", order=order, deadline=datetime.now(UTC))
    assert why(await look(overview), "settlement") == ("pending", None, 2)
    failures.failed("OrderConfirmation", "settlement", [pending[0].order_id], "outage", "away", 10)
    await becomes(overview, "settlement", ("outage", "away", 1))

    first, second, third = [await on_the_way(pool, seconds=7200) for _ in range(3)]
    await park(pool, first, "payment")
    await park(pool, second, "payment")
    failures.failed("OrderConfirmation", "payment", [third.order_id], "outage", "away", 10)
    await becomes(overview, "payment", ("outage", "away", 1))  # the more that are parked do not hide it
    failures.works("OrderConfirmation", "payment", [third.order_id])
    await becomes(overview, "payment", ("fault", "nonsense", 2))
    other = {"link": "payment", "reason": "unexpected_answer", "attempts": 3, "last_error": "other nonsense"}
    await tell(pool, OrderParked, third, "payment.parked.1", **other)
    assert why(await look(overview), "payment") == ("fault", "unexpected_answer", 3)


async def test_while_postgresql_is_away_a_worker_goes_on_and_tells_later(pool: Pool, overview: Overview) -> None:
    order = await on_the_way(pool, seconds=7200)
    async with open_pool(f"postgresql://postgres@127.0.0.1:{free_port()}/none") as nowhere:
        told = LinkFailures(nowhere, {"OrderConfirmation": "orders"})
        told.failed("OrderConfirmation", "payment", [order.order_id], "outage", "PostgreSQL: away", 60)
        writing = asyncio.create_task(told.run())
        await until(lambda: _again(told), HANGS_AFTER, "the failed write")
        told._pool = pool
        await becomes(overview, "payment", ("outage", "PostgreSQL: away", 1))
        assert not writing.done()
        writing.cancel()
        await asyncio.wait([writing])


async def _again(told: LinkFailures) -> bool:
    return told._news.is_set() and bool(told._unwritten)


async def test_while_temporal_is_away_the_picture_says_why_nothing_leaves(shop: str, pool: Pool) -> None:
    """Nothing listens where this API looks for Temporal."""
    await accept(pool, an_order(cup=1).model_copy(update={"received_at": datetime.now(UTC) - timedelta(hours=2)}))
    async with api_process(shop) as (_, client), client.stream("GET", "/operations/live") as answer:
        async with asyncio.timeout(HANGS_AFTER):
            line = await anext(line async for line in answer.aiter_lines() if line.startswith("data: "))
    (received,) = [each for each in orders(json.loads(line[6:]))["links"] if each["name"] == "received"]
    assert (received["why"]["kind"], received["why"]["subjects"]) == ("outage", 1)
    assert received["why"]["error"].startswith("Temporal: ")
