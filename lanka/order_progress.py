"""The way of an order in the terminal: its links light up as the events arrive."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chain.event import Event
from chain.position import Told, places
from chain.subject import Parking, Refusal, Release
from chain.table import CART, FINALIZE, ORDER_TABLE, PAYMENT, PRICE, REFUND, REJECT, RELEASE, SETTLEMENT
from orders.events import (
    ConfirmedOrder,
    OrderCancelled,
    OrderConfirmed,
    OrderParked,
    OrderRejected,
    OrderReleased,
    PaidOrder,
    PaymentPending,
    ReceivedOrder,
    Refund,
)
from orders.money import written
from orders.words import Status

FORWARD = ((PAYMENT,), (SETTLEMENT,), (CART, PRICE), (FINALIZE,))
BACK = ((RELEASE, REFUND), (REJECT,))
BESIDE = ("┬ ", "└ ")
"""Before links that work side by side."""


class Wait(NamedTuple):
    """`attempt`: the one that follows what has failed."""

    why: str
    attempt: int | None = None

    def __str__(self) -> str:
        return f"attempt {self.attempt}: {self.why}" if self.attempt else self.why


class OrderProgress:
    """What has happened to one order so far; rendered, it is its chain."""

    def __init__(self) -> None:
        self._events: list[Event[Any]] = []
        self._waits: dict[str, Wait] = {}

    def line(self, event: Event[Any]) -> str:
        """Takes the next event, and tells it in a line of Rich's markup."""
        self._events.append(event)
        name = event.type.removeprefix("lanka.")
        return f"{self._since(event):8.3f} s  [green]{name:<18}[/green] by {event.source}  {_result(event)}"

    def waits(self, page: Mapping[str, Any]) -> Iterator[str]:
        """Takes what the page of the order (`GET /operations/orders/{id}`) says, and tells what it waits for anew."""
        before, self._waits = self._waits, dict(_waits(page))
        for link, wait in self._waits.items():
            if link not in before or before[link].why != wait.why:
                yield f"[yellow]waits at {link}, {escape(str(wait))}[/yellow]"

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        told = self._told()
        here = places(ORDER_TABLE, told)
        made = {each.link: event for each, event in zip(told, self._events, strict=True) if not _is_pause(event)}
        ended = bool(self._events) and self._events[-1].ends
        for beside in self._links():
            for nth, link in enumerate(beside):
                branch = BESIDE[min(nth, 1)] if len(beside) > 1 else ""
                event = made.get(link.name)
                if event is not None:
                    refused = isinstance(event.data, Refusal)
                    mark: RenderableType = Text("✘", "red") if refused else Text("✔", "green")
                    table.add_row(mark, branch + link.name, _told(event), f"{self._since(event):.3f} s")
                elif link.name in here.parked:
                    table.add_row(Text("‖", "yellow"), branch + link.name, Text(self._parking(link.name), "yellow"))
                elif link.name in here.at and not ended:
                    wait = self._waits.get(link.name)
                    why = Text(f"waits, {wait}", "yellow") if wait else Text("…", "dim")
                    table.add_row(Spinner("dots", style="cyan"), branch + link.name, why)
                else:
                    table.add_row(Text("○", "dim"), Text(branch + link.name, "dim"))
        return Group(table, *self._end())

    def _links(self) -> Iterator[Sequence[Any]]:
        types = {event.type for event in self._events}
        back = any(ORDER_TABLE.routes[kind].then for kind in types & ORDER_TABLE.routes.keys())
        for beside in (*FORWARD, *(BACK if back else ())):
            if beside != (SETTLEMENT,) or any(isinstance(event, PaymentPending) for event in self._events):
                yield beside

    def _end(self) -> Iterator[Text]:
        last = self._events[-1] if self._events else None
        if isinstance(last, OrderConfirmed):
            yield Text(f"confirmed as {last.data.order_number}: {_money(last)} is taken", "bold green")
        elif isinstance(last, OrderRejected | OrderCancelled):
            word = "cancelled" if isinstance(last, OrderCancelled) else "rejected"
            back = [event for event in self._events if isinstance(event.data, Refund)]
            money = f"{_money(back[-1])} goes back" if back else "no money is kept"
            yield Text(f"{word}, {in_words(last.data.reason)}: {last.data.detail}; {money}", "bold red")
        elif any(places(ORDER_TABLE, self._told()).parked):
            yield Text("parked: `lanka parked release` lets it go on, `lanka parked reject` ends it", "yellow")
            yield Text("Ctrl-C stops watching, not the order", "dim")
        else:
            yield Text("Ctrl-C stops watching, not the order", "dim")

    def _told(self) -> list[Told]:
        return [Told(event.source.removeprefix("/lanka/"), event.type) for event in self._events]

    def _parking(self, link: str) -> str:
        """Why the order is parked there."""
        return next(
            f"parked, {in_words(data.reason)}, after {data.attempts} attempts: {data.last_error}"
            for data in (event.data for event in reversed(self._events))
            if isinstance(data, Parking) and data.link == link
        )

    def _since(self, event: Event[Any]) -> float:
        return (event.time - self._events[0].time).total_seconds()


def _waits(page: Mapping[str, Any]) -> Iterator[tuple[str, Wait]]:
    """By link, for the links where the order stands and is not parked."""
    for step in page["steps"]:
        if step["state"] not in {"in_progress", "waiting"}:
            continue
        if step["last_error"]:
            yield step["link"], Wait(step["last_error"], step["attempts"])
        elif step["state"] == "waiting" and step["link"] == SETTLEMENT.name:
            yield step["link"], Wait("the payment is not decided yet")
        elif step["state"] == "waiting" and page["order"]["status"] == Status.RECEIVED and not page["workflow_id"]:
            yield step["link"], Wait("no workflow has taken it yet")
        elif step["state"] == "waiting":
            yield step["link"], Wait("no answer yet")


def _is_pause(event: Event[Any]) -> bool:
    return isinstance(event, OrderParked | OrderReleased)


def _told(event: Event[Any]) -> Text:
    name = event.type.removeprefix("lanka.")
    return Text.from_markup(f"{name}  {_result(event)}")


def _result(event: Event[Any]) -> str:  # noqa: PLR0911, one for each kind
    match event.data:
        case ConfirmedOrder(order_number=number):
            return f"[bold]{number}[/bold]"
        case Refusal(reason=reason, detail=detail):
            return f"[bold red]{in_words(reason)}[/bold red] {escape(detail)}"
        case Parking(reason=reason, attempts=attempts, last_error=error):
            return f"[yellow]{escape(in_words(reason))}[/yellow] after {attempts} attempts: {escape(error)}"
        case Release(by=by, why=why):
            return f"by {escape(by)}: {escape(why)}"
        case Refund():
            return _money(event)
        case PaidOrder(payment=payment):
            return f"{payment.status} {written(payment.amount, payment.currency)}"
        case ReceivedOrder(order=order):
            return order.summary()
        case _:
            return ""


def in_words(reason: str) -> str:
    """`out_of_stock` is for programs, `out of stock` for people."""
    return reason.replace("_", " ")


def _money(event: Event[Any]) -> str:
    amount = event.data.amount if isinstance(event.data, Refund) else event.data.total
    return written(amount, event.data.currency)
