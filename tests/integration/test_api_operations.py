"""Cancelling, parked orders and owed refunds over HTTP: what the journal tells, and what workflows decide."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from api.operations import BulkRequest, _in_turn
from api.problems import Code
from chain.event import Event
from chain.failures import UnexpectedAnswer
from chain.subject import Parked
from dispatch.dispatcher import Wakeup
from lanka.settings import WorkerSettings, load_settings
from orders.events import OrderParked, OrderReleased, OrderWithdrawn, PaymentArrivedLate, PaymentDeclined
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.ports import PaymentNews
from store.database import Pool, transaction
from store.dispatch import take, take_oldest
from store.journal import record
from store.operations import ParkedSubject
from store.payments import Payments
from store.webhooks import Webhooks
from telemetry.switch import Tracing
from tests.integration.conftest import OPERATOR, calling
from tests.servers import HANGS_AFTER, until
from tests.shop import TwinProvider, accept, an_order, fetch, journal_of, paid, running_dispatcher, stock_up
from worker import _worker, parts_of, queues
from workflows.chains import CHAINS, TYPES

WHY = {"reason": "the provider is well again", "by": "ann"}


# ---- what the journal tells --------------------------------------------------------------------------------------


async def journalled(pool: Pool, *events: Event[Any]) -> None:
    async with transaction(pool) as tx:
        await record(tx, events, TYPES)


def an_event(kind: type[Event[Any]], order: Order, made_by: str, **data: Any) -> Event[Any]:
    return kind.made_by(made_by, order.order_id, datetime.now(UTC), data)


def parking(order: Order, link: str = "payment", reason: str = "zero_division_error") -> Any:
    data = {"reason": reason, "attempts": 3, "last_error": "ZeroDivisionError: division by zero"}
    return an_event(OrderParked, order, f"{link}.parked.1", link=link, **data)


def release_of(parking: Event[Any]) -> Event[Any]:
    """Its id is that of the parking, and `.released`; its source that of the parking."""
    data = {"link": parking.data.link, "by": "ann", "why": "mended"}
    released = OrderReleased.made_by("", parking.subject, datetime.now(UTC), data)
    return released.model_copy(update={"id": f"{parking.id}.released", "source": parking.source})


def refusal(order: Order) -> Any:
    return an_event(PaymentDeclined, order, "payment", reason="payment_amount_mismatch", detail="one cent is missing")


async def on_the_way(pool: Pool) -> Order:
    """An order that some workflow carries."""
    order = an_order(cup=1)
    await accept(pool, order)
    await fetch(
        pool,
        "UPDATE subjects SET workflow_id = $1, taken_at = now(), dispatched_at = now() WHERE subject = $2",
        f"order-{order.order_id}",
        order.order_id,
    )
    return order


async def end(pool: Pool, order: Order, status: str) -> None:
    await fetch(pool, "UPDATE subjects SET status = $1, ended_at = now() WHERE subject = $2", status, order.order_id)


async def parked(api: httpx.AsyncClient, **which: str) -> list[dict[str, Any]]:
    answer = await api.get("/operations/parked", headers=OPERATOR, params=which)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()
    return listed


async def refunds(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await api.get("/operations/refunds", headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()
    return listed


async def test_a_parked_order_is_listed_until_it_is_released(api: httpx.AsyncClient, pool: Pool) -> None:
    order, other = await on_the_way(pool), await on_the_way(pool)
    told = parking(order)
    await journalled(pool, told, parking(other, reason="key_error"))
    first, second = await parked(api)
    assert first | {"since": ""} == {
        "title": "Payment",
        "rejectable": True,
        "earlier": 0,
        "customer_id": "cus_1",
        "amount": 250,
        "currency": "EUR",
        "id": told.id,
        "chain": "orders",
        "subject": order.order_id,
        "order_id": order.order_id,
        "stage": "payment",
        "link": "payment",
        "reason": "zero_division_error",
        "attempts": 3,
        "last_error": "ZeroDivisionError: division by zero",
        "since": "",
        "workflow_id": f"order-{order.order_id}",
    }
    assert datetime.fromisoformat(first["since"]) == told.time
    assert second["order_id"] == other.order_id
    assert await parked(api, reason="key_error", stage="payment") == [second]
    assert await parked(api, link="payment") == [first, second]
    assert await parked(api, stage="cart") == []
    assert await parked(api, link="cart") == []

    await journalled(pool, release_of(told))
    assert await parked(api) == [second]


async def plant_parked(pool: Pool, number: int, link: str = "payment") -> None:
    """So many orders that are parked there, the first of them the oldest."""
    await fetch(
        pool,
        """
        WITH planted AS (
            INSERT INTO subjects (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at)
            SELECT 'planted' || n, 'orders', 'parked', now(), 'w' || n / 100, now(), now()
            FROM generate_series(1, $1::int) AS n
        )
        INSERT INTO journal (source, id, type, kind, subject, time, data)
        SELECT '/lanka/' || $2, 'planted' || n || '.' || $2 || '.parked.1', 'lanka.OrderParked', 'parked',
               'planted' || n, now(),
               jsonb_build_object('link', $2::text, 'reason', 'a_bug', 'attempts', 3, 'last_error', '=1+1, "x"')
        FROM generate_series(1, $1::int) AS n ORDER BY n
        """,
        number,
        link,
    )


async def test_lists_and_dry_runs_tell_how_many_are_parked_however_many_they_show(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    await plant_parked(pool, 1_100)
    answer = await api.get("/operations/parked", headers=OPERATOR)
    assert (len(answer.json()), answer.headers["Total-Count"]) == (1_000, "1100")
    answer = await api.get(answer.links["next"]["url"], headers=OPERATOR)
    assert (len(answer.json()), answer.headers["Total-Count"]) == (100, "1100")
    assert "Link" not in answer.headers

    dry = {"link": "payment", "dry_run": True, "why": "to see"}
    told = (await api.post("/operations/parked/reject", json=dry, headers=OPERATOR)).json()
    assert (told["matched"], len(told["orders"])) == (1_100, 100)


async def test_no_page_of_what_is_parked_misses_anything_while_other_things_are_released(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    orders = [await on_the_way(pool) for _ in range(5)]
    parkings = [parking(order) for order in orders]
    await journalled(pool, *parkings)
    first = await api.get("/operations/parked", params={"limit": 2}, headers=OPERATOR)
    await journalled(pool, release_of(parkings[0]))
    second = await api.get(first.links["next"]["url"], headers=OPERATOR)
    assert [each["subject"] for each in first.json() + second.json()] == [order.order_id for order in orders[:4]]
    assert second.headers["Total-Count"] == "4"


async def test_what_is_parked_is_found_by_chain_customer_and_time(api: httpx.AsyncClient, pool: Pool) -> None:
    order, other = await on_the_way(pool), await on_the_way(pool)
    await fetch(pool, "UPDATE orders SET customer_id = 'cus_2' WHERE order_id = $1", other.order_id)
    first, again, last = parking(order), parking(order), parking(other)
    again = again.model_copy(update={"id": f"{again.id}2"})
    await journalled(pool, first, release_of(first), again, last)

    async def found(**which: str) -> list[str]:
        dry = {**which, "dry_run": True, "why": "to see"}
        told = (await api.post("/operations/parked/release", json=dry, headers=OPERATOR)).json()
        listed = [each["subject"] for each in await parked(api, **which)]
        assert told["orders"] == listed
        return listed

    assert await found(customer_id="cus_2") == [other.order_id]
    assert await found(chain="orders", before=last.time.isoformat()) == [order.order_id]
    assert await found(since=last.time.isoformat(), reason="zero_division_error") == [other.order_id]
    assert await found(chain="support") == []
    assert [each["earlier"] for each in await parked(api)] == [1, 0]


async def test_what_is_parked_can_be_had_as_a_table_that_no_spreadsheet_takes_for_formulas(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    await plant_parked(pool, 1_100)
    answer = await api.get("/operations/parked", params={"format": "csv", "limit": 1}, headers=OPERATOR)
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.text.startswith("\ufeff"), "by which Excel knows UTF-8"
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["subject"] for row in rows] == [f"planted{n}" for n in range(1, 1_101)]
    assert (rows[0]["last_error"], rows[0]["customer_id"]) == ('\'=1+1, "x"', "")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"cursor": "none"}, "invalid_cursor"),
        ({"cursor": "WyJ4Il0"}, "invalid_cursor"),
        ({"cursor": "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTk5Il0"}, "invalid_cursor"),
        ({"limit": 0}, "invalid_limit"),
        ({"limit": 1001}, "invalid_limit"),
        ({"format": "xml"}, "invalid_format"),
        ({"since": "yesterday"}, "invalid_time"),
        ({"before": "0001-01-01T00:00:00+14:00"}, "invalid_time"),
        ({"chain": "nowhere"}, "chain_not_found"),
        ({"link": "nowhere"}, "invalid_link"),
        ({"state": "parked"}, "unknown_parameter"),
    ],
)
async def test_what_is_wrong_with_a_question_for_parkings_is_said(
    api: httpx.AsyncClient, asked: dict[str, str], code: str
) -> None:
    answer = await api.get("/operations/parked", params=asked, headers=OPERATOR)
    assert (answer.status_code // 100, answer.json()["code"]) == (4, code)


async def test_an_order_parked_at_two_links_stays_listed_when_one_is_released(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    order = await on_the_way(pool)
    cart = parking(order, "cart")
    await journalled(pool, cart, parking(order, "price"), release_of(cart))
    assert [each["link"] for each in await parked(api)] == ["price"]


async def test_an_order_that_was_taken_back_is_listed_only_if_it_parks_again(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    order = await on_the_way(pool)
    data = {"reason": "rejected_by_operator", "detail": "", "by": "ann"}
    await journalled(pool, parking(order), an_event(OrderWithdrawn, order, "withdrawal", **data))
    assert await parked(api) == []
    await journalled(pool, parking(order, "refund"))
    assert [each["link"] for each in await parked(api)] == ["refund"]


async def test_a_parked_call_is_listed_like_an_order_and_cannot_be_cancelled_as_one(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    await fetch(
        pool,
        """
        INSERT INTO subjects (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at)
        VALUES ('call_1', 'support', 'waiting', now(), 'call-call_1', now(), now())
        """,
    )
    data = {"link": "assign", "reason": "a_bug", "attempts": 3, "last_error": "a bug"}
    await journalled(pool, Parked.made_by("assign.parked.1", "call_1", datetime.now(UTC), data))
    (found,) = await parked(api, stage="support")
    assert (found["order_id"], found["workflow_id"], found["reason"]) == ("call_1", "call-call_1", "a_bug")
    assert (found["chain"], found["link"]) == ("support", "assign")
    assert (await api.post("/orders/call_1/cancel")).json()["code"] == "order_not_found"


async def test_the_queue_means_its_forward_links_and_never_a_refund(api: httpx.AsyncClient, pool: Pool) -> None:
    orders = [await on_the_way(pool) for _ in range(3)]
    await journalled(pool, *(parking(order) for order in orders))
    going_back = await on_the_way(pool)
    await journalled(pool, refusal(going_back), parking(going_back, "refund"))

    for where in ({"stage": "payment"}, {"link": "payment"}):
        body = {**where, "dry_run": True, "why": "to see"}
        answer = await api.post("/operations/parked/release", json=body, headers=OPERATOR)
        assert answer.json()["orders"] == [order.order_id for order in orders]
        assert {each["link"] for each in await parked(api, **where)} == {"payment"}
    assert [each["order_id"] for each in await parked(api, link="refund")] == [going_back.order_id]
    assert await parked(api, link="refund", stage="payment") == []


async def test_what_is_parked_on_its_way_back_is_not_offered_to_be_rejected(api: httpx.AsyncClient, pool: Pool) -> None:
    forward, back = await on_the_way(pool), await on_the_way(pool)
    await journalled(pool, parking(forward), refusal(back), parking(back, link="refund"))
    assert {each["subject"]: each["rejectable"] for each in await parked(api)} == {
        forward.order_id: True, back.order_id: False
    }  # fmt: skip

    async def rejects(path: str, **more: Any) -> tuple[int, Any]:
        answer = await api.post(f"/operations/parked{path}/reject", json={"why": "x", **more}, headers=OPERATOR)
        return answer.status_code, answer.json().get("code") or answer.json().get("orders")

    assert await rejects("", dry_run=True) == (200, [forward.order_id])
    for path, more in (("", {"link": "refund"}), ("", {"link": "refund", "dry_run": True}), (f"/{back.order_id}", {})):
        assert await rejects(path, **more) == (409, "only_released")
    (parking_id,) = [each["id"] for each in await parked(api, link="refund")]
    assert await rejects(f"/{parking_id}") == (409, "only_released")
    dry = {"link": "refund", "dry_run": True, "why": "x"}
    answer = await api.post("/operations/parked/release", json=dry, headers=OPERATOR)
    assert answer.json()["orders"] == [back.order_id]


@pytest.mark.parametrize("decision", ["release", "reject"])
async def test_a_dry_run_names_what_would_be_decided_and_changes_nothing(
    api: httpx.AsyncClient, pool: Pool, decision: str
) -> None:
    orders = [await on_the_way(pool) for _ in range(3)]
    await journalled(pool, *(parking(order) for order in orders))
    body = {"stage": "payment", "limit": 2, "dry_run": True, "why": "to see"}
    answer = await api.post(f"/operations/parked/{decision}", json=body, headers=OPERATOR)
    ids = [order.order_id for order in orders]
    assert (answer.status_code, answer.json()) == (200, {"matched": 3, "orders": ids[:2], "dry_run": True})
    assert [each["order_id"] for each in await parked(api)] == ids


def test_over_all_workflows_one_order_after_the_other_goes_on() -> None:
    def at(subject: str, workflow_id: str, link: str = "payment") -> ParkedSubject:
        now = datetime.now(UTC)
        return ParkedSubject(
            id=f"{subject}.{link}.parked.1",
            chain="orders",
            subject=subject,
            workflow_id=workflow_id,
            link=link,
            reason="",
            attempts=3,
            last_error="",
            since=now,
        )

    found = [at("a", "one"), at("b", "two"), at("c", "one"), at("d", "three"), at("b", "two", "price"), at("e", "two")]
    told = _in_turn(found, BulkRequest(rate_per_second=10, why="mended"), "ann", reject=False)
    assert {workflow_id: (bulk.subjects, bulk.after) for workflow_id, bulk in told.items()} == {
        "one": (["a", "c"], 0),
        "two": (["b", "e"], 0.2),
        "three": (["d"], 0.4),
    }
    assert {bulk.apart for bulk in told.values()} == {0.1}
    assert told["two"].parkings == ["b.payment.parked.1", "b.price.parked.1", "e.payment.parked.1"]


async def test_a_refund_is_owed_until_it_has_succeeded(api: httpx.AsyncClient, pool: Pool) -> None:
    order, healthy = await on_the_way(pool), await on_the_way(pool)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {each.order_id: paid(each) for each in (order, healthy)})
    assert await refunds(api) == []

    refused = refusal(order)
    await journalled(pool, refused)
    (owed,) = await refunds(api)
    assert datetime.fromisoformat(owed.pop("since")) == refused.time
    assert owed == {
        "order_id": order.order_id,
        "payment_id": order.payment_id,
        "amount": 250,
        "currency": "EUR",
        "reason": "payment_amount_mismatch",
        "late": False,
    }
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'refund')", order.order_id)
    assert await refunds(api) == []


async def test_what_is_owed_is_listed_page_by_page_the_oldest_first(api: httpx.AsyncClient, pool: Pool) -> None:
    orders = [await on_the_way(pool) for _ in range(3)]
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {each.order_id: paid(each) for each in orders})
    await journalled(pool, *map(refusal, orders))
    first = await api.get("/operations/refunds", params={"limit": 2}, headers=OPERATOR)
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'refund')", orders[0].order_id)
    second = await api.get(first.links["next"]["url"], headers=OPERATOR)
    assert [each["order_id"] for each in first.json() + second.json()] == [order.order_id for order in orders]
    assert (first.headers["Total-Count"], second.headers["Total-Count"]) == ("3", "2")
    assert "next" not in second.links
    table = (await api.get("/operations/refunds", params={"format": "csv"}, headers=OPERATOR)).text
    assert [row["order_id"] for row in csv.DictReader(io.StringIO(table.removeprefix("\ufeff")))] == [
        each.order_id for each in orders[1:]
    ]


async def test_an_order_taken_back_before_it_was_checked_may_be_owed_its_money(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    order = await on_the_way(pool)
    data = {"reason": "cancelled_by_customer", "detail": "", "by": "ann"}
    await journalled(pool, an_event(OrderWithdrawn, order, "withdrawal", **data))
    (owed,) = await refunds(api)
    assert (owed["order_id"], owed["payment_id"], owed["amount"]) == (order.order_id, order.payment_id, order.total)
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'refund')", order.order_id)
    assert await refunds(api) == []


async def test_late_money_is_owed_until_it_is_given_back(api: httpx.AsyncClient, pool: Pool) -> None:
    order = await on_the_way(pool)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await journalled(pool, refusal(order))
    await end(pool, order, "rejected")
    assert await refunds(api) == []

    await journalled(pool, an_event(PaymentArrivedLate, order, "late", payment_id="pay_1"))
    (owed,) = await refunds(api)
    assert (owed["order_id"], owed["amount"], owed["late"]) == (order.order_id, 250, True)
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'late-refund')", order.order_id)
    assert await refunds(api) == []


# ---- who may ask, and how ----------------------------------------------------------------------------------------

OPERATORS_CALLS = [
    ("GET", "/operations/parked"),
    ("GET", "/operations/refunds"),
    ("POST", "/operations/parked/release"),
    ("POST", "/operations/parked/some/release"),
    ("POST", "/operations/parked/some/reject"),
]


@pytest.mark.parametrize(("method", "path"), OPERATORS_CALLS)
async def test_only_an_operator_decides(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")


BULK, ONE, CANCEL = "/operations/parked/release", "/operations/parked/some/release", "/orders/some/cancel"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (BULK, {}, Code.MISSING_FIELD),
        (BULK, {"why": ""}, Code.INVALID_TEXT),
        (BULK, {"why": "x" * 501}, Code.INVALID_TEXT),
        (BULK, {"why": "a\nb"}, Code.INVALID_TEXT),
        (BULK, {"why": "x", "stage": "nowhere"}, Code.INVALID_STAGE),
        (BULK, {"why": "x", "link": "nowhere"}, Code.INVALID_LINK),
        (BULK, {"why": "x", "link": "note"}, Code.INVALID_LINK),
        (BULK, {"why": "x", "rate_per_second": 0}, Code.INVALID_RATE),
        (BULK, {"why": "x", "rate_per_second": 1e-9}, Code.INVALID_RATE),
        (BULK, {"why": "x", "rate_per_second": 0.0099}, Code.INVALID_RATE),
        (BULK, {"why": "x", "rate_per_second": 1e300}, Code.INVALID_RATE),
        (BULK, {"why": "x", "rate_per_second": "20"}, Code.INVALID_RATE),
        (BULK, {"why": "x", "limit": 0}, Code.INVALID_LIMIT),
        (BULK, {"why": "x", "limit": 1001}, Code.INVALID_LIMIT),
        (BULK, {"why": "x", "dry_run": "yes"}, Code.INVALID_VALUE),
        (BULK, {"why": "x", "dryrun": True}, Code.UNKNOWN_FIELD),
        (ONE, {}, Code.MISSING_FIELD),
        (ONE, {"reason": "x", "by": "a\x00"}, Code.INVALID_TEXT),
        (ONE, {"why": "x", "reason": "x"}, Code.UNKNOWN_FIELD),
        (ONE, {"why": "x"}, Code.ORDER_NOT_FOUND),
        (ONE, {"reason": "x"}, Code.ORDER_NOT_FOUND),
        (CANCEL, {"reason": ""}, Code.INVALID_TEXT),
        (CANCEL, {"reason": 1}, Code.NOT_A_STRING),
        (CANCEL, {"why": "x", "reason": "x"}, Code.UNKNOWN_FIELD),
        (CANCEL, {"why": "x"}, Code.ORDER_NOT_FOUND),
        (CANCEL, [], Code.NOT_AN_OBJECT),
        (CANCEL, {"reason": "x"}, Code.ORDER_NOT_FOUND),
        (CANCEL, None, Code.ORDER_NOT_FOUND),
    ],
)
async def test_what_is_wrong_with_a_command_is_said(api: httpx.AsyncClient, path: str, body: Any, code: Code) -> None:
    answer = await api.post(path, json=body, headers=OPERATOR) if body is not None else await api.post(path)
    assert (answer.status_code, answer.json()["code"]) == (code.status, code)


async def test_the_lowest_rate_is_one_order_in_a_hundred_seconds(api: httpx.AsyncClient) -> None:
    slowest = {"why": "x", "rate_per_second": 0.01, "dry_run": True}
    assert (await api.post(BULK, json=slowest, headers=OPERATOR)).status_code == 200
    told = (await api.post(BULK, json=slowest | {"rate_per_second": 1e-9}, headers=OPERATOR)).json()
    (error,) = told["errors"]
    assert (error["pointer"], error["detail"]) == ("#/rate_per_second", Code.INVALID_RATE.advice)


async def test_a_cancel_has_json_or_nothing_in_its_body(api: httpx.AsyncClient) -> None:
    answer = await api.post(CANCEL, content="please")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


# ---- what workflows decide ---------------------------------------------------------------------------------------


@pytest.fixture
async def connected_api(shop: str, temporal: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The API with Temporal at hand. Nobody dispatches until the test says so."""
    async with calling(shop) as api:
        monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
        yield api


@asynccontextmanager
async def at_work(client: Client, pool: Pool, provider: TwinProvider, database_url: str) -> AsyncIterator[None]:
    """All queues served in this process, as `worker.py` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database_url)
        settings = load_settings(WorkerSettings)
    async with AsyncExitStack() as stack:
        parts = parts_of(pool, provider, settings, Tracing())  # type: ignore[arg-type]  # a twin
        for name, queue in queues(parts).items():
            await stack.enter_async_context(_worker(client, name, queue))
        yield


async def cancel(api: httpx.AsyncClient, order: Order) -> tuple[int, str]:
    answer = await api.post(f"/orders/{order.order_id}/cancel", json={"reason": "changed my mind"})
    body = answer.json()
    return answer.status_code, body.get("verdict") or body["code"]


async def ended(pool: Pool, order: Order) -> bool:
    (row,) = await fetch(pool, "SELECT ended_at FROM subjects WHERE subject = $1", order.order_id)
    return row["ended_at"] is not None


async def test_a_cancel_that_arrives_before_the_order_is_remembered(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str
) -> None:
    order = an_order(MUG=1)
    await accept(pool, order)
    async with at_work(client, pool, TwinProvider(paid(order)), database_url):
        assert await cancel(connected_api, order) == (200, "cancelled")
        assert await cancel(connected_api, order) == (200, "already_cancelled")
        async with running_dispatcher(pool, Wakeup(pool)):
            await until(lambda: ended(pool, order), HANGS_AFTER, "the end of the order")
        assert await cancel(connected_api, order) == (200, "already_cancelled")
    assert await journal_of(pool, order) == ["OrderReceived", "OrderWithdrawn", "PaymentRefunded", "OrderCancelled"]
    described = await client.get_workflow_handle(f"order-{order.order_id}").describe()
    assert await described.static_summary() == order.summary()
    (withdrawn,) = await fetch(pool, "SELECT data FROM journal WHERE type = 'lanka.OrderWithdrawn'")
    assert withdrawn["data"]["detail"] == "changed my mind"
    assert withdrawn["data"]["by"].startswith("shop:")


async def test_a_cancel_finds_the_batch_that_was_taken_and_not_sent(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str
) -> None:
    orders = [an_order(MUG=1) for _ in range(3)]
    await accept(pool, *orders)
    workflow_id = CHAINS["orders"].workflow_id([order.order_id for order in orders])
    await fetch(pool, "UPDATE subjects SET workflow_id = $1, taken_at = now()", workflow_id)
    async with at_work(client, pool, TwinProvider(*map(paid, orders)), database_url):
        assert await cancel(connected_api, orders[1]) == (200, "cancelled")
        async with running_dispatcher(pool, Wakeup(pool)):
            for order in orders:
                await until(lambda order=order: ended(pool, order), HANGS_AFTER, "the end of the order")  # type: ignore[misc]
    rows = await fetch(pool, "SELECT status, workflow_id FROM subjects ORDER BY position")
    assert {row["workflow_id"] for row in rows} == {workflow_id}
    # Nobody sells mugs for a customer who has paid twins: what matters is that only one was cancelled.
    assert [row["status"] == "cancelled" for row in rows] == [False, True, False]


async def test_a_cancel_and_the_dispatcher_never_both_take_an_order(pool: Pool) -> None:
    first, second = an_order(cup=1), an_order(cup=1)
    await accept(pool, first, second)
    async with pool.acquire() as dispatcher:
        async with transaction(pool) as cancelling:
            await take(cancelling, [first.order_id], f"order-{first.order_id}", 1)
            taking = asyncio.create_task(
                take_oldest(
                    dispatcher,
                    size=10,
                    max_bytes=10_000,
                    workflow_id=lambda _, ids: f"batch-{ids[0]}",
                    versions={"orders": 1},
                )
            )
            await until(lambda: _somebody_waits(pool), HANGS_AFTER, "the dispatcher to wait for the cancel")
        taken = await taking
    assert taken
    assert [event.subject for event in taken.events] == [second.order_id]


async def _somebody_waits(pool: Pool) -> bool:
    return bool(await fetch(pool, "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))


async def test_while_nobody_decides_the_customer_is_told_to_ask_again(
    connected_api: httpx.AsyncClient,
    client: Client,
    pool: Pool,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.commands.ANSWERED_WITHIN", 0.5)
    order = an_order(MUG=1)
    await accept(pool, order)
    answer = await connected_api.post(f"/orders/{order.order_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_decided")
    assert int(answer.headers["Retry-After"]) > 0
    assert not await ended(pool, order)

    monkeypatch.setattr("api.commands.ANSWERED_WITHIN", 10)
    async with at_work(client, pool, TwinProvider(paid(order)), database_url):
        status, verdict = await cancel(connected_api, order)
    assert (status, verdict in {"cancelled", "already_cancelled"}) == (200, True)


async def test_while_temporal_is_away_the_customer_is_told_to_ask_again(
    api: httpx.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.commands.ANSWERED_WITHIN", 0.2)
    order = await on_the_way(pool)
    assert await cancel(api, order) == (503, "not_decided")
    answer = await api.post(f"/operations/parked/{order.order_id}/release", json=WHY, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_decided")
    await journalled(pool, parking(order))
    answer = await api.post("/operations/parked/release", json={"why": "mended"}, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_decided")


async def test_after_the_end_the_answer_needs_no_workflow(api: httpx.AsyncClient, pool: Pool) -> None:
    for status, verdict in (("confirmed", "too_late"), ("rejected", "too_late"), ("cancelled", "already_cancelled")):
        order = await on_the_way(pool)
        await end(pool, order, status)
        assert await cancel(api, order) == (200, verdict)


@pytest.mark.parametrize(
    ("reason", "verdict"), [("cancelled_by_customer", "already_cancelled"), ("rejected_by_operator", "too_late")]
)
async def test_what_was_decided_stays_decided_while_its_workflow_is_away(
    api: httpx.AsyncClient, pool: Pool, reason: str, verdict: str
) -> None:
    order = await on_the_way(pool)
    await journalled(pool, an_event(OrderWithdrawn, order, "withdrawal", reason=reason, detail="", by="somebody"))
    assert await cancel(api, order) == (200, verdict)


async def test_an_order_whose_workflow_is_gone_is_not_called_cancelled(
    connected_api: httpx.AsyncClient, pool: Pool
) -> None:
    order = await on_the_way(pool)  # its row says so, and Temporal has never heard of it
    assert await cancel(connected_api, order) == (503, "not_decided")
    answer = await connected_api.post(f"/operations/parked/{order.order_id}/reject", json=WHY, headers=OPERATOR)
    assert (answer.status_code, answer.json()) == (200, {"verdict": "not_parked"})


async def paid_after_its_end(pool: Pool) -> tuple[Order, TwinProvider]:
    order = an_order(MUG=1)
    await accept(pool, order)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await fetch(pool, "UPDATE payments SET provider = 'sandbox'")
    await journalled(pool, refusal(order))
    await fetch(pool, "UPDATE subjects SET workflow_id = 'gone', taken_at = now(), dispatched_at = now()")
    await end(pool, order, "rejected")
    for webhook_id in ("msg_1", "msg_2"):  # authorised, then captured: twice news of the same money
        await Webhooks(pool).keep("sandbox", PaymentNews(webhook_id, order.payment_id, None), b"{}")
    return order, TwinProvider(paid(order, PaymentStatus.CAPTURED))


class NoRefunds(TwinProvider):
    async def refund(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        raise UnexpectedAnswer("no refunds today")


@pytest.mark.parametrize("where", [{"link": "payment"}, {"stage": "payment"}])
async def test_what_is_released_at_payment_is_no_refund(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str, where: dict[str, str]
) -> None:
    await stock_up(pool, cup=10)
    refused, good = an_order(MUG=1), an_order(cup=1)  # nobody sells a MUG
    await accept(pool, refused, good)
    provider = NoRefunds(paid(refused), paid(good))
    provider.failures[good.payment_id] = UnexpectedAnswer("nonsense")
    async with at_work(client, pool, provider, database_url), running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: _parked(connected_api, 2), HANGS_AFTER, "one to park at its payment, one at its refund")
        provider.failures.clear()
        body = {**where, "why": "the provider is well again"}
        answer = await connected_api.post("/operations/parked/release", json=body, headers=OPERATOR)
        assert answer.json() == {"matched": 1, "released": 1, "dry_run": False}
        await until(lambda: ended(pool, good), HANGS_AFTER, "the end of the one at its payment")
        assert [each["link"] for each in await parked(connected_api)] == ["refund"]
        assert "OrderReleased" not in await journal_of(pool, refused)
    assert "OrderConfirmed" in await journal_of(pool, good)


async def test_a_bulk_release_counts_what_it_decided_and_matches_nothing_twice(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str
) -> None:
    await stock_up(pool, cup=10)
    orders = [an_order(cup=1) for _ in range(3)]
    await accept(pool, *orders)
    provider = TwinProvider(*map(paid, orders))
    provider.failures |= {order.payment_id: UnexpectedAnswer("nonsense") for order in orders}
    async with at_work(client, pool, provider, database_url), running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: _parked(connected_api, 3), HANGS_AFTER, "all to be parked")
        provider.failures.clear()
        slowly = {"why": "one by one", "rate_per_second": 0.01}
        counted = []
        for body in (slowly | {"limit": 1}, slowly, slowly):
            answer = await connected_api.post("/operations/parked/release", json=body, headers=OPERATOR)
            counted.append((answer.json()["matched"], answer.json()["released"]))
        assert counted == [(3, 1), (2, 2), (0, 0)]
        for order in orders:
            await cancel(connected_api, order)
            await until(lambda order=order: ended(pool, order), HANGS_AFTER, "the end of the order")  # type: ignore[misc]


async def test_one_of_two_parkings_is_released_by_its_own_id_and_all_by_the_subjects(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise UnexpectedAnswer("nonsense")

    await stock_up(pool, cup=10)
    order = an_order(cup=1)
    await accept(pool, order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("store.stock.Stock.reserve", refuse)
        patch.setattr("store.catalogue.Catalogue.prices_as_of", refuse)
        async with (
            at_work(client, pool, TwinProvider(paid(order)), database_url),
            running_dispatcher(pool, Wakeup(pool)),
        ):
            await until(lambda: _parked(connected_api, 2), HANGS_AFTER, "both links to park")
            cart, price = sorted(await parked(connected_api), key=lambda each: each["link"])
            assert (cart["link"], price["link"]) == ("cart", "price")
            patch.undo()
            answer = await connected_api.post(f"/operations/parked/{cart['id']}/release", json=WHY, headers=OPERATOR)
            assert answer.json() == {"verdict": "released"}
            await until(lambda: _parked(connected_api, 1), HANGS_AFTER, "the release")
            assert [each["id"] for each in await parked(connected_api)] == [price["id"]]
            again = await connected_api.post(f"/operations/parked/{cart['id']}/release", json=WHY, headers=OPERATOR)
            assert again.json() == {"verdict": "not_parked"}
            await connected_api.post(f"/operations/parked/{order.order_id}/release", json=WHY, headers=OPERATOR)
            await until(lambda: ended(pool, order), HANGS_AFTER, "the end of the order")
    assert (await journal_of(pool, order))[-1] == "OrderConfirmed"


async def _parked(api: httpx.AsyncClient, number: int) -> bool:
    return len(await parked(api)) == number


async def test_late_money_whose_workflow_is_lost_is_given_back_by_another(
    connected_api: httpx.AsyncClient,
    client: Client,
    pool: Pool,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANKA_LOST_AFTER_SECONDS", "0.2")
    order, provider = await paid_after_its_end(pool)
    provider.failures[order.payment_id] = UnexpectedAnswer("41,50")
    async with at_work(client, pool, provider, database_url), running_dispatcher(pool, Wakeup(pool)):
        (waiting,) = await until(lambda: parked(connected_api), HANGS_AFTER, "the late refund to park")
        del provider.failures[order.payment_id]
        await client.get_workflow_handle(waiting["workflow_id"]).terminate("by mistake")
        await until(lambda: _none_owed(connected_api), HANGS_AFTER, "the refund")
    assert provider.payments[order.payment_id].status is PaymentStatus.REFUNDED
    (released,) = await fetch(pool, "SELECT data FROM journal WHERE type = 'lanka.OrderReleased'")
    assert released["data"]["by"] == "Lanka"


async def test_late_money_that_parks_can_be_released(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool, database_url: str
) -> None:
    order, provider = await paid_after_its_end(pool)
    provider.failures[order.payment_id] = UnexpectedAnswer("41,50")

    async with at_work(client, pool, provider, database_url), running_dispatcher(pool, Wakeup(pool)):
        (waiting,) = await until(lambda: parked(connected_api), HANGS_AFTER, "the late refund to park")
        assert (waiting["order_id"], waiting["link"]) == (order.order_id, "late-refund")
        assert [each["late"] for each in await refunds(connected_api)] == [True]
        del provider.failures[order.payment_id]
        answer = await connected_api.post(f"/operations/parked/{order.order_id}/release", json=WHY, headers=OPERATOR)
        assert answer.json() == {"verdict": "released"}
        await until(lambda: _none_owed(connected_api), HANGS_AFTER, "the refund")
    assert provider.payments[order.payment_id].status is PaymentStatus.REFUNDED
    assert len(await fetch(pool, "SELECT 1 FROM journal WHERE type = 'lanka.PaymentArrivedLate'")) == 1
    (released,) = await fetch(pool, "SELECT data FROM journal WHERE type = 'lanka.OrderReleased'")
    assert released["data"]["by"].startswith("ann (operator:")
    assert released["data"]["why"] == WHY["reason"]
    assert await parked(connected_api) == []


async def test_news_after_the_end_that_no_money_came_is_no_late_money(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool
) -> None:
    order = await on_the_way(pool)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await fetch(pool, "UPDATE payments SET provider = 'sandbox'")
    await journalled(pool, refusal(order))
    await end(pool, order, "rejected")
    await Webhooks(pool).keep("sandbox", PaymentNews("msg_1", order.payment_id, PaymentStatus.DECLINED), b"{}")
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: _all_handled(pool), HANGS_AFTER, "the news to be handled")
    assert "PaymentArrivedLate" not in await journal_of(pool, order)


async def test_news_that_cannot_be_acted_on_are_in_nobodys_way(
    connected_api: httpx.AsyncClient, client: Client, pool: Pool
) -> None:
    for nth in range(120):  # of payments that nobody has claimed yet
        await Webhooks(pool).keep("sandbox", PaymentNews(f"msg_{nth}", f"pay_nobody_{nth}", None), b"{}")
    order = await on_the_way(pool)
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await fetch(pool, "UPDATE payments SET provider = 'sandbox'")
    await end(pool, order, "confirmed")
    await Webhooks(pool).keep("sandbox", PaymentNews("msg_mine", order.payment_id, None), b"{}")

    async def handled() -> bool:
        return bool(await fetch(pool, "SELECT 1 FROM webhooks WHERE webhook_id = 'msg_mine' AND handled_at < now()"))

    async with running_dispatcher(pool, Wakeup(pool)):
        await until(handled, HANGS_AFTER, "the news behind the others")


async def _all_handled(pool: Pool) -> bool:
    return not await fetch(pool, "SELECT 1 FROM webhooks WHERE handled_at IS NULL")


async def _none_owed(api: httpx.AsyncClient) -> bool:
    return await refunds(api) == []
