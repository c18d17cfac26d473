"""What the consumers of a chain may need, put together by whoever starts them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from activities import check_cart, check_payment, check_price, finalize_order, refund_payment, reject_order
from activities.consume import Journal
from activities.release_stock import Stock as StockToRelease
from orders.ports import PaymentBooks, PaymentProvider


class Stock(check_cart.Stock, finalize_order.Stock, StockToRelease, Protocol): ...


class Payments(check_payment.Payments, finalize_order.Payments, refund_payment.Payments, Protocol): ...


class Outbox(finalize_order.Outbox, reject_order.Outbox, Protocol): ...


class Provider(PaymentProvider, PaymentBooks, Protocol): ...


@dataclass(frozen=True)
class Parts:
    """Each chain's `consumers` takes what its own need. `pool`: connections to PostgreSQL; `settings`: the worker's.

    `price_tolerance` is in basis points; `payment_deadline` is how long an order waits for a pending payment.
    """

    journal: Journal
    pool: Any
    settings: Any
    orders: finalize_order.Orders
    stock: Stock
    payments: Payments
    catalogue: check_price.Catalogue
    outbox: Outbox
    provider: Provider
    payment_deadline: timedelta
    price_tolerance: int
