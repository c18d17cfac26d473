"""What the Temporal Web UI shows of a workflow besides its history: what it carries, and the links of its chain."""

import os
from collections.abc import Mapping, Sequence

from chain.event import type_of
from chain.table import Link, Table
from orders.order import Order

NAMED = 20
"""Orders that are listed; a batch of a hundred would fill the page, and 20 KB are allowed."""


def orders_list(orders: Sequence[Order], others: int = 0) -> str:
    """The orders as a list in Markdown, each with the way to its page if LANKA_PUBLIC_URL says where that is.

    `others` is how many there are beside them.
    """
    lines = [f"- {_link_to(order.order_id)} {order.summary()} · {order.payment_id}" for order in orders]
    more = [f"- and {others} more"] if others > 0 else []
    return "\n".join([*lines, *more])


def links_table(table: Table) -> str:
    """The chain as a table in Markdown: which link takes what, on which task queue, and what may come of it."""
    rows: dict[Link, list[str]] = {}
    for kind, route in table.routes.items():
        for link in (*route.links, *route.then):
            rows.setdefault(link, []).append("any refusal" if route.then else _short(kind))
    lines = [
        f"| `{link.name}` | `{link.queue}` | {', '.join(dict.fromkeys(kinds))} "
        f"| {', '.join(_short(type_of(each)) for each in link.makes)} |"
        for link, kinds in rows.items()
    ]
    return "\n".join(["| link | queue | takes | makes |", "|---|---|---|---|", *lines])


def now_list(here: Mapping[str, int], parked: Mapping[tuple[str, str], str]) -> str:
    """How many are at which link, and what waits there for a person, by subject and link, for which reason."""
    lines = [f"- {number} at `{link}`" for link, number in here.items() if number]
    waits = [
        f"- `{subject}` is parked at `{link}`: {reason}" for (subject, link), reason in list(parked.items())[:NAMED]
    ]
    return "\n".join([*lines, *waits]) or "nothing is at any link"


def _link_to(order_id: str) -> str:
    base = os.environ.get("LANKA_PUBLIC_URL", "").rstrip("/")
    return f"[{order_id}]({base}/console#/orders/{order_id})" if base else f"`{order_id}`"


def _short(kind: str) -> str:
    return kind.removeprefix("lanka.")
