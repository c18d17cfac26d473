"""Traces, metrics, alerts and logs of a real `lanka up`, which sends its traces to a collector in this process."""

import json
import os
import re
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lanka.home import Connection
from tests.alerts import RULES_FILE, asked, with_prometheus
from tests.e2e.collector import Collector, Span, a_collector, story
from tests.e2e.customer import Customer, order_of
from tests.e2e.machine import Machine, a_machine
from tests.servers import HANGS_AFTER, free_port, process, until

LINKS = {"payment", "cart", "price", "finalize"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with a_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
async def machine(collector: Collector) -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine, collector: Collector) -> Connection:
    return await machine.ready(collector.environment)


@pytest.fixture
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.payments.put("/faults", json={})
    await customer.close()


async def traced(collector: Collector, order_id: str, *names: str, root: str = "POST /orders") -> list[Span]:
    """The trace of the order, once it has spans of all these names and those above them."""

    def complete() -> bool:
        spans = collector.of_order(order_id)
        return set(names) <= {span.name for span in spans} and is_one_tree(spans, root)

    try:
        await until(complete, HANGS_AFTER, f"a whole trace of {order_id}")
    except TimeoutError:
        print(story(collector.of_order(order_id)))  # noqa: T201
        raise
    return collector.of_order(order_id)


async def release(customer: Customer, order_id: str) -> None:
    async def released() -> bool:  # nobody decides while a worker starts again
        path = f"/operations/parked/{order_id}/release"
        return (await customer.api.post(path, json={"reason": "mended"}, headers=customer.operator)).is_success

    await until(released, HANGS_AFTER, "the release")


def is_one_tree(spans: list[Span], root: str = "POST /orders") -> bool:
    ids = {span.id for span in spans}
    return [span.name for span in spans if span.parent not in ids] == [root]


def above(spans: list[Span], span: Span) -> list[str]:
    """The names of the spans that this one is part of, nearest first."""
    by_id = {each.id: each for each in spans}
    names = []
    while span.parent in by_id:
        span = by_id[span.parent]
        names.append(span.name)
    return names


async def test_an_order_is_one_trace_from_the_click_to_database_and_provider(
    customer: Customer, collector: Collector
) -> None:
    order_id = await customer.orders((await customer.puts_on_sale(10), 1, 250))
    assert (await customer.ended(order_id))["status"] == "confirmed"

    spans = await traced(collector, order_id, "POST /orders", "dispatch", *LINKS, "CompleteWorkflow:OrderConfirmation")

    assert {span.service for span in spans} == {"lanka-api", "lanka-worker"}
    (asked,) = [span for span in spans if span.name == "GET"]
    assert above(spans, asked) == [
        "payment",
        "RunActivity:check_payment",
        "StartActivity:check_payment",
        "dispatch",
        "POST /orders",
    ]
    for link in LINKS:
        assert any(above(spans, span)[:1] == [link] for span in spans if span.name == "COMMIT;"), (
            f"{link} has no commit"
        )
    assert {span.name: span.about["lanka.made"] for span in spans if span.name in LINKS} == {
        "payment": "PaymentConfirmed",
        "cart": "StockReserved",
        "price": "PriceConfirmed",
        "finalize": "OrderConfirmed",
    }


@pytest.fixture
async def prometheus(machine: Machine, connection: Connection, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A real one that watches this machine as deploy/prometheus/local.yml says, but does not wait that long."""
    here = RULES_FILE.parent
    (tmp_path / "rules.yml").write_text(re.sub(r"for: \d+m", "for: 1s", (here / "rules.yml").read_text()))
    settings = (here / "local.yml").read_text().replace("5s", "1s")
    config = tmp_path / "local.yml"
    config.write_text(settings.replace("../../.lanka", str(machine.home.directory)))
    port = free_port()
    address = f"127.0.0.1:{port}"
    data = f"--storage.tsdb.path={tmp_path / 'data'}"
    async with (
        process("prometheus", f"--config.file={config}", data, f"--web.listen-address={address}"),
        httpx.AsyncClient(base_url=f"http://{address}/api/v1", trust_env=False, timeout=10) as client,
    ):
        yield client


async def alerts(prometheus: httpx.AsyncClient) -> dict[str, dict[str, str]]:
    """The alerts that fire, with their labels."""
    answer = await prometheus.get("/alerts")
    fire = [each["labels"] for each in answer.json()["data"]["alerts"] if each["state"] == "firing"]
    return {labels["alertname"]: labels for labels in fire}


@with_prometheus
async def test_an_alert_fires_when_a_fault_parks_an_order_and_resolves_after_its_release(
    prometheus: httpx.AsyncClient, customer: Customer
) -> None:
    async def watches() -> bool:
        with suppress(httpx.HTTPError):
            targets = (await prometheus.get("/targets")).json()["data"]["activeTargets"]
            return {(t["labels"]["job"], t["health"]) for t in targets} == {("lanka-api", "up"), ("lanka-worker", "up")}
        return False

    await until(watches, HANGS_AFTER, "Prometheus to watch API and worker")
    assert "LankaParked" not in await alerts(prometheus)
    sku = await customer.puts_on_sale(10)
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    order_id = await customer.orders((sku, 1, 250))

    async def fires() -> bool:
        return "LankaParked" in await alerts(prometheus)

    await until(fires, HANGS_AFTER, "the alert")
    labels = (await alerts(prometheus))["LankaParked"]
    assert (labels["stage"], labels["reason"], labels["severity"]) == ("payment", "unexpected_answer", "ticket")

    await customer.payments.put("/faults", json={})
    await release(customer, order_id)
    assert (await customer.ended(order_id))["status"] == "confirmed"

    async def resolves() -> bool:
        return "LankaParked" not in await alerts(prometheus)

    await until(resolves, HANGS_AFTER, "the end of the alert")
    groups = (await prometheus.get("/rules")).json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}


async def test_whatever_alerts_and_dashboard_ask_for_is_told(
    machine: Machine, connection: Connection, customer: Customer
) -> None:
    await customer.ended(await customer.orders((await customer.puts_on_sale(10), 1, 250)))
    scraped = json.loads((machine.home.directory / "prometheus.json").read_text())
    assert {job["labels"]["job"] for job in scraped} == {"lanka-api", "lanka-worker"}
    metrics: dict[str, set[str]] = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for target in (target for job in scraped for target in job["targets"]):
            told = (await client.get(f"http://{target}/metrics")).text
            for family in text_string_to_metric_families(told):
                metrics.setdefault(f"{family.name}_total" if family.type == "counter" else family.name, set())
                for sample in family.samples:
                    metrics.setdefault(sample.name, set()).update(sample.labels)

    for name, labels in asked().items():
        known = {name, re.sub(r"_(bucket|count|sum)$", "", name)} & set(metrics)
        assert known, f"nobody tells {name}"
        if metrics.get(name):
            assert labels - {"job", "instance"} <= metrics[name], name


async def test_what_is_parked_and_released_later_goes_on_in_the_same_trace(
    machine: Machine, customer: Customer, collector: Collector
) -> None:
    sku = await customer.puts_on_sale(10)
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    order_id = await customer.orders((sku, 1, 250))

    def parks() -> bool:
        spans = collector.of_order(order_id)
        return "OrderParked" in {span.about.get("lanka.event") for span in spans} and is_one_tree(spans)

    await until(parks, HANGS_AFTER, "the order to be parked, and that to be told")
    worker = (await machine.ready()).pids["worker"]
    os.kill(worker, signal.SIGKILL)  # nothing that it had in mind may be needed
    await customer.payments.put("/faults", json={})
    await release(customer, order_id)
    assert (await customer.ended(order_id))["status"] == "confirmed"

    spans = await traced(collector, order_id, "POST /orders", "dispatch", *LINKS, "CompleteWorkflow:OrderConfirmation")

    told = [span.about["lanka.event"] for span in spans if span.name == "note"]
    assert set(told) == {"OrderParked", "OrderReleased"}
    assert {span.about.get("lanka.made") for span in spans if span.name == "payment"} == {None, "PaymentConfirmed"}
    # The operator's request is a trace of its own; the workflow's answer to it points there.
    answered = [span for span in spans if span.name == "HandleUpdate:release"]
    asked = [span for each in answered for trace in each.links for span in collector.trace(trace)]
    assert {span.name for span in asked if span.parent is None} == {"POST /operations/parked/{parking}/release"}


async def test_each_order_of_a_batch_has_its_own_trace_linked_with_that_of_the_batch(
    customer: Customer, connection: Connection, collector: Collector
) -> None:
    sku = await customer.puts_on_sale(100)
    temporal = connection.pids["temporal"]
    os.kill(temporal, signal.SIGSTOP)  # the first occupies the dispatcher, the others gather
    try:
        orders = [await customer.orders((sku, 1, 250)) for _ in range(6)]
    finally:
        os.kill(temporal, signal.SIGCONT)
    for order_id in orders:
        assert (await customer.ended(order_id))["status"] == "confirmed"

    traces = [await traced(collector, order_id, "POST /orders", "dispatch", *LINKS, "GET") for order_id in orders]

    assert len({spans[0].trace for spans in traces}) == len(orders)
    together = [spans for spans in traces if any(s.name == "dispatch" and s.about["lanka.orders"] > 1 for s in spans)]
    assert len(together) >= 2
    for spans in together:
        (asked,) = [span for span in spans if span.name == "GET"]
        assert above(spans, asked) == ["payment", "POST /orders"]
        (dispatch,) = [span for span in spans if span.name == "dispatch"]
        (of_the_batch,) = dispatch.links
        for link in LINKS:
            (span,) = [span for span in spans if span.name == link]
            assert span.links == {of_the_batch}, "every link worked on it in the batch that it was dispatched with"
        batch = collector.trace(of_the_batch)
        (root,) = [span for span in batch if span.parent is None]
        assert root.name == "dispatch batch"
        assert spans[0].trace in root.links
        (ran,) = [span for span in batch if span.name == "RunActivity:check_cart"]
        assert any("COMMIT" in span.name and ran.name in above(batch, span) for span in batch)
        assert spans[0].trace in ran.links


async def test_every_order_shows_its_trace_whoever_sent_it(
    customer: Customer, connection: Connection, collector: Collector
) -> None:
    """No client gives one: a program, the shop's page, a drill."""
    sku = await customer.puts_on_sale(10)
    by_program = await customer.orders((sku, 1, 250))
    async with httpx.AsyncClient(base_url=connection.api, headers={"Origin": connection.api}) as page:
        visitor = (await page.post("/shop/session")).json()["customer_id"]
        body = order_of(await customer.pays(250), [(sku, 1, 250)]) | {"customer_id": visitor}
        by_page = (await page.post("/orders", json=body, headers={"Idempotency-Key": "click"})).json()["order_id"]
    drill = {"orders": 2, "rate_per_second": 100}
    answer = await customer.api.post("/operations/sample-orders", json=drill, headers=customer.operator)
    assert answer.is_success, answer.text

    async def drilled() -> list[str]:
        newest = (await customer.api.get("/orders", params={"limit": 2})).json()["orders"]
        samples = [each["order_id"] for each in newest if each["customer_id"].startswith("cus_sample")]
        return samples if len(samples) == drill["orders"] else []

    by_drill = await until(drilled, HANGS_AFTER, "the orders of the drill")
    shown = {}
    for order_id in (by_program, by_page, *by_drill):
        assert (await customer.ended(order_id))["status"] == "confirmed"
        answer = await customer.api.get(f"/operations/orders/{order_id}", headers=customer.operator)
        shown[order_id] = answer.json()["trace_id"]

    assert len(set(shown.values())) == 4, "each order is one trace"
    for order_id, trace in shown.items():
        root = "drill" if order_id in by_drill else "POST /orders"
        spans = await traced(collector, order_id, root, "dispatch", *LINKS, root=root)
        assert {span.trace for span in spans} == {trace}


async def test_a_call_goes_on_in_the_trace_of_whoever_told_of_it(customer: Customer, collector: Collector) -> None:
    trace, client = secrets.token_hex(16), secrets.token_hex(8)
    call = f"call_{secrets.token_hex(4)}"
    told = {
        "specversion": "1.0",
        "type": "lanka.SupportCallStarted",
        "source": "/telephones",
        "id": call,
        "subject": call,
        "data": {"customer_id": "cus_42", "language": "uk", "skill": "orders"},
    }
    headers = {"Content-Type": "application/cloudevents+json", "traceparent": f"00-{trace}-{client}-01"}
    answer = await customer.api.post("/events", content=json.dumps(told), headers=headers)
    assert answer.status_code == 202, answer.text

    def goes_on() -> bool:
        return {"POST /events", "dispatch", "assign"} <= {span.name for span in collector.trace(trace)}

    await until(goes_on, HANGS_AFTER, "the trace of the call")
    (request,) = [span for span in collector.trace(trace) if span.name == "POST /events"]
    assert request.parent == client


async def test_what_an_outbox_publishes_has_a_trace_from_its_dispatch_on(
    connection: Connection, collector: Collector
) -> None:
    call = f"call_{secrets.token_hex(4)}"
    data = {"customer_id": "cus_42", "language": "uk", "skill": "orders"}
    database = await asyncpg.connect(connection.database_url)
    try:
        await database.execute(
            "INSERT INTO event_outbox (source, id, type, subject, data) VALUES ('/telephones', $1, $2, $1, $3)",
            call,
            "lanka.SupportCallStarted",
            json.dumps(data),
        )

        async def goes_on() -> bool:
            kept = await database.fetchval("SELECT traceparent FROM subjects WHERE subject = $1", call)
            told = {span.name for span in collector.trace(kept.split("-")[1])} if kept else set()
            return {"arrival", "dispatch", "assign"} <= told

        await until(goes_on, HANGS_AFTER, "the trace of the call")
    finally:
        await database.close()


async def test_what_belongs_to_no_trace_makes_none(connection: Connection, collector: Collector) -> None:
    """The dispatcher looks into the database twice a second; that is nobody's story."""
    roots = {span.name for span in collector.spans if span.parent is None}

    begins = {"GET", "POST", "PUT", "dispatch", "drill", "arrival", "RunActivity:reconcile"}
    assert {name.split()[0] for name in roots} <= begins, roots
    assert not roots & {"dispatch", "GET", "POST", "GET /livez", "GET /readyz", "GET /metrics"}


async def test_the_log_of_a_consumer_tells_order_link_attempt_and_trace(
    machine: Machine, customer: Customer, collector: Collector
) -> None:
    order_id = await customer.orders((await customer.puts_on_sale(10), 1, 250))
    await customer.ended(order_id)
    spans = await traced(collector, order_id, "POST /orders", "dispatch", *LINKS)

    def lines(event: str) -> list[Any]:
        logged = machine_logs(machine)
        return [line for line in logged if line.get("order_id") == order_id and line["event"] == event]

    consumed = await until(lambda: len(found := lines("consumed")) == len(LINKS) and found, HANGS_AFTER, "their lines")
    trace = spans[0].trace
    assert {line["link"]: (line["attempt"], line["trace_id"]) for line in consumed} == dict.fromkeys(LINKS, (1, trace))
    (request,) = lines("request")
    assert request["trace_id"] == trace


def machine_logs(machine: Machine) -> Iterator[dict[str, Any]]:
    """The lines of API and worker."""
    for line in machine.up.printed().splitlines():
        _, bar, told = line.partition(" | ")
        if bar and told.startswith("{"):
            with suppress(ValueError):
                yield json.loads(told)
