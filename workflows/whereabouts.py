"""At which links an open order stands, by what has been done and what has been told of it."""

from collections.abc import Collection

from chain.event import type_of
from chain.table import CART, FINALIZE, PAYMENT, PRICE, REFUND, REJECT, RELEASE, SETTLEMENT
from orders.events import CartUnavailable, OrderWithdrawn, PaymentDeclined, PaymentPending, PriceChanged

_REFUSED = {type_of(PaymentDeclined), type_of(OrderWithdrawn)}
_REFUSED_BY_CHECK = {type_of(CartUnavailable), type_of(PriceChanged)}


def stands_at(done: Collection[str], told: Collection[str]) -> tuple[str, ...]:
    """Names of links; of two side by side both, while neither is done.

    `done`: the links that have claimed the order. `told`: types of its events, at least those that are not of a
    straight way.
    """
    to_check = tuple(link.name for link in (CART, PRICE) if link.name not in done)
    refused = _REFUSED.intersection(told) or (_REFUSED_BY_CHECK.intersection(told) and not to_check)
    # On the way back the links forward are closed by claims of theirs, so this comes first.
    if refused or {RELEASE.name, REFUND.name}.intersection(done):
        return tuple(link.name for link in (RELEASE, REFUND) if link.name not in done) or (REJECT.name,)
    if PAYMENT.name not in done:
        return (PAYMENT.name,)
    if type_of(PaymentPending) in told and SETTLEMENT.name not in done:
        return (SETTLEMENT.name,)
    return to_check or (FINALIZE.name,)
