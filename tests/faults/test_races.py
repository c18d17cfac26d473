"""Races: many people want the same thing at the same moment, and each time there is one winner for each thing."""

import asyncio
import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from standardwebhooks import Webhook
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from activities.check_cart import CheckCart
from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from activities.finalize_order import FinalizeOrder
from activities.refund_payment import RefundPayment
from activities.reject_order import RejectOrder
from activities.release_stock import ReleaseStock
from chain.batch import Batch, Work
from chain.event import AnyEvent
from lanka.home import Connection
from orders.events import CartConfirmed, CartUnavailable, OrderParked, PaymentPending
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from store.catalogue import Catalogue
from store.database import Pool, connected, open_pool, transaction
from store.orders import Orders
from store.outbox import Outbox
from store.payments import Payments
from store.stock import Stock
from tests.e2e.customer import Customer
from tests.e2e.machine import Machine, a_machine
from tests.faults.counts import count
from tests.faults.drill import stopped
from tests.faults.table import Rows
from tests.servers import HANGS_AFTER, until
from tests.shop import (
    TwinProvider,
    accept,
    an_order,
    at,
    batch,
    fetch,
    journal_of,
    paid,
    payment_confirmed,
    stock_up,
    the_journal,
    untyped,
)
from workflows.order_confirmation import REFUND, REJECT, RELEASE, TABLE

NOW = datetime.now(UTC)
PRICE = 250
LANES = 5
"""Customers who cancel at the same time."""


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture(scope="module")
async def connection(machine: Machine) -> Connection:
    return await machine.ready()


@pytest.fixture(scope="module")
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.close()


@pytest.fixture(scope="module")
async def database(connection: Connection) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(connection.database_url, min_size=1, max_size=5) as pool:
        yield pool


@asynccontextmanager
async def counted(row: Rows, connection: Connection, broken: str, stock: Mapping[str, int]) -> AsyncIterator[list[str]]:
    """Adds what became of the orders whose ids are put into the list to the table."""
    order_ids: list[str] = []
    yield order_ids
    counts = await count(connection, order_ids, stock)
    row.add(broken, **counts._asdict())
    assert (counts.lost, counts.twice, counts.ended) == (0, 0, len(order_ids))


async def all_ended(customer: Customer, order_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The orders as the API shows them."""
    return [await customer.ended(order_id) for order_id in order_ids]


def outcomes(orders: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(order["reason"] or order["status"] for order in orders)


async def stock_of(database: Pool, sku: str) -> tuple[int, int]:
    row = await database.fetchrow("SELECT on_hand, reserved FROM stock WHERE sku = $1", sku)
    assert row
    return row["on_hand"], row["reserved"]


# ---- the last items, and one payment -----------------------------------------------------------------------------


async def test_a_hundred_orders_at_once_for_ten_items_sell_ten(
    customer: Customer, connection: Connection, database: Pool, row: Rows
) -> None:
    sku = await customer.puts_on_sale(10)
    payments = [await customer.pays(PRICE) for _ in range(100)]

    async with counted(row, connection, "a hundred orders at once for ten items", {sku: 10}) as order_ids:
        posted = (customer.orders((sku, 1, PRICE), payment_id=payment) for payment in payments)
        order_ids.extend(await asyncio.gather(*posted))
        orders = await all_ended(customer, order_ids)

    assert outcomes(orders) == {"confirmed": 10, "out_of_stock": 90}
    assert await stock_of(database, sku) == (0, 0)
    confirmed = {order["payment_id"] for order in orders if order["status"] == "confirmed"}
    for payment in payments:
        money = await customer.payment(payment)
        assert money["status"] == ("captured" if payment in confirmed else "refunded")


async def test_of_orders_that_travel_together_the_ten_earliest_get_the_ten_items(
    customer: Customer, machine: Machine, connection: Connection, database: Pool, row: Rows
) -> None:
    sku = await customer.puts_on_sale(10)
    payments = [await customer.pays(PRICE) for _ in range(100)]

    async with counted(row, connection, "a hundred orders gather for ten items", {sku: 10}) as order_ids:
        async with stopped(machine, "temporal"):
            posted = (customer.orders((sku, 1, PRICE), payment_id=payment) for payment in payments)
            order_ids.extend(await asyncio.gather(*posted))
        orders = await all_ended(customer, order_ids)

    assert outcomes(orders) == {"confirmed": 10, "out_of_stock": 90}
    together = Counter[str]()
    places: dict[str, list[tuple[int, bool]]] = {}
    for each in await database.fetch(
        "SELECT workflow_id, position, status FROM subjects WHERE subject = ANY($1::text[]) ORDER BY position",
        order_ids,
    ):
        together[each["workflow_id"]] += 1
        places.setdefault(each["workflow_id"], []).append((each["position"], each["status"] == "confirmed"))
    assert max(together.values()) > 50, "most of them travel together"
    for travelling in places.values():
        served = [confirmed for _, confirmed in travelling]
        assert served == sorted(served, reverse=True), "the earlier are served before the later"
    earliest = sorted(itertools.chain(*places.values()))[:10]
    assert all(confirmed for _, confirmed in earliest), "the ten earliest accepted"


async def test_a_hundred_orders_with_one_payment_confirm_one(
    customer: Customer, connection: Connection, database: Pool, row: Rows
) -> None:
    sku = await customer.puts_on_sale(200)
    payment = await customer.pays(PRICE)

    async with counted(row, connection, "a hundred orders at once with one payment", {sku: 200}) as order_ids:
        posted = (customer.orders((sku, 1, PRICE), payment_id=payment) for _ in range(100))
        order_ids.extend(await asyncio.gather(*posted))
        orders = await all_ended(customer, order_ids)

    assert outcomes(orders) == {"confirmed": 1, "payment_already_used": 99}
    assert await stock_of(database, sku) == (199, 0)
    money = await customer.payment(payment)
    assert [operation["operation"] for operation in money["operations"]] == ["capture"]
    assert (money["captured_amount"], money["refunded_amount"]) == (PRICE, 0)


# ---- cancel against finalise -------------------------------------------------------------------------------------


async def test_a_cancel_and_the_finalisation_have_one_winner(
    customer: Customer, connection: Connection, database: Pool, row: Rows, whole: bool
) -> None:
    orders = 200 if whole else 30
    sku = await customer.puts_on_sale(orders)
    verdicts: Counter[str] = Counter()

    async with counted(row, connection, f"cancel against finalise, {orders} times", {sku: orders}) as order_ids:

        async def cancel_again_and_again(taken: str) -> None:
            # Each cancel comes a little later than one that was in time, and earlier than one that was too late.
            pause = 0.1
            for _ in range(orders // LANES):
                payment = await customer.pays(PRICE, taken)
                order_ids.append(order_id := await customer.orders((sku, 1, PRICE), payment_id=payment))
                await asyncio.sleep(pause)
                verdict = await _cancel(customer, order_id)
                verdicts[verdict] += 1
                pause = pause * 2 if verdict == "cancelled" else pause / 1.5
                await _ends_as_told(customer, order_id, payment, verdict)

        outcome = ("authorized", "captured")
        await asyncio.gather(*(cancel_again_and_again(outcome[lane % 2]) for lane in range(LANES)))

    assert set(verdicts) == {"cancelled", "too_late"}, f"it was no race: {verdicts}"
    assert await stock_of(database, sku) == (orders - verdicts["too_late"], 0)


async def _cancel(customer: Customer, order_id: str) -> str:
    """Asks again for as long as nobody decides."""

    async def asked() -> str | None:
        answer = await customer.api.post(f"/orders/{order_id}/cancel")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        assert answer.is_success, answer.text
        return str(answer.json()["verdict"])

    verdict = await until(asked, HANGS_AFTER, f"a verdict on order {order_id}") or ""
    return "cancelled" if verdict == "already_cancelled" else verdict


async def _ends_as_told(customer: Customer, order_id: str, payment: str, verdict: str) -> None:
    order, money = await customer.ended(order_id), await customer.payment(payment)
    kept = money["captured_amount"] - money["refunded_amount"]
    if verdict == "cancelled":
        assert (order["status"], order["reason"], order["order_number"]) == ("cancelled", "cancelled_by_customer", None)
        claimed = "PaymentConfirmed" in await customer.journal(order_id)
        assert (kept, money["status"]) == (0, "refunded") or not claimed
    else:
        assert (order["status"], kept, money["status"]) == ("confirmed", PRICE, "captured")


# ---- one webhook -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["in time", "after the end"])
async def test_a_webhook_that_comes_fifty_times_at_once_has_one_effect(
    customer: Customer, machine: Machine, connection: Connection, database: Pool, row: Rows, late: bool
) -> None:
    sku = await customer.puts_on_sale(5)
    payment = await customer.pays(PRICE, "pending")
    webhook_id = f"msg_{uuid.uuid4().hex}"
    broken = f"one webhook fifty times, {'after the end' if late else 'in time'}"

    async with counted(row, connection, broken, {sku: 5}) as order_ids:
        order_ids.append(order_id := await customer.orders((sku, 1, PRICE), payment_id=payment))
        if late:
            assert await _cancel(customer, order_id) == "cancelled"
            await customer.ended(order_id)
        else:
            await until(lambda: _waits(customer, order_id), HANGS_AFTER, "the order to wait for its payment")
        await customer.payments.post(f"/payments/{payment}/settle", json={"outcome": "captured"})
        answers = await _tell(machine, connection, payment, webhook_id, times=50)
        assert Counter(answers) == {204: 50}
        order = await customer.ended(order_id)
        await until(lambda: _handled(database, payment), HANGS_AFTER, "the webhooks to be acted on")
        if late:
            await until(lambda: _refunded(customer, order_id), HANGS_AFTER, "the refund")

    assert (order["status"], order["reason"]) == (
        ("cancelled", "cancelled_by_customer") if late else ("confirmed", None)
    )
    assert await database.fetchval("SELECT count(*) FROM webhooks WHERE webhook_id = $1", webhook_id) == 1
    money = await customer.payment(payment)
    done = [operation["operation"] for operation in money["operations"]]
    assert done == (["settle", "refund"] if late else ["settle"])
    assert money["refunded_amount"] == (PRICE if late else 0)
    if not late:
        assert await _news(connection, f"order-{order_id}") <= 2, "this webhook, and the provider's own"


async def _tell(machine: Machine, connection: Connection, payment: str, webhook_id: str, times: int) -> list[int]:
    body, now = json.dumps({"type": "payment.captured", "data": {"payment_id": payment}}), datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(machine.home.chosen().webhook_secret).sign(webhook_id, now, body),
    }
    async with httpx.AsyncClient(base_url=connection.api, timeout=HANGS_AFTER) as provider:
        posted = (provider.post("/webhooks/sandbox", content=body, headers=headers) for _ in range(times))
        return [answer.status_code for answer in await asyncio.gather(*posted)]


async def _waits(customer: Customer, order_id: str) -> bool:
    return bool((await customer.sees(order_id))["status"] == "awaiting_payment")


async def _handled(database: Pool, payment: str) -> bool:
    return bool(
        await database.fetchval("SELECT bool_and(handled_at IS NOT NULL) FROM webhooks WHERE payment_id = $1", payment)
    )


async def _refunded(customer: Customer, order_id: str) -> bool:
    return "PaymentRefunded" in await customer.journal(order_id)


async def _news(connection: Connection, workflow_id: str) -> int:
    """How often the workflow was told."""
    temporal = await Client.connect(connection.temporal)
    events = (await temporal.get_workflow_handle(workflow_id).fetch_history()).events
    return sum(
        event.workflow_execution_signaled_event_attributes.signal_name == "news"
        for event in events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    )


# ---- locks in opposite orders ------------------------------------------------------------------------------------


async def test_skus_wanted_in_opposite_orders_never_deadlock(pool: Pool, whole: bool) -> None:
    """Batches reserve, sell and release the same SKUs at the same time, each naming them in another order."""
    skus = [f"sku-{nth:02}" for nth in range(20)]
    await stock_up(pool, **dict.fromkeys(skus, 10_000))
    # As after some time in production: the rows lie in another order than their names.
    async with transaction(pool) as tx:
        for sku in reversed(skus):
            await tx.execute("UPDATE stock SET on_hand = on_hand WHERE sku = $1", sku)
    dice = random.Random(1)
    orders = [an_order(None, "cus_1", **dict.fromkeys(dice.sample(skus, 8), 1)) for _ in range(1200 if whole else 240)]
    await accept(pool, *orders)
    journal, stock, provider = the_journal(pool), Stock(), TwinProvider(*map(paid, orders))
    cart, back = CheckCart(journal, stock), ReleaseStock(journal, stock)
    end = FinalizeOrder(journal, Orders(pool, TABLE), stock, Payments(pool), Outbox(), provider)

    async def go_through(batch_of: Sequence[Order], *, confirmed: bool) -> None:
        await cart.check_cart(batch("cart", [*map(payment_confirmed, batch_of)]))
        if confirmed:
            await end.finalize_order(batch("finalize", [*map(cart_confirmed, batch_of)], unrecorded=True))
        else:
            await back.release_stock(batch("release", [*map(refused, batch_of)]))

    batches = [orders[nth : nth + 4] for nth in range(0, len(orders), 4)]
    async with asyncio.timeout(HANGS_AFTER):
        await asyncio.gather(*(go_through(each, confirmed=nth % 2 == 0) for nth, each in enumerate(batches)))

    sold = Counter(
        sku for nth, each in enumerate(batches) if nth % 2 == 0 for order in each for sku in order.quantities()
    )
    for each in await fetch(pool, "SELECT sku, on_hand, reserved FROM stock"):
        assert (each["on_hand"], each["reserved"]) == (10_000 - sold[each["sku"]], 0)


def cart_confirmed(order: Order) -> AnyEvent:
    data = {"order": order, "payment": paid(order)}
    return untyped(CartConfirmed.made_by("checks", order.order_id, datetime.now(UTC), data))


def refused(order: Order) -> AnyEvent:
    data = {"reason": "out_of_stock", "detail": "sold out"}
    return untyped(CartUnavailable.made_by("cart", order.order_id, datetime.now(UTC), data))


async def test_payments_claimed_in_opposite_orders_never_deadlock(pool: Pool, database_url: str, whole: bool) -> None:
    """Each of a few payments is named by many orders, and every batch names them in another order."""
    payments = [f"pay-{nth:02}" for nth in range(40)]
    dice = random.Random(1)
    batches = [[an_order(name, cup=1) for name in dice.sample(payments, 20)] for _ in range(150 if whole else 20)]
    events = [await accept(pool, *each) for each in batches]
    provider = TwinProvider(*(paid(order) for each in batches for order in each))
    consumer = CheckPayment(the_journal(pool), Payments(pool), provider, timedelta(minutes=1))

    async with asyncio.timeout(HANGS_AFTER):
        async with open_pool(database_url, size=2) as others, somebody_holding(others, paid(batches[0][10])):
            claiming = [asyncio.create_task(consumer.check_payment(batch("payment", each))) for each in events]
            await until(lambda: _waiting_for_locks(others, 5), HANGS_AFTER, "batches that wait for each other")
        answers = await asyncio.gather(*claiming)

    made = [event for answer in answers for event in answer.events]
    served = Counter(event.data["payment"]["payment_id"] for event in made if event.type == "lanka.PaymentConfirmed")
    assert served == dict.fromkeys({order.payment_id for each in batches for order in each}, 1)
    assert len(made) == sum(map(len, batches)), "everybody got an answer"


@asynccontextmanager
async def somebody_holding(pool: Pool, payment: Payment) -> AsyncIterator[None]:
    """Somebody claims the payment and takes that back in the end: who wants it too waits, with all that they hold."""
    (holder,) = await accept(pool, an_order("pay-held", cup=1))
    async with connected(pool) as connection:
        claim = connection.transaction()
        await claim.start()
        await Payments(pool).claim(connection, {holder.subject: payment})
        yield
        await claim.rollback()


async def _waiting_for_locks(pool: Pool, sessions: int) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return len(await fetch(pool, waiting)) >= sessions


# ---- the last guards ---------------------------------------------------------------------------------------------

ONCE = {
    "an idempotency key": ["INSERT INTO idempotency_keys VALUES ('shop', 'key', '', 'first')"] * 2,
    "a claim": ["INSERT INTO claims VALUES ('first', 'cart')"] * 2,
    "an event": ["INSERT INTO journal VALUES (DEFAULT, '/lanka/cart', 'first.cart', 'a', 'fact', 'first', now(), '{}')"]
    * 2,
    "a webhook": ["INSERT INTO webhooks VALUES (DEFAULT, 'twin', 'msg-1', 'pay-1', NULL, '{}')"] * 2,
    "a notification": ["INSERT INTO outbox VALUES (DEFAULT, 'first', 'lanka.OrderConfirmed', '{}')"] * 2,
    "an order number": [
        f"UPDATE orders SET order_number = 'L1' WHERE order_id = '{name}'" for name in ("first", "second")
    ],
    "the payment of an order": [
        f"INSERT INTO payments VALUES ('twin', '{name}', 'first', 1, 'EUR', 'held')" for name in ("a", "b")
    ],
    "the order of a payment": [
        f"INSERT INTO payments VALUES ('twin', 'a', '{name}', 1, 'EUR', 'held')" for name in ("first", "second")
    ],
    "a reservation": ["INSERT INTO reservations VALUES ('first', 'cup', 1)"] * 2,
}


@pytest.mark.parametrize("once", ONCE)
async def test_the_schema_itself_is_the_last_guard(pool: Pool, once: str) -> None:
    """Should all else fail: none of these is there twice."""
    await stock_up(pool, cup=10)
    await accept(pool, *(an_order(cup=1).model_copy(update={"order_id": name}) for name in ("first", "second")))
    first, second = ONCE[once]
    await fetch(pool, first)
    with pytest.raises(asyncpg.UniqueViolationError):
        await fetch(pool, second)


# ---- attempts that were thought dead -----------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["payment", "settlement", "cart", "price", "finalize"])
async def test_an_attempt_that_comes_to_life_after_the_order_went_back_does_nothing(pool: Pool, late: str) -> None:
    """A stopped worker goes on where it was: at a link where the order was parked meanwhile, and then rejected."""
    await stock_up(pool, cup=10)
    order = an_order(cup=2)
    (received,) = await accept(pool, order)
    journal, stock, payments, provider = the_journal(pool), Stock(), Payments(pool), TwinProvider(paid(order))
    paying = CheckPayment(journal, payments, provider, timedelta(minutes=1))
    refunding = RefundPayment(journal, payments, provider)
    finalizing = FinalizeOrder(journal, Orders(pool, TABLE), stock, payments, Outbox(), provider)
    data = {"order": order, "deadline": datetime.now(UTC)}
    attempts: dict[str, tuple[Any, AnyEvent]] = {
        "payment": (paying.check_payment, received),
        "settlement": (paying.settle_payment, untyped(PaymentPending.made_by("payment", order.order_id, NOW, data))),
        "cart": (CheckCart(journal, stock).check_cart, payment_confirmed(order)),
        "price": (CheckPrice(journal, Catalogue(pool), 0).check_price, payment_confirmed(order)),
        "finalize": (finalizing.finalize_order, cart_confirmed(order)),
    }
    for done in itertools.takewhile(lambda link: link != late, ("payment", "cart", "price")):
        attempt, event = attempts[done]
        await attempt(batch(done, [event]))
    for link, attempt in (
        (RELEASE, ReleaseStock(journal, stock).release_stock),
        (REFUND, refunding.refund_payment),
        (REJECT, RejectOrder(journal, Outbox()).reject_order),
    ):
        await attempt(Batch(link=link.name, events=[refused(order)], closes=TABLE.closes(link)))
    before = await journal_of(pool, order)
    provider.payments[order.payment_id] = paid(order, PaymentStatus.CAPTURED)  # as it was when they asked

    attempt, event = attempts[late]
    await attempt(batch(late, [event]))

    assert await journal_of(pool, order) == before
    assert await fetch(pool, "SELECT on_hand, reserved FROM stock") == [{"on_hand": 10, "reserved": 0}]
    assert await fetch(pool, "SELECT 1 FROM payments WHERE state <> 'refunded'") == []
    assert await fetch(pool, "SELECT status, order_number FROM subjects, orders") == [
        {"status": "rejected", "order_number": None}
    ]


async def test_after_its_end_nothing_moves_an_order(pool: Pool) -> None:
    """Money that comes late may park, but the order stays rejected."""
    order = an_order(cup=1)
    await accept(pool, order)
    await RejectOrder(the_journal(pool), Outbox()).reject_order(batch("reject", [refused(order)]))
    data = {"link": "late-refund", "reason": "fault", "attempts": 3, "last_error": "a bug"}
    await the_journal(pool).append([untyped(OrderParked.made_by("late-refund.parked.1", order.order_id, NOW, data))])

    assert await journal_of(pool, order) == ["OrderReceived", "OrderRejected", "OrderParked"]
    (row,) = await fetch(pool, "SELECT status, ended_at IS NOT NULL AS ended FROM subjects")
    assert row == {"status": "rejected", "ended": True}


async def test_subjects_claimed_in_opposite_orders_never_deadlock(pool: Pool) -> None:
    given = [
        AnyEvent(id=f"{nth}.intake", source="/lanka/intake", type="a", subject=f"{nth:05}", time=NOW, data={})
        for nth in range(3_000)
    ]
    worked: Counter[str] = Counter()

    async def work(_: Work, fresh: Sequence[AnyEvent]) -> list[AnyEvent]:
        worked.update(event.subject for event in fresh)
        return []

    both_ways = itertools.islice(itertools.cycle([given, given[::-1]]), 8)
    await asyncio.gather(*(the_journal(pool).process_once(at("cart"), events, work) for events in both_ways))

    assert worked == dict.fromkeys((event.subject for event in given), 1)


async def test_money_that_was_given_back_is_not_held_again(pool: Pool) -> None:
    """By a second attempt at the refund, which had asked before the first one was done."""
    order = an_order(cup=1)
    await accept(pool, order)
    payments, provider = Payments(pool), TwinProvider(paid(order))
    back = Batch(link=REFUND.name, events=[refused(order)], closes=TABLE.closes(REFUND))
    await RefundPayment(the_journal(pool), payments, provider).refund_payment(back)

    assert not await payments.claim_alone(order.order_id, paid(order))
    assert await fetch(pool, "SELECT state FROM payments") == [{"state": "refunded"}]


async def test_who_cancels_one_of_two_orders_keeps_the_payment_of_the_other(pool: Pool) -> None:
    """A second click with another key: both name the payment, and neither is checked yet."""
    kept, cancelled = an_order("pay-twice", cup=1), an_order("pay-twice", cup=1)
    received, _ = await accept(pool, kept, cancelled)
    provider, payments = TwinProvider(paid(kept)), Payments(pool)
    back = Batch(link=REFUND.name, events=[refused(cancelled)], closes=TABLE.closes(REFUND))
    await RefundPayment(the_journal(pool), payments, provider).refund_payment(back)
    checked = await CheckPayment(the_journal(pool), payments, provider, timedelta(minutes=1)).check_payment(
        batch("payment", [received])
    )
    assert [event.type for event in checked.events] == ["lanka.PaymentConfirmed"]


async def test_what_was_sold_is_not_given_back(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    order = an_order(cup=2)
    await accept(pool, order)
    stock = Stock()
    async with transaction(pool) as tx:
        await stock.reserve(tx, {order.order_id: order.quantities()})
        await stock.sell(tx, [order.order_id])
        assert await stock.release(tx, [order.order_id]) == {}

    assert await fetch(pool, "SELECT on_hand, reserved FROM stock") == [{"on_hand": 8, "reserved": 0}]
