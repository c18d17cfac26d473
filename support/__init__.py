"""The chain of a support call: a customer calls, and is connected to the operator who can help."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from temporalio.common import TypedSearchAttributes

    from activities.note_events import NoteEvents
    from activities.parts import Parts
    from chain.event import AnyEvent
    from chain.table import Link, Table, route
    from support.consumers import AssignOperator
    from support.events import CallerWaiting, OperatorAssigned, SupportCallEnded, SupportCallStarted
    from support.words import WORDS
    from workflows.chain import Chain
    from workflows.chain_workflow import ChainWorkflow
    from workflows.ui_details import of_customers

if TYPE_CHECKING:
    from fastapi import APIRouter

ASSIGN = Link("assign", AssignOperator.assign_operator, queue="support", makes=(OperatorAssigned, CallerWaiting))
WAITING = Link(
    "waiting",
    AssignOperator.assign_waiting,
    queue="support",
    makes=(OperatorAssigned,),
    asks_again=timedelta(seconds=15),  # whoever frees an operator wakes it before that
)
FREE = Link("free", AssignOperator.free_operator, queue="support", makes=())

TABLE = Table(
    starts=SupportCallStarted,
    routes={
        SupportCallStarted: route(ASSIGN),
        CallerWaiting: route(WAITING),
        SupportCallEnded: route(FREE),
    },
    note=Link("note", NoteEvents.note_events, queue="support", makes=()),
    words=WORDS,
)


@workflow.defn
class SupportCall(ChainWorkflow):
    table = TABLE

    @workflow.run
    async def run(self, version: int = 1) -> None:  # noqa: ARG002, the constructor has it
        await self.until_done()


def call_attributes(events: Sequence[AnyEvent]) -> TypedSearchAttributes:
    return TypedSearchAttributes(of_customers(event.data for event in events))


CHAIN = Chain(
    "support",
    workflow=SupportCall,
    alone="call",
    accepts=(SupportCallStarted, SupportCallEnded),
    attributes=call_attributes,
)


def consumers(parts: Parts) -> Sequence[object]:
    from support.store import Support  # noqa: PLC0415, the workflow is loaded without PostgreSQL

    return [AssignOperator(parts.journal, Support(parts.pool))]


def routes() -> "APIRouter":
    from support.operators import router  # noqa: PLC0415, the workflow is loaded without a web framework

    return router
