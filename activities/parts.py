"""What the consumers of an order need, put together by whoever starts them."""

from datetime import timedelta
from typing import Protocol

from activities import (
    check_cart,
    check_payment,
    check_price,
    finalize_order,
    refund_payment,
    reject_order,
    release_stock,
)
from activities.consume import Journal
from orders.ports import PaymentProvider


class Stock(check_cart.Stock, finalize_order.Stock, release_stock.Stock, Protocol):
    pass


class Payments(check_payment.Payments, finalize_order.Payments, refund_payment.Payments, Protocol):
    pass


class Outbox(finalize_order.Outbox, reject_order.Outbox, Protocol):
    pass


class OrderParts(Protocol):
    """`price_tolerance` is in basis points; `payment_deadline` is how long an order waits for a pending payment."""

    @property
    def journal(self) -> Journal: ...
    @property
    def orders(self) -> finalize_order.Orders: ...
    @property
    def stock(self) -> Stock: ...
    @property
    def payments(self) -> Payments: ...
    @property
    def catalogue(self) -> check_price.Catalogue: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def provider(self) -> PaymentProvider: ...
    @property
    def payment_deadline(self) -> timedelta: ...
    @property
    def price_tolerance(self) -> int: ...
