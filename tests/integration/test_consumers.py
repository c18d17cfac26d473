"""Every consumer on real PostgreSQL, with a twin of the payment provider."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.check_cart import CheckCart
from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from activities.finalize_order import FinalizeOrder
from activities.refund_payment import RefundPayment
from activities.reject_order import RejectOrder
from activities.release_stock import ReleaseStock
from chain.batch import Processed
from chain.event import AnyEvent, short
from chain.failures import Fault, Outage
from orders.events import CartConfirmed, CartUnavailable, OrderWithdrawn, PaymentArrivedLate, PaymentPending
from orders.order import Order
from orders.payment import PaymentStatus
from store.catalogue import Catalogue
from store.database import Pool
from store.orders import Orders
from store.outbox import Outbox
from store.payments import Payments
from store.stock import Stock
from tests.shop import (
    PRICE,
    TwinProvider,
    accept,
    an_order,
    batch,
    fetch,
    journal_of,
    paid,
    payment_confirmed,
    stock_of,
    stock_up,
    the_journal,
    untyped,
)
from workflows.order_confirmation import TABLE


def check_payment(pool: Pool, provider: TwinProvider, deadline: timedelta = timedelta(minutes=1)) -> CheckPayment:
    return CheckPayment(the_journal(pool), Payments(pool), provider, deadline)


def finalize(pool: Pool, provider: TwinProvider) -> FinalizeOrder:
    return FinalizeOrder(the_journal(pool), Orders(pool, TABLE), Stock(), Payments(pool), Outbox(), provider)


def verdicts(processed: Processed) -> list[str]:
    """`PaymentConfirmed`, or the reason of a rejection."""
    return [event.data.get("reason") or event.type.removeprefix("lanka.") for event in processed.events]


def refused(order: Order) -> AnyEvent:
    data = {"reason": "out_of_stock", "detail": "sold out"}
    return untyped(CartUnavailable.made_by("cart", order.order_id, datetime.now(UTC), data))


def cart_confirmed(order: Order, status: PaymentStatus = PaymentStatus.AUTHORIZED) -> AnyEvent:
    data = {"order": order, "payment": paid(order, status)}
    return untyped(CartConfirmed.made_by("checks", order.order_id, datetime.now(UTC), data))


# ---- payment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "PaymentConfirmed"),
        ({"status": PaymentStatus.CAPTURED}, "PaymentConfirmed"),
        ({"status": PaymentStatus.PENDING}, "PaymentPending"),
        ({"status": PaymentStatus.DECLINED}, "payment_declined"),
        ({"status": PaymentStatus.REFUNDED}, "payment_declined"),
        ({"status": PaymentStatus.EXPIRED}, "payment_expired"),
        ({"amount": 1}, "payment_amount_mismatch"),
        ({"currency": "USD"}, "payment_currency_mismatch"),
    ],
)
async def test_the_provider_says_whether_an_order_is_paid(pool: Pool, change: dict[str, Any], verdict: str) -> None:
    order = an_order(cup=1)
    events = await accept(pool, order)
    provider = TwinProvider(paid(order).model_copy(update=change))

    processed = await check_payment(pool, provider).check_payment(batch("payment", events))

    assert verdicts(processed) == [verdict]


async def test_a_payment_nobody_knows_is_no_payment(pool: Pool) -> None:
    events = await accept(pool, an_order(cup=1))
    processed = await check_payment(pool, TwinProvider()).check_payment(batch("payment", events))
    assert verdicts(processed) == ["payment_not_found"]


@pytest.mark.parametrize("together", [True, False])
async def test_one_payment_serves_the_earliest_of_many_orders(pool: Pool, together: bool) -> None:
    orders = [an_order("pay_shared", cup=1) for _ in range(10)]
    events = await accept(pool, *orders)
    consumer = check_payment(pool, TwinProvider(paid(orders[0])))

    if together:
        made = verdicts(await consumer.check_payment(batch("payment", events)))
        assert made[0] == "PaymentConfirmed"
    else:
        each = await asyncio.gather(*(consumer.check_payment(batch("payment", [event])) for event in events))
        made = [verdict for processed in each for verdict in verdicts(processed)]

    assert sorted(made) == ["PaymentConfirmed"] + ["payment_already_used"] * 9


async def test_a_pending_payment_is_left_out_until_it_is_settled(pool: Pool) -> None:
    order = an_order(cup=1)
    events = await accept(pool, order)
    provider = TwinProvider(paid(order, PaymentStatus.PENDING))
    consumer = check_payment(pool, provider)
    pending = (await consumer.check_payment(batch("payment", events))).events

    waiting = await consumer.settle_payment(batch("settlement", pending))
    provider.payments[order.payment_id] = paid(order)
    settled = await consumer.settle_payment(batch("settlement", pending))

    assert waiting == Processed(events=[], left_out=[order.order_id])
    assert verdicts(settled) == ["PaymentConfirmed"]
    assert await journal_of(pool, order) == ["OrderReceived", "PaymentPending", "PaymentConfirmed"]


async def test_a_payment_that_is_still_pending_at_the_deadline_refuses_the_order(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    data = {"order": order, "deadline": datetime.now(UTC)}
    pending = untyped(PaymentPending.made_by("payment", order.order_id, datetime.now(UTC), data))

    consumer = check_payment(pool, TwinProvider(paid(order, PaymentStatus.PENDING)))
    processed = await consumer.settle_payment(batch("settlement", [pending]))

    assert verdicts(processed) == ["payment_timeout"]


async def test_an_outage_of_one_payment_does_not_hold_up_the_others(pool: Pool) -> None:
    orders = [an_order(cup=1) for _ in range(5)]
    events = await accept(pool, *orders)
    provider = TwinProvider(*map(paid, orders))
    provider.failures = {orders[1].payment_id: Outage("busy"), orders[3].payment_id: Fault("nonsense")}

    processed = await check_payment(pool, provider).check_payment(batch("payment", events))

    assert verdicts(processed) == ["PaymentConfirmed"] * 3
    assert processed.left_out == [orders[1].order_id, orders[3].order_id]


async def test_what_is_decided_is_not_asked_again(pool: Pool) -> None:
    order = an_order(cup=1)
    events = await accept(pool, order)
    provider = TwinProvider(paid(order))
    consumer = check_payment(pool, provider)
    first = await consumer.check_payment(batch("payment", events))
    provider.failures = {order.payment_id: Outage("gone")}

    again = await consumer.check_payment(batch("payment", events))

    assert [event.id for event in again.events] == [event.id for event in first.events]
    assert provider.calls == [("find", order.payment_id)]


# ---- cart --------------------------------------------------------------------------------------------------------


async def test_the_last_item_goes_to_the_earliest_order(pool: Pool) -> None:
    await stock_up(pool, cup=3)
    orders = [an_order(cup=2), an_order(cup=2), an_order(cup=1)]
    await accept(pool, *orders)

    processed = await CheckCart(the_journal(pool), Stock()).check_cart(batch("cart", [*map(payment_confirmed, orders)]))

    assert verdicts(processed) == ["StockReserved", "out_of_stock", "StockReserved"]
    assert await stock_of(pool, "cup") == (3, 3)


async def test_all_lines_are_reserved_or_none(pool: Pool) -> None:
    await stock_up(pool, cup=5, pot=1)
    order = an_order(cup=2, pot=2)
    await accept(pool, order)

    processed = await CheckCart(the_journal(pool), Stock()).check_cart(batch("cart", [payment_confirmed(order)]))

    assert verdicts(processed) == ["out_of_stock"]
    assert processed.events[0].data["detail"] == "pot: 2 wanted, 1 available"
    assert await stock_of(pool, "cup") == (5, 0)


async def test_lines_of_the_same_sku_are_summed(pool: Pool) -> None:
    await stock_up(pool, cup=3)
    order = an_order(cup=2)
    order = order.model_copy(update={"lines": order.lines * 2})
    await accept(pool, order)

    processed = await CheckCart(the_journal(pool), Stock()).check_cart(batch("cart", [payment_confirmed(order)]))

    assert processed.events[0].data["detail"] == "cup: 4 wanted, 3 available"


async def test_a_sku_nobody_knows_refuses_the_cart_and_the_price(pool: Pool) -> None:
    order = an_order(ghost=1)
    await accept(pool, order)

    cart = await CheckCart(the_journal(pool), Stock()).check_cart(batch("cart", [payment_confirmed(order)]))
    price = await CheckPrice(the_journal(pool), Catalogue(pool), 0).check_price(
        batch("price", [payment_confirmed(order)])
    )

    assert verdicts(cart) == verdicts(price) == ["unknown_sku"]


async def test_a_hundred_orders_at_once_for_ten_items_sell_ten(pool: Pool) -> None:
    await stock_up(pool, cup=10, pot=1000)
    # Half of them name the SKUs the other way round: locked in one order all the same, nobody deadlocks.
    orders = [an_order(cup=1, pot=1) if n % 2 else an_order(pot=1, cup=1) for n in range(100)]
    await accept(pool, *orders)
    consumer = CheckCart(the_journal(pool), Stock())

    each = await asyncio.gather(*(consumer.check_cart(batch("cart", [payment_confirmed(o)])) for o in orders))

    made = [verdict for processed in each for verdict in verdicts(processed)]
    assert sorted(made) == ["StockReserved"] * 10 + ["out_of_stock"] * 90
    assert await stock_of(pool, "cup") == (10, 10)
    assert await stock_of(pool, "pot") == (1000, 10)


# ---- price -------------------------------------------------------------------------------------------------------


async def test_the_price_counts_that_was_valid_when_the_order_was_received(pool: Pool) -> None:
    await stock_up(pool, cup=1)
    before = an_order(cup=1)
    await fetch(pool, "INSERT INTO prices VALUES ('cup', now(), $1, 'EUR')", PRICE + 1)
    after = an_order(cup=1)
    await accept(pool, before, after)

    events = [payment_confirmed(before), payment_confirmed(after)]
    processed = await CheckPrice(the_journal(pool), Catalogue(pool), 0).check_price(batch("price", events))

    assert verdicts(processed) == ["PriceConfirmed", "price_changed"]
    assert processed.events[1].data["detail"] == "cup: EUR 2.50 seen, EUR 2.51 in the catalogue"


async def test_a_price_may_move_within_the_tolerance(pool: Pool) -> None:
    await stock_up(pool, cup=1)
    await fetch(pool, "INSERT INTO prices VALUES ('cup', now(), $1, 'EUR')", PRICE + 2)
    order = an_order(cup=1)
    await accept(pool, order)

    processed = await CheckPrice(the_journal(pool), Catalogue(pool), 100).check_price(
        batch("price", [payment_confirmed(order)])
    )

    assert verdicts(processed) == ["PriceConfirmed"]


# ---- finalize ----------------------------------------------------------------------------------------------------


async def ready_to_finalize(pool: Pool, provider: TwinProvider, *orders: Order) -> list[AnyEvent]:
    """Paid and reserved, as CartConfirmed."""
    events = await accept(pool, *orders)
    await check_payment(pool, provider).check_payment(batch("payment", events))
    await CheckCart(the_journal(pool), Stock()).check_cart(batch("cart", [*map(payment_confirmed, orders)]))
    return [cart_confirmed(order) for order in orders]


async def test_finalising_takes_the_money_sells_the_stock_and_numbers_the_orders(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    orders = [an_order(cup=2), an_order(cup=3)]
    provider = TwinProvider(*map(paid, orders))
    events = await ready_to_finalize(pool, provider, *orders)

    for _ in range(2):
        processed = await finalize(pool, provider).finalize_order(batch("finalize", events, unrecorded=True))

    assert [event.data["order_number"] for event in processed.events] == ["L00000001", "L00000002"]
    assert await stock_of(pool, "cup") == (5, 0)
    assert [p.captured_amount for p in provider.payments.values()] == [order.total for order in orders]
    assert [call for call, _ in provider.calls].count("capture") == 2
    assert await fetch(pool, "SELECT DISTINCT state FROM payments") == [{"state": "captured"}]
    assert await fetch(pool, "SELECT subject FROM outbox ORDER BY position") == [
        {"subject": order.order_id} for order in orders
    ]
    assert (await journal_of(pool, orders[0]))[-2:] == ["CartConfirmed", "OrderConfirmed"]


async def test_a_payment_taken_at_once_is_not_captured_again(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    order = an_order(cup=2)
    provider = TwinProvider(paid(order, PaymentStatus.CAPTURED))
    await ready_to_finalize(pool, provider, order)

    event = cart_confirmed(order, PaymentStatus.CAPTURED)
    processed = await finalize(pool, provider).finalize_order(batch("finalize", [event], unrecorded=True))

    assert verdicts(processed) == ["OrderConfirmed"]
    assert ("capture", order.payment_id) not in provider.calls


async def test_an_authorisation_that_ran_out_on_the_way_is_a_rejection(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    order = an_order(cup=2)
    provider = TwinProvider(paid(order))
    events = await ready_to_finalize(pool, provider, order)
    provider.payments[order.payment_id] = paid(order, PaymentStatus.EXPIRED)

    processed = await finalize(pool, provider).finalize_order(batch("finalize", events, unrecorded=True))

    assert verdicts(processed) == ["payment_expired"]
    assert await stock_of(pool, "cup") == (10, 2)


async def test_a_hundred_finalisations_at_once_do_not_deadlock(pool: Pool) -> None:
    await stock_up(pool, cup=1000, pot=1000)
    orders = [an_order(cup=1, pot=1) if n % 2 else an_order(pot=1, cup=1) for n in range(100)]
    provider = TwinProvider(*map(paid, orders))
    events = await ready_to_finalize(pool, provider, *orders)
    consumer = finalize(pool, provider)

    await asyncio.gather(*(consumer.finalize_order(batch("finalize", [e], unrecorded=True)) for e in events))

    assert await stock_of(pool, "cup") == (900, 0)
    assert await stock_of(pool, "pot") == (900, 0)


# ---- the way back ------------------------------------------------------------------------------------------------


async def test_a_refused_order_leaves_stock_and_money_as_they_were(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    order = an_order(cup=2)
    provider = TwinProvider(paid(order, PaymentStatus.CAPTURED).model_copy(update={"captured_amount": order.total}))
    await ready_to_finalize(pool, provider, order)

    for _ in range(2):
        released = await ReleaseStock(the_journal(pool), Stock()).release_stock(batch("release", [refused(order)]))
        refunded = await RefundPayment(the_journal(pool), Payments(pool), provider).refund_payment(
            batch("refund", [refused(order)])
        )
        rejected = await RejectOrder(the_journal(pool), Outbox()).reject_order(batch("reject", [refused(order)]))

    assert await stock_of(pool, "cup") == (10, 0)
    assert provider.payments[order.payment_id].refunded_amount == order.total
    assert [call for call, _ in provider.calls].count("refund") == 1
    assert verdicts(released) == ["StockReleased"]
    assert verdicts(refunded) == ["PaymentRefunded"]
    assert verdicts(rejected) == ["out_of_stock"]
    (refund,) = refunded.events
    assert (refund.data["amount"], refund.data["was"]) == (order.total, "captured")
    assert (await journal_of(pool, order))[-3:] == ["StockReleased", "PaymentRefunded", "OrderRejected"]


async def test_where_nothing_was_paid_or_reserved_there_is_nothing_to_give_back(pool: Pool) -> None:
    order = an_order(cup=2)
    await accept(pool, order)

    released = await ReleaseStock(the_journal(pool), Stock()).release_stock(batch("release", [refused(order)]))
    refunded = await RefundPayment(the_journal(pool), Payments(pool), TwinProvider()).refund_payment(
        batch("refund", [refused(order)])
    )

    assert released == refunded == Processed(events=[])


@pytest.mark.parametrize("status", [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED])
async def test_money_of_an_order_that_was_taken_back_before_its_payment_was_checked_goes_back(
    pool: Pool, status: PaymentStatus
) -> None:
    order = an_order(cup=2)
    await accept(pool, order)
    taken = 1191 if status is PaymentStatus.CAPTURED else 0
    another = {"amount": 1191, "currency": "USD", "captured_amount": taken}
    provider = TwinProvider(paid(order, status).model_copy(update=another))

    refunded = await RefundPayment(the_journal(pool), Payments(pool), provider).refund_payment(
        batch("refund", [refused(order)])
    )

    (refund,) = refunded.events
    said = {"payment_id": order.payment_id, "amount": 1191, "currency": "USD", "was": status}
    assert (short(refund.type), refund.data) == ("PaymentRefunded", said), "what went back is what there was"
    assert provider.payments[order.payment_id].status is PaymentStatus.REFUNDED
    assert await fetch(pool, "SELECT order_id, state FROM payments") == [
        {"order_id": order.order_id, "state": "refunded"}
    ]


@pytest.mark.parametrize("status", [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED])
async def test_of_late_money_it_is_known_whether_anybody_was_charged(pool: Pool, status: PaymentStatus) -> None:
    order = an_order(cup=2)
    await accept(pool, order)
    taken = order.total if status is PaymentStatus.CAPTURED else 0
    provider = TwinProvider(paid(order, status).model_copy(update={"captured_amount": taken}))
    arrived = PaymentArrivedLate.made_by(
        "webhooks", order.order_id, datetime.now(UTC), {"payment_id": order.payment_id}
    )

    refunded = await RefundPayment(the_journal(pool), Payments(pool), provider).refund_late_payment(
        batch("late-refund", [untyped(arrived)])
    )

    assert [(event.data["amount"], event.data["was"]) for event in refunded.events] == [(order.total, status)]


async def test_the_end_of_an_order_does_not_carry_the_words_of_whoever_took_it_back(pool: Pool) -> None:
    order = an_order(cup=2)
    await accept(pool, order)
    why = {"reason": "rejected_by_operator", "detail": "stolen card", "by": "Ann"}
    withdrawn = untyped(OrderWithdrawn.made_by("withdrawal", order.order_id, datetime.now(UTC), why))

    await RejectOrder(the_journal(pool), Outbox()).reject_order(batch("reject", [withdrawn], unrecorded=True))

    (told,) = await fetch(pool, "SELECT type, data FROM outbox")
    assert told == {"type": "lanka.OrderRejected", "data": {"reason": "rejected_by_operator", "detail": ""}}


async def test_the_payment_of_another_order_is_never_refunded(pool: Pool) -> None:
    await stock_up(pool, cup=10)
    owner, thief = an_order("pay_shared", cup=1), an_order("pay_shared", cup=1)
    provider = TwinProvider(paid(owner))
    events = await accept(pool, owner, thief)
    await check_payment(pool, provider).check_payment(batch("payment", events))

    refunded = await RefundPayment(the_journal(pool), Payments(pool), provider).refund_payment(
        batch("refund", [refused(thief)])
    )

    assert refunded.events == []
    assert provider.payments["pay_shared"].status is PaymentStatus.AUTHORIZED
