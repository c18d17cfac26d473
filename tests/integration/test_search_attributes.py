"""Search attributes on a real Temporal server that nobody has told of them."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from lanka import temporal
from tests.servers import HANGS_AFTER, temporal_server
from workflows.search_attributes import NAMES, register_search_attributes


async def test_what_nobody_has_registered_is_registered_by_the_worker_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal, "SEARCH_ATTRIBUTES", ("OrderIds",))
    async with temporal_server(tmp_path) as address:
        client = await Client.connect(address)
        with capture_logs() as logs:
            await register_search_attributes(client)
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace="default")
            )
            await register_search_attributes(client)

    assert set(NAMES) == {"OrderIds", "CustomerIds", "ParkedStages"}
    assert set(NAMES) <= known.custom_attributes.keys()
    assert [entry["names"] for entry in logs] == [["CustomerIds", "ParkedStages"]]


async def test_a_server_that_refuses_is_no_reason_not_to_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuses(_: object) -> None:
        raise RPCError("only the operator may", RPCStatusCode.PERMISSION_DENIED, b"")

    async with temporal_server(tmp_path) as address:
        client = await Client.connect(address)
        monkeypatch.setattr(client.operator_service, "list_search_attributes", refuses)
        with capture_logs() as logs:
            await register_search_attributes(client)
    assert [entry["event"] for entry in logs] == ["Temporal's search attributes could not be registered"]


async def test_a_namespace_that_is_made_later_gets_them_then(tmp_path: Path) -> None:
    async with temporal_server(tmp_path) as address:
        client = await Client.connect(address, namespace="later")
        registering = asyncio.create_task(register_search_attributes(client))
        retention = Duration()
        retention.FromTimedelta(timedelta(days=1))
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace="later", workflow_execution_retention_period=retention)
        )
        async with asyncio.timeout(HANGS_AFTER):
            await registering
            known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="later"))
    assert set(NAMES) <= known.custom_attributes.keys()
