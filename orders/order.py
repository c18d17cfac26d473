"""The order: what the customer wants, at the price the customer saw."""

import secrets
import time
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from chain.subject import Identifier
from orders.money import CurrencyCode, UnitPrice, written

MAX_LINES = 100
MAX_QUANTITY = 10_000
MAX_TOTAL = 2**53 - 1
"""Minor units: what every reader of JSON reads exactly (RFC 8259)."""


class Line(BaseModel, frozen=True, extra="forbid"):
    """One SKU, how many of it, and the price of one in minor units as the customer saw it."""

    sku: Identifier
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]
    unit_price: UnitPrice


class NewOrder(BaseModel, frozen=True, extra="forbid"):
    """An order that is about to be accepted. `total` is the sum of its lines in minor units of `currency`."""

    order_id: str
    customer_id: Identifier
    payment_id: Identifier
    currency: CurrencyCode
    lines: tuple[Line, ...]
    total: int

    def quantities(self) -> dict[str, int]:
        """How many of each SKU: lines of the same SKU are summed."""
        summed: dict[str, int] = {}
        for line in self.lines:
            summed[line.sku] = summed.get(line.sku, 0) + line.quantity
        return summed

    def summary(self) -> str:
        """`3 items · EUR 41.50 · cus_42`."""
        items = sum(line.quantity for line in self.lines)
        return (
            f"{items} {'item' if items == 1 else 'items'} · {written(self.total, self.currency)} · {self.customer_id}"
        )


class Order(NewOrder, frozen=True, extra="forbid"):
    """An accepted order. `received_at` is PostgreSQL's time, as are those of prices, which are looked up by it."""

    received_at: AwareDatetime


def new_order_id() -> str:
    """A time-ordered id of 16 characters: 50 bits of milliseconds and 30 random bits, in Crockford's base 32.

    The time is this host's: it sorts lists, and decides nothing. Sixteen, because 100 ids must fit into one Temporal
    search attribute of 2,048 bytes.
    """
    number = (time.time_ns() // 1_000_000) << 30 | secrets.randbits(30)
    return "".join(_BASE_32[number >> shift & 31] for shift in range(75, -1, -5))


_BASE_32 = "0123456789abcdefghjkmnpqrstvwxyz"
