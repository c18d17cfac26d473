"""Words with a fixed spelling: where an order stands, at which link, and why it was refused."""

from enum import StrEnum


class Status(StrEnum):
    """Where an order stands."""

    RECEIVED = "received"
    PROCESSING = "processing"
    AWAITING_PAYMENT = "awaiting_payment"
    PARKED = "parked"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """The part of the chain an order is at."""

    PAYMENT = "payment"
    CART = "cart"
    PRICE = "price"
    FINALIZE = "finalize"


class Reason(StrEnum):
    """Why an order was refused. Stable: shops translate these for their customers."""

    PAYMENT_NOT_FOUND = "payment_not_found"
    PAYMENT_DECLINED = "payment_declined"
    PAYMENT_AMOUNT_MISMATCH = "payment_amount_mismatch"
    PAYMENT_CURRENCY_MISMATCH = "payment_currency_mismatch"
    PAYMENT_ALREADY_USED = "payment_already_used"
    PAYMENT_EXPIRED = "payment_expired"
    PAYMENT_TIMEOUT = "payment_timeout"
    UNKNOWN_SKU = "unknown_sku"
    OUT_OF_STOCK = "out_of_stock"
    PRICE_CHANGED = "price_changed"
    CANCELLED_BY_CUSTOMER = "cancelled_by_customer"
    REJECTED_BY_OPERATOR = "rejected_by_operator"
