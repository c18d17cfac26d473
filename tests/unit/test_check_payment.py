"""payment: what the provider says decides, and one payment serves one order."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from activities.check_payment import CheckPayment, unusable
from chain.batch import Processed
from chain.event import AnyEvent
from orders.events import OrderReceived, PaymentConfirmed, PaymentDeclined, PaymentPending
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.words import Reason
from tests.shop import TwinProvider, an_order, batch, paid, untyped
from tests.unit.twins import NOW, TwinJournal, TwinPayments, typed

DEADLINE = timedelta(minutes=15)


def received(order: Order) -> AnyEvent:
    return untyped(OrderReceived.made_by("intake", order.order_id, NOW, {"order": order}))


def pending(order: Order, deadline: datetime) -> PaymentPending:
    return PaymentPending.made_by("payment", order.order_id, NOW, {"order": order, "deadline": deadline})


def check(*payments: Payment) -> CheckPayment:
    return CheckPayment(TwinJournal(), TwinPayments(), TwinProvider(*payments), DEADLINE)


async def checked(order: Order, *payments: Payment) -> Any:
    """The event that comes of an order."""
    processed = await check(*payments).check_payment(batch("payment", [received(order)]))
    return only(processed)


async def settled(event: PaymentPending, *payments: Payment) -> Processed:
    return await check(*payments).settle_payment(batch("settlement", [untyped(event)]))


def only(processed: Processed) -> Any:
    (event,) = processed.events
    return typed(event)


def changed(payment: Payment, **changes: Any) -> Payment:
    return payment.model_copy(update=changes)


@pytest.mark.parametrize("status", [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED])
async def test_an_order_is_paid_by_money_reserved_or_taken(status: PaymentStatus) -> None:
    order = an_order(cup=2)
    payment = paid(order, status)

    event = await checked(order, payment)

    assert isinstance(event, PaymentConfirmed)
    assert event.data.order == order
    assert event.data.payment == payment


async def test_a_pending_payment_is_waited_for_until_the_deadline() -> None:
    order = an_order(cup=1)

    event = await checked(order, paid(order, PaymentStatus.PENDING))

    assert isinstance(event, PaymentPending)
    assert event.data.deadline == NOW + DEADLINE


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"status": PaymentStatus.DECLINED}, Reason.PAYMENT_DECLINED, "is declined"),
        ({"status": PaymentStatus.REFUNDED}, Reason.PAYMENT_DECLINED, "is refunded"),
        ({"status": PaymentStatus.EXPIRED}, Reason.PAYMENT_EXPIRED, "has expired"),
        ({"amount": 499}, Reason.PAYMENT_AMOUNT_MISMATCH, "paid EUR 4.99, the order comes to EUR 5.00"),
        ({"amount": 501}, Reason.PAYMENT_AMOUNT_MISMATCH, "paid EUR 5.01, the order comes to EUR 5.00"),
        ({"currency": "USD"}, Reason.PAYMENT_CURRENCY_MISMATCH, "paid in USD, the order is in EUR"),
        (
            {"amount": 499, "status": PaymentStatus.PENDING},
            Reason.PAYMENT_AMOUNT_MISMATCH,
            "paid EUR 4.99, the order comes to EUR 5.00",
        ),
    ],
)
async def test_a_payment_that_does_not_fit_the_order_is_refused(
    changes: dict[str, Any], reason: Reason, detail: str
) -> None:
    order = an_order(cup=2)

    event = await checked(order, changed(paid(order), **changes))

    assert isinstance(event, PaymentDeclined)
    assert event.data.reason is reason
    assert event.data.detail.endswith(detail)


async def test_a_payment_that_the_provider_does_not_know_is_refused() -> None:
    event = await checked(an_order("pay_unknown", cup=1))

    assert event.data.reason is Reason.PAYMENT_NOT_FOUND
    assert event.data.detail == "the provider does not know payment pay_unknown"


async def test_one_payment_serves_the_earlier_of_two_orders() -> None:
    first, second = an_order("pay_1", cup=1), an_order("pay_1", cup=1)
    events = [received(first), received(second)]

    processed = await check(paid(first)).check_payment(batch("payment", events))

    confirmed, declined = (typed(event) for event in processed.events)
    assert isinstance(confirmed, PaymentConfirmed)
    assert confirmed.subject == first.order_id
    assert declined.data.reason is Reason.PAYMENT_ALREADY_USED


async def test_a_payment_without_money_is_not_taken_from_the_next_order() -> None:
    payments = TwinPayments()
    order = an_order(cup=1)
    consumer = CheckPayment(TwinJournal(), payments, TwinProvider(paid(order, PaymentStatus.DECLINED)), DEADLINE)

    await consumer.check_payment(batch("payment", [received(order)]))

    assert payments.claims == {}


async def test_a_payment_still_pending_is_left_out_before_the_deadline() -> None:
    order = an_order(cup=1)
    event = pending(order, NOW + DEADLINE)

    processed = await settled(event, paid(order, PaymentStatus.PENDING))

    assert list(processed.left_out) == [order.order_id]
    assert list(processed.events) == []


async def test_a_payment_still_pending_at_the_deadline_is_refused() -> None:
    order = an_order(cup=1)
    deadline = NOW - timedelta(seconds=1)

    event = only(await settled(pending(order, deadline), paid(order, PaymentStatus.PENDING)))

    assert isinstance(event, PaymentDeclined)
    assert event.data.reason is Reason.PAYMENT_TIMEOUT
    assert event.data.detail == f"not paid by {deadline.isoformat()}"


async def test_a_payment_that_came_in_at_the_last_moment_counts() -> None:
    order = an_order(cup=1)

    processed = await settled(pending(order, NOW - timedelta(seconds=1)), paid(order))

    assert isinstance(only(processed), PaymentConfirmed)


async def test_a_payment_declined_while_it_was_waited_for_is_refused() -> None:
    order = an_order(cup=1)

    processed = await settled(pending(order, NOW + DEADLINE), paid(order, PaymentStatus.DECLINED))

    assert only(processed).data.reason is Reason.PAYMENT_DECLINED


def test_money_that_may_yet_come_is_not_refused() -> None:
    order = an_order(cup=1)

    assert unusable(order, paid(order, PaymentStatus.PENDING)) is None
    assert unusable(order, paid(order, PaymentStatus.AUTHORIZED)) is None
    assert unusable(order, None) is not None


async def test_the_deadline_itself_is_too_late() -> None:
    order = an_order(cup=1)

    event = only(await settled(pending(order, NOW), paid(order, PaymentStatus.PENDING)))

    assert event.data.reason is Reason.PAYMENT_TIMEOUT
