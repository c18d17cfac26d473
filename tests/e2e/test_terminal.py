"""The command line as people meet it: at a terminal, in a pipe, and where only ASCII is understood."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.cells import cell_len

from lanka.home import Connection
from tests.e2e.customer import Customer
from tests.e2e.machine import LANKA, Machine, a_machine
from tests.servers import HANGS_AFTER, until
from tests.terminal import Shown, at_a_terminal

PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine) -> Connection:
    return await machine.ready(PLAIN)


@pytest.fixture
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.close()


async def terminal(machine: Machine, *words: str, exit_code: int = 0, env: dict[str, str] | None = None) -> str:
    """What a terminal of 80 columns shows."""
    shown: Shown = await at_a_terminal(LANKA, *words, "--home", machine.home.directory, env=env)
    assert shown.exit_code == exit_code, shown.text
    return ESCAPES.sub("", shown.text)


async def piped(machine: Machine, *words: str, exit_code: int = 0) -> tuple[str, str]:
    """What comes out of stdout, and out of stderr."""
    command = await asyncio.create_subprocess_exec(
        LANKA, *words, "--home", machine.home.directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await command.communicate()
    assert command.returncode == exit_code, errors
    return out.decode(), errors.decode()


async def as_json(machine: Machine, *words: str, exit_code: int = 0) -> Any:
    """The one document; whatever else would be printed breaks it."""
    return json.loads((await piped(machine, *words, "--json", exit_code=exit_code))[0])


async def a_parked_order(customer: Customer) -> str:
    sku = await customer.puts_on_sale(10)
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    try:
        order_id = await customer.orders((sku, 1, 250))

        async def is_parked() -> bool:
            return bool((await customer.sees(order_id))["status"] == "parked")

        await until(is_parked, HANGS_AFTER, "a parked order")
    finally:
        await customer.payments.put("/faults", json={})
    return order_id


async def test_a_sample_order_has_one_currency_in_a_shop_that_has_two(customer: Customer, machine: Machine) -> None:
    for nth in range(20):  # as many as there are in euros
        await customer.puts_on_sale(1000, 100 + nth, "UAH")
    for _ in range(4):
        assert "OrderConfirmed" in (await piped(machine, "order"))[0]


async def test_every_command_speaks_ascii_where_the_terminal_wants_that(customer: Customer, machine: Machine) -> None:
    order_id = await a_parked_order(customer)
    commands = (
        ("parked", "list"),
        ("show", order_id),
        ("find", order_id),
        ("funnel",),
        ("refunds",),
        ("reconcile", "--grace", "0"),
        ("chains", "orders"),
        ("order",),
        ("show", "ланка"),
        ("parked", "reject", order_id, "--why", "Кава — більше ні…"),
    )
    for words in commands:
        home = () if words[0] == "chains" else ("--home", machine.home.directory)
        shown = await at_a_terminal(LANKA, *words, *home, env=PLAIN)
        assert shown.raw.isascii(), shown.text
        assert "Traceback" not in shown.text
        assert shown.exit_code in ({0, 1} if words[0] in ("show", "reconcile") else {0}), (words, shown.text)
    assert (await at_a_terminal(LANKA, "--help", env=PLAIN)).raw.isascii()


async def test_what_lanka_up_shows_is_ascii_too(connection: Connection, machine: Machine) -> None:
    assert machine.up.printed().isascii()


async def test_without_colour_where_nobody_wants_it(machine: Machine, connection: Connection) -> None:
    words = (LANKA, "show", "nobody", "--home", machine.home.directory)
    assert b"\x1b[31m" in (await at_a_terminal(*words)).raw
    assert b"\x1b" not in (await at_a_terminal(*words, env={"NO_COLOR": "1"})).raw


async def test_what_is_parked_fits_80_columns_and_can_be_copied(customer: Customer, machine: Machine) -> None:
    order_id = await a_parked_order(customer)
    (parking,) = [each for each in await as_json(machine, "parked", "list") if each["subject"] == order_id]
    lines = (await terminal(machine, "parked", "list")).splitlines()
    assert max(map(cell_len, lines)) <= 80
    (first,) = [line for line in lines if line.startswith(order_id)]
    assert re.search(r"unexpected_answer +3 +\d+ s ago$", first)
    assert f"    {parking['id']}" in lines


async def test_an_order_tells_where_it_stands_since_when_why_and_what_to_do(
    customer: Customer, machine: Machine
) -> None:
    order_id = await a_parked_order(customer)
    told = await terminal(machine, "show", order_id)
    assert max(map(cell_len, told.splitlines())) <= 80
    for part in (f"orders  {order_id}", "payment): parked, since 20", "3 attempts", f"release {order_id} --why"):
        assert part in told
    seen = await as_json(machine, "show", order_id)
    assert (seen["order"]["order_id"], seen["parked"][0]["link"]) == (order_id, "payment")
    assert "nobody knows" in (await piped(machine, "show", "nobody", exit_code=1))[1]


async def test_an_order_is_found_by_what_people_have_of_it(customer: Customer, machine: Machine) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250)
    order_id = await customer.orders((sku, 1, 250), payment_id=payment)
    order = await customer.ended(order_id)
    for sought in (order_id, order["order_number"], payment):
        found = await as_json(machine, "find", sought)
        assert [each["subject"] for each in found] == [order_id]
        assert order_id in await terminal(machine, "find", sought)
    assert "nothing found" in (await piped(machine, "find", "nobody", exit_code=1))[1]


async def test_the_subject_of_another_chain_is_shown_and_found(customer: Customer, machine: Machine) -> None:
    data = {"customer_id": "cus_7", "language": "uk", "skill": "orders"}
    call = {"specversion": "1.0", "id": "1", "source": "/telephone", "type": "lanka.SupportCallStarted"}
    body = json.dumps(call | {"subject": "call-7", "data": data})
    headers = {"Content-Type": "application/cloudevents+json"}
    answer = await customer.api.post("/events", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert "support  call-7" in await terminal(machine, "show", "call-7")
    assert (await as_json(machine, "show", "call-7"))["chain"] == "support"
    (found,) = await as_json(machine, "find", "call-7")
    assert (found["chain"], found["subject"]) == ("support", "call-7")
    assert "call-7" in await terminal(machine, "find", "call-7")


async def test_a_cancel_tells_its_verdict_by_its_exit_code_too(customer: Customer, machine: Machine) -> None:
    sku = await customer.puts_on_sale(10)
    pending = await customer.orders((sku, 1, 250), outcome="pending")
    verdict, _ = await piped(machine, "cancel", pending, "--why", "the customer has called")
    assert verdict == f"{pending}: cancelled\n"
    assert await as_json(machine, "cancel", pending) == {"verdict": "already_cancelled"}
    confirmed = await customer.orders((sku, 1, 250))
    await customer.ended(confirmed)
    assert await as_json(machine, "cancel", confirmed, exit_code=1) == {"verdict": "too_late"}
    assert "order_not_found" in (await piped(machine, "cancel", "nobody", exit_code=1))[1]


async def test_whatever_is_listed_is_there_as_one_json_document(customer: Customer, machine: Machine) -> None:
    order_id = await a_parked_order(customer)
    assert isinstance(await as_json(machine, "refunds"), list)
    assert {link["link"] for link in (await as_json(machine, "funnel"))["links"]} > {"payment", "cart"}
    assert (await as_json(machine, "reconcile", "--grace", "3600"))["total"] == 0
    which = ("--link", "payment", "--why", "mended")
    assert order_id in (await as_json(machine, "parked", "release", *which, "--dry-run"))["orders"]
    assert await as_json(machine, "parked", "release", order_id, "--why", "mended") == {"verdict": "released"}
    await customer.ended(order_id)
    again = ("parked", "release", order_id, "--why", "again")
    assert await as_json(machine, *again, exit_code=1) == {"verdict": "not_parked"}
