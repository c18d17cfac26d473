"""The chain of an order: which consumer takes which event, on which task queue. All of it can be read here."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.check_cart import CheckCart
    from activities.check_payment import CheckPayment
    from activities.check_price import CheckPrice
    from activities.finalize_order import FinalizeOrder
    from activities.note_events import NoteEvents
    from activities.parts import Parts
    from activities.refund_payment import RefundPayment
    from activities.reject_order import RejectOrder
    from activities.release_stock import ReleaseStock
    from chain.table import Join, Link, Table, route, way_back
    from orders.events import (
        CartConfirmed,
        CartUnavailable,
        OrderCancelled,
        OrderConfirmed,
        OrderParked,
        OrderReceived,
        OrderRejected,
        OrderReleased,
        OrderWithdrawn,
        PaymentArrivedLate,
        PaymentConfirmed,
        PaymentDeclined,
        PaymentPending,
        PaymentRefunded,
        PriceChanged,
        PriceConfirmed,
        StockReleased,
        StockReserved,
    )
    from orders.words import WORDS
    from workflows.chain import Chain
    from workflows.chain_workflow import ChainWorkflow
    from workflows.order_details import order_attributes, order_list, order_summary

PAYMENT = Link(
    "payment",
    CheckPayment.check_payment,
    queue="payment",
    makes=(PaymentConfirmed, PaymentPending, PaymentDeclined),
    calls_out=True,
)
SETTLEMENT = Link(
    "settlement",
    CheckPayment.settle_payment,
    queue="payment",
    makes=(PaymentConfirmed, PaymentDeclined),
    asks_again=timedelta(seconds=15),
    calls_out=True,
)
CART = Link("cart", CheckCart.check_cart, queue="cart", makes=(StockReserved, CartUnavailable))
PRICE = Link("price", CheckPrice.check_price, queue="price", makes=(PriceConfirmed, PriceChanged))
FINALIZE = Link(
    "finalize",
    FinalizeOrder.finalize_order,
    queue="finalize",
    makes=(OrderConfirmed, PaymentDeclined),
    calls_out=True,
)

RELEASE = Link("release", ReleaseStock.release_stock, queue="cart", makes=(StockReleased,), undoes="cart")
REFUND = Link(
    "refund",
    RefundPayment.refund_payment,
    queue="payment",
    makes=(PaymentRefunded,),
    undoes="payment",
    refunds=True,
    calls_out=True,
)
REJECT = Link("reject", RejectOrder.reject_order, queue="finalize", makes=(OrderRejected, OrderCancelled))
LATE_REFUND = Link(
    "late-refund",
    RefundPayment.refund_late_payment,
    queue="payment",
    makes=(PaymentRefunded,),
    refunds=True,
    calls_out=True,
)

TABLE = Table(
    starts=OrderReceived,
    routes={
        OrderReceived: route(PAYMENT),
        PaymentPending: route(SETTLEMENT),
        PaymentConfirmed: route((CART, PRICE), join=Join("checks", into=CartConfirmed)),
        CartConfirmed: route(FINALIZE, too_late=True),
        PaymentArrivedLate: way_back(LATE_REFUND),
    },
    back=way_back((RELEASE, REFUND), REJECT),  # of every refusal, and of an order that was taken back
    note=Link("note", NoteEvents.note_events, queue="finalize", makes=()),
    parked=OrderParked,
    released=OrderReleased,
    withdrawn=OrderWithdrawn,
    words=WORDS,
)


@workflow.defn
class OrderConfirmation(ChainWorkflow):
    """The workflow of one order, or of several that travel together: takes their OrderReceived, follows the table."""

    table = TABLE

    @workflow.run
    async def run(self, version: int = 1) -> None:  # noqa: ARG002, the constructor has it
        await self.until_done()


CHAIN = Chain(
    "orders",
    workflow=OrderConfirmation,
    alone="order",
    always_ends=True,
    summary=order_summary,
    carried=order_list,
    attributes=order_attributes,
)


def consumers(parts: Parts) -> Sequence[object]:
    """The consumers of the table, each with its collaborators."""
    return [
        CheckPayment(parts.journal, parts.payments, parts.provider, parts.payment_deadline),
        CheckCart(parts.journal, parts.stock),
        CheckPrice(parts.journal, parts.catalogue, parts.price_tolerance),
        FinalizeOrder(parts.journal, parts.orders, parts.stock, parts.payments, parts.outbox, parts.provider),
        ReleaseStock(parts.journal, parts.stock),
        RefundPayment(parts.journal, parts.payments, parts.provider),
        RejectOrder(parts.journal, parts.outbox),
    ]
