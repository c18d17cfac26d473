"""docs/a-new-link.md, applied to a copy of the project while orders are on their way; then everything is looked at.

Twice: the link beside two others, as on the page, and before them.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from lanka.home import Connection
from tests.browser.conftest import PATIENCE
from tests.browser.test_shop import buys, title
from tests.e2e.customer import Customer
from tests.e2e.machine import LANKA, Machine, a_machine
from tests.servers import HANGS_AFTER, process, until

expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "a-new-link.md"
TABLE, EVENTS, WORDS = "workflows/order_confirmation.py", "orders/events.py", "orders/words.py"

BESIDE = [["payment"], ["cart", "price", "fraud"], ["finalize"]]
BEFORE = [["payment"], ["fraud"], ["cart", "price"], ["finalize"]]

SUSPICIOUS = 1_000


# ---- the page, applied -------------------------------------------------------------------------------------------


def blocks() -> Iterator[tuple[str, str, str]]:
    """File, place in it (empty for a new file), and code."""
    for head, code in re.findall(r"^```python\n# (\S.*?)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        file, _, place = head.partition(", ")
        yield file, place, code


def apply_page(root: Path, *, before: bool) -> None:
    for file, place, code in blocks():
        path = root / file
        path.write_text(edited(path.read_text(), place, code) if place else code)
    table = root / TABLE
    text = table.read_text()
    text = text.replace(
        "    from activities.check_payment",
        "    from activities.check_fraud import CheckFraud\n    from activities.check_payment",
    )
    text = text.replace(
        "        OrderCancelled,\n", "        FraudCleared,\n        FraudSuspected,\n        OrderCancelled,\n", 1
    )
    if before:
        text = text.replace("route((CART, PRICE, FRAUD)", "route(FRAUD, (CART, PRICE)")
    table.write_text(text)


def edited(text: str, place: str, code: str) -> str:
    match place:
        case "at the end":
            return f"{text.rstrip()}\n\n\n{code}"
        case "in class Reason":
            return text.replace("\n\n\nLINKS = {", f"\n{code.rstrip()}\n\n\nLINKS = {{", 1)
        case "in LINKS" | "in EVENTS":
            name = place.removeprefix("in ")
            return text.replace(f"{name} = {{\n", f"{name} = {{\n{code}", 1)
        case "below the links":
            return text.replace("\nTABLE = Table(", f"{code}\nTABLE = Table(", 1)
        case "in the routes":
            return re.sub(r"^        PaymentConfirmed: .*\n", code, text, flags=re.MULTILINE)
        case "in consumers()":
            return re.sub(r"^    \]\n\Z", f"{code}    ]\n", text, flags=re.MULTILINE)
    raise AssertionError(f"no such place: {place}")


@pytest.fixture(
    params=[pytest.param(False, id="beside the checks"), pytest.param(True, id="before the checks")], scope="module"
)
def before(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, before: bool) -> Path:
    root = tmp_path_factory.mktemp("copy") / "lanka"
    ignored = shutil.ignore_patterns(".git", ".venv", ".lanka", "__pycache__", ".*_cache", "results", "images")
    shutil.copytree(ROOT, root, ignore=ignored)
    apply_page(root, before=before)
    return root


def test_it_takes_one_new_file_and_edits_three(copy: Path) -> None:
    files = {file: place for file, place, _ in blocks()}

    assert [file for file, place in files.items() if not place] == ["activities/check_fraud.py"]
    assert {file for file, place in files.items() if place} == {EVENTS, WORDS, TABLE}
    checked = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "activities", "orders", "workflows"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


# ---- the shop, before and after ----------------------------------------------------------------------------------


@dataclass
class Shop:
    connection: Connection
    customer: Customer
    env: Mapping[str, str]
    machine: Machine
    pending: str
    parked: str

    async def operator(self, path: str) -> Any:
        answer = await self.customer.api.get(path, headers=self.customer.operator)
        assert answer.is_success, answer.text
        return answer.json()

    async def chain(self) -> Mapping[str, object]:
        found = await self.operator("/chains/orders")
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
async def shop(copy: Path) -> AsyncIterator[Shop]:
    """Two orders were on their way when the link was added: one waits for its bank, one is parked."""
    async with a_machine() as machine:
        customer = Customer(await machine.ready())
        sku = await customer.puts_on_sale(10)
        pending = await customer.orders((sku, 1, 250), outcome="pending")
        await until_at(customer, pending, "settlement")
        await customer.payments.put("/faults", json={"garbage_rate": 1})
        parked = await customer.orders((sku, 1, 250))
        await until_status(customer, parked, "parked")
        await customer.payments.put("/faults", json={})
        await customer.close()
        os.kill(machine.up.pid, signal.SIGINT)
        await until(lambda: machine.up.exit_code is not None, HANGS_AFTER, "the end of lanka up")

        env = {"PYTHONPATH": str(copy)}
        connection = await machine.ready(env)
        customer = Customer(connection)
        yield Shop(connection, customer, env, machine, pending, parked)
        await customer.close()


async def until_at(customer: Customer, order_id: str, link: str) -> None:
    async def there() -> bool:
        return link in (await customer.sees(order_id))["links_at"]

    await until(there, HANGS_AFTER, f"{order_id} at {link}")


async def until_status(customer: Customer, order_id: str, status: str) -> None:
    async def there() -> bool:
        return bool((await customer.sees(order_id))["status"] == status)

    await until(there, HANGS_AFTER, f"{order_id} {status}")


@asynccontextmanager
async def held_at_the_link(shop: Shop) -> AsyncIterator[tuple[str, str]]:
    """A suspicious order and its payment. The link cannot work on it: somebody else has begun to claim it."""
    sku = await shop.customer.puts_on_sale(5 * SUSPICIOUS)
    payment = await shop.customer.pays(250 * SUSPICIOUS, "pending")
    order_id = await shop.customer.orders((sku, SUSPICIOUS, 250), payment_id=payment)
    await until_at(shop.customer, order_id, "settlement")
    database = await asyncpg.connect(shop.connection.database_url)
    try:
        claim = database.transaction()
        await claim.start()
        await database.execute("INSERT INTO claims (subject, link) VALUES ($1, 'fraud')", order_id)
        await shop.customer.payments.post(f"/payments/{payment}/settle", json={"outcome": "captured"})
        await until_at(shop.customer, order_id, "fraud")
        yield order_id, payment
        await claim.rollback()
    finally:
        await database.close()


# ---- what everybody sees -----------------------------------------------------------------------------------------


async def test_an_order_is_confirmed_by_it(shop: Shop) -> None:
    sku = await shop.customer.puts_on_sale(10)

    order_id = await shop.customer.orders((sku, 2, 250))
    order = await shop.customer.ended(order_id)

    assert order["status"] == "confirmed"
    assert "FraudCleared" in await shop.customer.journal(order_id)
    steps = await shop.operator(f"/operations/orders/{order_id}")
    assert ("fraud", "Fraud", "done") in [(s["link"], s["title"], s["state"]) for s in steps["steps"]]


async def test_orders_that_were_on_their_way_before_pass_it_by(shop: Shop) -> None:
    answer = await shop.customer.api.post(
        f"/operations/parked/{shop.parked}/release", json={"reason": "mended"}, headers=shop.customer.operator
    )
    assert answer.json() == {"verdict": "released"}
    payment = (await shop.customer.sees(shop.pending))["payment_id"]
    await shop.customer.payments.post(f"/payments/{payment}/settle", json={"outcome": "captured"})

    for order_id in (shop.pending, shop.parked):
        assert (await shop.customer.ended(order_id))["status"] == "confirmed"
        assert "FraudCleared" not in await shop.customer.journal(order_id)
        seen = await shop.operator(f"/operations/orders/{order_id}")
        assert "fraud" not in [step["link"] for step in seen["steps"]]


async def test_an_order_that_it_refuses_is_shown_at_it_by_its_reason_and_its_money_is_owed(
    shop: Shop, before: bool
) -> None:
    async with held_at_the_link(shop) as (order_id, payment):
        at = (await shop.customer.sees(order_id))["links_at"]
        assert at == (["fraud"] if before else [each for each in at if each != "fraud"] + ["fraud"])
        funnel = {each["link"]: each for each in (await shop.operator("/operations/funnel"))["links"]}
        assert (funnel["fraud"]["waiting"] + funnel["fraud"]["in_progress"], funnel["fraud"]["title"]) == (1, "Fraud")
        await until(lambda: counted(shop, 'stage="fraud"'), HANGS_AFTER, "the metrics")
        await shop.customer.payments.put("/faults", json={"down": True})

    async def owed() -> bool:
        return order_id in [each["order_id"] for each in await shop.operator("/operations/refunds")]

    await until(owed, HANGS_AFTER, "the refund that is owed")
    (refund,) = await shop.operator("/operations/refunds")
    assert (refund["amount"], refund["currency"], refund["reason"]) == (250 * SUSPICIOUS, "EUR", "fraud_suspected")

    async def only_the_money_is_missing() -> bool:
        return bool((await shop.customer.sees(order_id))["links_at"] == ["refund"])

    await until(only_the_money_is_missing, HANGS_AFTER, "the stock to be released")
    await shop.customer.payments.put("/faults", json={})

    order = await shop.customer.ended(order_id)
    assert [order[name] for name in ("status", "link", "stage", "reason")] == [
        "rejected",
        "fraud",
        "fraud",
        "fraud_suspected",
    ]
    assert order["story"]["text"] == "This order is too large for us."
    assert (await shop.customer.payment(payment))["refunded_amount"] == 250 * SUSPICIOUS
    seen = await shop.operator(f"/operations/orders/{order_id}")
    assert {s["link"]: s["state"] for s in seen["steps"]}["fraud"] == "refused"
    funnel = {each["link"]: each for each in (await shop.operator("/operations/funnel"))["links"]}
    assert funnel["fraud"]["reasons"] == {"fraud_suspected": 1}


async def counted(shop: Shop, label: str) -> bool:
    metrics = (await shop.customer.api.get("/metrics")).text
    return any(label in line and line.startswith("lanka_waiting") for line in metrics.splitlines())


async def test_the_chain_has_it_in_its_place_and_in_both_languages(shop: Shop, before: bool) -> None:
    chain = await shop.chain()

    assert chain["forward"] == (BEFORE if before else BESIDE)
    assert chain["version"] == 2
    answer = await shop.customer.api.get("/chains/orders", headers={"Accept-Language": "uk"})
    (fraud,) = [link for link in answer.json()["links"] if link["name"] == "fraud"]
    assert (fraud["title"], fraud["customer"]["title"]) == ("Шахрайство", "Безпека")


async def test_the_terminal_shows_it(shop: Shop) -> None:
    async with process(LANKA, "order", "--home", shop.machine.home.directory, env=shop.env) as order:
        await until(lambda: order.exit_code is not None, HANGS_AFTER, "the end of the order")
        assert "FraudCleared" in order.printed()
    async with process(LANKA, "funnel", "--home", shop.machine.home.directory, env=shop.env) as funnel:
        await until(lambda: funnel.exit_code is not None, HANGS_AFTER, "the funnel")
        assert "fraud" in funnel.printed()


async def test_the_console_draws_it_at_its_place(shop: Shop, browser: Browser, before: bool) -> None:
    context = await browser.new_context(base_url=shop.connection.api, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto("/console")
    await page.get_by_label("Operator key").fill(shop.connection.keys["operator"])
    await page.keyboard.press("Enter")
    boxes = await places(page, ["payment", "cart", "price", "fraud", "finalize"])
    await at_its_place(boxes, before=before)
    await expect(page.locator('[data-link="fraud"]').first).to_contain_text("Fraud")
    sku = await shop.customer.puts_on_sale(10)
    order_id = await shop.customer.orders((sku, 1, 250))
    await shop.customer.ended(order_id)
    await page.goto(f"/console#/orders/{order_id}")
    await expect(page.locator('[data-link="fraud"]').first).to_contain_text("Fraud")
    await expect(page.get_by_text("Nothing suspicious")).to_be_visible()
    await context.close()


async def test_the_shop_draws_it_at_its_place(shop: Shop, browser: Browser, before: bool) -> None:
    context = await browser.new_context(
        base_url=shop.connection.api, viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto("/")
    await buys(page)
    await title(page, "Your order is confirmed")
    boxes = await places(page, ["payment", "cart", "price", "fraud", "finalize"], "#chain li")
    await at_its_place(boxes, before=before)
    await expect(page.locator('#chain li[data-link="fraud"]')).to_contain_text("Safety")
    await context.close()


async def places(page: Page, links: Sequence[str], within: str = "") -> Mapping[str, tuple[float, float]]:
    """The middle of each link in the picture."""
    found: dict[str, tuple[float, float]] = {}
    for link in links:
        box = await visible(page.locator(f'{within}[data-link="{link}"]').first)
        found[link] = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    return found


async def visible(locator: Locator) -> Mapping[str, float]:
    await expect(locator).to_be_visible()
    box = await locator.bounding_box()
    assert box
    return {name: float(value) for name, value in box.items()}  # type: ignore[arg-type]


async def at_its_place(boxes: Mapping[str, tuple[float, float]], *, before: bool) -> None:
    (payment, _), (cart, _), (price, price_y), (fraud, fraud_y), (finalize, _) = boxes.values()
    assert payment < fraud < finalize
    if before:
        assert payment < fraud < min(cart, price)
    else:
        assert abs(fraud - price) < 20
        assert abs(fraud_y - price_y) > 40, "it stands beside them, not on them"
