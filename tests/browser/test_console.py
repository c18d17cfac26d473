"""The operator's console: what is broken is seen at once, on every open page, and decided from there."""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, Route, expect

from lanka.home import Connection
from tests.browser.conftest import PATIENCE, Person
from tests.e2e.customer import Customer
from tests.servers import HANGS_AFTER, until

expect.set_options(timeout=PATIENCE)

MANY = 50
ENGLISH = {"order", "orders", "Parked", "parked", "Release", "All", "Nothing", "Amount", "Customer", "Received"}
PHONE: Any = {"width": 390, "height": 844}
SCREENSHOTS = os.environ.get("LANKA_SCREENSHOTS")
"""Where the pictures of the README go, when they are to be taken; read before the environment is scrubbed."""


async def logs_in(person: Person, connection: Connection) -> Page:
    """A console that is live."""
    page = await person.opens("/console")
    await page.get_by_label("Operator key").fill(connection.keys["operator"])
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    return page


@pytest.fixture
async def console(person: Person, connection: Connection) -> Page:
    return await logs_in(person, connection)


def link(page: Page, name: str) -> Locator:
    """A link in the picture; `data-subjects` is how many stand there."""
    return page.locator(f"[data-link={name}]")


async def at_link(page: Page, name: str) -> int:
    return int(await link(page, name).get_attribute("data-subjects") or 0)


async def shows_at_payment(page: Page, count: int) -> None:
    """Looks more often than `expect` does."""
    shown = f"document.querySelector('[data-link=payment]').dataset.subjects === '{count}'"
    await page.wait_for_function(f"() => {shown}", polling=50)


COUNT_CHANGES = """() => {
  window.changes = 0;
  const count = (seen) => { window.changes += seen.length; };
  const what = { subtree: true, attributeFilter: ["data-subjects"] };
  new MutationObserver(count).observe(document.body, what);
}"""


def asked_by(page: Page) -> Counter[str]:
    """The paths that the page asks for from now on."""
    paths = Counter[str]()
    page.on("request", lambda request: paths.update([urlsplit(request.url).path]))
    return paths


async def pays_for(customer: Customer, count: int) -> list[str]:
    return list(await asyncio.gather(*(customer.pays(250) for _ in range(count))))


async def orders(customer: Customer, sku: str, payments: Sequence[str], customer_id: str = "cus_42") -> list[str]:
    posts = (customer.orders((sku, 1, 250), payment_id=each, customer_id=customer_id) for each in payments)
    return list(await asyncio.gather(*posts))


async def parked_orders(customer: Customer, count: int, customer_id: str = "cus_42") -> list[str]:
    """Orders that the provider's nonsense has parked; it is well again."""
    sku = await customer.puts_on_sale(100)
    payments = await pays_for(customer, count)
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    ids = await orders(customer, sku, payments, customer_id)

    async def all_parked() -> bool:
        return all([(await customer.sees(order_id))["status"] == "parked" for order_id in ids])

    await until(all_parked, HANGS_AFTER, "the orders to park")
    await customer.payments.put("/faults", json={})
    return ids


async def show_parked(page: Page, order_id: str) -> Locator:
    """The row of a parked order."""
    group = page.locator(".group", has_text="unexpected answer")
    await group.locator(".disclose").click()
    row = page.get_by_role("row", name=re.compile(order_id))
    await expect(row).to_be_visible()
    return row


async def decides(page: Page, verb: str, why: str = "the provider is well again") -> None:
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Why").fill(why)
    await dialog.get_by_label("Your name").fill("Ann")
    await dialog.get_by_role("button", name=verb).click()


async def decided(customer: Customer, order_id: str, kind: str) -> dict[str, Any]:
    events = (await customer.api.get(f"/orders/{order_id}/events")).json()
    data: dict[str, Any] = next(event["data"] for event in events if event["type"] == f"lanka.{kind}")
    return data


# ---- who is there ------------------------------------------------------------------------------------------------


async def test_only_an_operators_key_opens_the_console_and_whoever_leaves_has_left_every_tab(
    person: Person, connection: Connection
) -> None:
    page = await person.opens("/console")
    for key, answer in (("nonsense", "Nobody has this key."), (connection.keys["shop"], "not an operator")):
        await page.get_by_label("Operator key").fill(key)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert").filter(has_text=answer)).to_be_visible()
    await page.get_by_label("Operator key").fill(connection.keys["operator"])
    await page.get_by_role("button", name="Log in").click()
    await expect(link(page, "payment")).to_be_visible()

    second = await person.opens("/console#/orders")
    await expect(second.get_by_role("heading", name="Newest orders")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Operator key")).to_be_visible()
    await expect(second.get_by_label("Operator key")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("Operator key")).to_be_visible()


# ---- a drill -----------------------------------------------------------------------------------------------------


async def test_broken_from_the_console_every_page_shows_where_orders_pile_up_and_mended_how_they_drain(
    person: Person, console: Page, customer: Customer
) -> None:
    second = await person.opens("/console")
    await expect(second.get_by_text("Live", exact=True)).to_be_visible()
    for page in (console, second):
        await page.evaluate("window.neverReloaded = true")
        await page.evaluate(COUNT_CHANGES)
    asked = {page: asked_by(page) for page in (console, second)}
    sku = await customer.puts_on_sale(1000)
    payments = await pays_for(customer, MANY)

    await console.get_by_role("switch", name="Down").check()
    ids = await orders(customer, sku, payments)
    await asyncio.gather(*(shows_at_payment(page, MANY) for page in (console, second)))
    for page in (console, second):
        await expect(link(page, "payment")).to_contain_text(f"{MANY} waiting")
        await expect(page.get_by_role("alert").filter(has_text="Broken on purpose")).to_contain_text("down")
        await expect(page.get_by_role("heading", level=1)).to_contain_text(f"{MANY} wait at payment")
        outage = page.locator(".troubles [data-kind=outage]")
        for words in ("Outage", f"{MANY} orders wait at payment", "answered 503", "drains by itself"):
            await expect(outage).to_contain_text(words)

    order = await person.opens(f"/console#/orders/{ids[0]}")
    await order.evaluate("window.neverReloaded = true")
    await expect(link(order, "payment")).to_contain_text("waiting")
    await expect(order.locator(".last-error")).to_contain_text("answered 503")

    await second.get_by_role("button", name="Mend it").click()
    for page in (console, second):
        await expect(page.get_by_text("Broken on purpose")).to_be_hidden()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("All quiet")
        assert await at_link(page, "payment") == 0
        # It is told what happens, and does not ask for it: only of a connection that was lost there is another.
        assert asked[page]["/operations/live"] < await page.evaluate("window.changes")
    await expect(order.locator(".heading .status")).to_have_text("Confirmed")
    await expect(order.locator(".timeline")).to_contain_text("Confirmed at finalize")
    at_payment = order.locator(".timeline > li", has_text="Payment confirmed")
    await expect(at_payment).to_contain_text(re.compile(r"took .* and \d+ attempts"))
    await expect(order.locator(".timeline > li", has_text="Stock reserved")).not_to_contain_text("attempt")
    assert [await page.evaluate("window.neverReloaded") for page in (console, second, order)] == [True] * 3


async def test_broken_while_orders_flow_it_is_the_broken_link_that_is_named(console: Page, customer: Customer) -> None:
    """Those behind it wait to be taken meanwhile, which is not where the trouble is."""
    sku = await customer.puts_on_sale(1000)
    payments = await pays_for(customer, 150)

    async def come_one_by_one() -> None:
        for payment in payments:
            await customer.orders((sku, 1, 250), payment_id=payment)
            await asyncio.sleep(0.02)

    coming = asyncio.create_task(come_one_by_one())
    await expect(console.locator("[data-end=confirmed]")).not_to_contain_text(re.compile(r"^\D*0\D"))
    await console.get_by_role("switch", name="Down").check()
    heading = console.get_by_role("heading", level=1)
    await expect(heading).to_contain_text("wait at payment")
    await coming
    await expect(heading).not_to_contain_text("to be taken")
    await console.get_by_role("button", name="Mend it").click()
    await expect(heading).to_contain_text("All quiet")


async def test_who_has_to_answer_is_told_apart_in_word_and_colour(console: Page, customer: Customer) -> None:
    """A bank that takes its time, and a fault; an outage is in the drill."""
    (parked,) = await parked_orders(customer, 1)  # before the other is there: nonsense would park that too
    pending = await customer.orders((await customer.puts_on_sale(10), 1, 250), outcome="pending")
    rows = {kind: console.locator(f".troubles [data-kind={kind}]") for kind in ("fault", "pending")}
    for kind, told in (
        ("fault", ("Parked", "1 order parked at payment", "answered 200", "Needs a person")),
        ("pending", ("Pending", "1 order waits at", "somebody outside has to answer")),
    ):
        for words in told:
            await expect(rows[kind]).to_contain_text(words)
    await expect(link(console, "payment")).to_contain_text("1 waiting: pending")
    colour = "node => getComputedStyle(node).color"
    assert len({await row.locator(".kind").evaluate(colour) for row in rows.values()}) == 2
    await passes(console)
    await rows["pending"].get_by_role("link").click()
    await expect(console.locator("tbody th")).to_have_text([pending])
    await expect(console.locator("tbody .status")).to_have_text("Awaiting payment")

    await console.goto(f"/console#/orders/{parked}")
    await console.get_by_role("button", name="Reject").click()
    await decides(console, "Reject")
    await customer.ended(parked)
    await customer.api.post(f"/orders/{pending}/cancel", json={"reason": "seen enough"})
    await customer.ended(pending)


async def test_the_last_day_is_drawn_and_told_beside_what_is_usual(console: Page, customer: Customer) -> None:
    await customer.ended(await customer.orders((await customer.puts_on_sale(10), 1, 250)))
    hours = console.locator("[data-chain=orders] .hours")

    async def counted() -> bool:
        await console.reload()
        await hours.wait_for(state="visible")
        return "Half took up to" in await hours.inner_text()

    await until(counted, HANGS_AFTER, "the order to be counted")
    await expect(hours).to_contain_text("orders ended" if "orders ended" in await hours.inner_text() else "order ended")
    await hours.locator(".chart g[tabindex='0']").focus()
    await expect(hours.locator(".told")).to_contain_text("confirmed")
    this_hour = await hours.locator(".told").inner_text()
    await console.keyboard.press("ArrowLeft")
    await expect(hours.locator(".told")).not_to_have_text(this_hour)
    await hours.get_by_text("As a table").click()
    await expect(hours.locator("tbody tr")).to_have_count(24)
    await passes(console)


async def test_in_ukrainian_no_word_of_it_is_english(browser: Browser, connection: Connection) -> None:
    context = await browser.new_context(base_url=connection.api, locale="uk-UA", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto("/console")
    await page.get_by_label("Ключ оператора").fill(connection.keys["operator"])
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Наживо", exact=True)).to_be_visible()
    for address in ("#/", "#/orders", "#/list?chain=orders", "#/list?state=parked"):
        await page.goto(f"/console{address}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        text = await page.locator("main").inner_text()
        assert not {*re.findall(r"[A-Za-z]+", text)} & ENGLISH, address
    await context.close()


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        (250000, "HUF", "HUF 2,500.00"),
        (1500, "IQD", "IQD 1.500"),
        (4150, "JPY", "JPY 4,150"),
        (2640, "EUR", "EUR 26.40"),
    ],
)
async def test_money_has_the_decimals_of_its_currency(console: Page, amount: int, currency: str, written: str) -> None:
    """The browser's own data differs from ISO 4217."""
    money = "([amount, currency]) => import('/static/kit/words.js').then(kit => kit.money(amount, currency, 'code'))"
    shown = await console.evaluate(money, [amount, currency])
    assert shown.replace("\N{NO-BREAK SPACE}", " ") == written


async def test_sample_orders_run_into_the_picture(console: Page, customer: Customer) -> None:
    before = (await customer.api.get("/orders", params={"limit": 1})).json()["orders"]
    await console.get_by_role("switch", name="Slow").check()
    await expect(console.get_by_role("alert").filter(has_text="1,500 ms slow")).to_be_visible()
    await console.get_by_label("How many").fill("5")
    await console.get_by_role("button", name="Send").click()
    await expect(console.locator("#toast")).to_contain_text("5 orders are paid")
    await console.get_by_role("switch", name="Slow").uncheck()
    await expect(console.get_by_text("Broken on purpose")).to_be_hidden()

    async def all_confirmed() -> bool:
        newest = (await customer.api.get("/orders", params={"limit": 6})).json()["orders"]
        samples = [each for each in newest if each["customer_id"].startswith("cus_sample")]
        return len(samples) >= 5 and all(each["status"] == "confirmed" for each in samples) and newest[0] not in before

    await until(all_confirmed, HANGS_AFTER, "the sample orders to be confirmed")


async def test_a_lost_connection_is_shown_and_comes_back(person: Person, console: Page) -> None:
    await person.context.set_offline(offline=True)
    await expect(console.get_by_text("Connection lost")).to_be_visible()
    await person.context.set_offline(offline=False)
    await expect(console.get_by_text("Live", exact=True)).to_be_visible()


async def seen(page: Page, *, hidden: bool) -> None:
    """As when another tab is before it: a browser without a screen shows all of them."""
    await page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_an_eighth_tab_opens_because_those_that_nobody_sees_hold_no_connection(
    person: Person, console: Page, customer: Customer
) -> None:
    """A browser has six connections to one HTTP/1.1 host."""
    tabs = [console]
    for _ in range(7):
        await seen(tabs[-1], hidden=True)
        tabs.append(await person.opens("/console"))
        await expect(tabs[-1].get_by_text("Live", exact=True)).to_be_visible()

    (order_id,) = await parked_orders(customer, 1)
    await expect(link(tabs[-1], "payment")).to_contain_text("1 parked")
    await expect(link(console, "payment")).not_to_contain_text("parked")
    await expect(console.locator("#as-of")).to_have_text(re.compile(r"The picture’s age: \d+ s"))
    await seen(tabs[-1], hidden=True)
    await seen(console, hidden=False)
    await expect(link(console, "payment")).to_contain_text("1 parked")
    await expect(console.get_by_text("Live", exact=True)).to_be_visible()
    await expect(console.locator("#as-of")).to_be_hidden()
    await customer.api.post(
        f"/operations/parked/{order_id}/reject", json={"why": "seen enough"}, headers=customer.operator
    )
    await customer.ended(order_id)


# ---- decisions ---------------------------------------------------------------------------------------------------


async def test_a_parked_order_is_released_from_the_page_and_confirmed(console: Page, customer: Customer) -> None:
    (order_id,) = await parked_orders(customer, 1)
    await expect(link(console, "payment")).to_contain_text("1 parked")
    row = await show_parked(console, order_id)
    await row.get_by_role("button", name="Release").click()
    await decides(console, "Release")
    await expect(console.locator("#toast")).to_contain_text("is released")
    await expect(console.get_by_text("Nothing is parked.")).to_be_visible()
    assert (await customer.ended(order_id))["status"] == "confirmed"
    released = await decided(customer, order_id, "OrderReleased")
    assert released["why"] == "the provider is well again"
    assert released["by"].startswith("Ann (operator:")


async def test_many_are_released_after_a_dry_run_and_not_before(console: Page, customer: Customer) -> None:
    ids = await parked_orders(customer, 3)
    await console.get_by_role("button", name="Release all").click()
    await decides(console, "Dry run")
    dialog = console.get_by_role("dialog")
    await expect(dialog.get_by_role("status")).to_contain_text("3 orders would go on")
    assert {(await customer.sees(order_id))["status"] for order_id in ids} == {"parked"}
    await dialog.get_by_role("button", name="Release 3 orders").click()
    await expect(console.locator("#toast")).to_contain_text("3 of 3 orders released")
    for order_id in ids:
        assert (await customer.ended(order_id))["status"] == "confirmed"


async def test_what_is_parked_on_its_way_back_is_only_offered_to_be_released(console: Page, customer: Customer) -> None:
    order_id = await customer.orders((await customer.puts_on_sale(10), 1, 250), outcome="pending")

    async def has(status: str) -> bool:
        return bool((await customer.sees(order_id))["status"] == status)

    await until(partial(has, "awaiting_payment"), HANGS_AFTER, "the wait for the bank")
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    await customer.api.post(f"/orders/{order_id}/cancel")
    await until(partial(has, "parked"), HANGS_AFTER, "the refund to park")
    await customer.payments.put("/faults", json={})

    await expect(console.get_by_text("mend what caused it, then release.")).to_be_visible()
    await console.locator(".group .disclose").click()
    row = console.locator(f"[data-key^='{order_id}.refund']")
    await expect(console.get_by_role("button", name="Reject all")).to_have_count(0)
    await expect(row.get_by_role("button", name="Reject")).to_have_count(0)
    await row.get_by_role("button", name="Release").click()
    await decides(console, "Release")
    assert (await customer.ended(order_id))["status"] == "cancelled"


async def test_a_key_that_is_held_down_does_not_go_through_the_dry_run(console: Page, customer: Customer) -> None:
    ids = await parked_orders(customer, 1)
    await console.get_by_role("button", name="Reject all").click()
    dialog = console.get_by_role("dialog")
    await dialog.get_by_label("Why").fill("held")
    await dialog.get_by_label("Your name").fill("Ann")
    await console.keyboard.down("Enter")
    await expect(dialog.get_by_role("button", name="Reject 1 order")).to_be_enabled()
    for _ in range(20):
        await console.keyboard.down("Enter")  # the key is down already: these are its repetitions
    await expect(dialog.get_by_role("button", name="Reject 1 order")).to_be_enabled()
    assert (await customer.sees(ids[0]))["status"] == "parked"
    await console.keyboard.up("Enter")
    await dialog.get_by_role("button", name="Cancel").click()
    await show_parked(console, ids[0])
    await console.get_by_role("button", name="Reject").last.click()
    await decides(console, "Reject")
    await customer.ended(ids[0])


async def test_many_are_rejected_from_their_list_which_has_pages_filters_and_a_csv(
    console: Page, customer: Customer
) -> None:
    ids = await parked_orders(customer, 52, "cus_many")
    await link(console, "payment").get_by_role("link", name="52 parked").click()
    await expect(console).to_have_url(re.compile(r"#/list\?chain=orders&link=payment&state=parked$"))
    await expect(console.get_by_role("heading", name="Parked at payment")).to_be_visible()
    await expect(console.get_by_role("status").filter(has_text="1 to 50 of 52 orders")).to_be_visible()
    rows = console.locator("tbody tr")
    await expect(rows).to_have_count(50)
    for told in ("cus_many", "EUR 2.50", "answered 200", "once"):
        await expect(rows.first).to_contain_text(told)
    await console.get_by_role("link", name="Next").click()
    await expect(rows).to_have_count(2)
    await console.reload()
    await expect(console.get_by_role("status").filter(has_text="51 to 52 of 52 orders")).to_be_visible()
    await console.go_back()
    await expect(rows).to_have_count(50)

    await console.get_by_label("Customer", exact=True).fill("nobody")
    await console.get_by_role("button", name="Show").click()
    await expect(console.get_by_text("Nothing is like this now.")).to_be_visible()
    await console.get_by_label("Customer", exact=True).fill("cus_many")
    await console.keyboard.press("Enter")
    await expect(console).to_have_url(re.compile("customer_id=cus_many"))
    await expect(rows).to_have_count(50)
    await passes(console)
    csv = await (
        await console.request.get(str(await console.get_by_role("link", name="CSV").get_attribute("href")))
    ).text()
    assert all(order_id in csv for order_id in ids)

    await console.get_by_role("button", name="Reject all").click()
    dialog = console.get_by_role("dialog")
    await expect(dialog).to_contain_text("the way back (release stock, refund, reject)")
    await decides(console, "Dry run", "the customer wants none of them")
    await expect(dialog.get_by_role("status")).to_contain_text("52 orders would be rejected")
    await passes(console)
    await dialog.get_by_role("button", name="Reject 52 orders").click()
    await expect(console.locator("#toast")).to_contain_text("52 of 52 orders rejected")
    await expect(console.get_by_text("Nothing is like this now.")).to_be_visible()
    for order_id in ids:
        assert (await customer.ended(order_id))["reason"] == "rejected_by_operator"


async def test_an_order_is_rejected_on_its_own_page(person: Person, console: Page, customer: Customer) -> None:
    (order_id,) = await parked_orders(customer, 1)
    await console.goto(f"/console#/orders/{order_id}")
    await expect(link(console, "payment")).to_contain_text("parked")
    await console.get_by_role("button", name="Reject").click()
    await decides(console, "Reject", "the customer has called")
    await expect(console.locator(".heading .status")).to_have_text("Rejected")
    await expect(console.locator(".timeline")).to_contain_text("the customer has called")
    assert (await customer.ended(order_id))["reason"] == "rejected_by_operator"
    assert (await decided(customer, order_id, "OrderWithdrawn"))["by"].startswith("Ann (operator:")


async def test_a_customer_who_calls_gets_the_order_cancelled(console: Page, customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    order_id = await customer.orders((sku, 1, 250), outcome="pending")
    await console.goto(f"/console#/orders/{order_id}")
    await expect(console.locator(".heading .status")).to_have_text("Awaiting payment")
    await console.get_by_role("button", name="Cancel").click()
    await decides(console, "Cancel the order", "changed their mind")
    await expect(console.locator(".heading .status")).to_have_text("Cancelled")


async def test_with_the_keyboard_alone_an_order_is_released(console: Page, customer: Customer) -> None:
    (order_id,) = await parked_orders(customer, 1)
    await expect(console.locator(".group")).to_be_visible()

    async def reaches(name: str) -> None:
        for _ in range(60):
            await console.keyboard.press("Tab")
            focused = "e => (document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent)"
            if name in str(await console.evaluate(focused)):
                return
        raise AssertionError(f"{name} is out of the keyboard's reach")

    await console.locator("body").press("Home")
    await reaches("unexpected answer")
    await console.keyboard.press("Enter")
    await expect(console.get_by_role("row", name=re.compile(order_id))).to_be_visible()
    await reaches(f"Release {order_id}")
    await console.keyboard.press("Enter")
    await expect(console.get_by_label("Why")).to_be_focused()
    await console.keyboard.type("mended")
    await console.keyboard.press("Tab")
    await console.keyboard.press("Control+A")
    await console.keyboard.type("Ann")
    await console.keyboard.press("Enter")
    await expect(console.get_by_text("Nothing is parked.")).to_be_visible()
    assert (await customer.ended(order_id))["status"] == "confirmed"


# ---- looking -----------------------------------------------------------------------------------------------------


async def test_an_order_is_found_by_its_customer_its_payment_and_itself(
    console: Page, customer: Customer, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(10)
    (payment,) = await pays_for(customer, 1)
    (order_id,) = await orders(customer, sku, [payment], "cus_searched")
    number = (await customer.ended(order_id))["order_number"]
    for sought in ("cus_searched", payment, order_id, order_id.upper(), number):
        await console.get_by_role("searchbox").fill(sought)
        await console.keyboard.press("Enter")
        await expect(console.get_by_role("heading", name=f"Found for “{sought}”")).to_be_visible()
        await expect(console.locator("tbody th")).to_have_text([order_id])
    await console.get_by_role("searchbox").fill("nobody")
    await console.keyboard.press("Enter")
    await expect(console.get_by_text("no order number, customer or payment is called that")).to_be_visible()

    await console.goto(f"/console#/orders/{order_id}")
    history = console.get_by_role("link", name="Temporal history")
    url = f"{connection.temporal_ui}/namespaces/default/workflows/order-{order_id}"
    await expect(history).to_have_attribute("href", url)
    for words in ("Received", "Payment confirmed", "Stock reserved", "Price confirmed", number):
        await expect(console.locator(".timeline")).to_contain_text(words)


async def test_the_trace_of_an_order_is_copied_from_its_page(
    person: Person, console: Page, customer: Customer, connection: Connection
) -> None:
    """The machine sends no traces, so its answer is given one on the way."""
    order_id = await customer.orders((await customer.puts_on_sale(10), 1, 250))
    await customer.ended(order_id)
    trace = "0af7651916cd43dd8448eb211c80319c"

    async def traced(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json() | {"trace_id": trace, "trace_url": f"http://traces.example/{trace}"}
        await route.fulfill(response=answer, json=told)

    await console.goto(f"/console#/orders/{order_id}")
    await expect(console.locator(".timeline")).to_contain_text("Confirmed at finalize")
    await expect(console.get_by_role("button", name="Copy the trace id")).to_be_hidden()
    await console.route("**/operations/orders/*", traced)
    await console.reload()
    await expect(console.get_by_role("link", name="Trace")).to_have_attribute("href", f"http://traces.example/{trace}")
    await person.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=connection.api)
    await console.get_by_role("button", name="Copy the trace id").click()
    await expect(console.locator("#toast")).to_have_text("Copied.")
    assert await console.evaluate("navigator.clipboard.readText()") == trace


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)])
async def test_everybody_can_read_and_reach_every_page(
    browser: Browser, connection: Connection, customer: Customer, scheme: Any, width: int
) -> None:
    await customer.payments.put("/faults", json={"latency_ms": 1})  # so that the banner is there
    sku = await customer.puts_on_sale(10)
    declined = await customer.orders((sku, 1, 250), outcome="declined")
    await customer.ended(declined)
    context = await browser.new_context(
        base_url=connection.api, color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto("/console")
    await expect(page.get_by_label("Operator key")).to_be_visible()
    await passes(page)
    await page.get_by_label("Operator key").fill(connection.keys["operator"])
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Broken on purpose")).to_be_visible()
    await passes(page)
    await page.goto(f"/console#/orders/{declined}")
    await expect(page.locator(".timeline")).to_contain_text("Payment refused")
    await passes(page)
    await page.goto("/console#/orders")
    await expect(page.locator("tbody tr").first).to_be_visible()
    await passes(page)
    await context.close()


async def test_the_line_below_the_way_back_crosses_nothing_that_is_written(console: Page, customer: Customer) -> None:
    sku = await customer.puts_on_sale(1)
    refused = await customer.orders((sku, 2, 250))
    await customer.ended(refused)
    await console.goto("/console#/")
    await expect(link(console, "refund")).to_contain_text("done")
    await console.set_viewport_size({"width": 1280, "height": 900})
    under = console.locator(".edge.under")
    lowest = "nodes => Math.max(...nodes.map(node => node.getBoundingClientRect().bottom))"
    written = console.locator("[data-chain=orders] .row.back .facts")
    legend = console.locator("[data-chain=orders] > .legend")

    async def apart() -> bool:  # it is drawn anew when what is written has changed
        return float(await written.evaluate_all(lowest)) < await bottom(under) < await top(legend)

    await until(apart, HANGS_AFTER, "a line below what is written")

    await console.set_viewport_size(PHONE)
    for name in ("back under", "back"):
        await expect(console.locator(f"[data-chain=orders] .edge[class='edge {name}']").first).to_be_visible()


async def test_on_a_phone_nothing_is_cut_and_release_all_stands_above_what_it_releases(
    console: Page, customer: Customer
) -> None:
    confirmed = await customer.orders((await customer.puts_on_sale(10), 1, 250))
    number = (await customer.ended(confirmed))["order_number"]
    (parked,) = await parked_orders(customer, 1)
    await console.goto("/console#/orders")
    await expect(console.get_by_role("row", name=re.compile(parked))).to_contain_text("Payment")
    names = await console.locator(".orders thead th").all_inner_texts()
    cells = await console.get_by_role("row", name=re.compile(confirmed)).locator("th, td").all_inner_texts()
    told = dict(zip(names, cells, strict=True))
    assert (told["Number"], told["Stands at"]) == (number, "")

    await console.set_viewport_size(PHONE)
    assert await console.locator(".panel").evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    await console.goto("/console#/")
    row = await show_parked(console, parked)
    assert await bottom(console.get_by_role("button", name="Release all")) <= await top(row)
    await row.get_by_role("button", name="Reject").click()
    await decides(console, "Reject")
    await customer.ended(parked)


async def test_a_parked_order_that_fails_in_another_way_is_told_so_where_it_stands(
    console: Page, customer: Customer
) -> None:
    (order_id,) = await parked_orders(customer, 1)
    row = await show_parked(console, order_id)
    await expect(row).to_contain_text("answered 200")

    async def fails_otherwise(route: Route) -> None:
        answer = await route.fetch()
        told = [each | {"attempts": 6, "last_error": "another failure"} for each in await answer.json()]
        await route.fulfill(response=answer, json=told)

    await console.route("**/operations/parked?*", fails_otherwise)
    await customer.orders((await customer.puts_on_sale(10), 1, 250))  # something happens
    await expect(row).to_contain_text("another failure")
    await expect(row.locator("[data-name=Attempts]")).to_have_text("6")
    await row.get_by_role("button", name="Reject").click()
    await decides(console, "Reject")
    await customer.ended(order_id)


async def top(locator: Locator) -> float:
    return float(await locator.evaluate("node => node.getBoundingClientRect().top"))


async def bottom(locator: Locator) -> float:
    return float(await locator.evaluate("node => node.getBoundingClientRect().bottom"))


async def test_what_is_parked_can_be_read_by_everybody(console: Page, customer: Customer) -> None:
    (order_id,) = await parked_orders(customer, 1)
    row = await show_parked(console, order_id)
    await passes(console)
    await row.get_by_role("button", name="Reject").click()
    await expect(console.get_by_role("dialog")).to_be_visible()
    await passes(console)
    await decides(console, "Reject")
    await customer.ended(order_id)


async def passes(page: Page) -> None:
    """By the rules of axe-core; and nothing is wider than the page."""
    results = await Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.skipif(not SCREENSHOTS, reason="pictures are taken only where LANKA_SCREENSHOTS names a directory")
async def test_pictures_for_the_readme(console: Page, customer: Customer) -> None:
    sku = await customer.puts_on_sale(1000)
    for order_id in await orders(customer, sku, await pays_for(customer, 100)):
        await customer.ended(order_id)
    parked = await parked_orders(customer, 7)
    payments = await pays_for(customer, 200)
    await customer.payments.put("/faults", json={"error_rate": 1})
    await orders(customer, sku, payments)
    for scheme in ("light", "dark"):
        await console.emulate_media(color_scheme=scheme)
        await console.set_viewport_size({"width": 1280, "height": 1000})
        await expect(link(console, "payment")).to_contain_text("200 waiting")
        if scheme == "light":
            await console.locator(".group .disclose").click()
        await expect(console.locator(".parked-subjects tbody tr")).to_have_count(len(parked))
        await console.screenshot(path=Path(SCREENSHOTS or "") / f"console-{scheme}.png", animations="disabled")
    await customer.payments.put("/faults", json={})
    for order_id in parked:
        command = {"reason": "the picture is taken"}
        await customer.api.post(f"/operations/parked/{order_id}/reject", json=command, headers=customer.operator)
    await expect(console.get_by_role("heading", level=1)).to_contain_text("All quiet", timeout=2 * PATIENCE)
