"""A consumer that never returns: Temporal gives the attempt up and tries again without end, for everybody to see."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from temporalio import activity, workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.failures import Failures
from api.subjects import _tried
from chain.batch import Batch, Processed
from chain.steps import Trying
from dispatch.temporal import Temporal
from telemetry.activity_log import ActivityLog
from tests.servers import HANGS_AFTER, temporal_server, until
from workflows.router import OUTAGE_RETRIES


@activity.defn
async def hangs(batch: Batch) -> Processed:
    await asyncio.Event().wait()
    return Processed(events=[])


@workflow.defn
class Asks:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            hangs,
            Batch(link="hanging", events=[]),
            start_to_close_timeout=timedelta(seconds=1),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=OUTAGE_RETRIES,
        )


@pytest.fixture
async def temporal(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Temporal]:
    async with temporal_server(tmp_path_factory.mktemp("temporal")) as address, Temporal() as temporal:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        yield temporal


async def test_a_consumer_that_never_returns_is_seen_by_the_operator_in_the_log_and_in_the_metrics(
    temporal: Temporal,
) -> None:
    client = await temporal.client()
    queue = f"hanging-{uuid.uuid4().hex}"

    def given_up() -> float:
        labels = {"link": "hanging", "kind": "outage", "reason": "given_up"}
        return REGISTRY.get_sample_value("lanka_link_failures_total", labels) or 0

    async def seen() -> Trying | None:
        tried = (await _tried(temporal, queue)).get("hangs")
        return tried if tried and (tried.attempts or 0) > 2 else None

    with capture_logs() as logs:
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Asks],
            activities=[hangs],
            workflow_runner=UnsandboxedWorkflowRunner(),
            interceptors=[ActivityLog(), Failures()],
        ):
            asks = await client.start_workflow(Asks.run, id=queue, task_queue=queue)
            tried = await until(seen, HANGS_AFTER, "the third attempt")
            await until(lambda: given_up() > 1, HANGS_AFTER, "two attempts that were given up")
            await asks.terminate()

    assert "StartToClose" in tried.last_error
    told = next(line for line in logs if line["event"] == "not consumed")
    assert (told["kind"], told["reason"]) == ("outage", "given_up")
