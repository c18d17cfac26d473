"""The crash matrix: a process is killed at each place of each consumer, of the intake, and of what people decide.

For each case a shop of its own, with a real API and a real worker; the cases run side by side, as each mostly waits.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
import stamina
from temporalio.client import Client

from lanka.home import Connection
from tests.e2e.customer import ENDS, Customer, order_of
from tests.faults.counts import Counts, count
from tests.faults.small_shop import NAMESPACES, Servers, Shop, a_shop, servers_for_shops
from tests.faults.table import WHOLE, Rows
from tests.servers import HANGS_AFTER, until

ON_HAND = 100
PRICE = 250
AFTER_PAYMENT = ["StockReserved", "PriceConfirmed", "CartConfirmed", "OrderConfirmed"]


class Command(NamedTuple):
    """Asked of each order once they are all at this status; of all at once if the path names none.

    What was `broken` on purpose is mended before; or when the journal has the command, if it is to be `told` first.
    """

    at: str
    path: str
    told: str | None = None


class Story(NamedTuple):
    """What people do, and what the journal and the provider tell of it in the end.

    `operations`: what was done to the payment, and the link whose idempotency key it was done with.
    `settled`: once the order is at one of these statuses, the provider decides the pending payment so.
    `broken`: so is the provider, until something is `asked`.
    `lost`: once all are parked their workflows are terminated, and the provider is mended.
    """

    pays: str
    journal: Sequence[str]
    operations: Sequence[tuple[str, str | None]]
    sold: int
    unit_price: int = PRICE
    settled: tuple[str, set[str]] | None = None
    deadline: int = 3600
    broken: Mapping[str, float] = MappingProxyType({})
    asked: Command | None = None
    lost: bool = False


CONFIRMED = Story(
    "authorized", ["OrderReceived", "PaymentConfirmed", *AFTER_PAYMENT], [("capture", "finalize")], sold=1
)
SETTLED = Story(
    "pending",
    ["OrderReceived", "PaymentPending", "PaymentConfirmed", *AFTER_PAYMENT],
    [("settle", None), ("capture", "finalize")],
    sold=1,
    settled=("authorized", {"awaiting_payment"}),
)
REFUSED = Story(
    "captured",
    [
        *("OrderReceived", "PaymentConfirmed", "StockReserved", "PriceChanged"),
        *("StockReleased", "PaymentRefunded", "OrderRejected"),
    ],
    [("refund", "refund")],
    sold=0,
    unit_price=PRICE - 1,
)
PAID_LATE = Story(
    "pending",
    [
        *("OrderReceived", "PaymentPending", "PaymentDeclined", "OrderRejected"),
        *("PaymentArrivedLate", "PaymentRefunded"),
    ],
    [("settle", None), ("refund", "late-refund")],
    sold=0,
    settled=("captured", ENDS),
    deadline=1,
)

RELEASED = Story(
    "authorized",
    ["OrderReceived", "OrderParked", "OrderReleased", "PaymentConfirmed", *AFTER_PAYMENT],
    [("capture", "finalize")],
    sold=1,
    broken={"garbage_rate": 1},
    asked=Command("parked", "/operations/parked/{}/release"),
)
LOST = RELEASED._replace(asked=None, lost=True)
RELEASED_WITH_OTHERS = RELEASED._replace(asked=Command("parked", "/operations/parked/release"))
REJECTED = Story(
    "authorized",
    ["OrderReceived", "OrderParked", "OrderWithdrawn", "PaymentRefunded", "OrderRejected"],
    [("refund", "refund")],
    sold=0,
    broken={"garbage_rate": 1},
    asked=Command("parked", "/operations/parked/{}/reject"),
)
CANCELLED = Story(
    "authorized",
    ["OrderReceived", "OrderWithdrawn", "PaymentConfirmed", "PaymentRefunded", "OrderCancelled"],
    [("refund", "refund")],
    sold=0,
    broken={"down": True},
    asked=Command("processing", "/orders/{}/cancel", told="OrderWithdrawn"),
)
CANCELLED_FIRST = Story(
    "authorized",
    ["OrderReceived", "OrderWithdrawn", "PaymentRefunded", "OrderCancelled"],
    [("refund", "refund")],
    sold=0,
    asked=Command("received", "/orders/{}/cancel"),
)

STORIES = {
    "payment": CONFIRMED,
    "settlement": SETTLED,
    "cart": CONFIRMED,
    "price": CONFIRMED,
    "finalize": CONFIRMED,
    "release": REFUSED,
    "refund": REFUSED,
    "reject": REFUSED,
    "late-refund": PAID_LATE,
}
LOOKS = ("lost.before_commit", "lost.after_commit")
PLACES = ("before_transaction", "before_commit", "after_commit")
API = ("accept.before_commit", "accept.after_commit", "dispatch.before_mark")
TOLD = [  # by the router
    ("OrderParked", "released"),
    ("OrderReleased", "released"),
    ("OrderWithdrawn", "rejected"),
    ("OrderWithdrawn", "cancelled"),
]
DECIDED = [  # while the API brings the decision to the workflow
    ("decide.before_update", "released"),
    ("decide.after_update", "released"),
    ("decide.after_update", "rejected"),
    ("decide.before_update", "cancelled"),
    ("decide.after_update", "cancelled"),
    ("decide.after_bulk", "released with others"),
]
DECISIONS = {
    "released": RELEASED,
    "released with others": RELEASED_WITH_OTHERS,
    "rejected": REJECTED,
    "cancelled": CANCELLED,
    "cancelled before it is dispatched": CANCELLED_FIRST,
}


class Case(NamedTuple):
    """`batch`: how many orders travel together; with 1 there are three, each on its own."""

    fail_point: str
    batch: int
    decision: str = ""

    @property
    def story(self) -> Story:
        if self.fail_point in LOOKS:
            return LOST
        return DECISIONS[self.decision] if self.decision else STORIES.get(self.fail_point.partition(".")[0], CONFIRMED)

    @property
    def orders(self) -> int:
        return max(self.batch, 3)

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.fail_point, self.decision, f"batch of {self.batch}"]))


ALL = [
    *(Case(f"{link}.{place}", batch) for link in STORIES for place in PLACES for batch in (1, 20)),
    *(Case(fail_point, batch) for fail_point in (*API, *LOOKS) for batch in (1, 20)),
    *(Case(f"{told}.{place}", batch, decision) for told, decision in TOLD for place in PLACES for batch in (1, 20)),
    *(Case(fail_point, batch, decision) for fail_point, decision in DECIDED for batch in (1, 20)),
    *(Case(f"decide.{place}_start", 1, "cancelled before it is dispatched") for place in ("before", "after")),
]
SAMPLE = [
    Case("finalize.before_commit", 20),
    Case("late-refund.before_commit", 1),
    Case("cart.after_commit", 1),
    Case("refund.before_commit", 20),
    Case("accept.after_commit", 1),
    Case("dispatch.before_mark", 20),
    Case("lost.after_commit", 20),
    Case("OrderParked.before_commit", 20, "released"),
    Case("OrderReleased.after_commit", 1, "released"),
    Case("OrderWithdrawn.before_commit", 1, "rejected"),
    Case("OrderWithdrawn.after_commit", 20, "cancelled"),
    Case("decide.after_update", 1, "cancelled"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", ALL if metafunc.config.getoption(WHOLE) else SAMPLE, ids=str)


@pytest.fixture(scope="module")
async def servers(postgres_url: str, template: str) -> AsyncIterator[Servers]:
    async with servers_for_shops(postgres_url, template) as servers:
        yield servers


@pytest.fixture(scope="module")
async def crashes(
    request: pytest.FixtureRequest, servers: Servers
) -> AsyncIterator[Mapping[Case, asyncio.Task[Counts]]]:
    """All chosen cases, under way."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    chosen = [case for item in items if isinstance(case := item.callspec.params.get("case"), Case)]
    limit = asyncio.Semaphore(NAMESPACES)

    async def run(case: Case) -> Counts:
        async with limit:
            return await crash(servers, case)

    under_way = {case: asyncio.create_task(run(case)) for case in chosen}
    yield under_way
    for task in under_way.values():
        task.cancel()
    await asyncio.wait(under_way.values())


async def test_a_process_that_is_killed_loses_nothing_and_does_nothing_twice(
    case: Case, crashes: Mapping[Case, asyncio.Task[Counts]], row: Rows
) -> None:
    counts = await crashes[case]

    row.add(f"killed at {case}", **counts._asdict())
    assert (counts.accepted, counts.ended, counts.lost, counts.twice) == (case.orders, case.orders, 0, 0)


# ---- one case ----------------------------------------------------------------------------------------------------


async def crash(servers: Servers, case: Case) -> Counts:
    """Kills the process there, has it started again, and sees every order to the end of its story."""
    story = case.story
    settings = {
        "LANKA_FAIL_POINT": case.fail_point,
        "LANKA_BATCH_SIZE": str(case.batch),
        "LANKA_PAYMENT_DEADLINE_SECONDS": str(story.deadline),
        "LANKA_LOST_AFTER_SECONDS": "1" if story.lost else "30",
    }
    async with a_shop(servers, **settings) as shop, AsyncExitStack() as before_dispatch:
        await before_dispatch.enter_async_context(shop.nobody_dispatches())
        async with shop.opened() as customer:
            sku = await customer.puts_on_sale(ON_HAND, PRICE)
            payments = [await customer.pays(story.unit_price, story.pays) for _ in range(case.orders)]
            order_ids = [await posted(customer, order_of(paid, [(sku, 1, story.unit_price)])) for paid in payments]
            await customer.payments.put("/faults", json=dict(story.broken))
            if story.asked and story.asked.at == "received":
                await ask(customer, story.asked, order_ids)
            await before_dispatch.aclose()
            if story.settled:
                await settle(customer, story.settled, dict(zip(order_ids, payments, strict=True)))
            if story.asked and story.asked.at != "received":
                await ask(customer, story.asked, order_ids)
            if story.lost:
                await lose(shop, customer, order_ids)
            for order_id in order_ids:
                await until(partial(told, customer, order_id, story), HANGS_AFTER, f"the story of {order_id} at {case}")

            assert (shop.deaths, shop.failed.exists()) == ([-signal.SIGKILL], True)
            assert await carriers(shop.connection) == expected_carriers(case, order_ids)
            for order_id, payment in zip(order_ids, payments, strict=True):
                done = (await customer.payment(payment))["operations"]
                expected = [(operation, link and f"{order_id}.{link}") for operation, link in story.operations]
                assert [(each["operation"], each["key"]) for each in done] == expected
            assert await customer.available(sku) == ON_HAND - case.orders * story.sold
            return await count(shop.connection, order_ids, {sku: ON_HAND})


async def posted(customer: Customer, body: dict[str, Any]) -> str:
    """The id of the order; a customer who gets no answer sends the same again."""

    @stamina.retry(on=httpx.TransportError, attempts=None, timeout=60, wait_max=0.5)
    async def post() -> str:
        answer = await customer.posts(body, key=body["payment_id"])
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["order_id"])

    return await post()


async def settle(customer: Customer, settled: tuple[str, set[str]], payments: Mapping[str, str]) -> None:
    outcome, at = settled

    async def is_there(order_id: str) -> bool:
        return (await customer.sees(order_id))["status"] in at

    for order_id in payments:
        await until(partial(is_there, order_id), HANGS_AFTER, f"{order_id} at {at}")
    for payment in payments.values():
        answer = await customer.payments.post(f"/payments/{payment}/settle", json={"outcome": outcome})
        assert answer.is_success, answer.text


async def lose(shop: Shop, customer: Customer, order_ids: Sequence[str]) -> None:
    async def is_parked(order_id: str) -> bool:
        return bool((await customer.sees(order_id))["status"] == "parked")

    for order_id in order_ids:
        await until(partial(is_parked, order_id), HANGS_AFTER, f"{order_id} to be parked")
    client = await Client.connect(shop.connection.temporal, namespace=shop.namespace)
    for workflow_id in await carriers(shop.connection):
        await client.get_workflow_handle(workflow_id).terminate("a drill")
    await customer.payments.put("/faults", json={})


async def ask(customer: Customer, command: Command, order_ids: Sequence[str]) -> None:
    """Whoever gets no answer asks again, and may then hear that it is done already."""

    async def is_there(order_id: str) -> bool:
        return bool((await customer.sees(order_id))["status"] == command.at)

    async def is_told(order_id: str) -> bool:
        return command.told in await customer.journal(order_id)

    for order_id in order_ids:
        await until(partial(is_there, order_id), HANGS_AFTER, f"{order_id} at {command.at}")
    if not command.told:
        await customer.payments.put("/faults", json={})
    for path in dict.fromkeys(command.path.format(order_id) for order_id in order_ids):
        await decided(customer, path)
    if command.told:
        for order_id in order_ids:
            await until(partial(is_told, order_id), HANGS_AFTER, f"{command.told} of {order_id}")
        await customer.payments.put("/faults", json={})


@stamina.retry(on=httpx.TransportError, attempts=None, timeout=60, wait_max=0.5)
async def decided(customer: Customer, path: str) -> None:
    body = {"why" if path.endswith("parked/release") else "reason": "a drill"}

    async def answered() -> bool:
        answer = await customer.api.post(path, json=body, headers=customer.operator)
        assert answer.is_success or answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
        return answer.is_success

    await until(answered, HANGS_AFTER, path)


async def told(customer: Customer, order_id: str, story: Story) -> bool:
    """Whether the journal tells the whole story; each event once, or it never does."""
    return in_turn(await customer.journal(order_id)) == in_turn(story.journal)


def in_turn(journal: Sequence[str]) -> str:
    """Cart and price answer side by side."""
    return " ".join(journal).replace("PriceConfirmed StockReserved", "StockReserved PriceConfirmed")


async def carriers(connection: Connection) -> set[str]:
    """The workflows of all orders that there are."""
    database = await asyncpg.connect(connection.database_url)
    try:
        return {row["workflow_id"] for row in await database.fetch("SELECT workflow_id FROM subjects")}
    finally:
        await database.close()


def expected_carriers(case: Case, order_ids: Sequence[str]) -> set[str]:
    return {f"order-{order_id}" for order_id in order_ids} if case.batch == 1 else {f"batch-{order_ids[0]}"}
