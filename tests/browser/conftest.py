"""A real browser before a real `lanka up`."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from lanka.home import Connection
from tests.e2e.customer import Customer
from tests.e2e.machine import Machine, a_machine

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--no-sandbox",  # for root there is none
)
PATIENCE = 60_000
"""Milliseconds after which a page is taken to hang; nothing is judged by it."""


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    chrome = next(filter(None, map(shutil.which, CHROMES)), None)
    if chrome is None:
        pytest.skip("neither Chrome nor Chromium is installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chrome, args=list(QUIET))
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine, browser: Browser) -> Connection:
    """Asks for the browser first: without one no machine need be started."""
    return await machine.ready()


@pytest.fixture
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    """Somebody else, who calls the API."""
    customer = Customer(connection)
    yield customer
    await customer.payments.put("/faults", json={})
    await customer.close()


class Person:
    """Somebody at a browser of their own; what goes wrong in its pages, at whatever time, fails the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    async def opens(self, path: str = "/") -> Page:
        page = await self.context.new_page()
        await page.goto(path)
        return page


@pytest.fixture
async def person(browser: Browser, connection: Connection) -> AsyncIterator[Person]:
    async with AsyncExitStack() as stack:
        context = await browser.new_context(base_url=connection.api, reduced_motion="reduce")
        stack.push_async_callback(context.close)
        context.set_default_timeout(PATIENCE)
        person = Person(context)
        yield person
        for page in context.pages:
            await page.unroute_all(behavior="ignoreErrors")  # what is still on its way ends with the page
        assert person.complaints == []
