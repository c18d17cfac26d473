"""The list behind a number: subjects of any chain, where they stand, page by page, at a bounded cost."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from benchmarks.funnel import plant, standing_in
from chain.steps import State
from chain.subject import Parked
from orders.events import CartUnavailable, OrderParked, OrderWithdrawn, PaymentConfirmed, PaymentPending, PriceChanged
from orders.order import Order
from store.database import Pool, open_pool, transaction
from store.journal import record
from store.subjects import Subjects, WantedSubjects
from tests.integration.conftest import OPERATOR
from tests.integration.test_funnel import pages_of
from tests.servers import HANGS_AFTER
from tests.shop import accept, an_order, fetch, paid
from workflows.chains import CHAINS, TYPES

LONG_AGO = timedelta(hours=1)


async def an_order_with(pool: Pool, *events: tuple[Any, str, dict[str, Any]], taken: bool = True) -> Order:
    """Dispatched an hour ago; what the links have made of it since, all of it long ago."""
    order = an_order(cup=1).model_copy(update={"received_at": datetime.now(UTC) - LONG_AGO})
    await accept(pool, order)
    if taken:
        query = "UPDATE subjects SET workflow_id = 'w', taken_at = received_at, dispatched_at = received_at"
        await fetch(pool, f"{query} WHERE subject = $1", order.order_id)
    made = [kind.made_by(link, order.order_id, order.received_at, data) for kind, link, data in events]
    async with transaction(pool) as tx:
        await record(tx, made, TYPES)
        for kind, link, _ in events:
            if kind not in (OrderParked, OrderWithdrawn):
                await tx.execute("INSERT INTO claims (subject, link) VALUES ($1, $2)", order.order_id, link)
    return order


def pending(order_total: int = 1) -> tuple[Any, str, dict[str, Any]]:
    order = an_order(cup=order_total)
    return PaymentPending, "payment", {"order": order, "deadline": datetime.now(UTC)}


def confirmed() -> tuple[Any, str, dict[str, Any]]:
    order = an_order(cup=1)
    return PaymentConfirmed, "payment", {"order": order, "payment": paid(order)}


def refusal(kind: Any, link: str, reason: str) -> tuple[Any, str, dict[str, Any]]:
    return kind, link, {"reason": reason, "detail": ""}


def parked(reason: str) -> tuple[Any, str, dict[str, Any]]:
    return OrderParked, "payment", {"link": "payment", "reason": reason, "attempts": 3, "last_error": "ouch"}


async def a_call(pool: Pool, call: str, *, parks: bool) -> None:
    await fetch(
        pool,
        """
        INSERT INTO subjects (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at)
        VALUES ($1, 'support', 'waiting', now() - interval '1 hour', $1, now(), now() - interval '1 hour')
        """,
        call,
    )
    data = {"link": "assign", "reason": "a_bug", "attempts": 3, "last_error": "a bug"}
    if parks:
        async with transaction(pool) as tx:
            await record(tx, [Parked.made_by("assign.parked.1", call, datetime.now(UTC), data)], TYPES)


async def asked(api: httpx.AsyncClient, **which: Any) -> httpx.Response:
    answer = await api.get("/operations/subjects", headers=OPERATOR, params=which)
    assert answer.status_code == 200, answer.text
    return answer


async def found(api: httpx.AsyncClient, **which: Any) -> list[str]:
    """The ids, after it was seen that the answer counts them."""
    answer = await asked(api, **which)
    assert answer.headers["Total-Count"] == str(len(answer.json()))
    return [each["subject"] for each in answer.json()]


async def test_the_subjects_behind_each_number_of_the_picture_are_listed_oldest_first(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    first, second = await an_order_with(pool), await an_order_with(pool)
    waits = await an_order_with(pool, pending())
    beside = await an_order_with(pool, confirmed())
    stuck = await an_order_with(pool, parked("a_bug"))
    fresh = await an_order_with(pool, taken=False)
    await a_call(pool, "call_1", parks=True)
    await a_call(pool, "call_2", parks=False)

    assert await found(api, link="payment", state="waiting") == [first.order_id, second.order_id]
    assert await found(api, link="payment") == [first.order_id, second.order_id, stuck.order_id]
    assert await found(api, link="settlement", state="waiting") == [waits.order_id]
    assert await found(api, link="cart") == await found(api, link="price") == [beside.order_id]
    assert await found(api, link="received") == [fresh.order_id]
    assert set(await found(api, state="parked")) == {stuck.order_id, "call_1"}
    assert await found(api, chain="support", state="waiting") == ["call_2"]
    assert await found(api, link="finalize") == []


async def test_an_entry_says_where_the_subject_stands_and_whose_it_is(api: httpx.AsyncClient, pool: Pool) -> None:
    order = await an_order_with(pool, confirmed())
    await a_call(pool, "call_1", parks=True)
    (told,) = (await asked(api, chain="orders")).json()
    at = order.received_at.isoformat().replace("+00:00", "Z")
    assert told == {
        "chain": "orders",
        "subject": order.order_id,
        "status": "processing",
        "links": [{"link": "cart", "state": "waiting"}, {"link": "price", "state": "waiting"}],
        "received_at": at,
        "updated_at": at,
        "customer_id": "cus_1",
        "amount": 250,
        "currency": "EUR",
        "reason": None,
    }
    (told,) = (await asked(api, chain="support")).json()
    assert (told["links"], told["reason"]) == ([{"link": "assign", "state": "parked"}], "a_bug")
    assert (told["customer_id"], told["amount"], told["currency"]) == (None, None, None)


async def test_subjects_are_found_by_status_customer_reason_and_time(api: httpx.AsyncClient, pool: Pool) -> None:
    both = [refusal(PriceChanged, "price", "price_changed"), refusal(CartUnavailable, "cart", "out_of_stock")]
    refused = await an_order_with(pool, confirmed(), *both)
    await fetch(pool, "UPDATE subjects SET status = 'rejected', ended_at = now() WHERE subject = $1", refused.order_id)
    stuck = await an_order_with(pool, parked("a_bug"))
    await fetch(pool, "UPDATE orders SET customer_id = 'cus_2' WHERE order_id = $1", stuck.order_id)
    young, untaken = await an_order_with(pool), await an_order_with(pool, taken=False)
    now = (datetime.now(UTC) - LONG_AGO / 2).isoformat()
    await fetch(pool, "UPDATE subjects SET received_at = now() WHERE subject = $1", young.order_id)

    assert await found(api) == [each.order_id for each in (untaken, young, stuck, refused)]
    assert await found(api, status="rejected") == [refused.order_id]
    assert await found(api, status="processing") == [young.order_id]
    assert await found(api, status="received", chain="orders") == [untaken.order_id]
    assert await found(api, customer_id="cus_2") == [stuck.order_id]
    assert await found(api, customer_id="cus_2", status="rejected") == []
    assert await found(api, reason="a_bug") == await found(api, reason="a_bug", link="payment") == [stuck.order_id]
    assert await found(api, since=now) == [young.order_id]
    assert await found(api, before=now, status="rejected") == [refused.order_id]
    # The earliest link that refused is what the order's own page names, whichever spoke first.
    own = (await api.get(f"/orders/{refused.order_id}")).json()["reason"]
    assert await found(api, reason=own) == [refused.order_id]
    assert await found(api, reason="price_changed") == []


async def test_a_search_finds_the_subject_of_any_chain_by_its_id(api: httpx.AsyncClient, pool: Pool) -> None:
    order, _ = await an_order_with(pool), await an_order_with(pool)
    await a_call(pool, "call_1", parks=False)
    await fetch(pool, "UPDATE orders SET order_number = 'L00000007' WHERE order_id = $1", order.order_id)
    assert await found(api, q=" call_1 ") == ["call_1"]
    for text in (order.order_id.upper(), "l00000007", order.payment_id):
        assert await found(api, q=text) == [order.order_id]
    assert len(await found(api, q="cus_1")) == 2
    assert await found(api, q="nobody") == []


@pytest.mark.parametrize("which", [{"link": "payment"}, {"status": "processing"}, {"customer_id": "cus_1"}, {}])
async def test_pages_hold_each_subject_once(api: httpx.AsyncClient, pool: Pool, which: dict[str, str]) -> None:
    orders = [await an_order_with(pool) for _ in range(5)]
    answer = await asked(api, limit=2, **which)
    seen = answer.json()
    while "next" in answer.links:
        answer = await api.get(answer.links["next"]["url"], headers=OPERATOR)
        seen += answer.json()
        assert answer.headers["Total-Count"] == "5"
    ids = [each["subject"] for each in seen]
    assert sorted(ids) == sorted(order.order_id for order in orders)
    table = (await asked(api, format="csv", limit=2, **which)).text.removeprefix("\ufeff")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["subject"] for row in rows] == ids
    assert {row["links"] for row in rows} == {"payment:waiting"}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"state": "done"}, "invalid_state"),
        ({"status": "lost"}, "invalid_status"),
        ({"link": "nowhere"}, "invalid_link"),
        ({"chain": "nowhere"}, "chain_not_found"),
        ({"cursor": "!"}, "invalid_cursor"),
        ({"limit": "many"}, "invalid_limit"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "invalid_time"),
        ({"stage": "payment"}, "unknown_parameter"),
    ],
)
async def test_what_is_wrong_with_a_question_is_said(api: httpx.AsyncClient, wrong: dict[str, str], code: str) -> None:
    answer = await api.get("/operations/subjects", params=wrong, headers=OPERATOR)
    assert (answer.status_code // 100, answer.json()["code"]) == (4, code)


async def test_only_operators_may_list_subjects(api: httpx.AsyncClient) -> None:
    assert (await api.get("/operations/subjects")).status_code == 403


def subjects_in(pool: Pool) -> Subjects:
    return Subjects(pool, standing_in(pool), {name: chain.table for name, chain in CHAINS.items()})


@pytest.mark.timeout(10 * HANGS_AFTER)
async def test_a_list_reads_no_more_of_many_ended_subjects_than_of_a_tenth_of_them(
    database_url: str, pool: Pool
) -> None:
    """With 10,000 open ones. Of each question the pages of tables and indexes that PostgreSQL looks at are counted."""
    questions = {
        "at a link": WantedSubjects(link="finalize", state=State.WAITING),
        "of a status": WantedSubjects(status="confirmed", chain="orders"),
        "of a status, for a reason that none has": WantedSubjects(status="confirmed", reason="none"),
        "all": WantedSubjects(),
    }
    running = 10_000
    read: dict[str, list[int]] = {name: [] for name in questions}
    for ended in (12_500, 125_000):
        await plant(pool, ended, running)
        await pool.execute(
            "UPDATE subjects SET status = 'confirmed' WHERE subject LIKE 'done%' AND status <> 'confirmed'"
        )
        await pool.execute("VACUUM ANALYZE subjects")
        for name, wanted in questions.items():
            read[name].append(await pages_read(database_url, wanted))
    page = await subjects_in(pool).page(questions["at a link"], limit=100)
    assert (len(page.subjects), page.total) == (100, running // 4)
    page = await subjects_in(pool).page(questions["of a status"], limit=100)
    assert (len(page.subjects), page.total) == (100, None)
    for name, (few, many) in read.items():
        assert many < 1.6 * few, f"{name}: {many} pages, and {few} of a tenth"  # an index may be a level deeper
        assert many < 8 * running, name


async def pages_read(database_url: str, wanted: WantedSubjects) -> int:
    questions: list[Any] = []
    async with open_pool(database_url, size=1) as alone:
        async with alone.acquire() as connection:
            connection.add_query_logger(questions.append)
        await subjects_in(alone).page(wanted, limit=100)
        return sum([await pages_of(alone, each) for each in tuple(questions) if "FROM" in each.query])
