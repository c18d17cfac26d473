"""The chain of a support call: its table, and the workflow that follows it."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.note_events import NoteEvents
    from chain.event import type_of
    from chain.table import Link, Route, Table
    from support.consumers import AssignOperator
    from support.events import CallerWaiting, OperatorAssigned, SupportCallEnded, SupportCallStarted
    from workflows.chain_workflow import ChainWorkflow

ASSIGN = Link("assign", AssignOperator.assign_operator, queue="support", makes=(OperatorAssigned, CallerWaiting))
WAITING = Link(
    "waiting",
    AssignOperator.assign_waiting,
    queue="support",
    makes=(OperatorAssigned,),
    asks_again=timedelta(seconds=15),  # whoever frees an operator rings before that
)
FREE = Link("free", AssignOperator.free_operator, queue="support", makes=())

SUPPORT_TABLE = Table(
    routes={
        type_of(SupportCallStarted): Route(links=(ASSIGN,)),
        type_of(CallerWaiting): Route(links=(WAITING,)),
        type_of(SupportCallEnded): Route(links=(FREE,)),
    },
    note=Link("note", NoteEvents.note_events, queue="support", makes=()),
)


@workflow.defn
class SupportCall(ChainWorkflow):
    table = SUPPORT_TABLE

    @workflow.run
    async def run(self) -> None:
        await self.until_done()
