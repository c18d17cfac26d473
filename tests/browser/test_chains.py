"""A chain of another package, which no page has heard of, before a real browser."""

import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from lanka.home import Connection
from tests.browser.conftest import PATIENCE, Person
from tests.browser.test_console import decides, logs_in, passes
from tests.e2e.customer import Customer
from tests.e2e.machine import Machine, a_machine

expect.set_options(timeout=PATIENCE)

ROOT = Path(__file__).parents[2]
CHAIN = {"LANKA_CHAINS": "tests.browser.bouquets", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine, browser: Browser) -> Connection:
    return await machine.ready(env=CHAIN)


@pytest.fixture
async def console(person: Person, connection: Connection) -> Page:
    return await logs_in(person, connection)


async def picked(customer: Customer, ribbon: str = "red") -> str:
    """The bouquet that begins its way."""
    bouquet = f"bouquet_{uuid.uuid4().hex[:8]}"
    event = {"specversion": "1.0", "id": bouquet, "source": "/garden", "type": "bouquets.Picked", "subject": bouquet}
    headers = customer.operator | {"Content-Type": "application/cloudevents+json"}
    answer = await customer.api.post("/events", json=event | {"data": {"ribbon": ribbon}}, headers=headers)
    assert answer.status_code == 202, answer.text
    return bouquet


def picture(page: Page) -> Locator:
    return page.locator("[data-chain=bouquets]")


async def boxes(page: Page, *nodes: str) -> list[dict[str, float]]:
    """Of the rings of links, by name, and of ends as `end <status>`."""
    found = []
    for name in nodes:
        attribute = f"data-end={name.removeprefix('end ')}" if name.startswith("end ") else f"data-link={name}"
        box: Any = await picture(page).locator(f"[{attribute}] .ring").bounding_box()
        assert box, f"{name} is drawn"
        found.append(box)
    return found


async def test_each_link_stands_at_its_place_under_its_words(console: Page, customer: Customer) -> None:
    await picked(customer)
    handed = picture(console).locator("[data-end=handed]")
    if not await picture(console).get_attribute("open"):
        await picture(console).locator("> summary").click()
    await expect(handed.locator(".count")).not_to_have_text("0")
    for name, title in (("cut", "Cut the flowers"), ("tie", "Tie the ribbon"), ("card", "Write the card")):
        await expect(picture(console).locator(f"[data-link={name}] .name")).to_have_text(title)
    await expect(handed.locator(".name")).to_have_text("Handed over")

    straight = await boxes(console, "received", "cut", "tie", "hand-over", "end handed")
    assert all(one["x"] + one["width"] <= other["x"] for one, other in pairwise(straight)), "one after the other"
    beside = await boxes(console, "tie", "water", "card")
    assert len({box["x"] for box in beside}) == 1, "side by side"
    assert all(one["y"] + one["height"] <= other["y"] for one, other in pairwise(beside))
    (tie, untie, compost) = await boxes(console, "tie", "untie", "compost")
    assert untie["y"] > beside[-1]["y"], "the way back is below"
    assert untie["x"] == tie["x"], "what undoes a link stands below it"
    assert compost["x"] > untie["x"]
    await passes(console)
    await console.set_viewport_size({"width": 390, "height": 844})
    await passes(console)


async def test_what_is_parked_there_is_not_called_quiet_and_has_a_page(console: Page, customer: Customer) -> None:
    bouquet = await picked(customer, ribbon="torn")
    await expect(console.get_by_role("heading", level=1)).to_contain_text("1 bouquet")
    await expect(picture(console).locator("[data-link=tie]")).to_contain_text("1 parked")
    group = console.locator(".group", has_text="at tie the ribbon")
    await group.locator(".disclose").click()
    await group.get_by_role("link", name=bouquet).click()

    await console.get_by_role("searchbox").fill(bouquet)
    await console.keyboard.press("Enter")
    await console.get_by_role("link", name=bouquet).click()
    heading = console.locator(".heading")
    await expect(heading.get_by_text(bouquet)).to_be_visible()
    await expect(heading.locator(".status")).to_have_text("Parked")
    await expect(console.locator("[data-link=tie]")).to_contain_text("parked")
    await expect(console.locator("[data-link=water] .count")).to_have_text("✓")
    await expect(console.locator(".last-error")).to_contain_text("the ribbon is torn")
    await passes(console)
    await console.get_by_role("button", name="Reject").click()
    await decides(console, "Reject", "there is no other ribbon")
    await expect(heading.locator(".status")).to_have_text("Composted")
    await expect(console.locator(".timeline")).to_contain_text("there is no other ribbon")
    await console.goto("/console#/")
    await expect(console.get_by_role("heading", level=1)).to_contain_text("All quiet")
