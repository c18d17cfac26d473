"""Orders that travel as one batch: none of them waits for another that cannot go on, and each gets what is its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import pytest

from lanka.home import Connection
from tests.e2e.customer import ENDS, Customer
from tests.faults.counts import count
from tests.faults.small_shop import Servers, a_shop, servers_for_shops
from tests.faults.table import Rows
from tests.servers import HANGS_AFTER, free_port, until

PRICE = 250


@pytest.fixture(scope="module")
async def servers(postgres_url: str, template: str) -> AsyncIterator[Servers]:
    async with servers_for_shops(postgres_url, template) as servers:
        yield servers


async def test_four_orders_that_cannot_go_on_hold_up_none_of_the_other_sixteen(servers: Servers, row: Rows) -> None:
    port = free_port()
    settings = {"LANKA_BATCH_SIZE": "20", "LANKA_PAYMENTS_URL": f"http://127.0.0.1:{port}"}
    async with (
        a_shop(servers, **settings) as shop,
        a_wire(port, shop.connection.payments) as unanswered,
        AsyncExitStack() as before_dispatch,
    ):
        await before_dispatch.enter_async_context(shop.nobody_dispatches())
        async with shop.opened() as customer:
            sku = await customer.puts_on_sale(20, PRICE)
            outcomes = {1: "declined", 2: "pending"}
            payments = [await customer.pays(PRICE, outcomes.get(nth, "authorized")) for nth in range(20)]
            order_ids = [await customer.orders((sku, 1, PRICE), payment_id=payment) for payment in payments]
            poisoned, declined, pending = order_ids[:3]
            await poison(shop.connection, poisoned)
            unanswered.add(payments[3])

            async with held_back(shop.connection, declined):
                await before_dispatch.aclose()
                for order_id in order_ids[4:]:
                    assert (await customer.ended(order_id))["status"] == "confirmed"

                seen = {order_id: (await customer.sees(order_id))["status"] for order_id in order_ids[:4]}
                assert not ENDS & set(seen.values())
                assert seen[pending] == "awaiting_payment"
                assert "PaymentDeclined" in await customer.journal(declined)
                await until(
                    partial(stands, customer, poisoned, "parked"), HANGS_AFTER, "the poisoned order to be parked"
                )
                meanwhile = await count(shop.connection, order_ids, {sku: 20}, namespace=shop.namespace)
            row.add("a batch with one poisoned, declined, pending and timed-out order each", **meanwhile._asdict())
            assert (meanwhile.ended, meanwhile.waiting, meanwhile.parked) == (16, 3, 1)
            assert (meanwhile.lost, meanwhile.twice) == (0, 0)

            unanswered.clear()
            await customer.payments.post(f"/payments/{payments[2]}/settle", json={"outcome": "authorized"})
            answer = await customer.api.post(
                f"/operations/parked/{poisoned}/reject",
                json={"reason": "nobody can read it"},
                headers=customer.operator,
            )
            assert answer.is_success, answer.text
            ends = [await customer.ended(order_id) for order_id in order_ids[:4]]
            assert [(order["status"], order["reason"]) for order in ends] == [
                ("rejected", "rejected_by_operator"),
                ("rejected", "payment_declined"),
                ("confirmed", None),
                ("confirmed", None),
            ]
            after = await count(shop.connection, order_ids, {sku: 20}, namespace=shop.namespace)
            row.add("the same batch, once each of the four was helped", **after._asdict())
            assert (after.ended, after.lost, after.twice) == (20, 0, 0)


async def test_when_the_provider_is_slow_for_all_none_is_slow_for_ever(
    servers: Servers, row: Rows, whole: bool
) -> None:
    if not whole:
        pytest.skip("only with --whole")
    async with a_shop(servers, LANKA_BATCH_SIZE="20") as shop, AsyncExitStack() as before_dispatch:
        await before_dispatch.enter_async_context(shop.nobody_dispatches())
        async with shop.opened() as customer:
            sku = await customer.puts_on_sale(20, PRICE)
            payments = [await customer.pays(PRICE) for _ in range(20)]
            await customer.payments.put("/faults", json={"latency_ms": 3000})
            order_ids = [await customer.orders((sku, 1, PRICE), payment_id=payment) for payment in payments]
            await before_dispatch.aclose()

            for order_id in order_ids:
                assert (await customer.ended(order_id))["status"] == "confirmed"

            await customer.payments.put("/faults", json={})
            counts = await count(shop.connection, order_ids, {sku: 20}, namespace=shop.namespace)
            row.add("a provider that answers after 3 s, a batch of 20", **counts._asdict())
            assert (counts.ended, counts.lost, counts.twice) == (20, 0, 0)


async def stands(customer: Customer, order_id: str, status: str) -> bool:
    return bool((await customer.sees(order_id))["status"] == status)


# ---- what is wrong with the four ---------------------------------------------------------------------------------


async def poison(connection: Connection, order_id: str) -> None:
    """Nobody can read what was received for this order."""
    database = await asyncpg.connect(connection.database_url)
    try:
        async with database.transaction():
            await database.execute("ALTER TABLE journal DISABLE TRIGGER journal_is_append_only")
            await database.execute("""UPDATE journal SET data = '{"order": "?"}' WHERE subject = $1""", order_id)
            await database.execute("ALTER TABLE journal ENABLE TRIGGER journal_is_append_only")
    finally:
        await database.close()


@asynccontextmanager
async def held_back(connection: Connection, order_id: str) -> AsyncIterator[None]:
    """The order cannot be closed for a while: another transaction has not decided yet whether it does that."""
    database = await asyncpg.connect(connection.database_url)
    try:
        transaction = database.transaction()
        await transaction.start()
        await database.execute("INSERT INTO claims (subject, link) VALUES ($1, 'reject')", order_id)
        yield
        await transaction.rollback()
    finally:
        await database.close()


@asynccontextmanager
async def a_wire(port: int, provider: str) -> AsyncIterator[set[str]]:
    """A wire to the provider. The payments in the set are worked on there, but no answer comes back."""
    unanswered: set[str] = set()

    async def connect(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onward = await asyncio.open_connection("127.0.0.1", urlsplit(provider).port)
        silent = False

        async def ask() -> None:
            nonlocal silent
            with closing(onward):
                while asked := await near.read(65536):
                    silent = any(payment.encode() in asked for payment in unanswered)
                    onward.write(asked)

        async def answer() -> None:
            with closing(back):
                while told := await far.read(65536):
                    if not silent:
                        back.write(told)

        with suppress(ConnectionError):
            await asyncio.gather(ask(), answer())

    async with await asyncio.start_server(connect, "127.0.0.1", port):
        yield unanswered
