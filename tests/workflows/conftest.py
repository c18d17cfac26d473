"""A real Temporal dev server for each test process, the real router on it, and doubles of all consumers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.failures import Failures
from chain.event import Event, type_of
from chain.table import Route, Table
from dispatch import dispatcher
from orders.events import OrderReceived
from orders.order import Order
from store.dispatch import DispatchBatch
from tests.servers import HANGS_AFTER, temporal_server
from tests.shop import untyped
from tests.workflows.doubles import Consumers
from workflows import router
from workflows.chains import CHAINS
from workflows.order_confirmation import TABLE

HISTORIES = Path(__file__).parent / "histories"

Handle = WorkflowHandle[Any, Any]
Send = Callable[..., Awaitable[Handle]]
Record = Callable[[str, Handle], Awaitable[None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record-histories", action="store_true", help="write the stories into tests/workflows/histories")


@pytest.fixture(scope="session")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        # An identity of its own, because the default names this machine and goes into every recorded history.
        yield await Client.connect(address, data_converter=pydantic_data_converter, identity="lanka-tests")


@pytest.fixture(scope="session")
async def consumers(client: Client) -> AsyncIterator[Consumers]:
    """The router and the doubles at work."""
    consumers = Consumers()
    queues: dict[str, list[Callable[..., Any]]] = {}
    for link in TABLE.links:
        name = activity._Definition.must_from_callable(link.consumer).name
        assert name
        queues.setdefault(link.queue, []).append(getattr(consumers, name))
    async with AsyncExitStack() as at_work:
        await at_work.enter_async_context(
            Worker(client, task_queue="order-confirmation", workflows=[chain.workflow for chain in CHAINS.values()])
        )
        for queue, doubles in queues.items():
            await at_work.enter_async_context(
                Worker(client, task_queue=queue, activities=doubles, interceptors=[Failures()])
            )
        yield consumers


@pytest.fixture
def send(client: Client, consumers: Consumers) -> Send:
    """Sends orders on their way, together, as the dispatcher does."""

    async def send(*orders: Order) -> Handle:
        events = [untyped(OrderReceived.made_by("intake", o.order_id, o.received_at, {"order": o})) for o in orders]
        workflow_id = CHAINS["orders"].workflow_id([order.order_id for order in orders])
        await dispatcher.start_workflow(client, DispatchBatch("orders", workflow_id, TABLE.version, events))
        return client.get_workflow_handle(workflow_id)

    return send


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before an event that failed is tried again."""
    monkeypatch.setattr(router, "FAULT_PAUSES", (timedelta(milliseconds=1), timedelta(milliseconds=1)))


def reroute(monkeypatch: pytest.MonkeyPatch, event: type[Event[Any]], changed: Route) -> None:
    """Changes the chain of an order: the sandbox loads its table anew, but passes the class through."""
    monkeypatch.setattr(Table, "by_type", {**TABLE.by_type, type_of(event): changed})


async def ended(handle: Handle) -> None:
    async with asyncio.timeout(HANGS_AFTER):
        await handle.result()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """With --record-histories: keeps the history of a story, to be replayed by all code that comes after."""

    async def record(story: str, handle: Handle) -> None:
        if request.config.getoption("record_histories", default=False):
            history = (await handle.fetch_history()).to_json_dict()
            HISTORIES.mkdir(exist_ok=True)
            (HISTORIES / f"{story}.json").write_text(json.dumps(_without_stack_traces(history), indent=1) + "\n")

    return record


def _without_stack_traces(history: Any) -> Any:
    """They name paths of this machine, and replay does not look at them."""
    if isinstance(history, dict):
        return {key: _without_stack_traces(value) for key, value in history.items() if key != "stackTrace"}
    if isinstance(history, list):
        return [_without_stack_traces(value) for value in history]
    return history
