"""`lanka chains`: what it draws is what the tables say, and the README's picture is what it draws."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from activities.check_price import CheckPrice
from chain.event import Event
from chain.table import Link, Route, route, way_back
from lanka.chains import mermaid, text
from lanka.commands import app
from orders.events import OrderReceived, PaymentConfirmed, PriceChanged, PriceConfirmed
from workflows.chain_workflow import ChainWorkflow
from workflows.chains import CHAINS
from workflows.order_confirmation import CART, FINALIZE, PAYMENT, REJECT, TABLE

BACKWARD = ("PriceChanged", "PaymentDeclined", "CartUnavailable", "OrderWithdrawn")

README = Path(__file__).parents[2] / "README.md"


def printed(*options: str) -> str:
    result = CliRunner().invoke(app, ["chains", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_picture_in_the_readme_is_the_one_that_is_drawn_from_the_table() -> None:
    begin, end = "<!-- made by `lanka chains --mermaid orders` -->\n", "<!-- end of what is made -->\n"

    drawn = README.read_text().partition(begin)[2].partition(end)[0]

    assert drawn == f"```mermaid\n{printed('--mermaid', 'orders')}```\n"


@pytest.mark.parametrize("options", [(), ("--mermaid",)], ids=["text", "mermaid"])
@pytest.mark.parametrize("name", CHAINS)
def test_every_event_and_every_consumer_of_the_table_is_shown(name: str, options: tuple[str, ...]) -> None:
    table = CHAINS[name].table
    links = [link for link in table.links if link is not table.note]

    shown = printed(*options, name)

    for link in links:
        assert f"{link.queue}: {link.consumer.__name__}" in shown
    for event in {*table.routes, *(event for link in links for event in link.makes)}:
        assert event.__name__ in shown


def test_all_chains_are_shown_unless_one_is_named() -> None:
    assert printed() == "\n".join(printed(name) for name in CHAINS)
    assert printed("--mermaid").count("flowchart LR") == len(CHAINS)


def test_a_chain_can_be_read_in_a_terminal() -> None:
    shown = printed("orders")

    assert (
        """\
  PaymentConfirmed
    side by side
      cart: check_cart -> StockReserved | CartUnavailable
      price: check_price -> PriceConfirmed | PriceChanged
    all agreed -> CartConfirmed
"""
        in shown
    )
    assert "    then finalize: reject_order -> OrderRejected (end) | OrderCancelled (end)\n" in shown
    assert "payment: settle_payment -> PaymentConfirmed | PaymentDeclined, asked again after 15 s\n" in shown


def test_a_picture_tells_waiting_and_ends_and_what_comes_from_outside() -> None:
    assert (
        printed("--mermaid", "support")
        == """\
flowchart LR
    outside([from outside]) --> SupportCallStarted & SupportCallEnded([SupportCallEnded])
    SupportCallStarted -->|support: assign_operator| OperatorAssigned
    SupportCallStarted -. waits .-> CallerWaiting
    CallerWaiting -->|support: assign_waiting| OperatorAssigned
    SupportCallEnded -->|support: free_operator| free_made((" "))
"""
    )


def test_links_that_a_table_adds_are_drawn_at_their_place_one_after_the_other_and_side_by_side() -> None:
    added = [
        Link(name, CheckPrice.check_price, queue=name, makes=(PriceConfirmed, PriceChanged)) for name in ("one", "two")
    ]
    routes: Mapping[type[Event[Any]], Route] = {
        OrderReceived: route(added[0], PAYMENT),
        PaymentConfirmed: route((CART, added[1]), FINALIZE),
    }
    table = replace(TABLE, routes=routes, back=way_back(REJECT))
    chain = replace(CHAINS["orders"], workflow=type("Another", (ChainWorkflow,), {"table": table}))

    assert [line.strip() for line in mermaid(chain).splitlines()][1:] == [
        "outside([from outside]) --> OrderReceived",
        "OrderReceived -->|one: check_price| one_made[PriceConfirmed]",
        "one_made -->|payment: check_payment| PaymentConfirmed",
        "PaymentConfirmed -->|cart: check_cart| cart_made[StockReserved]",
        "PaymentConfirmed -->|two: check_price| two_made[PriceConfirmed]",
        "cart_made & two_made -->|finalize: finalize_order| OrderConfirmed([OrderConfirmed])",
        f"OrderReceived & PaymentConfirmed -. no .-> PriceChanged[{'<br>'.join(BACKWARD)}]",
        "PriceChanged -->|finalize: reject_order| OrderRejected_OrderCancelled([OrderRejected<br>OrderCancelled])",
    ]
    assert """\
  PaymentConfirmed
    side by side
      cart: check_cart -> StockReserved | CartUnavailable
      two: check_price -> PriceConfirmed | PriceChanged
    then finalize: finalize_order -> OrderConfirmed (end) | PaymentDeclined
""" in text("orders", chain)


def test_a_chain_that_is_not_there_is_named_with_those_that_are() -> None:
    result = CliRunner().invoke(app, ["chains", "parcels"], env={"COLUMNS": "200"})

    assert result.exit_code == 2
    assert "no such chain: parcels; there are orders, support" in result.output
