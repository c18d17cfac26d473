"""The dispatcher: takes the oldest accepted subjects, one or a batch, and signals-with-start their workflow.

One API process leads at a time, whoever holds the advisory lock; the others stand by. While Temporal is away it waits,
and arriving orders gather. At least once: the workflow's id, its event ids and the journal make it once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import stamina
import structlog
from temporalio.client import Client, Interceptor
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from chain.failures import Outage
from dispatch.lost_workflows import bring_back_lost
from dispatch.message_delivery import deliver_messages
from dispatch.payment_webhooks import deliver_news
from dispatch.temporal import signal_with_start
from store.database import Pool, Transaction, connected, session
from store.dispatch import (
    ACCEPTED,
    ARRIVED,
    DispatchBatch,
    lead,
    mark_dispatched,
    pending_work,
    take_oldest,
    taken_before,
)
from store.failpoints import reach
from store.intake import register
from store.journal import CHANNEL
from workflows.chains import CHAINS, accepted
from workflows.connect import connect

log = structlog.get_logger()

STUCK_AFTER = timedelta(seconds=3)  # a batch that has been on the way for longer merely waits, and gives its place up
LOOK_ANYWAY = 0.5  # seconds after which the dispatcher looks, even if nobody has woken it
MOMENT = 0.0005  # seconds for each subject of the last batch for which a batch gathers even if none is on the way
BETWEEN_NOTICES = 0.005  # seconds between two notifications of one process


@dataclass(frozen=True)
class Batching:
    """How batches form: at most `batch_size` subjects and `batch_bytes` of JSON each, `batches` on the way at once.

    `gather_seconds` is how long a batch that is not full waits at most for one on the way to end.
    `lost_after_seconds`: how long a workflow is under way before it is looked for, and between two looks.
    """

    batch_size: int
    batch_bytes: int
    batches: int
    gather_seconds: float
    lost_after_seconds: float


class Wakeup:
    """Tells the dispatcher of new subjects, in whichever process it leads. Calls that come close together are one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._woken = asyncio.Event()
        self.here: Callable[[], None] | None = None
        """What to call where the dispatcher leads in this process."""

    def wake(self) -> None:
        if self.here:
            self.here()
        else:
            self._woken.set()

    async def carry(self) -> None:
        # Not in the transaction that accepts: NOTIFY takes a lock that makes all commits wait for each other.
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                async with connected(self._pool) as connection:
                    await connection.execute("SELECT pg_notify($1, $2)", ACCEPTED, ARRIVED)
            except Outage as outage:
                log.warning("nobody could be woken, the dispatcher looks anyway", error=str(outage))
            except Exception:
                log.exception("the wakeup failed, the dispatcher looks anyway")
            await asyncio.sleep(BETWEEN_NOTICES)


@asynccontextmanager
async def running_dispatcher(
    pool: Pool, wakeup: Wakeup, batching: Batching, interceptors: Sequence[Interceptor] = ()
) -> AsyncIterator[None]:
    """Runs the dispatcher beside the requests of this process. `interceptors` are for its client of Temporal."""
    async with asyncio.TaskGroup() as tasks:
        leading = _stand_by(pool, wakeup, batching, interceptors)
        running = [tasks.create_task(wakeup.carry()), tasks.create_task(leading)]
        yield
        for task in running:
            task.cancel()


async def _stand_by(pool: Pool, wakeup: Wakeup, batching: Batching, interceptors: Sequence[Interceptor]) -> None:
    while True:
        try:
            async with session(pool) as connection:
                while not await lead(connection):  # noqa: ASYNC110, nobody tells when another one goes
                    await asyncio.sleep(LOOK_ANYWAY)
                await register(connection, accepted())
                log.info("dispatcher leads")
                dispatcher = Dispatcher(connection, batching)
                wakeup.here = dispatcher.arrived
                await dispatcher.run(pool, interceptors)
        except Outage as outage:
            log.warning("dispatcher waits for PostgreSQL", error=str(outage))
        except Exception:
            log.exception("dispatcher failed, it starts again")
        finally:
            wakeup.here = None
        await asyncio.sleep(LOOK_ANYWAY)


class Pace:
    """When the next batch leaves: few large batches cost less than many small ones.

    One that is full leaves at once. While another is on the way it gathers until that one has ended, `gather` seconds
    at most. With none on the way it waits a moment if the last one was large: then many come just now.
    """

    def __init__(self, gather: float) -> None:
        self._gather = gather
        self._left = 0.0
        self._size = 0
        self._gathering_since: float | None = None

    def leaves(self, size: int) -> None:
        self._left, self._size, self._gathering_since = time.monotonic(), size, None

    def pause(self, *, others: bool, full: bool) -> float:
        """Seconds from now until what waits leaves; `others`: whether a batch is on the way."""
        now = time.monotonic()
        self._gathering_since = self._gathering_since or now
        if full:
            return 0
        moment = self._gathering_since + MOMENT * (self._size - 1)
        until = max(moment, self._left + self._gather) if others else moment
        return max(0.0, until - now)


class Dispatcher:
    """Works on the connection that holds the lead, so that it stops when it loses it."""

    def __init__(self, connection: Transaction, batching: Batching) -> None:
        self._connection = connection
        self._batching = batching
        self._pace = Pace(batching.gather_seconds)
        self._wake = asyncio.Event()
        self._noticed = False
        self._gathering = False

    async def run(self, pool: Pool, interceptors: Sequence[Interceptor]) -> None:
        """What is done beside takes its connections from the pool."""
        client = await connect(interceptors)
        for channel in (ACCEPTED, CHANNEL):
            await self._connection.add_listener(channel, self._notice)
        looking = asyncio.create_task(bring_back_lost(pool, client, self._batching.lost_after_seconds))
        try:
            await self._run(client)
        finally:
            looking.cancel()

    async def _run(self, client: Client) -> None:
        while True:
            self._wake.clear()
            self._noticed = self._gathering = False
            pause = await self._dispatch(client)
            if self._gathering and not self._noticed:
                self._wake.clear()
            if pause:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def arrived(self) -> None:
        """There are more subjects, which is no news while they gather."""
        if not self._gathering:
            self._wake.set()

    def _notice(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == ARRIVED:
            self.arrived()
        else:
            self._noticed = True
            self._wake.set()

    async def _dispatch(self, client: Client) -> float:
        """Does what there is to do; returns how many seconds to wait for more."""
        batching = self._batching
        pending = await pending_work(
            self._connection, chains=[*CHAINS], size=batching.batch_size, stuck_after=STUCK_AFTER
        )
        for there_are, deliver in ((pending.news, deliver_news), (pending.messages, deliver_messages)):
            with suppress(RPCError):  # Temporal is away: they are kept
                if there_are:
                    await deliver(self._connection, client)
        if pending.left_behind:
            batch = await taken_before(self._connection, [*CHAINS])
        elif not pending.waiting:
            return LOOK_ANYWAY
        elif len(pending.on_the_way) >= batching.batches:
            self._gathering = True
            return LOOK_ANYWAY
        elif pause := self._pace.pause(others=bool(pending.on_the_way), full=pending.waiting >= batching.batch_size):
            self._gathering = True
            return min(pause, LOOK_ANYWAY)
        else:
            batch = await self._take()
        if batch:
            if batch.events:
                await start_workflow(client, batch)
            reach("dispatch.before_mark")
            await mark_dispatched(self._connection, batch)
            self._pace.leaves(len(batch.events))
        return 0

    async def _take(self) -> DispatchBatch | None:
        return await take_oldest(
            self._connection,
            size=self._batching.batch_size,
            max_bytes=self._batching.batch_bytes,
            workflow_id=lambda chain, subjects: CHAINS[chain].workflow_id(subjects),
            versions={name: chain.table.version for name, chain in CHAINS.items()},
        )


@stamina.retry(on=RPCError, attempts=None, timeout=None, wait_initial=0.1, wait_max=2.0)
async def start_workflow(client: Client, batch: DispatchBatch) -> None:
    with suppress(WorkflowAlreadyStartedError):
        await signal_with_start(client, batch)
