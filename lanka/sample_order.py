"""A sample order: made at a running Lanka, and followed to its end in the terminal."""

import json
import random
import time
import uuid
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from rich.live import Live

from lanka.home import Connection
from lanka.order_progress import OrderProgress
from lanka.terminal import Api, AwayError, NotDoneError
from orders.money import written

LINES = 3

LOOKS_EVERY = 0.2
"""Seconds between two looks at the order."""

TRIES = 30
"""How often, a second apart, the order is looked for again before the command gives up."""


def sample_order(connection: Connection, console: Console) -> None:
    """Pays at the sandbox provider, submits the order and shows each event until the end event."""
    shop, operator = (Api(connection.api, connection.keys[scope]) for scope in ("shop", "operator"))
    unpaid = _some_lines(shop, LINES)
    payment = Api(connection.payments).call("POST", "/payments", json=_payment(unpaid))
    order = {**unpaid, "payment_id": payment["id"]}
    accepted = shop.call("POST", "/orders", json=order, headers={"Idempotency-Key": str(uuid.uuid4())})
    console.print(
        f"order [bold]{accepted['order_id']}[/bold] accepted: "
        f"{len(order['lines'])} lines, {written(_total(order), order['currency'])}"
    )
    _follow(operator, accepted["order_id"], console)


def as_curl(connection: Connection) -> str:
    """The same as commands for a shell, for an order of one line."""
    order = _some_lines(Api(connection.api, connection.keys["shop"]), 1)
    return f"""\
PAYMENT=$(curl -s {connection.payments}/payments -H 'Content-Type: application/json' \\
  -d '{json.dumps(_payment(order))}' | grep -o 'pay_[[:alnum:]]*' | head -1)
curl -i {connection.api}/orders -H 'Authorization: Bearer {connection.keys["shop"]}' \\
  -H 'Idempotency-Key: {uuid.uuid4()}' -H 'Content-Type: application/json' \\
  -d '{json.dumps(order)[:-1]}, "payment_id": "'$PAYMENT'"}}'"""


def _some_lines(shop: Api, count: int) -> dict[str, Any]:
    """An order of `count` different products of one currency, one of each, not paid yet."""
    available = [product for product in shop.call("GET", "/catalogue") if product["available"] > 0]
    if not available:
        raise NotDoneError("the shop has nothing to sell; `lanka seed` fills it")
    currency = random.choice(available)["currency"]  # noqa: S311, no secret
    payable = [product for product in available if product["currency"] == currency]
    chosen = random.sample(payable, min(count, len(payable)))
    lines = [{"sku": each["sku"], "quantity": 1, "unit_price": each["unit_price"]} for each in chosen]
    return {"customer_id": "cus_sample", "currency": currency, "lines": lines}


def _payment(order: dict[str, Any]) -> dict[str, Any]:
    return {"amount": _total(order), "currency": order["currency"], "outcome": "authorized"}


def _total(order: dict[str, Any]) -> int:
    return sum(line["quantity"] * line["unit_price"] for line in order["lines"])


def _follow(operator: Api, order_id: str, console: Console) -> None:
    """What the order waits for is no event: the operators' page of it knows, beside the events."""
    progress = OrderProgress()
    # A dumb terminal cannot go back to draw the chain anew.
    drawn = console.is_terminal and not console.is_dumb_terminal
    with Live(progress, console=console, refresh_per_second=12) if drawn else nullcontext():
        while not progress.ended:
            for line in progress.update(_page(operator, order_id)):
                if not drawn:
                    console.print(line, soft_wrap=True)
            time.sleep(LOOKS_EVERY)


def _page(operator: Api, order_id: str) -> Any:
    for _ in range(TRIES):
        try:
            return operator.call("GET", f"/operations/orders/{order_id}")
        except AwayError:  # being started again, say
            time.sleep(1)
    return operator.call("GET", f"/operations/orders/{order_id}")
