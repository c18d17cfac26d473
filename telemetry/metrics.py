"""What a worker counts: the ends of orders, how long links take, what failed.

Counters begin at nought with the process, as Prometheus expects. An end is counted by the worker whose transaction has
journalled it, so that the sum over all workers is right however often a consumer was called.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

from prometheus_client import Counter, Histogram

from chain.batch import Batch, Decide, Work
from chain.event import AnyEvent, Event, Kind, short
from orders.events import OrderConfirmed
from store.journal import Journal
from workflows.chains import CHAINS

ENDS = tuple(event for event in CHAINS["orders"].table.events if event.kind is Kind.END)

LINK_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)
"""From a quick link to one that was parked over lunch."""

ended = Counter(
    "lanka_orders_ended_total", "Orders that have come to their end; `reason` is empty for those confirmed.",
    ["status", "reason"],
)  # fmt: skip
confirmed_after = Histogram(
    "lanka_order_confirmed_seconds", "From the acceptance of an order to its confirmation.", buckets=LINK_SECONDS
)
link_took = Histogram(
    "lanka_link_seconds", "From the event that a link was given to the one that it made, with all waiting and retries.",
    ["link", "made"], buckets=LINK_SECONDS,
)  # fmt: skip
failed = Counter(
    "lanka_link_failures_total", "Attempts of consumers that failed; `kind` is outage or fault.",
    ["link", "kind", "reason"],
)  # fmt: skip


class CountedJournal(Journal):
    """Counts what a link has made once it is committed, and not what had been made before."""

    async def process_once(
        self, batch: Batch, events: Sequence[Event[Any]], decide: Decide[Any], attempt: int = 1
    ) -> list[AnyEvent]:
        given: dict[str, Event[Any]] = {}
        made: list[Event[Any]] = []

        async def noting(work: Work, fresh: Sequence[Any]) -> Sequence[Event[Any]]:
            given.update((batch.made_id(event), event) for event in fresh)
            made[:] = await decide(work, fresh)
            return made

        outcome = await super().process_once(batch, events, noting, attempt)
        _count(batch.link, given, made)
        return outcome


def _count(link: str, given: dict[str, Event[Any]], made: Sequence[Event[Any]]) -> None:
    """`given`: by the id of what is made of it."""
    ends: Tally[tuple[str, str]] = Tally()
    for event in made:
        before = given[event.id]
        # The clocks of two machines may differ; nothing takes less than no time.
        link_took.labels(link, short(event.type)).observe(_seconds(before, event))
        if isinstance(event, ENDS):
            ends[str(event.status), getattr(event.data, "reason", "")] += 1
        if isinstance(event, OrderConfirmed):
            received_at = before.data.order.received_at
            confirmed_after.observe(max((event.time - received_at).total_seconds(), 0))
    for (status, reason), number in ends.items():
        ended.labels(status, reason).inc(number)


def _seconds(before: Event[Any], after: Event[Any]) -> float:
    return max((after.time - before.time).total_seconds(), 0)
