"""Reconciliation on real PostgreSQL: a healthy shop gives nothing, and each planted discrepancy just one finding."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.check_cart import CheckCart
from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from activities.finalize_order import FinalizeOrder
from activities.note_events import NoteEvents
from activities.reconcile import Reconcile
from activities.refund_payment import RefundPayment
from activities.reject_order import RejectOrder
from activities.release_stock import ReleaseStock
from chain.event import AnyEvent, type_of
from chain.failures import Outage, UnexpectedAnswer
from gateways.sandbox import SandboxPayments
from orders.discrepancies import Kind, Report
from orders.events import (
    CartConfirmed,
    OrderParked,
    OrderWithdrawn,
    PaymentArrivedLate,
)
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.ports import ListedPayment
from store.catalogue import Catalogue
from store.database import Pool
from store.orders import Orders
from store.outbox import Outbox
from store.payments import Payments
from store.reconciliation import MOST, Reconciliations
from store.stock import Stock
from tests.servers import Said, one_who_says
from tests.shop import PRICE, TwinProvider, accept, an_order, batch, fetch, paid, stock_up, the_journal, untyped
from workflows.order_confirmation import TABLE

LONG_AGO = timedelta(hours=2)
NO_GRACE = timedelta()


class Books(TwinProvider):
    """A twin that shows its books, in pages of three. `since` tells of payments that have just changed."""

    def __init__(self, *payments: Payment) -> None:
        super().__init__(*payments)
        self.since: dict[str, datetime] = {}

    async def payments_of(self, orders: Sequence[Order]) -> None:
        self.payments |= {order.payment_id: paid(order) for order in orders}

    async def pages(self) -> AsyncIterator[Sequence[ListedPayment]]:
        long_ago = datetime.now(UTC) - LONG_AGO
        listed = [ListedPayment(each, self.since.get(name, long_ago)) for name, each in self.payments.items()]
        for first in range(0, len(listed), 3):
            yield listed[first : first + 3]


class Shop:
    """The real consumers, called as the router calls them."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.provider = Books()
        journal, payments, stock, outbox = the_journal(pool), Payments(pool), Stock(), Outbox()
        self._payment = CheckPayment(journal, payments, self.provider, timedelta())
        self._cart = CheckCart(journal, stock)
        self._price = CheckPrice(journal, Catalogue(pool), 0)
        self._finalize = FinalizeOrder(journal, Orders(pool, TABLE), stock, payments, outbox, self.provider)
        self._release = ReleaseStock(journal, stock)
        self._refund = RefundPayment(journal, payments, self.provider)
        self._reject = RejectOrder(journal, outbox)
        self._notes = NoteEvents(journal)

    async def reconciled(self, grace: timedelta = NO_GRACE) -> Report:
        return await Reconciliations(self.pool, TABLE.types).compare("twin", self.provider.pages(), grace=grace)

    async def gets(self, order: Order, *, unknown: bool = False, **payment: Any) -> AnyEvent:
        """The order, its payment changed so or `unknown` to the provider, after its first link."""
        if not unknown:
            self.provider.payments.setdefault(order.payment_id, paid(order).model_copy(update=payment))
        (event,) = await accept(self.pool, order)
        (made,) = (await self._payment.check_payment(batch("payment", [event]))).events
        return made

    async def checks(self, event: AnyEvent) -> AnyEvent:
        """Cart and price, and what the router makes of the two."""
        (cart,) = (await self._cart.check_cart(batch("cart", [event]))).events
        (price,) = (await self._price.check_price(batch("price", [event]))).events
        for made in (cart, price):
            if "reason" in made.data:
                return made
        return untyped(CartConfirmed.made_by("checks", event.subject, datetime.now(UTC), event.data))

    async def confirms(self, order: Order, **payment: Any) -> None:
        checked = await self.checks(await self.gets(order, **payment))
        (made,) = (await self._finalize.finalize_order(batch("finalize", [checked], unrecorded=True))).events
        assert "order_number" in made.data

    async def turns_back(self, refusal: AnyEvent, *, without: Sequence[str] = ()) -> str:
        """The way back, `without` some of its links; the reason."""
        unrecorded = refusal.type == type_of(OrderWithdrawn)
        if "release" not in without:
            await self._release.release_stock(batch("release", [refusal], unrecorded=unrecorded))
        if "refund" not in without:
            await self._refund.refund_payment(batch("refund", [refusal], unrecorded=unrecorded))
        if "reject" not in without:
            await self._reject.reject_order(batch("reject", [refusal], unrecorded=unrecorded))
        return str(refusal.data["reason"])

    async def gives_back_late(self, order: Order) -> None:
        data = {"payment_id": order.payment_id}
        late = untyped(PaymentArrivedLate.made_by("webhooks", order.order_id, datetime.now(UTC), data))
        await self._notes.note_events(batch("note", [late]))
        await self._refund.refund_late_payment(batch("late-refund", [late]))

    async def settles(self, event: AnyEvent) -> AnyEvent:
        (made,) = (await self._payment.settle_payment(batch("settlement", [event]))).events
        return made

    async def parks(self, order: Order) -> None:
        data = {"link": "cart", "reason": "key_error", "attempts": 3, "last_error": "KeyError"}
        parked = OrderParked.made_by("cart.parked.1", order.order_id, datetime.now(UTC), data)
        await self._notes.note_events(batch("note", [untyped(parked)]))


@pytest.fixture
async def shop(pool: Pool) -> Shop:
    await stock_up(pool, cup=100, pot=100)
    return Shop(pool)


def told(report: Report) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.subject) for finding in report.findings]


def withdrawn(order: Order) -> AnyEvent:
    data = {"reason": "cancelled_by_customer", "detail": "changed my mind", "by": "customer"}
    return untyped(OrderWithdrawn.made_by("withdrawal", order.order_id, datetime.now(UTC), data))


# ---- a healthy shop -----------------------------------------------------------------------------------------------


async def test_an_empty_shop_has_nothing_to_report(shop: Shop) -> None:
    report = await shop.reconciled()

    assert (report.total, report.findings) == (0, [])
    assert report.checked == {"payments": 0, "orders": 0, "events": 0, "skus": 2}


async def test_a_healthy_shop_has_nothing_to_report(shop: Shop) -> None:
    confirmed, twice = an_order(cup=1), an_order(cup=1, pot=2)
    await shop.confirms(confirmed)
    await shop.confirms(twice.model_copy(update={"lines": twice.lines * 2, "total": twice.total * 2}))
    await shop.confirms(an_order(pot=1), status=PaymentStatus.CAPTURED, captured_amount=PRICE)

    refusals = [
        await shop.gets(an_order(cup=1), status=PaymentStatus.DECLINED),
        await shop.gets(an_order(cup=1), status=PaymentStatus.EXPIRED),
        await shop.gets(an_order(cup=1), amount=1),
        await shop.gets(an_order(cup=1), currency="USD"),
        await shop.gets(an_order(confirmed.payment_id, cup=1)),
        await shop.gets(an_order("pay_nobody_knows", cup=1), unknown=True),
        await shop.checks(
            await shop.gets(an_order(cup=101), status=PaymentStatus.CAPTURED, captured_amount=101 * PRICE)
        ),
        await shop.checks(await shop.gets(an_order(ghost=1))),
        await shop.settles(await shop.gets(an_order(pot=1), status=PaymentStatus.PENDING)),
    ]
    await fetch(shop.pool, "INSERT INTO prices VALUES ('cup', now() - interval '1 minute', 1, 'EUR')")
    refusals.append(await shop.checks(await shop.gets(an_order(cup=1, pot=1))))
    cancelled = an_order(pot=1)
    await shop.checks(await shop.gets(cancelled))
    refusals.append(withdrawn(cancelled))
    reasons = [await shop.turns_back(refusal) for refusal in refusals]

    await shop.gets(an_order(pot=1), status=PaymentStatus.PENDING)
    await shop.gets(an_order(pot=1))
    await shop.checks(await shop.gets(an_order(pot=1)))
    parked = an_order(pot=1)
    await shop.gets(parked)
    await shop.parks(parked)
    waiting, taken = an_order(pot=1), an_order(pot=1)
    await accept(shop.pool, waiting, taken)
    await shop.provider.payments_of([waiting, taken])
    await fetch(shop.pool, "UPDATE subjects SET workflow_id = 'w', taken_at = now() WHERE subject = $1", taken.order_id)

    assert reasons == [
        "payment_declined",
        "payment_expired",
        "payment_amount_mismatch",
        "payment_currency_mismatch",
        "payment_already_used",
        "payment_not_found",
        "out_of_stock",
        "unknown_sku",
        "payment_timeout",
        "price_changed",
        "cancelled_by_customer",
    ]
    report = await shop.reconciled()
    assert told(report) == []
    assert report.checked["orders"] == 20


async def test_what_has_just_happened_is_left_out(shop: Shop) -> None:
    order = an_order(cup=1)
    refused = await shop.gets(order, currency="USD")
    await shop.turns_back(refused, without=["refund"])
    unclaimed = an_order(cup=1)
    shop.provider.payments[unclaimed.payment_id] = paid(unclaimed, PaymentStatus.CAPTURED).model_copy(
        update={"captured_amount": 250}
    )
    shop.provider.since[unclaimed.payment_id] = datetime.now(UTC) - timedelta(minutes=1)

    assert told(await shop.reconciled(grace=timedelta(hours=1))) == []
    assert len(told(await shop.reconciled())) == 2


# ---- each kind ----------------------------------------------------------------------------------------------------


async def test_money_that_no_order_names_is_found(shop: Shop) -> None:
    await shop.confirms(an_order(cup=1))
    taken, reserved, young = an_order(cup=1), an_order(cup=2), an_order(cup=3)
    await shop.provider.payments_of([reserved, young])
    shop.provider.payments[taken.payment_id] = paid(taken, PaymentStatus.CAPTURED).model_copy(
        update={"captured_amount": taken.total}
    )
    shop.provider.since[young.payment_id] = datetime.now(UTC) - timedelta(minutes=10)

    report = await shop.reconciled()

    assert sorted(told(report)) == sorted((Kind.PAID_WITHOUT_ORDER, order.payment_id) for order in (taken, reserved)), (
        "an authorisation may wait for its order a while, money that is taken may not"
    )
    assert report.findings[0].since
    assert {finding.detail for finding in report.findings} == {
        "EUR 2.50 captured, no order names it",
        "EUR 5.00 authorized, no order names it",
    }


async def test_money_that_only_a_refused_order_names_is_found(shop: Shop) -> None:
    order = an_order(cup=1)
    await accept(shop.pool, order)
    await shop.turns_back(withdrawn(order))
    shop.provider.payments[order.payment_id] = paid(order)  # came when nobody asked any more

    report = await shop.reconciled()

    assert told(report) == [(Kind.PAID_WITHOUT_ORDER, order.payment_id)]
    assert order.order_id in report.findings[0].detail


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"status": PaymentStatus.AUTHORIZED, "captured_amount": 0}, "is authorized"),
        ({"status": PaymentStatus.REFUNDED, "refunded_amount": 500}, "is refunded"),
        ({"captured_amount": 499}, "is captured with EUR 4.99"),
        ({"currency": "USD"}, "is captured with USD 5.00"),
        (None, "is not known to the provider"),
    ],
)
async def test_a_confirmed_order_without_its_money_is_found(
    shop: Shop, change: dict[str, Any] | None, detail: str
) -> None:
    order, other = an_order(cup=2), an_order(cup=1)
    await shop.confirms(order)
    await shop.confirms(other)
    payment = shop.provider.payments.pop(order.payment_id)
    if change is not None:
        shop.provider.payments[order.payment_id] = payment.model_copy(update=change)

    report = await shop.reconciled()

    assert told(report) == [(Kind.ORDER_WITHOUT_PAYMENT, order.order_id)]
    assert report.findings[0].detail == f"EUR 5.00 confirmed, payment {order.payment_id} {detail}"


async def test_an_order_that_was_paid_at_another_provider_is_not_asked_for(shop: Shop) -> None:
    order = an_order(cup=1)
    await shop.confirms(order)
    await fetch(shop.pool, "UPDATE payments SET provider = 'former'")
    shop.provider.payments.clear()
    await fetch(shop.pool, "ALTER TABLE journal DISABLE TRIGGER journal_is_append_only")
    await fetch(
        shop.pool,
        """UPDATE journal SET data = jsonb_set(data, '{payment,provider}', '"former"') WHERE data ? 'payment'""",
    )

    assert told(await shop.reconciled()) == []


async def test_one_payment_on_two_orders_is_found(shop: Shop) -> None:
    await fetch(shop.pool, "ALTER TABLE payments DROP CONSTRAINT one_payment_serves_one_order")
    first, second = an_order("pay_shared", cup=1), an_order("pay_shared", cup=1)
    await shop.confirms(first)
    await shop.confirms(second)

    report = await shop.reconciled()

    assert told(report) == [(Kind.PAYMENT_ON_TWO_ORDERS, "pay_shared")]
    assert report.findings[0].detail == f"taken for {', '.join(sorted([first.order_id, second.order_id]))}"


async def test_a_payment_that_the_table_gives_to_another_order_than_the_journal_is_found(shop: Shop) -> None:
    owner, thief = an_order("pay_shared", cup=1), an_order("pay_shared", cup=1)
    await shop.confirms(owner)
    await shop.turns_back(await shop.gets(thief))
    await fetch(shop.pool, "UPDATE payments SET order_id = $1", thief.order_id)

    assert told(await shop.reconciled()) == [(Kind.PAYMENT_ON_TWO_ORDERS, "pay_shared")]


async def test_stock_that_an_ended_order_still_holds_is_found(shop: Shop) -> None:
    order, open_order = an_order(cup=3, pot=1), an_order(cup=1)
    await shop.checks(await shop.gets(open_order))
    await shop.checks(await shop.gets(order))
    await shop.turns_back(withdrawn(order), without=["release"])

    report = await shop.reconciled()

    assert told(report) == [(Kind.STOCK_HELD_WITHOUT_OPEN_ORDER, order.order_id)]
    assert report.findings[0].detail == "still holds 3 of cup, 1 of pot"


async def test_stock_that_is_reserved_for_nobody_is_found(shop: Shop) -> None:
    await shop.checks(await shop.gets(an_order(cup=2)))
    await fetch(shop.pool, "UPDATE stock SET reserved = reserved + 1 WHERE sku = 'cup'")

    report = await shop.reconciled()

    assert told(report) == [(Kind.STOCK_HELD_WITHOUT_OPEN_ORDER, "cup")]
    assert report.findings[0].detail == "3 reserved, orders hold 2"
    assert report.findings[0].since is None


@pytest.mark.parametrize("without", [["refund"], ["refund", "reject"]])
async def test_a_refund_that_has_not_succeeded_is_found(shop: Shop, without: list[str]) -> None:
    order = an_order(cup=101)
    await shop.turns_back(await shop.checks(await shop.gets(order)), without=without)

    report = await shop.reconciled()

    assert told(report) == [(Kind.REFUND_OWED, order.order_id)]
    assert report.findings[0].detail == f"EUR 252.50 authorized on payment {order.payment_id}, not refunded"


async def test_a_refund_that_only_the_journal_knows_is_found(shop: Shop) -> None:
    order = an_order(cup=101)
    await shop.turns_back(await shop.checks(await shop.gets(order)))
    shop.provider.payments[order.payment_id] = paid(order)

    report = await shop.reconciled()

    assert told(report) == [(Kind.REFUND_OWED, order.order_id)]
    assert report.findings[0].detail.endswith("although its journal says refunded")


async def test_money_that_came_after_the_end_is_owed_until_it_is_given_back(shop: Shop) -> None:
    order = an_order(cup=1)
    await shop.turns_back(await shop.settles(await shop.gets(order, status=PaymentStatus.PENDING)))
    shop.provider.payments[order.payment_id] = paid(order)

    assert told(await shop.reconciled()) == [(Kind.REFUND_OWED, order.order_id)]
    await shop.parks(order)  # the late refund, behind the end that stays the end
    await shop.gives_back_late(order)
    assert told(await shop.reconciled()) == []


PLANTED = [
    ("UPDATE subjects SET status = 'rejected'", "status rejected (ended), journal confirmed (ended)"),
    ("UPDATE subjects SET ended_at = NULL", "status confirmed, journal confirmed (ended)"),
    ("UPDATE orders SET order_number = NULL", "number missing, journal L00000001"),
    ("UPDATE orders SET order_number = 'L00000009'", "number L00000009, journal L00000001"),
    ("UPDATE reservations SET quantity = 1 WHERE sku = 'cup'", "1 of cup sold, confirmed 2"),
    ("DELETE FROM reservations WHERE sku = 'pot'", "0 of pot sold, confirmed 1"),
    ("UPDATE payments SET state = 'refunded'", "payment refunded, journal captured"),
    ("UPDATE payments SET state = 'held'", "payment held, journal captured"),
    ("DELETE FROM payments", "confirmed, but no payment is noted"),
]


@pytest.mark.parametrize(("planted", "detail"), PLANTED, ids=[planted for planted, _ in PLANTED])
async def test_a_state_that_does_not_follow_from_the_journal_is_found(shop: Shop, planted: str, detail: str) -> None:
    order = an_order(cup=2, pot=1)
    await shop.confirms(order)
    await fetch(shop.pool, planted)

    report = await shop.reconciled()

    assert told(report) == [(Kind.JOURNAL_AND_STATE_DISAGREE, order.order_id)]
    assert report.findings[0].detail == detail


async def test_goods_that_left_without_a_confirmation_are_found(shop: Shop) -> None:
    order = an_order(cup=2)
    await shop.checks(await shop.gets(order))
    await fetch(shop.pool, "UPDATE reservations SET state = 'sold'")
    await fetch(shop.pool, "UPDATE stock SET reserved = 0")

    report = await shop.reconciled()

    assert told(report) == [(Kind.JOURNAL_AND_STATE_DISAGREE, order.order_id)]
    assert report.findings[0].detail == "2 of cup sold, confirmed 0"


async def test_an_order_that_stands_where_its_journal_has_not_led_is_found(shop: Shop) -> None:
    order = an_order(cup=2)
    await shop.gets(order)
    await fetch(shop.pool, "UPDATE subjects SET status = 'parked'")

    assert told(await shop.reconciled()) == [(Kind.JOURNAL_AND_STATE_DISAGREE, order.order_id)]


# ---- the report ---------------------------------------------------------------------------------------------------


async def test_the_report_is_kept_with_the_first_findings_and_their_number(shop: Shop) -> None:
    orders = [an_order(cup=1) for _ in range(MOST + 10)]
    await shop.provider.payments_of(orders)

    class Twin:
        name = "twin"

        def payments(self, *, timeout: float) -> AsyncIterator[Sequence[ListedPayment]]:
            return shop.provider.pages()

    store = Reconciliations(shop.pool, TABLE.types)
    report = await Reconcile(store, Twin(), NO_GRACE).reconcile()

    assert (report.total, len(report.findings)) == (MOST + 10, MOST)
    assert report.checked["payments"] == MOST + 10
    assert await last(shop.pool) == report
    again = await Reconcile(store, Twin(), NO_GRACE).reconcile()
    assert (again.total, told(again)) == (report.total, told(report))
    assert await last(shop.pool) == again


async def last(pool: Pool) -> Report | None:
    row = await pool.fetchrow("SELECT * FROM reconciliations ORDER BY position DESC LIMIT 1")
    return Report(**row) if row else None


async def test_a_provider_that_is_away_leaves_no_report_and_no_trace(shop: Shop) -> None:
    async def breaks_off() -> AsyncIterator[Sequence[ListedPayment]]:
        yield []
        raise Outage("away")

    store = Reconciliations(shop.pool, TABLE.types)
    with pytest.raises(Outage):
        await store.compare("twin", breaks_off(), grace=NO_GRACE)

    assert await last(shop.pool) is None
    assert (await shop.reconciled()).total == 0


# ---- the provider's books -----------------------------------------------------------------------------------------

ENTRY: dict[str, Any] = {
    "id": "pay_1",
    "status": "captured",
    "amount": 250,
    "currency": "EUR",
    "captured_amount": 250,
    "refunded_amount": 0,
    "created_at": "2030-01-01T10:00:00Z",
    "operations": [{"operation": "capture", "key": "k", "amount": 250, "at": "2030-01-01T10:05:00Z"}],
}


async def listed(*answers: Said) -> list[Sequence[ListedPayment]]:
    left = iter(answers)
    async with one_who_says(lambda: next(left)) as url:
        provider = SandboxPayments(url)
        try:
            return [page async for page in provider.payments(timeout=5)]
        finally:
            await provider.close()


def page(*entries: dict[str, Any], next_after: str | None = None) -> Said:
    return Said(200, json.dumps({"payments": entries, "next_after": next_after}).encode())


async def test_the_books_come_page_by_page_and_a_page_that_fails_is_asked_for_again() -> None:
    pages = await listed(
        page(ENTRY, next_after="pay_1"),
        Said(503),
        page(ENTRY | {"id": "pay_2", "operations": []}),
    )

    assert [[payment.payment_id for payment, _ in page] for page in pages] == [["pay_1"], ["pay_2"]]
    assert [since.minute for page in pages for _, since in page] == [5, 0]
    assert pages[0][0].payment.captured_amount == 250


@pytest.mark.parametrize(
    "answer",
    [
        page(ENTRY | {"amount": "250"}),
        Said(200, b"[]"),
        Said(404, b'{"code": "not_found"}'),
    ],
)
async def test_a_page_that_makes_no_sense_is_a_fault(answer: Said) -> None:
    with pytest.raises(UnexpectedAnswer):
        await listed(answer)
