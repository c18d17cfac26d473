"""finalize: the money first, then the number; money that cannot be taken is no order."""

from collections.abc import Sequence
from typing import Any

import pytest

from activities.finalize_order import FinalizeOrder, refusal
from chain.batch import Processed
from chain.event import AnyEvent, Event
from chain.failures import UnexpectedAnswer
from orders.events import CartConfirmed, OrderConfirmed, PaymentDeclined
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.words import Reason
from tests.shop import TwinProvider, an_order, batch, paid, untyped
from tests.unit.twins import NOW, TwinJournal, TwinPayments, typed


class TwinStore:
    """Orders, stock and outbox in one: what was numbered, sold and told."""

    def __init__(self) -> None:
        self.sold: list[str] = []
        self.told: list[str] = []

    async def number(self, tx: Any, order_ids: Sequence[str]) -> dict[str, str]:
        return {order_id: f"L-{number}" for number, order_id in enumerate(order_ids, 1)}

    async def sell(self, tx: Any, order_ids: Sequence[str]) -> None:
        self.sold += order_ids

    async def put(self, tx: Any, events: Sequence[Event[Any]]) -> None:
        self.told += [event.subject for event in events]


class WillfulProvider(TwinProvider):
    """What it captures becomes what it wants: `becomes` are the changes."""

    def __init__(self, *payments: Payment, **becomes: Any) -> None:
        super().__init__(*payments)
        self.becomes = becomes

    async def capture(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        return self.payments[payment_id].model_copy(update=self.becomes)


@pytest.fixture
def store() -> TwinStore:
    return TwinStore()


def checked(order: Order, payment: Payment) -> AnyEvent:
    data = {"order": order, "payment": payment}
    return untyped(CartConfirmed.made_by("checks", order.order_id, NOW, data))


async def finalize(store: TwinStore, provider: TwinProvider, *events: AnyEvent) -> Processed:
    consumer = FinalizeOrder(TwinJournal(), store, store, TwinPayments(), store, provider)
    return await consumer.finalize_order(batch("finalize", events, unrecorded=True))


async def test_authorised_money_is_taken_once_and_the_order_gets_its_number(store: TwinStore) -> None:
    order = an_order(cup=2)
    provider = TwinProvider(paid(order))

    processed = await finalize(store, provider, checked(order, paid(order)))

    (event,) = map(typed, processed.events)
    assert isinstance(event, OrderConfirmed)
    assert event.data.order_number == "L-1"
    assert provider.calls == [("capture", order.payment_id)]
    assert provider.keys == {f"{order.order_id}.finalize"}
    assert store.sold == store.told == [order.order_id]


async def test_money_that_was_taken_before_is_not_taken_again(store: TwinStore) -> None:
    order = an_order(cup=1)
    provider = TwinProvider()

    processed = await finalize(store, provider, checked(order, paid(order, PaymentStatus.CAPTURED)))

    assert [event.type for event in processed.events] == ["lanka.OrderConfirmed"]
    assert provider.calls == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (PaymentStatus.EXPIRED, Reason.PAYMENT_EXPIRED),
        (PaymentStatus.DECLINED, Reason.PAYMENT_DECLINED),
        (PaymentStatus.REFUNDED, Reason.PAYMENT_DECLINED),
    ],
)
async def test_an_authorisation_that_ran_out_on_the_way_refuses_the_order(
    store: TwinStore, status: PaymentStatus, reason: Reason
) -> None:
    lost, kept = an_order("pay_lost", cup=1), an_order("pay_kept", cup=1)
    provider = WillfulProvider(paid(lost), status=status)

    processed = await finalize(
        store, provider, checked(lost, paid(lost)), checked(kept, paid(kept, PaymentStatus.CAPTURED))
    )

    declined, confirmed = (typed(event) for event in processed.events)
    assert isinstance(declined, PaymentDeclined)
    assert declined.data == refusal(paid(lost, status))
    assert declined.data.reason is reason
    assert declined.data.detail == f"payment pay_lost was {status} when it was to be captured"
    assert isinstance(confirmed, OrderConfirmed)
    assert store.sold == store.told == [kept.order_id], "nothing is sold to the order without money"


@pytest.mark.parametrize(
    "becomes",
    [
        {"status": PaymentStatus.CAPTURED, "captured_amount": 1},
        {"status": PaymentStatus.AUTHORIZED},
        {"status": PaymentStatus.PENDING},
    ],
)
async def test_a_capture_that_makes_no_sense_is_a_fault(store: TwinStore, becomes: dict[str, Any]) -> None:
    order = an_order(cup=1)

    with pytest.raises(UnexpectedAnswer, match=order.payment_id):
        await finalize(store, WillfulProvider(paid(order), **becomes), checked(order, paid(order)))

    assert store.sold == []
