"""reconcile: compares provider, orders, journal and stock. It repairs nothing; people decide."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Protocol

from temporalio import activity

from orders.discrepancies import Report
from orders.ports import ListedPayment, PaymentBooks

PAGE_TIMEOUT = 20.0  # seconds the provider may take for a page of its books


class Reconciliations(Protocol):
    async def compare(
        self, provider: str, books: AsyncIterator[Sequence[ListedPayment]], *, grace: timedelta
    ) -> Report: ...


class Reconcile:
    """`grace`: what has changed within it is on its way and not compared."""

    def __init__(self, reconciliations: Reconciliations, provider: PaymentBooks, grace: timedelta) -> None:
        self._reconciliations = reconciliations
        self._provider = provider
        self._grace = grace

    @activity.defn
    async def reconcile(self) -> Report:
        books = self._provider.payments(timeout=PAGE_TIMEOUT)
        return await self._reconciliations.compare(self._provider.name, books, grace=self._grace)
