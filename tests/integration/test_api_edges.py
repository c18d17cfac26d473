"""Keys, paths and methods, health, and what happens when our own code fails."""

import json
import re
import time
from types import SimpleNamespace
from unittest.mock import AsyncMock

import httpx
import pytest
from structlog.testing import capture_logs

from api.auth import TRUSTED_FOR
from api.problems import Code
from chain.failures import Outage
from chain.problems import IdCode
from store.database import Pool
from support.problems import CallCode
from tests.integration.conftest import OPERATOR, SHOP
from tests.servers import temporal_server


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic c2hvcDprZXk="])
@pytest.mark.parametrize(("method", "path"), [("POST", "/orders"), ("GET", "/orders"), ("PUT", "/catalogue/MUG")])
async def test_nobody_gets_in_without_a_key(api: httpx.AsyncClient, method: str, path: str, header: str | None) -> None:
    del api.headers["Authorization"]
    headers = {"Authorization": header} if header is not None else {}
    answer = await api.request(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("key", ["wrong", "shop-key2", "\xe9"])
async def test_an_unknown_key_is_refused(api: httpx.AsyncClient, key: str) -> None:
    answer = await api.get("/orders", headers=[(b"Authorization", f"Bearer {key}".encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_invalid")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_a_revoked_key_is_refused_within_seconds(
    api: httpx.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr("api.auth.time", SimpleNamespace(monotonic=lambda: now))
    assert (await api.get("/orders")).status_code == 200
    await pool.execute("UPDATE api_keys SET revoked_at = now()")
    assert (await api.get("/orders")).status_code == 200
    now += TRUSTED_FOR
    assert (await api.get("/orders")).status_code == 401


async def test_only_hashes_of_keys_are_stored(api: httpx.AsyncClient, pool: Pool) -> None:
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE api_keys::text LIKE '%-key%'") == 0


@pytest.mark.parametrize("path", ["/order", "/orders/", "/orders/a/b/c", "/catalogue%2Fa"])
async def test_an_unknown_path_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/orders", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/orders/some", "GET, HEAD, OPTIONS"),
        ("GET", "/catalogue/MUG", "OPTIONS, PUT"),
        ("POST", "/static/shop/main.js", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_a_path_has_not_is_told_the_others(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


async def test_our_own_mistake_is_logged_with_its_trace_and_not_told(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mistaken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("store.orders.Orders.whole", mistaken)
    with capture_logs() as logs:
        answer = await api.get("/orders/some")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text
    (failed, request) = logs
    assert (failed["log_level"], failed["exc_info"]) == ("error", True)
    assert (request["log_level"], request["status"]) == ("info", 500)


async def test_a_trace_in_the_log_gives_no_key_away(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("api.auth.Callers.with_key", mistaken)
    assert (await api.get("/orders/some")).status_code == 500
    (failed, _) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert failed["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "shop-key" not in str(failed)


async def test_orders_are_accepted_while_temporal_is_away(api: httpx.AsyncClient) -> None:
    del api.headers["Authorization"]
    assert (await api.get("/livez")).status_code == 200
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["postgresql"], answer.json()["temporal"]) == (200, "up", "away")
    (note,) = answer.json()["notes"]
    assert "TEMPORAL_ADDRESS" in note


async def test_it_is_told_when_temporal_answers(
    api: httpx.AsyncClient, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        assert (await api.get("/readyz")).json() == {"postgresql": "up", "temporal": "up", "notes": []}


async def test_the_api_documents_itself(api: httpx.AsyncClient) -> None:
    assert (await api.get("/docs")).status_code == 200
    document = (await api.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    submit = document["paths"]["/orders"]["post"]
    body = submit["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/OrderRequest"}
    assert set(schemas["OrderRequest"]["properties"]) == {"customer_id", "payment_id", "currency", "lines"}
    assert submit["parameters"][0]["name"] == "Idempotency-Key"
    refused = submit["responses"]["422"]["content"]
    assert refused == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    assert set(schemas["Code"]["enum"]) == {*map(str, Code), *map(str, IdCode), *map(str, CallCode)}
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_every_route_documents_every_code_that_it_answers(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (await api.get("/openapi.json")).json()
    routes = [(path, method, told) for path, each in document["paths"].items() for method, told in each.items()]
    names = [told["operationId"] for _, _, told in routes]
    assert len(set(names)) == len(names)

    async def walk(*callers: dict[str, str]) -> None:
        for path, method, told in routes:
            if path == "/operations/live":  # which goes on
                continue
            for headers in callers:
                url = re.sub(r"\{\w+\}", "none", path)
                answer = await api.request(method, url, headers={"Authorization": "", **headers})
                documented = told["responses"].get(str(answer.status_code))
                assert documented, (method, path, answer.status_code)
                if answer.headers["Content-Type"] == "application/problem+json":
                    assert f"`{answer.json()['code']}`" in documented["description"], (method, path)
            assert {"408", "429", "500", "503"} <= told["responses"].keys()

    await walk({}, {"Authorization": "Bearer wrong"}, {"Order-Signature": "wrong"}, SHOP, OPERATOR)
    monkeypatch.setattr("store.api_keys.ApiKeys.find", AsyncMock(side_effect=Outage("away")))
    await walk({"Authorization": "Bearer another"}, {"Authorization": "Bearer another", "Order-Signature": "wrong"})


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        inner = [reference for value in node.values() for reference in _references(value)]
        return inner + ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
    return [reference for value in node for reference in _references(value)] if isinstance(node, list) else []
