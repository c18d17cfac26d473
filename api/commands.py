"""Takes what people want of a subject to the workflow that carries it, and brings its verdict back."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel
from temporalio.client import Client, RPCTimeoutOrCancelledError, WithStartWorkflowOperation, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.workflow import UpdateMethodMultiParam

from api.problems import MAX_RELEASE, Code, Problem
from chain.commands import BulkCommand, Command, Verdict, verdict_again
from dispatch.temporal import Temporal, start_of
from orders.words import Status
from store.dispatch import DispatchBatch
from store.failpoints import reach
from store.operations import Carried, Operations, ParkedSubject, WantedParkings
from store.orders import CHAIN
from workflows.chain_workflow import ChainWorkflow
from workflows.chains import CHAINS

ANSWERED_WITHIN = 5.0
"""Seconds that a workflow gets to decide; with a worker at hand it takes milliseconds."""

WORKFLOWS_AT_ONCE = 20

T = TypeVar("T")
Update: TypeAlias = "UpdateMethodMultiParam[[ChainWorkflow, Command], Any]"

_PARKING = re.compile(r"(.+)\.[^.]+\.parked\.[0-9a-f]{1,8}")
"""The id of a parking; it begins with its subject."""


class Answer(BaseModel):
    verdict: Verdict


class _Named(NamedTuple):
    """What an operator means: a subject, one of its parkings or all, and the workflow that may have it parked."""

    subject: str
    parking: str | None
    workflow_id: str | None


class Commands:
    def __init__(self, operations: Operations, temporal: Temporal) -> None:
        self._operations = operations
        self._temporal = temporal

    async def cancel(self, command: Command) -> Verdict:
        """Raises the problems `order_not_found` and `not_decided`."""
        order = await self._found(command.subject)
        if order.chain != CHAIN:
            raise Problem(Code.ORDER_NOT_FOUND)
        if order.ended:
            return _after_the_end(order)
        if order.withdrawn:  # decided before, also where the workflow that has decided is lost
            return verdict_again(order.withdrawn)
        if order.workflow_id and order.dispatched_at:
            verdict = await self._ask(order.workflow_id, ChainWorkflow.cancel, command)
        else:
            # It may arrive before the order does: the workflow remembers it, and the dispatcher brings the order.
            chain = CHAINS[CHAIN]
            alone = chain.workflow_id([command.subject])
            batch = await self._operations.taken(command.subject, alone, chain.table.version)
            verdict = await self._cancel_first(batch, command)
        if verdict:
            return verdict
        order = await self._found(command.subject)
        if not order.ended:
            raise _not_decided()
        return _after_the_end(order)

    async def parkings(self, named: str) -> Sequence[ParkedSubject]:
        """The parking of this id, or those of the subject of this id."""
        for wanted in (WantedParkings(parking=named), WantedParkings(subject=named)):
            if parked := (await self._operations.parked(wanted, limit=MAX_RELEASE)).parked:
                return parked
        return []

    async def decide(self, named: str, *, by: str, why: str, reject: bool) -> Verdict:
        """Of one parking, or of all of a subject. Raises the problems `order_not_found` and `not_decided`."""
        subject, parking, workflow_id = await self._named(named)
        if workflow_id is None:
            return Verdict.NOT_PARKED
        command = Command(subject=subject, by=by, why=why, parking=parking)
        update: Update = ChainWorkflow.reject if reject else ChainWorkflow.release_one
        return await self._ask(workflow_id, update, command) or Verdict.NOT_PARKED

    async def decide_all(self, commands: Mapping[str, BulkCommand]) -> int:
        """Tells each workflow, by its id, what goes on there; returns how many subjects were decided by this.

        Raises the problem `not_decided`: then some may go on, and asking again takes the others.
        """
        limit = asyncio.Semaphore(WORKFLOWS_AT_ONCE)

        async def decide_one(workflow_id: str, bulk: BulkCommand) -> int:
            async def asked(client: Client) -> int:
                handle = client.get_workflow_handle(workflow_id)
                decided: int = await handle.execute_update(ChainWorkflow.decide_all, bulk)
                reach("decide.after_bulk")
                return decided

            async with limit:
                return await self._answered(asked) or 0

        return sum(await asyncio.gather(*(decide_one(workflow_id, bulk) for workflow_id, bulk in commands.items())))

    async def _found(self, subject: str, unknown: str | None = None) -> Carried:
        found = await self._operations.carried(subject)
        if found is None:
            raise Problem(Code.ORDER_NOT_FOUND, unknown)
        return found

    async def _named(self, name: str) -> _Named:
        if parked := (await self._operations.parked(WantedParkings(parking=name), limit=1)).parked:
            return _Named(parked[0].subject, name, parked[0].workflow_id)
        over = _PARKING.fullmatch(name)
        if over and await self._operations.carried(over[1]):
            return _Named(over[1], name, None)  # somebody has decided since it was listed
        return _Named(name, None, await self._carrier(name))

    async def _carrier(self, subject: str) -> str | None:
        """Where it may be parked: the workflow that carries it, or the one that works on what came after its end."""
        found = await self._found(subject, "No parking and no subject has this id; GET /operations/parked lists them.")
        if not found.ended:
            return found.workflow_id
        parked = (await self._operations.parked(WantedParkings(subject=subject), limit=1)).parked
        return parked[0].workflow_id if parked else None

    async def _ask(self, workflow_id: str, update: Update, command: Command) -> Verdict | None:
        async def asked(client: Client) -> Verdict:
            reach("decide.before_update")
            verdict: Verdict = await client.get_workflow_handle(workflow_id).execute_update(update, command)
            reach("decide.after_update")
            return verdict

        return await self._answered(asked)

    async def _cancel_first(self, batch: DispatchBatch, command: Command) -> Verdict | None:
        start = WithStartWorkflowOperation(
            CHAINS[batch.chain].workflow.run,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            **start_of(batch),
        )

        async def asked(client: Client) -> Verdict:
            reach("decide.before_start")
            verdict: Verdict = await client.execute_update_with_start_workflow(
                ChainWorkflow.cancel, command, start_workflow_operation=start
            )
            reach("decide.after_start")
            return verdict

        return await self._answered(asked)

    async def _answered(self, ask: Callable[[Client], Awaitable[T]]) -> T | None:
        """None where the workflow has ended since we looked. Raises the problem `not_decided`."""
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                return await ask(await self._temporal.client())
        except (WorkflowAlreadyStartedError, WorkflowUpdateFailedError):
            return None
        except (TimeoutError, RPCTimeoutOrCancelledError, RPCError) as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise _not_decided() from error


def _not_decided() -> Problem:
    return Problem(Code.NOT_DECIDED, headers={"Retry-After": "2"})


def _after_the_end(order: Carried) -> Verdict:
    return Verdict.ALREADY_CANCELLED if order.status == Status.CANCELLED else Verdict.TOO_LATE
