"""A small model: from what an order was measured to cost here, to what many orders a second would need.

What an order costs a part is a + b / n, with n orders in a batch: a is the order's own work, b the batch's. Both
follow from two measurements, one order at a time and the burst. What is assumed beyond that stands in `Assumed`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from benchmarks.figures import Result, spread

RATES = (100, 1_000, 10_000)
PARTS = ("api", "worker", "postgres", "temporal")
ONE_CORE = ("api", "worker")
"""One process of these is one event loop, and uses one core."""

MONTH = 30 * 24 * 3600


@dataclass(frozen=True)
class Assumed:
    """How much of a core is used on average, so that a peak finds room; and settings, before any is raised."""

    busy: float = 0.6
    batch_size: int = 100
    batches: int = 4
    provider_batches: float = 100.0
    matching_rps: int = 1_200
    matching_calls: int = 18

    MEANS: ClassVar[Mapping[str, str]] = {
        "busy": "share of a core that is used on average",
        "batch_size": "`LANKA_BATCH_SIZE`",
        "batches": "`LANKA_BATCHES`",
        "provider_batches": "`LANKA_PROVIDER_BATCHES_PER_SECOND`",
        "matching_rps": "`matching.rps`, Temporal's default for a host",
        "matching_calls": "of these a workflow of four links needs",
    }


@dataclass(frozen=True)
class Costs:
    """CPU milliseconds of an order by part and what it leaves behind, each as (its own, its batch's).

    `seconds` is how long a batch was on its way under load. What was seen is a lower bound of what is possible:
    `accepted` orders a second, `started` workflows a second by one dispatcher, `hot` orders a second that all want one
    SKU.
    """

    cpu: Mapping[str, tuple[float, float]]
    wal: tuple[float, float]
    history_bytes: tuple[float, float]
    actions: tuple[float, float]
    seconds: float
    accepted: float
    started: float
    hot: float | None

    @classmethod
    def of(cls, result: Result, sweep: Result | None = None, system: str = "lanka") -> "Costs":
        batch = 1 / _figure(result, system, "burst.workflows")

        def split(figure: str) -> tuple[float, float]:
            alone, burst = _figure(result, system, f"alone.{figure}"), _figure(result, system, f"burst.{figure}")
            shared = max(0.0, (alone - burst) / (1 - 1 / batch))
            return max(0.0, alone - shared), shared

        return cls(
            cpu={part: split(f"cpu.{part}") for part in PARTS},
            wal=split("wal"),
            history_bytes=split("history_bytes"),
            actions=split("actions"),
            seconds=_figure(result, system, "in_flight.confirmation.p50") / 1000,
            accepted=max(_figure(result, each, "burst.accepted_per_s") for each in ("lanka", "lanka-more")),
            started=_figure(result, "lanka-single", "burst.confirmed_per_s"),
            hot=_figure(sweep, "lanka-hot", "burst.confirmed_per_s") if sweep else None,
        )


@dataclass(frozen=True)
class Plan:
    """What `rate` orders a second need. `cores` by part; `processes` of those that use one core each."""

    rate: int
    batch: float
    places: int
    batches_per_s: float
    cores: Mapping[str, float]
    processes: Mapping[str, int]
    wal_per_s: float
    history_per_s: float
    actions_per_month: float


@dataclass(frozen=True)
class Limit:
    """What stops the growth at `rate` orders a second as things are set by default, and what to do then."""

    what: str
    rate: float
    then: str


def plan(costs: Costs, rate: int, assumed: Assumed | None = None) -> Plan:
    """Batches grow by themselves until they are full; then there must be more of them on the way."""
    assumed = assumed or Assumed()
    batch = min(assumed.batch_size, max(1.0, rate * costs.seconds / assumed.batches))
    places = max(assumed.batches, math.ceil(rate * costs.seconds / batch))
    cores = {part: rate * at_batch(cost, batch) / 1000 / assumed.busy for part, cost in costs.cpu.items()}
    return Plan(
        rate=rate,
        batch=batch,
        places=places,
        batches_per_s=rate / batch,
        cores=cores,
        processes={part: math.ceil(cores[part]) for part in ONE_CORE},
        wal_per_s=rate * at_batch(costs.wal, batch),
        history_per_s=rate * at_batch(costs.history_bytes, batch),
        actions_per_month=rate * at_batch(costs.actions, batch) * MONTH,
    )


def limits(costs: Costs, assumed: Assumed | None = None) -> list[Limit]:
    """The nearest first."""
    assumed = assumed or Assumed()
    size = assumed.batch_size
    own = {part: assumed.busy * 1000 / at_batch(cost, size) for part, cost in costs.cpu.items()}
    found = [
        Limit(
            "`LANKA_BATCHES` batches on the way",
            assumed.batches * size / costs.seconds,
            "raise it; a batch that only waits gives its place up anyway",
        ),
        Limit("one API process", own["api"], "start more; one of them dispatches"),
        Limit("one worker process", own["worker"], "start more, or split them by queue (`--queue`)"),
        Limit(
            "accepts, a commit each (seen here, not the limit)",
            costs.accepted,
            "more API processes share the flushes of the log; a faster disk for it; in the end a second database",
        ),
        Limit(
            "one dispatcher (seen here with one order a batch, not the limit)",
            costs.started * size,
            "larger batches; in the end a second database, each with its own dispatcher",
        ),
        Limit(
            "`LANKA_PROVIDER_BATCHES_PER_SECOND`",
            assumed.provider_batches * size,
            "raise it as far as the provider's own limit allows",
        ),
        Limit(
            "`matching.rps` of one Temporal host, so also one partition",
            assumed.matching_rps / assumed.matching_calls * size,
            "raise it (`deploy/temporal-dynamic-config.yaml` does), or add hosts; more partitions break the order",
        ),
    ]
    if costs.hot is not None:
        hot = "one SKU in all orders (seen here, not the limit)"
        then = "batches that want it wait for each other: larger ones; or stock split over several rows or shelves"
        found.append(Limit(hot, costs.hot, then))
    return sorted(found, key=lambda limit: limit.rate)


def at_batch(cost: tuple[float, float], orders: float) -> float:
    own, shared = cost
    return own + shared / orders


def document(result: Result, sweep: Result | None = None) -> str:
    """Markdown."""
    costs, assumed = Costs.of(result, sweep), Assumed()
    opening = (
        f"From the run of {result.at} on a machine with {result.machine.get('cores')} cores. There a batch was on its "
        f"way for {costs.seconds:.2f} s under load."
    )
    plans = [plan(costs, rate, assumed) for rate in RATES]
    return "\n\n".join(
        [
            opening,
            "### What an order costs",
            _table(
                ["", "its own", "its batch's, shared by those in it"],
                [
                    *(
                        [f"CPU of {part}, ms", f"{own:.2f}", f"{shared:.1f}"]
                        for part, (own, shared) in costs.cpu.items()
                    ),
                    ["write-ahead log, kB", *(f"{part / 1000:.1f}" for part in costs.wal)],
                    ["Temporal history, kB", *(f"{part / 1000:.1f}" for part in costs.history_bytes)],
                    ["billable actions", *(f"{part:.2f}" for part in costs.actions)],
                ],
            ),
            "### What so many orders a second need",
            _table(["", *(f"{each.rate:,}/s" for each in plans)], _needs(plans)),
            "### What becomes the limit, the nearest first",
            _table(
                ["", "orders/s", "then"],
                [[each.what, f"{each.rate:,.0f}", each.then] for each in limits(costs, assumed)],
            ),
            "### What is assumed",
            _table(
                ["", ""],
                [[Assumed.MEANS[each.name], f"{getattr(assumed, each.name):g}"] for each in fields(assumed)],
            ),
        ]
    )


def _needs(plans: Sequence[Plan]) -> list[list[str]]:
    return [
        ["orders in a batch", *(f"{each.batch:.0f}" for each in plans)],
        ["batches a second", *(f"{each.batches_per_s:.0f}" for each in plans)],
        ["batches on the way (`LANKA_BATCHES`)", *(f"{each.places}" for each in plans)],
        *([f"cores of {part}", *(f"{each.cores[part]:.1f}" for each in plans)] for part in PARTS),
        *([f"{part} processes", *(f"{each.processes[part]}" for each in plans)] for part in ONE_CORE),
        ["write-ahead log, MB/s", *(f"{each.wal_per_s / 1e6:.1f}" for each in plans)],
        ["Temporal history, MB/s", *(f"{each.history_per_s / 1e6:.1f}" for each in plans)],
        ["billable actions a month, millions", *(f"{each.actions_per_month / 1e6:,.0f}" for each in plans)],
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(result: Result, system: str, path: str) -> float:
    found = spread(result, system, path)
    if found is None:
        raise ValueError(f"{path} of {system} was not measured")
    return found.middle
