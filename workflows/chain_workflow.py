"""What the workflows of all chains share: how events and commands reach them, and when they end."""

import asyncio
from typing import ClassVar

from temporalio import workflow

from chain.commands import BulkCommand, Command, Verdict
from chain.event import AnyEvent
from chain.table import Table
from workflows.router import Router


class ChainWorkflow:
    """A chain's workflow is a subclass with its `table` and a `run` that awaits `until_done`.

    `version`: of the table, with which its subjects were dispatched.
    """

    table: ClassVar[Table]

    @workflow.init
    def __init__(self, version: int = 1) -> None:
        self._router = Router(self.table, version)

    async def run(self, version: int = 1) -> None:
        raise NotImplementedError

    async def until_done(self) -> None:
        """Returns when every subject that was signalled has ended.

        Cancelling the workflow cancels the subjects it carries that can still be cancelled; they end in their own way.
        """
        while True:
            try:
                await workflow.wait_condition(lambda: self._router.done and workflow.all_handlers_finished())
            except asyncio.CancelledError:
                why = workflow.cancellation_reason() or "the workflow was cancelled"
                self._router.cancel_all(by="Temporal", why=why)
            else:
                return

    @workflow.signal
    async def received(self, events: list[AnyEvent]) -> None:
        """The dispatcher delivers at least once: an event that was here before is dropped."""
        await self._router.receive(events)

    @workflow.signal
    async def news(self, subjects: list[str]) -> None:
        """There is news of these subjects: whatever waits for it asks now."""
        self._router.wake(subjects)

    @workflow.update
    async def cancel(self, command: Command) -> Verdict:
        return self._router.cancel(command)

    @workflow.update
    async def reject(self, command: Command) -> Verdict:
        return self._router.reject(command)

    @workflow.update(name="release")
    async def release_one(self, command: Command) -> Verdict:
        return self._router.release(command)

    @workflow.update
    async def decide_all(self, bulk: BulkCommand) -> int:
        """Releases or rejects what is parked here and matches; returns how many subjects that was."""
        return await self._router.decide_all(bulk)

    @workflow.signal
    async def release(self, bulk: BulkCommand) -> None:
        """`temporal workflow signal --name release --input '{"by": "ann", "why": "mended"}'` does it as well."""
        self._router.command_all(bulk)
