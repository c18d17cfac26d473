"""What a chain is to Temporal: which workflow carries it, and how that is shown in the Temporal Web UI."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.common import TypedSearchAttributes

from chain.event import AnyEvent, Event, in_words
from chain.table import Table
from workflows.chain_workflow import ChainWorkflow
from workflows.ui_details import links_table


@dataclass(frozen=True)
class Chain:
    """`accepts`: what may come from outside (`POST /events`, the outbox).

    `always_ends`: every subject comes to an event that ends it, so one whose workflow completes without it is lost.
    `alone` is the prefix of the workflow id of a subject that travels alone, `queue` the router's. `summary` and
    `carried` (in Markdown) tell in the Temporal Web UI what the workflow carries, `attributes` are what it is found by.
    """

    name: str
    workflow: type[ChainWorkflow]
    alone: str
    accepts: tuple[type[Event[Any]], ...] = ()
    always_ends: bool = False
    queue: str = "order-confirmation"
    summary: Callable[[Sequence[AnyEvent]], str] = in_words
    carried: Callable[[Sequence[AnyEvent]], str] = lambda _: ""
    attributes: Callable[[Sequence[AnyEvent]], TypedSearchAttributes] = lambda _: TypedSearchAttributes.empty

    @property
    def table(self) -> Table:
        return self.workflow.table

    def details(self, events: Sequence[AnyEvent]) -> str:
        """In Markdown: what the workflow carries, and the links of the chain."""
        return "\n\n".join(part for part in (self.carried(events), links_table(self.table)) if part)

    def workflow_id(self, subjects: Sequence[str]) -> str:
        """`order-<id>` for one order, `batch-<id of the first>` for several."""
        return f"{self.alone if len(subjects) == 1 else 'batch'}-{subjects[0]}"
