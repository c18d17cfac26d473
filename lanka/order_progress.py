"""The progress of an order in the terminal: its links light up as it passes them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chain.event import Event, Kind, maker_of, short
from chain.steps import State
from chain.subject import RECEIVED, Parking, Refusal, Release
from orders.events import ConfirmedOrder, PaidOrder, ReceivedOrder, Refund
from orders.money import written
from orders.payment import PaymentStatus
from workflows.order_confirmation import TABLE

BESIDE = ("┬ ", "└ ")
"""Before links that work side by side."""

PAUSES = (Kind.PARKED, Kind.RELEASED)


class Wait(NamedTuple):
    """`attempt`: the one that follows what has failed."""

    why: str
    attempt: int | None = None

    def __str__(self) -> str:
        return f"attempt {self.attempt}: {self.why}" if self.attempt else self.why


class OrderProgress:
    """One order as its page for operators (`GET /operations/orders/{id}`) tells it; rendered, it is its chain."""

    def __init__(self) -> None:
        self._page: Mapping[str, Any] = {"steps": [], "parked": []}
        self._events: dict[str, Event[Any]] = {}  # by id
        self._waits: dict[str, Wait] = {}

    @property
    def ended(self) -> bool:
        return any(event.kind is Kind.END for event in self._events.values())

    def update(self, page: Mapping[str, Any]) -> Iterator[str]:
        """Takes the page as it is now, and gives what is new on it, as lines of Rich's markup."""
        told, waited, self._page = self._events, self._waits, page
        self._events = {each["id"]: TABLE.types[each["type"]].model_validate(each) for each in page["events"]}
        self._waits = dict(_waits(page))
        for event in [event for key, event in self._events.items() if key not in told]:
            name, result = short(event.type), _result(event)
            yield f"{self._since(event):8.3f} s  [green]{name:<18}[/green] by {event.source}  {result}"
        for link, wait in self._waits.items():
            if link not in waited or waited[link].why != wait.why:
                yield f"[yellow]waits at {link}, {escape(str(wait))}[/yellow]"

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        shown = {step["link"]: step for step in self._page["steps"]}
        for stage in dict.fromkeys(stage for route in TABLE.all_routes for stage in route.stages):
            beside = [shown[link.name] for link in stage if link.name in shown]
            for nth, step in enumerate(beside):
                branch = BESIDE[min(nth, 1)] if len(beside) > 1 else ""
                table.add_row(*self._row(step, branch + step["link"]))
        return Group(table, *self._end())

    def _row(self, step: Mapping[str, Any], name: str) -> list[RenderableType]:
        link, state = step["link"], step["state"]
        made = {maker_of(event.source): event for event in self._events.values() if event.kind not in PAUSES}
        if state == State.PARKED:
            parked = next(each for each in self._page["parked"] if each["link"] == link)
            why = f"parked, {in_words(parked['reason'])}, after {parked['attempts']} attempts: {parked['last_error']}"
            return [Text("‖", "yellow"), name, Text(why, "yellow")]
        if event := made.get(link):
            mark = Text("✘", "red") if isinstance(event.data, Refusal) else Text("✔", "green")
            result = Text.from_markup(f"{short(event.type)}  {_result(event)}")
            return [mark, name, result, f"{self._since(event):.3f} s"]
        wait = self._waits.get(link)
        if state in {State.AHEAD, State.LEFT_OUT} and not wait:
            return [Text("○", "dim"), Text(name, "dim")]
        return [Spinner("dots", style="cyan"), name, Text(f"waits, {wait}", "yellow") if wait else Text("…", "dim")]

    def _end(self) -> Iterator[Text]:
        if end := next((event for event in self._events.values() if event.kind is Kind.END), None):
            yield self._outcome(end)
            return
        if self._page["parked"]:
            yield Text("parked: `lanka parked release` lets it go on, `lanka parked reject` ends it", "yellow")
        yield Text("Ctrl-C stops watching, not the order", "dim")

    def _outcome(self, end: Event[Any]) -> Text:
        data = end.data
        if isinstance(data, ConfirmedOrder):
            return Text(
                f"confirmed as {data.order_number}: {written(data.total, data.currency)} is taken", "bold green"
            )
        back = [event.data for event in self._events.values() if isinstance(event.data, Refund)]
        money = _undone(back[-1]) if back else "no money is kept"
        why = ": ".join(filter(None, [in_words(data.reason), data.detail]))
        return Text(f"{end.status}, {why}; {money}", "bold red")

    def _since(self, event: Event[Any]) -> float:
        return (event.time - next(iter(self._events.values())).time).total_seconds()


def _waits(page: Mapping[str, Any]) -> Iterator[tuple[str, Wait]]:
    """By link, for the links where the order stands and is not parked."""
    if page["order"]["status"] == RECEIVED:
        yield page["steps"][0]["link"], Wait("not given to Temporal yet")
    for step in page["steps"]:
        if step["state"] not in {State.IN_PROGRESS, State.WAITING}:
            continue
        if step["last_error"]:
            yield step["link"], Wait(step["last_error"], step["attempts"])
        elif step["state"] == State.WAITING and step["link"] in TABLE.settles:
            yield step["link"], Wait(f"{TABLE.settles[step['link']]} is not decided yet")
        elif step["state"] == State.WAITING:
            yield step["link"], Wait("no answer yet")


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
            return _undone(event.data)
        case PaidOrder(payment=payment):
            return f"{payment.status} {written(payment.amount, payment.currency)}"
        case ReceivedOrder(order=order):
            return order.summary()
        case _:
            return ""


def _undone(refund: Refund) -> str:
    what = "is free again, it was only reserved" if refund.was == PaymentStatus.AUTHORIZED else "goes back"
    return f"{written(refund.amount, refund.currency)} {what}"


def in_words(reason: str) -> str:
    """`too_heavy` is for programs, `too heavy` for people."""
    return reason.replace("_", " ")
