"""The API's reference, as somebody meets it who has no internet."""

import re

from playwright.async_api import Route, expect

from lanka.home import Connection
from tests.browser.conftest import PATIENCE, Person


async def test_the_reference_of_the_api_needs_nothing_from_elsewhere(person: Person, connection: Connection) -> None:
    wanted: list[str] = []

    async def nobody_there(route: Route) -> None:
        wanted.append(route.request.url)
        await route.abort()

    await person.context.route(re.compile(f"^(?!{re.escape(connection.api)})http"), nobody_there)
    page = await person.opens("/docs")
    operation = page.locator(".opblock", has_text="/orders/{order_id}/cancel")
    await expect(operation).to_be_visible(timeout=PATIENCE)
    await operation.locator(".opblock-summary-control").click()
    await expect(operation).to_contain_text("Decided once, by the workflow.")
    assert wanted == []
