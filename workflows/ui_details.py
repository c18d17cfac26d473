"""What the Temporal Web UI shows of a workflow besides its history, and by what it is found there."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from temporalio.common import SearchAttributeKey, SearchAttributePair

from chain.event import Kind, short, type_of
from chain.table import Link, Route, Table

ORDER_IDS = SearchAttributeKey.for_keyword_list("OrderIds")
CUSTOMER_IDS = SearchAttributeKey.for_keyword_list("CustomerIds")
PARKED_STAGES = SearchAttributeKey.for_keyword_list("ParkedStages")
"""The task queues of the links where something is parked."""

MAX_ATTRIBUTE_BYTES = 2_048
"""Of one search attribute, on every server (measured: 100 ids of 16 characters passed, 65 of 30 did not)."""

NAMED = 20  # what is listed by name; a batch of a hundred would fill the page, and 20 KB are allowed


def fitting(key: SearchAttributeKey[Sequence[str]], values: Sequence[str]) -> list[SearchAttributePair[Any]]:
    """The search attribute, or nothing where the values would be too long."""
    fits = values and len(json.dumps(values, separators=(",", ":"))) <= MAX_ATTRIBUTE_BYTES  # as the SDK writes them
    return [SearchAttributePair(key, values)] if fits else []


def of_customers(subjects: Iterable[Mapping[str, Any]]) -> list[SearchAttributePair[Any]]:
    """Whose they are. Where the customers of all would not fit, none."""
    customers = (each.get("customer_id") for each in subjects)
    return fitting(CUSTOMER_IDS, sorted({customer for customer in customers if isinstance(customer, str)}))


def links_table(table: Table) -> str:
    """The chain as a table in Markdown: which link takes what, on which task queue, and what may come of it."""
    rows: dict[Link, list[str]] = {}
    for kind, route in table.by_type.items():
        for link in route.links:
            rows.setdefault(link, []).append(_taken(table, kind, route))
    lines = [
        f"| `{link.name}` | `{link.queue}` | {', '.join(dict.fromkeys(taken))} "
        f"| {', '.join(short(type_of(each)) for each in link.makes)} |"
        for link, taken in rows.items()
    ]
    return "\n".join(["| link | queue | takes | makes |", "|---|---|---|---|", *lines])


def _taken(table: Table, event_type: str, route: Route) -> str:
    refusal = route is table.back and table.types.kind(event_type) is Kind.REFUSAL
    return "any refusal" if refusal else short(event_type)


def now_list(here: Mapping[str, int], parked: Sequence[tuple[str, str, str]]) -> str:
    """How many are at which link, and what waits for a person: each subject, its link, and for which reason."""
    lines = [f"- {number} at `{link}`" for link, number in here.items() if number]
    waits = [f"- `{subject}` is parked at `{link}`: {reason}" for subject, link, reason in parked[:NAMED]]
    return "\n".join([*lines, *waits]) or "nothing is at any link"
