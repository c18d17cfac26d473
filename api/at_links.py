"""Who waits at which link, and who is being worked on: the one definition for console, order page and funnel."""

from datetime import timedelta
from typing import Literal

from chain.table import LATE_REFUND, SETTLEMENT
from store.overview import Group
from workflows.whereabouts import stands_at

SHOWN_AFTER = timedelta(seconds=0.75)
"""What has happened to an order within this time shows that it moves."""

RECEIVED = "received"
"""Not a link: accepted, and not given to Temporal yet."""

Manner = Literal["waiting", "in_progress", "parked"]


def at_links(group: Group) -> dict[str, Manner]:
    """The links where the orders of the group are, or `RECEIVED`. Of two side by side both, until one is done."""
    parked = {link for link, _, _ in group.parked}
    if not group.dispatched:
        stands: tuple[str, ...] = (RECEIVED,)
    else:
        stands = (LATE_REFUND.name,) if group.ended else stands_at(group.done, group.told)
    here = {name: manner(name, moves=group.fresh) for name in stands}
    return here | dict.fromkeys(parked, "parked")


def manner(link: str, *, moves: bool) -> Manner:
    """`moves`: something has happened within `SHOWN_AFTER`. Whose payment is pending waits all the same."""
    return "in_progress" if moves and link not in {RECEIVED, SETTLEMENT.name} else "waiting"
