"""What a reconciliation finds: places where provider, orders, journal and stock do not say the same."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel


class Kind(StrEnum):
    """What is wrong. The subject of the finding is an order, a payment or a SKU, as noted."""

    PAID_WITHOUT_ORDER = "paid_without_order"
    """Payment: the provider holds money that serves no order."""
    ORDER_WITHOUT_PAYMENT = "order_without_payment"
    """Order: confirmed, but its payment is not captured at the provider, or not in its amount."""
    PAYMENT_ON_TWO_ORDERS = "payment_on_two_orders"
    """Payment: taken for more than one order."""
    STOCK_HELD_WITHOUT_OPEN_ORDER = "stock_held_without_open_order"
    """Order that has ended and still holds stock, or SKU of which more or less is reserved than orders hold."""
    REFUND_OWED = "refund_owed"
    """Order: refused, but the provider still holds its money."""
    JOURNAL_AND_STATE_DISAGREE = "journal_and_state_disagree"
    """Order: what the tables say of it does not follow from its journal."""


class Finding(BaseModel, frozen=True):
    """`since`: when what it is about last changed; None where nobody knows."""

    kind: Kind
    subject: str
    detail: str
    since: AwareDatetime | None


class Report(BaseModel, frozen=True):
    """`checked`: how many payments, orders, events and SKUs were compared. `findings` are the first of `total`."""

    started_at: AwareDatetime
    finished_at: AwareDatetime
    checked: Mapping[str, int]
    findings: Sequence[Finding]
    total: int
