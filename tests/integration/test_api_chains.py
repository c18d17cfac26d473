"""The chains over HTTP: what a page needs to draw any of them, computed from its table."""

from typing import Any

import httpx
import pytest

from api.chains import described
from orders.words import Reason
from tests.unit.test_chain_graph import GARDEN


async def read(api: httpx.AsyncClient, name: str, language: str = "en") -> dict[str, Any]:
    answer = await api.get(f"/chains/{name}", headers={"Accept-Language": language})
    assert answer.status_code == httpx.codes.OK, answer.text
    chain: dict[str, Any] = answer.json()
    return chain


async def test_the_chains_are_listed(api: httpx.AsyncClient) -> None:
    answer = await api.get("/chains")
    assert answer.json() == [
        {"name": "orders", "title": "Orders", "links": {"self": "/chains/orders"}},
        {"name": "support", "title": answer.json()[1]["title"], "links": {"self": "/chains/support"}},
    ]


async def test_a_chain_is_its_graph_and_its_words(api: httpx.AsyncClient) -> None:
    chain = await read(api, "orders")

    assert (chain["name"], chain["version"], chain["subject"], chain["subjects"]) == ("orders", 1, "order", "orders")
    assert chain["forward"] == [["payment"], ["cart", "price"], ["finalize"]]
    assert (chain["back"], chain["aside"]) == ([["release", "refund"], ["reject"]], [["late-refund"]])
    links = {link["name"]: link for link in chain["links"]}
    assert "note" not in links
    assert links["settlement"]["settles"] == "payment"
    assert (links["refund"]["undoes"], links["refund"]["back"], links["refund"]["customer"]) == ("payment", True, None)
    assert links["cart"] == {
        "name": "cart",
        "queue": "cart",
        "title": "Cart",
        "customer": {
            "title": "Stock",
            "doing": "Checking stock",
            "done": "Stock reserved.",
            "undone": "Stock released.",
        },
        "icon": "box",
        "since": 1,
        "back": False,
        "settles": None,
        "undoes": None,
    }


async def test_its_events_statuses_ends_and_reasons_say_what_they_mean(api: httpx.AsyncClient) -> None:
    chain = await read(api, "orders")

    assert {status["code"]: status["mood"] for status in chain["statuses"]} == {
        "received": "busy",
        "processing": "busy",
        "awaiting_payment": "wait",
        "parked": "bad",
        "confirmed": "good",
        "rejected": "soft",
        "cancelled": "soft",
    }
    assert {end["status"]: end["good"] for end in chain["ends"]} == {
        "confirmed": True,
        "rejected": False,
        "cancelled": False,
    }
    events = {event["name"]: event for event in chain["events"]}
    assert events["PaymentDeclined"] == {
        "type": "lanka.PaymentDeclined",
        "name": "PaymentDeclined",
        "kind": "refusal",
        "status": "processing",
        "title": "Payment refused",
    }
    assert {"code": "out_of_stock", "sentence": Reason.OUT_OF_STOCK.words.en} in chain["reasons"]
    checks = next(route for route in chain["routes"] if route["join"])
    assert checks == {
        "events": ["lanka.PaymentConfirmed"],
        "stages": [["cart", "price"]],
        "join": {"name": "checks", "into": "lanka.CartConfirmed"},
        "too_late": False,
        "back": False,
    }


@pytest.mark.parametrize(
    ("accepted", "title"),
    [
        ("uk", "Оплата"),
        ("uk-UA,en;q=0.5", "Оплата"),
        ("fr;q=1,uk;q=0.2", "Оплата"),
        ("en, uk;q=0.9", "Payment"),
        ("uk;q=0", "Payment"),
        ("de", "Payment"),
        ("*", "Payment"),
        ("uk;q=nonsense", "Payment"),
        ("", "Payment"),
    ],
)
async def test_the_words_are_in_the_language_that_is_asked_for(
    api: httpx.AsyncClient, accepted: str, title: str
) -> None:
    assert (await read(api, "orders", accepted))["links"][0]["title"] == title


async def test_the_language_is_named_for_caches(api: httpx.AsyncClient) -> None:
    assert (await api.get("/chains/orders")).headers["Vary"] == "Accept-Language"


def test_a_chain_that_nobody_has_heard_of_is_described_as_well() -> None:
    chain = described("garden", GARDEN, "en")

    assert (chain.title, chain.forward) == ("garden", [["dig"], ["water", "weed"], ["harvest"]])
    assert {link["name"]: link["title"] for link in chain.links}["water"] == "Water"
    assert {status["code"]: status["mood"] for status in chain.statuses}["harvested"] == "good"
    assert [(end["status"], end["good"]) for end in chain.ends] == [("harvested", True), ("withdrawn", False)]


async def test_a_chain_that_is_not_here_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/chains/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "chain_not_found")
    del api.headers["Authorization"]
    assert (await api.get("/chains")).status_code == httpx.codes.UNAUTHORIZED
