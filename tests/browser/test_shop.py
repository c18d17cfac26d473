"""The shop's page, from a click to a confirmed order, and what a customer sees when something is in the way."""

import asyncio
import json
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, expect

from lanka.home import Connection
from tests.browser.conftest import PATIENCE, Person
from tests.e2e.customer import Customer, held_at_the_cart
from tests.e2e.machine import Machine
from tests.servers import HANGS_AFTER, until

MUG = "Ceramic mug, white, 300 ml"
ORDERS = re.compile(r"^http://[^/]+/orders$")
"""Where orders are posted."""

SCREENSHOTS = os.environ.get("LANKA_SCREENSHOTS")
"""Where the pictures of the README go, when they are to be taken; read before the environment is scrubbed."""

PHONE = {"width": 360, "height": 740}

expect.set_options(timeout=PATIENCE)

Opens = Callable[..., AbstractAsyncContextManager[Person]]


@pytest.fixture
def somebody(browser: Browser, connection: Connection) -> Opens:
    """More people, each at a browser of their own, set up as the test says."""

    @asynccontextmanager
    async def somebody(**options: Any) -> AsyncIterator[Person]:
        context = await browser.new_context(base_url=connection.api, **options)
        context.set_default_timeout(PATIENCE)
        person = Person(context)
        try:
            yield person
        finally:
            await context.close()
        assert person.complaints == []

    return somebody


async def puts_into_the_basket(page: Page, product: str = MUG) -> None:
    """Looks behind the first shelf where it has to."""
    everything = page.get_by_role("button", name="Show all")
    add = page.get_by_role("button", name=f"Add {product}", exact=True)
    await expect(add.or_(everything).first).to_be_visible()
    if not await add.is_visible():
        await everything.click()
    await add.click()


async def pays(page: Page, method: str = "Card", *, playing: str = "Everything goes well") -> None:
    await page.get_by_role("radio", name=re.compile(f"^{method} ")).check()
    await page.get_by_role("radio", name=playing).check()
    await page.get_by_role("button", name=re.compile(r"^Pay ")).click()


async def buys(page: Page, product: str = MUG, method: str = "Card", **played: str) -> None:
    await puts_into_the_basket(page, product)
    await pays(page, method, **played)


def title(page: Page, text: str) -> Awaitable[None]:
    return expect(page.get_by_role("heading", level=1)).to_have_text(text)


def state(page: Page, link: str, text: str) -> Awaitable[None]:
    return expect(page.locator(f"li[data-link={link}] .state")).to_have_text(text)


async def is_confirmed(page: Page) -> str:
    """The order id."""
    await title(page, "Your order is confirmed")
    return page.url.partition("#order-")[2]


async def orders_of(page: Page) -> list[dict[str, Any]]:
    """Of the customer at this browser, newest first."""
    answer = await page.request.get("/orders")
    orders: list[dict[str, Any]] = (await answer.json())["orders"]
    return orders


def a_name() -> str:
    return f"Thing {uuid.uuid4().hex[:8]}"


# ---- buying ------------------------------------------------------------------------------------------------------


async def test_a_customer_buys_and_sees_every_link_close(person: Person, customer: Customer) -> None:
    page = await person.opens()
    await puts_into_the_basket(page, "Buckwheat honey, 400 g")
    await puts_into_the_basket(page)
    await pays(page)
    await expect(page.locator("#order-title")).to_be_focused()
    order_id = await is_confirmed(page)

    for link in ("payment", "cart", "price", "finalize"):
        await state(page, link, "Done")
    order = await customer.sees(order_id)
    assert (order["status"], order["total"]) == ("confirmed", 1290 + 1350)
    await expect(page.locator("#order-number strong")).to_have_text(order["order_number"])
    await expect(page.locator("#order-money")).to_have_text("You have paid €26.40.")
    await expect(page.locator("#basket-count")).to_have_text("0")
    payment = await customer.payment(order["payment_id"])
    assert [each["operation"] for each in payment["operations"]] == ["capture"]


async def test_a_screen_reader_hears_the_steps_in_their_order(somebody: Opens) -> None:
    async with somebody() as person:  # for whom things move, so that the steps come one by one
        page = await person.opens()
        await buys(page)
        await is_confirmed(page)
        log = page.get_by_role("log", name="News")
        await expect(log).to_contain_text("Order number")
        heard = await log.locator("p").all_inner_texts()
    side_by_side = ["Stock reserved.", "Price confirmed."]
    steps = ["Payment checked.", *side_by_side, "Order completed.", "Your order is confirmed."]
    told = [step for step in heard if step in steps]
    assert told in (steps, [steps[0], *reversed(side_by_side), *steps[3:]])


async def test_the_last_item_in_two_tabs_goes_to_one_and_the_others_money_is_safe(
    somebody: Opens, customer: Customer
) -> None:
    name = a_name()
    await customer.puts_on_sale(1, name=name)
    async with somebody() as one, somebody() as other:
        tabs = [await one.opens(), await other.opens()]
        for tab in tabs:
            await puts_into_the_basket(tab, name)
        await asyncio.gather(*(pays(tab) for tab in tabs))
        for tab in tabs:
            await expect(tab.locator("#order-title")).to_have_text(
                re.compile("Your order is confirmed|We could not confirm your order")
            )
        titles = [await tab.locator("#order-title").inner_text() for tab in tabs]
        assert sorted(titles) == ["We could not confirm your order", "Your order is confirmed"]
        loser = tabs[titles.index("We could not confirm your order")]
        await state(loser, "cart", "Stopped here")
        await expect(loser.locator("#order-text")).to_contain_text("There is not enough left")
        await expect(loser.locator("#order-money")).to_contain_text("You have not been charged: ")
        await expect(loser.locator("#again")).to_contain_text(f"{name} is sold out.")
        (lost,) = await orders_of(loser)
    payment = await customer.payment(lost["payment_id"])
    assert (payment["status"], payment["captured_amount"]) == ("refunded", 0)


async def test_earlier_orders_are_found_again(person: Person) -> None:
    page = await person.opens()
    await buys(page)
    order_id = await is_confirmed(page)
    number = await page.locator("#order-number strong").inner_text()
    await page.get_by_role("link", name="My orders").click()
    await expect(page.locator("#orders-title")).to_be_focused()
    await page.get_by_role("link", name=number).click()
    assert await is_confirmed(page) == order_id


# ---- once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["double click", "Enter twice"])
async def test_a_second_click_on_pay_changes_nothing(person: Person, how: str) -> None:
    page = await person.opens()
    keys: set[str] = set()

    async def count(route: Route) -> None:
        keys.add(route.request.headers["idempotency-key"])
        await route.continue_()

    await page.route("**/shop/payments", count)
    await puts_into_the_basket(page)
    pay = page.get_by_role("button", name=re.compile(r"^Pay "))
    if how == "double click":
        await pay.dblclick()
    else:
        await pay.focus()
        await page.keyboard.press("Enter")
        await page.keyboard.press("Enter")
        await page.locator("#pay-form").evaluate("form => form.requestSubmit()")  # faster than any finger
    await is_confirmed(page)
    assert len(keys) == 1
    assert len(await orders_of(page)) == 1


async def test_a_reload_in_the_middle_goes_on_with_the_same_purchase(person: Person, customer: Customer) -> None:
    page = await person.opens()
    accepted = asyncio.Event()

    async def never_answer_the_first(route: Route) -> None:
        if accepted.is_set():
            await route.continue_()
        else:
            await route.fetch()
            accepted.set()

    await page.route(ORDERS, never_answer_the_first)
    await buys(page)
    await asyncio.wait_for(accepted.wait(), PATIENCE / 1000)
    await page.reload()
    order_id = await is_confirmed(page)
    assert [order["order_id"] for order in await orders_of(page)] == [order_id]
    await page.reload()
    assert await is_confirmed(page) == order_id
    payment = await customer.payment((await customer.sees(order_id))["payment_id"])
    assert payment["captured_amount"] == 1350


@pytest.mark.parametrize("call", ["**/shop/payments", ORDERS], ids=["payment", "order"])
async def test_an_answer_that_is_lost_is_asked_for_again(person: Person, call: str | re.Pattern[str]) -> None:
    page = await person.opens()
    answers: list[dict[str, Any]] = []

    async def lose_the_first(route: Route) -> None:
        answer = await route.fetch()
        answers.append(await answer.json())
        await (route.fulfill(response=answer) if len(answers) > 1 else route.abort())

    await page.route(call, lose_the_first)
    await buys(page)
    await is_confirmed(page)
    first, second = answers
    assert first == second
    assert len(await orders_of(page)) == 1


async def test_another_tab_goes_on_with_the_purchase_of_the_first(person: Person) -> None:
    first = await person.opens()
    going = asyncio.Event()

    async def hold(route: Route) -> None:
        await going.wait()
        await route.continue_()

    await person.context.route("**/shop/payments", hold)
    await buys(first)
    await title(first, "Preparing your payment")
    second = await person.opens()
    await title(second, "Preparing your payment")
    going.set()
    assert await is_confirmed(first) == await is_confirmed(second)
    assert len(await orders_of(first)) == 1


# ---- something is in the way -------------------------------------------------------------------------------------


async def test_with_the_provider_down_nothing_is_taken_and_the_page_goes_on_by_itself(
    person: Person, customer: Customer
) -> None:
    page = await person.opens()
    await customer.payments.put("/faults", json={"down": True})
    await buys(page)
    note = page.locator("#order-note")
    await expect(note).to_contain_text(
        "The payment service is not answering. Your order has not been placed yet, and nothing has been charged."
    )
    heights = [await each.bounding_box() for each in (page.locator("#order-title"), note, page.locator("#chain"))]
    tops = [box["y"] for box in heights if box]
    assert tops == sorted(tops), "what is wrong is said before the picture"
    await customer.payments.put("/faults", json={})
    await is_confirmed(page)
    await expect(note).to_have_text("")


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_a_ring_that_is_worked_on_stands_out(somebody: Opens, connection: Connection, colours: Any) -> None:
    async with somebody(color_scheme=colours, reduced_motion="reduce") as person:
        page = await person.opens()
        await page.clock.set_fixed_time(datetime.now(UTC))  # so that the page does not find it slow
        async with held_at_the_cart(connection, "MUG-CERAMIC-WHITE"):
            await buys(page)
            ring = page.locator(".rings rect.ring[data-link=cart]")
            await expect(ring).to_have_attribute("data-state", "in_progress")
            await page.wait_for_function(CONTRAST, arg=2, timeout=PATIENCE)
        await is_confirmed(page)


CONTRAST = """wanted => {
    const light = element => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
        canvas.fillStyle = element;
        canvas.fillRect(0, 0, 1, 1);
        const linear = [...canvas.getImageData(0, 0, 1, 1).data].map(value => value / 255)
            .map(value => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05;
    };
    const working = document.querySelector(".rings .ring[data-state=in_progress]");
    if (!working) return false;
    const ring = light(getComputedStyle(working).stroke);
    const card = light(getComputedStyle(document.querySelector("#chain")).backgroundColor);
    return Math.max(ring, card) / Math.min(ring, card) >= wanted;
}"""
"""Of the ring with the card that it lies on, as WCAG reckons it; the ring may still be changing its colour."""


async def test_a_customer_who_does_not_want_to_wait_has_the_basket_again(person: Person, customer: Customer) -> None:
    page = await person.opens()
    await customer.payments.put("/faults", json={"down": True})
    await buys(page)
    await page.get_by_role("button", name="Stop and go back to the basket").click()
    await customer.payments.put("/faults", json={})
    await expect(page.locator("#basket-count")).to_have_text("1")
    assert await orders_of(page) == []
    await pays(page)
    await is_confirmed(page)
    assert len(await orders_of(page)) == 1


async def test_an_order_waits_out_an_outage_and_goes_green_by_itself(person: Person, customer: Customer) -> None:
    page = await person.opens()
    await customer.payments.put("/faults", json={"error_rate": 1})
    await buys(page)
    await state(page, "payment", "Taking longer")
    await expect(page.locator("#order-note")).to_contain_text("We have your order and are still working on it")
    await customer.payments.put("/faults", json={})
    await is_confirmed(page)


async def test_a_shop_that_is_too_busy_is_asked_again_with_the_same_key(person: Person) -> None:
    page = await person.opens()
    keys: list[str] = []
    quiet = asyncio.Event()

    async def busy(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if quiet.is_set():
            await route.continue_()
            return
        problem = {"code": "backlog_full", "status": 503}
        await route.fulfill(status=503, headers={"Retry-After": "1"}, body=json.dumps(problem))

    await page.route(ORDERS, busy)
    await buys(page)
    await expect(page.locator("#order-note")).to_contain_text("The shop is very busy just now.")
    quiet.set()
    await is_confirmed(page)
    assert len(keys) > 1
    assert len(set(keys)) == 1


async def test_a_customer_whose_session_is_over_buys_all_the_same(person: Person) -> None:
    page = await person.opens()
    await puts_into_the_basket(page)
    await person.context.clear_cookies()
    await pays(page)
    await is_confirmed(page)
    assert len(await orders_of(page)) == 1


async def test_where_no_stream_comes_through_the_page_asks(person: Person) -> None:
    page = await person.opens()

    async def no_stream(route: Route) -> None:
        await (route.abort() if route.request.resource_type == "eventsource" else route.continue_())

    await page.route("**/events", no_stream)
    await buys(page)
    await is_confirmed(page)


async def test_offline_the_purchase_waits_and_goes_on_with_the_connection(person: Person) -> None:
    page = await person.opens()
    await puts_into_the_basket(page)
    await person.context.set_offline(True)
    await pays(page)
    await expect(page.locator("#order-note")).to_contain_text("You are offline.")
    await person.context.set_offline(False)
    await is_confirmed(page)


async def test_a_page_that_was_offline_catches_up(person: Person, customer: Customer) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    await person.context.set_offline(True)
    await expect(page.locator("#order-note")).to_contain_text("The connection is lost")
    (order,) = await customer_orders(customer, page)
    await customer.payments.post(f"/payments/{order['payment_id']}/settle", json={"outcome": "authorized"})
    await customer.ended(order["order_id"])
    await person.context.set_offline(False)
    await is_confirmed(page)
    await expect(page.locator("#order-note")).to_have_text("")
    await expect(page.get_by_role("log")).to_contain_text("The connection is back.")


async def test_a_page_outlives_the_api(person: Person, customer: Customer, machine: Machine) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    before = _api_pid(machine)
    os.kill(before, signal.SIGKILL)
    await until(lambda: _api_pid(machine) != before, HANGS_AFTER, "another API")
    (order,) = await customer_orders(customer, page)
    await customer.payments.post(f"/payments/{order['payment_id']}/settle", json={"outcome": "authorized"})
    await is_confirmed(page)


def _api_pid(machine: Machine) -> int:
    connection = machine.home.connection()
    assert connection
    pid = connection.pids["api"]
    return pid if psutil.pid_exists(pid) else 0


async def customer_orders(customer: Customer, page: Page) -> list[dict[str, Any]]:
    """The order that the page shows, asked for without the page."""
    order_id = page.url.partition("#order-")[2]

    async def answers() -> bool:
        return (await customer.api.get("/livez")).is_success

    await until(answers, HANGS_AFTER, "the API")
    return [await customer.sees(order_id)]


# ---- no ----------------------------------------------------------------------------------------------------------


async def test_a_declined_card_is_told_in_words_and_another_way_to_pay_is_offered(person: Person) -> None:
    page = await person.opens()
    await buys(page, playing="The bank declines the card")
    await title(page, "We could not confirm your order")
    await state(page, "payment", "Stopped here")
    await expect(page.locator("#order-text")).to_have_text("The payment was declined or is no longer valid.")
    await expect(page.locator("#order-money")).to_have_text("You have not been charged for this order.")
    states = page.locator("rect.ring:not([data-link=payment])")
    drawn = set(await states.evaluate_all("rings => rings.map(ring => ring.dataset.state)"))
    assert drawn == {"left_out"}, "nothing beyond it is waited for, nor are the shackles"
    await expect(page.locator("#again-why")).to_contain_text("another card, or a transfer")
    await expect(page.get_by_role("log")).to_contain_text("The payment was declined or is no longer valid.")
    await page.get_by_role("button", name="Put everything back into the basket").click()
    await pays(page)
    await is_confirmed(page)
    assert [order["status"] for order in await orders_of(page)] == ["confirmed", "rejected"]


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_transfer_waits_for_the_bank(person: Person, accepted: bool) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await state(page, "payment", "Awaiting payment")
    await expect(page.locator("#order-text")).to_have_text(
        re.compile(r"you pay nothing\. Your bank has time until \d+ \w+ \d+, \d\d:\d\d\.$")
    )
    await page.get_by_role("button", name="Confirm the transfer" if accepted else "Refuse the transfer").click()
    if accepted:
        await is_confirmed(page)
    else:
        await title(page, "We could not confirm your order")
        await expect(page.locator("#order-money")).to_have_text("You have not been charged for this order.")


async def test_a_changed_price_is_shown_and_can_be_taken(person: Person, customer: Customer) -> None:
    name = a_name()
    sku = await customer.puts_on_sale(10, name=name)
    page = await person.opens()
    await puts_into_the_basket(page, name)
    await page.route("**/catalogue", lambda route: route.abort())  # the page does not hear of the new price
    changed = {"name": name, "unit_price": 300, "currency": "EUR", "on_hand": 10}
    await customer.api.put(f"/catalogue/{sku}", json=changed, headers=customer.operator)
    await pays(page)
    await title(page, "We could not confirm your order")
    await page.unroute("**/catalogue")
    await state(page, "price", "Stopped here")
    await expect(page.locator("#order-money")).to_contain_text("You have not been charged: ")
    await page.reload()
    await expect(page.locator("#again")).to_contain_text(f"{name} now costs €3.00, it was €2.50.")
    await page.get_by_role("button", name="Order at the new price").click()
    await pays(page)
    await is_confirmed(page)
    await expect(page.locator("#order-money")).to_have_text("You have paid €3.00.")


async def test_a_price_that_changed_in_the_basket_is_taken_before_it_is_paid(
    person: Person, customer: Customer
) -> None:
    name = a_name()
    sku = await customer.puts_on_sale(10, name=name)
    page = await person.opens()
    await puts_into_the_basket(page, name)
    changed = {"name": name, "unit_price": 300, "currency": "EUR", "on_hand": 10}
    await customer.api.put(f"/catalogue/{sku}", json=changed, headers=customer.operator)
    await page.reload()
    await expect(page.locator("#basket-lines")).to_contain_text("The price is now €3.00, it was €2.50.")
    await expect(page.locator("#pay")).to_be_disabled()
    await page.get_by_role("button", name="Accept the new prices").click()
    await expect(page.locator("#pay")).to_have_text("Pay €3.00")


async def test_a_waiting_order_can_be_cancelled_and_is_asked_about_once(person: Person) -> None:
    page = await person.opens()
    cancel = page.get_by_role("button", name="Cancel the order")
    await buys(page, method="Bank transfer")
    await state(page, "payment", "Awaiting payment")
    await cancel.click()
    await page.get_by_role("button", name="No, keep it").click()
    await expect(cancel).to_be_focused()
    await title(page, "Waiting for your bank")
    await cancel.click()
    await page.get_by_role("button", name="Yes, cancel it").click()
    await expect(page.locator("#order-title")).to_be_focused()
    await expect(page.locator("#verdict")).to_contain_text("The shop has accepted your cancellation.")
    await expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Cancelling|is cancelled"))
    await expect(cancel).to_be_hidden()


async def test_a_cancel_that_was_promised_is_done_wherever_the_customer_is_meanwhile(
    person: Person, customer: Customer
) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    order_id = page.url.partition("#order-")[2]
    await person.context.set_offline(True)
    await page.get_by_role("button", name="Cancel the order").click()
    await page.get_by_role("button", name="Yes, cancel it").click()
    await expect(page.locator("#verdict")).to_contain_text("We keep trying to cancel")
    await page.get_by_role("link", name="Back to the shop").click()
    await title(page, "Things for a quiet kitchen")
    await person.context.set_offline(False)
    assert (await customer.ended(order_id))["status"] == "cancelled"
    await page.goto(f"/#order-{order_id}")
    await title(page, "Your order is cancelled")
    await expect(page.locator("#verdict")).to_have_text("The shop has accepted your cancellation.")


async def test_a_cancel_during_an_outage_is_nowhere_called_an_order_that_is_worked_on(
    person: Person, customer: Customer
) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    await customer.payments.put("/faults", json={"error_rate": 1})
    await page.get_by_role("button", name="Cancel the order").click()
    await page.get_by_role("button", name="Yes, cancel it").click()
    await title(page, "Cancelling your order")
    await expect(page.locator("#order-text")).to_have_text("It will not be confirmed any more.")
    await expect(page.locator("#order-note")).to_have_text(re.compile("longer than usual. We are still at it"))
    await page.get_by_role("link", name="My orders").click()
    await expect(page.locator("#orders-list .status")).to_have_text("Will not be confirmed")
    await customer.payments.put("/faults", json={})
    await page.go_back()
    await title(page, "Your order is cancelled")


async def test_a_browser_that_has_forgotten_its_customer_says_so_and_still_shows_the_orders(person: Person) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    forgotten = "This browser no longer knows you as the one who ordered"
    await person.context.clear_cookies()
    await page.get_by_role("button", name="Confirm the transfer").click()
    await expect(page.locator("#verdict")).to_contain_text(forgotten)
    await expect(page.get_by_role("button", name="Cancel the order")).to_be_hidden()
    await page.reload()
    await title(page, "Waiting for your bank")
    await expect(page.locator("#seen-by-link")).to_contain_text(forgotten)
    await page.get_by_role("link", name="My orders").click()
    await expect(page.locator("#orders-text")).to_contain_text(forgotten)
    await page.locator("#orders-list a").click()
    await title(page, "Waiting for your bank")


async def test_a_cancel_that_this_browser_may_no_longer_make_is_told_as_that(person: Person) -> None:
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    await page.get_by_role("button", name="Cancel the order").click()
    await person.context.clear_cookies()  # not before: who looks again is told so without asking
    await page.get_by_role("button", name="Yes, cancel it").click()
    await expect(page.locator("#verdict")).to_contain_text("This browser no longer knows you")
    await expect(page.locator("#order-title")).to_be_focused()


async def test_what_is_in_the_way_of_a_purchase_stays_said_and_is_spoken_once(person: Person) -> None:
    page = await person.opens()
    asked = 0

    async def away(route: Route) -> None:
        nonlocal asked
        asked += 1
        problem = {"code": "payments_unavailable", "status": 503}
        await route.fulfill(status=503, headers={"Retry-After": "0.2"}, body=json.dumps(problem))

    await page.route("**/shop/payments", away)
    await buys(page)
    stop = page.get_by_role("button", name="Stop and go back to the basket")
    await stop.focus()
    before = asked

    async def asked_again() -> bool:
        return asked > before + 3

    await until(asked_again, HANGS_AFTER, "four more attempts")
    await expect(stop).to_be_focused()
    heard = await heard_on(page)
    assert len([each for each in heard if each.startswith("The payment service is not answering.")]) == 1
    await stop.click()
    await expect(page.locator("#basket-count")).to_have_text("1")


async def test_a_parked_order_is_looked_at_and_goes_on_when_it_is_released(person: Person, customer: Customer) -> None:
    page = await person.opens()
    await customer.payments.put("/faults", json={"garbage_rate": 1})
    await buys(page)
    await title(page, "We are checking your order by hand")
    await state(page, "payment", "Being looked at")
    await customer.payments.put("/faults", json={})
    order_id = page.url.partition("#order-")[2]
    released = await customer.api.post(
        f"/operations/parked/{order_id}/release", json={"reason": "mended"}, headers=customer.operator
    )
    assert released.json() == {"verdict": "released"}
    assert await is_confirmed(page) == order_id


# ---- a link to one order -----------------------------------------------------------------------------------------


async def test_the_link_of_an_order_shows_it_on_another_device_and_changes_nothing_there(
    person: Person, somebody: Opens
) -> None:
    await person.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    await page.get_by_role("button", name="Copy the link").click()
    await expect(page.get_by_role("button", name="The link is copied")).to_be_visible()
    link: str = await page.evaluate("navigator.clipboard.readText()")

    async with somebody() as other:
        asked: list[str] = []
        other.context.on("request", lambda request: asked.append(request.url + str(request.headers)))
        there = await other.opens(link)
        await title(there, "Waiting for your bank")
        await expect(there.locator("#receipt-lines")).to_contain_text(MUG)
        await expect(there.get_by_text("You see this order by a link.")).to_be_visible()
        for name in ("Cancel the order", "Confirm the transfer", "Copy the link"):
            await expect(there.get_by_role("button", name=name)).to_be_hidden()
        await page.get_by_role("button", name="Confirm the transfer").click()
        await is_confirmed(page)
        await title(there, "Your order is confirmed")
        _, _, signature = link.partition("signature=")
        telling = [each for each in asked if signature in each.partition("{")[0] or f"referer': '{link}" in each]
        assert telling == [], "the signature stands in no address that is asked for"

        await there.goto(link[:-1])
        await title(there, "We cannot show this order here")
        await expect(there.locator("#receipt")).to_be_hidden()


async def test_what_cannot_be_shown_is_said_once_and_nothing_else_is(person: Person, customer: Customer) -> None:
    sku = await customer.puts_on_sale(1)
    theirs = await customer.orders((sku, 1, 250))
    page = await person.opens(f"/#order-{theirs}")
    await title(page, "We cannot show this order here")
    assert await heard_on(page) == ["We cannot show this order here."]
    for part in ("#receipt", "#chain", "#share", "#cancel"):
        await expect(page.locator(part)).to_be_hidden()


async def test_before_anything_is_sent_nobody_is_told_that_the_shop_has_it(person: Person) -> None:
    page = await person.opens()
    await puts_into_the_basket(page)
    await person.context.set_offline(True)
    await pays(page)
    await expect(page.locator("#order-note")).to_contain_text("You are offline. Your order has not been placed yet")
    heard = await heard_on(page)
    assert heard[1:] == ["You are offline. Your order has not been placed yet, and nothing has been charged."]
    await person.context.set_offline(False)
    await is_confirmed(page)
    heard = await heard_on(page)
    assert len(heard) == len(set(heard)), "each thing once"


async def heard_on(page: Page) -> list[str]:
    return await page.get_by_role("log").locator("p").all_inner_texts()


async def test_a_hidden_page_holds_no_stream_and_catches_up_when_it_is_looked_at(
    person: Person, customer: Customer
) -> None:
    await person.context.add_init_script(STREAMS)
    page = await person.opens()
    await buys(page, method="Bank transfer")
    await title(page, "Waiting for your bank")
    await page.wait_for_function("streams() === 1")
    await page.evaluate("looked('hidden')")
    await page.wait_for_function("streams() === 0")
    (order,) = await customer_orders(customer, page)
    await customer.payments.post(f"/payments/{order['payment_id']}/settle", json={"outcome": "authorized"})
    await customer.ended(order["order_id"])
    await page.evaluate("looked('visible')")
    await is_confirmed(page)


STREAMS = """
    const opened = [];
    window.EventSource = class extends EventSource {
        constructor(...given) { super(...given); opened.push(this); }
    };
    window.streams = () => opened.filter(each => each.readyState !== EventSource.CLOSED).length;
    window.looked = state => {
        Object.defineProperty(document, "visibilityState", { get: () => state, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    };
"""


# ---- the basket --------------------------------------------------------------------------------------------------


async def test_what_is_removed_can_be_put_back_and_the_focus_stays_with_it(person: Person) -> None:
    page = await person.opens()
    await puts_into_the_basket(page)
    line = page.locator("#basket-lines li")
    await expect(line.locator(".picture")).to_be_visible()
    less = page.get_by_role("button", name=f"One less: {MUG}")
    await expect(less).to_have_attribute("aria-disabled", "true")
    await page.get_by_role("button", name=f"One more: {MUG}").click()
    await expect(line.locator("output")).to_have_text("2")
    await page.get_by_role("button", name=f"Remove {MUG}").click()
    await expect(line).to_have_count(0)
    back = page.get_by_role("button", name="Put it back")
    await expect(back).to_be_focused()
    await back.press("Enter")
    await expect(line.locator("output")).to_have_text("2")
    await expect(page.get_by_role("button", name=f"Remove {MUG}")).to_be_focused()
    await expect(back).to_be_hidden()


async def test_beside_an_unfinished_purchase_the_basket_says_whose_the_sum_is(person: Person) -> None:
    page = await person.opens()
    await page.route("**/shop/payments", lambda route: route.abort())
    await buys(page)
    await expect(page.locator("#order-note")).to_contain_text("The shop is not answering.")
    await page.go_back()
    await title(page, "Things for a quiet kitchen")
    unfinished = page.locator("#unfinished")
    await expect(unfinished).to_contain_text("Your last order, 1 item for €13.50, is not finished yet.")
    await puts_into_the_basket(page, "Buckwheat honey, 400 g")
    await expect(page.locator("#basket-lines li")).to_have_count(1)
    await expect(page.locator("#pay-form")).to_be_hidden()
    await page.unroute("**/shop/payments")
    await unfinished.get_by_role("button", name="Continue with your order").click()
    await is_confirmed(page)
    await expect(page.locator("#receipt-total")).to_have_text("€13.50")
    await expect(page.locator("#basket-count")).to_have_text("1")


async def test_products_of_another_currency_are_ordered_apart(person: Person, customer: Customer) -> None:
    name = a_name()
    await customer.puts_on_sale(5, name=name, currency="USD")
    page = await person.opens()
    await puts_into_the_basket(page)
    await page.get_by_role("button", name="Show all").click()
    foreign = page.locator(".product", has_text=name)
    await expect(foreign).to_contain_text("Your basket is in EUR. Please order this separately.")
    await expect(foreign.get_by_role("button")).to_have_attribute("aria-disabled", "true")
    await page.get_by_role("button", name=f"Remove {MUG}").click()
    await foreign.get_by_role("button").click()
    await expect(page.locator("#basket-total")).to_have_text("US$2.50")


@pytest.mark.parametrize(
    ("currency", "minor", "written"), [("HUF", 250_000, "HUF\u00a02,500.00"), ("IQD", 1_234_567, "IQD\u00a01,234.567")]
)
async def test_prices_have_the_decimals_of_their_currency(
    person: Person, customer: Customer, currency: str, minor: int, written: str
) -> None:
    name = a_name()
    await customer.puts_on_sale(5, minor, currency, name)
    page = await person.opens()
    await puts_into_the_basket(page, name)
    await expect(page.locator(".product", has_text=name).locator(".price")).to_have_text(written)
    await expect(page.locator("#basket-total")).to_have_text(written)


@pytest.mark.parametrize(
    ("playing", "said", "instead"),
    [
        ("There is too little in stock", "There is not enough left", "Order what is left"),
        ("The price has gone up meanwhile", "A price is not the one you saw", "Order at the new price"),
    ],
)
async def test_the_demo_plays_what_can_go_wrong(somebody: Opens, playing: str, said: str, instead: str) -> None:
    async with somebody() as person:  # for whom things move, so that what happens might be told one by one
        await hears_of_a_refusal(await person.opens(), playing, said, instead)


async def test_a_refusal_that_comes_all_at_once_is_told_in_the_order_of_what_happened(
    somebody: Opens, customer: Customer
) -> None:
    async def hold(route: Route) -> None:
        await customer.ended(route.request.url.rpartition("/")[2])
        await route.continue_()

    async with somebody() as person:
        page = await person.opens()
        await page.route(re.compile(r"/orders/[^/]+$"), hold)
        await hears_of_a_refusal(page, "The price has gone up meanwhile", "A price is not", "Order at the new price")
        await page.unroute_all(behavior="ignoreErrors")


async def hears_of_a_refusal(page: Page, playing: str, said: str, instead: str) -> None:
    await puts_into_the_basket(page)
    await page.get_by_role("radio", name=playing).check()
    await expect(page.locator("#playing-changes")).to_contain_text("To play this, ")
    await pays(page, playing=playing)
    await title(page, "We could not confirm your order")
    await expect(page.locator("#order-text")).to_contain_text(said)
    await expect(page.get_by_role("button", name=instead)).to_be_visible()
    await expect(page.get_by_role("log")).to_contain_text(instead)
    if instead == "Order what is left":
        await expect(page.locator("#again-why")).to_contain_text("99 of one product are the most")
    heard = await heard_on(page)
    (stopped,) = [nth for nth, each in enumerate(heard) if each.endswith(": stopped here.")]
    (why,) = [nth for nth, each in enumerate(heard) if said in each]
    undone = [nth for nth, each in enumerate(heard) if each in ("Payment undone.", "Stock released.")]
    assert all(nth > stopped for nth in undone), f"what came of it is told after it: {heard}"
    assert heard[why] == await page.locator("#order-text").inner_text()


# ---- in another language -----------------------------------------------------------------------------------------


async def test_a_ukrainian_browser_is_answered_in_ukrainian_and_may_choose_english(somebody: Opens) -> None:
    async with somebody(locale="uk-UA", reduced_motion="reduce") as person:
        page = await person.opens()
        assert await page.locator("html").get_attribute("lang") == "uk"
        await page.get_by_role("button", name=f"Додати: {MUG}").click(click_count=2)
        await expect(page.locator("#bar-count")).to_have_text("Кошик · 2 товари")
        await expect(page.locator("#pay")).to_have_text(re.compile(r"^Сплатити 27,00\s(EUR|€)$"))
        await page.locator("#pay").click()
        await title(page, "Ваше замовлення підтверджено")
        await expect(page.locator("#order-money")).to_have_text(re.compile(r"^Ви сплатили 27,00\s(EUR|€)\.$"))
        await state(page, "payment", "Готово")
        await page.get_by_role("button", name="English").click()
        await title(page, "Your order is confirmed")
        await expect(page.get_by_role("button", name="Українська")).to_be_focused()
        await page.reload()
        await title(page, "Your order is confirmed")
        assert await page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("locale", ["en-GB", "uk-UA"])
async def test_on_no_screen_anything_runs_out_of_its_place(somebody: Opens, locale: str) -> None:
    async with somebody(locale=locale, reduced_motion="reduce") as person:
        page = await person.opens()
        await page.locator(".product").nth(11).wait_for()
        for width in (320, 360, 390, 640, 768, 1024, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate(RUNS_OUT) == [], f"at {width} px"


RUNS_OUT = """() => {
    const within = (inner, outer) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1;
    const box = element => element.getBoundingClientRect();
    const page = document.documentElement;
    const wide = page.scrollWidth > page.clientWidth ? [`the page, by ${page.scrollWidth - page.clientWidth}`] : [];
    const cards = [...document.querySelectorAll(".product")].filter(
        card => ![...card.querySelectorAll("*:not(svg *)")].every(each => within(box(each), box(card))));
    return [...wide, ...cards.map(card => card.innerText)];
}"""


async def test_a_browser_of_a_third_language_is_answered_in_english(somebody: Opens) -> None:
    async with somebody(locale="et-EE") as person:
        page = await person.opens()
        await title(page, "Things for a quiet kitchen")
        assert await page.locator("html").get_attribute("lang") == "en"


# ---- for everybody -----------------------------------------------------------------------------------------------


async def test_the_keyboard_alone_is_enough(person: Person) -> None:
    page = await person.opens()
    await expect(page.get_by_role("button", name=f"Add {MUG}")).to_be_visible()
    await tab_to(page, f"Add {MUG}")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Shift+Tab")
    await tab_to(page, "Card")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Bank transfer")).to_be_checked()
    await page.keyboard.press("ArrowUp")
    await tab_to(page, "Pay €13.50")
    await page.keyboard.press("Enter")
    await expect(page.locator("#order-title")).to_be_focused()
    await is_confirmed(page)
    await tab_to(page, "Back to the shop")
    await page.keyboard.press("Enter")
    await expect(page.locator("#shop-title")).to_be_focused()


async def tab_to(page: Page, name: str) -> None:
    """Presses Tab until what is called so has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        words = await focused.evaluate("e => e.closest('label')?.innerText ?? e.ariaLabel ?? e.textContent")
        if " ".join(words.split()).startswith(name):
            return
    pytest.fail(f"no Tab leads to {name!r}")


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_axe_finds_nothing(somebody: Opens, customer: Customer, colours: str) -> None:
    async with somebody(viewport=PHONE, color_scheme=colours, reduced_motion="reduce") as person:
        page = await person.opens()
        await puts_into_the_basket(page)
        await is_accessible(page, "the shop")
        await pays(page)
        await is_confirmed(page)
        await is_accessible(page, "a confirmed order")
        await page.goto("/")
        await buys(page, method="Bank transfer")
        await title(page, "Waiting for your bank")
        await is_accessible(page, "an order that waits")
        await page.goto("/")
        await buys(page, playing="The bank declines the card")
        await title(page, "We could not confirm your order")
        await is_accessible(page, "a refused order")
        await page.get_by_role("link", name="My orders").click()
        await expect(page.locator("#orders-list li")).to_have_count(3)
        await is_accessible(page, "my orders")


async def is_accessible(page: Page, what: str) -> None:
    found = await Axe().run(page)
    assert found.violations_count == 0, f"{what}:\n{found.generate_report()}"
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{what} is {wider} px wider than the screen"


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_the_page_has_its_picture_taken(somebody: Opens, tmp_path: Path, colours: str) -> None:
    kept = Path(SCREENSHOTS or tmp_path)
    desk = {"width": 1280, "height": 860}
    async with somebody(viewport=desk, color_scheme=colours, reduced_motion="reduce") as person:
        page = await person.opens()
        await puts_into_the_basket(page, "Buckwheat honey, 400 g")
        await puts_into_the_basket(page)
        await page.mouse.move(0, 0)
        shelf = await page.screenshot(path=kept / f"shop-{colours}.png")
        await pays(page)
        await is_confirmed(page)
        order = await page.screenshot(path=kept / f"shop-order-{colours}.png", full_page=True)
    assert min(len(shelf), len(order)) > 10_000
