"""The progress of an order in the terminal: its links light up as the events arrive."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chain.event import AnyEvent, Event, Kind, maker_of, short
from chain.steps import Seen, State, Step, Trying, steps
from chain.subject import RECEIVED, Parking, Refusal, Release
from orders.events import ConfirmedOrder, PaidOrder, ReceivedOrder, Refund
from orders.money import written
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
    """What has happened to one order so far; rendered, it is its chain."""

    def __init__(self) -> None:
        self._journal: list[AnyEvent] = []
        self._events: list[Event[Any]] = []  # the same, each as what it is
        self._parked: dict[str, Parking] = {}
        self._waits: dict[str, Wait] = {}

    def line(self, event_as_sent: AnyEvent) -> str:
        """Takes the next event, and gives it as a line of Rich's markup."""
        event = TABLE.types[event_as_sent.type].model_validate(vars(event_as_sent))
        self._journal.append(event_as_sent)
        self._events.append(event)
        self._note_parking(event)
        return (
            f"{self._since(event):8.3f} s  [green]{short(event.type):<18}[/green] by {event.source}  {_result(event)}"
        )

    def waits(self, page: Mapping[str, Any]) -> Iterator[str]:
        """Takes what the page of the order (`GET /operations/orders/{id}`) says, and gives what it waits for anew."""
        before, self._waits = self._waits, dict(_waits(page))
        for link, wait in self._waits.items():
            if link not in before or before[link].why != wait.why:
                yield f"[yellow]waits at {link}, {escape(str(wait))}[/yellow]"

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        made = {maker_of(event.source): event for event in self._events if event.kind not in PAUSES}
        parked = {link: Trying(each.attempts, each.last_error) for link, each in self._parked.items()}
        shown = {step.link: step for step in steps(TABLE, Seen(self._journal, dict.fromkeys(made), parked=parked))}
        for stage in dict.fromkeys(stage for route in TABLE.all_routes for stage in route.stages):
            beside = [shown[link] for link in stage if link in shown]
            for nth, step in enumerate(beside):
                branch = BESIDE[min(nth, 1)] if len(beside) > 1 else ""
                table.add_row(*self._row(step, branch + step.link.name, made.get(step.link.name)))
        return Group(table, *self._end())

    def _row(self, step: Step, name: str, event: Event[Any] | None) -> list[RenderableType]:
        if step.state is State.PARKED:
            return [Text("‖", "yellow"), name, Text(_parking(self._parked[step.link.name]), "yellow")]
        if event:
            mark = Text("✘", "red") if isinstance(event.data, Refusal) else Text("✔", "green")
            result = Text.from_markup(f"{short(event.type)}  {_result(event)}")
            return [mark, name, result, f"{self._since(event):.3f} s"]
        if step.state in (State.AHEAD, State.LEFT_OUT):
            return [Text("○", "dim"), Text(name, "dim")]
        wait = self._waits.get(step.link.name)
        return [Spinner("dots", style="cyan"), name, Text(f"waits, {wait}", "yellow") if wait else Text("…", "dim")]

    def _end(self) -> Iterator[Text]:
        if self._events and self._events[-1].kind is Kind.END:
            yield self._outcome(self._events[-1])
            return
        if self._parked:
            yield Text("parked: `lanka parked release` lets it go on, `lanka parked reject` ends it", "yellow")
        yield Text("Ctrl-C stops watching, not the order", "dim")

    def _outcome(self, end: Event[Any]) -> Text:
        data = end.data
        if isinstance(data, ConfirmedOrder):
            return Text(
                f"confirmed as {data.order_number}: {written(data.total, data.currency)} is taken", "bold green"
            )
        back = [event.data for event in self._events if isinstance(event.data, Refund)]
        money = f"{written(back[-1].amount, back[-1].currency)} goes back" if back else "no money is kept"
        return Text(f"{end.status}, {in_words(data.reason)}: {data.detail}; {money}", "bold red")

    def _note_parking(self, event: Event[Any]) -> None:
        """A parking is over with a release, and with whatever else goes on or back."""
        data = event.data
        if isinstance(data, Parking):
            self._parked[data.link] = data
        elif event.kind in (Kind.WITHDRAWAL, Kind.END):
            self._parked.clear()
        else:
            self._parked.pop(data.link if isinstance(data, Release) else maker_of(event.source), None)

    def _since(self, event: Event[Any]) -> float:
        return (event.time - self._events[0].time).total_seconds()


def _waits(page: Mapping[str, Any]) -> Iterator[tuple[str, Wait]]:
    """By link, for the links where the order stands and is not parked."""
    for step in page["steps"]:
        if step["state"] not in {State.IN_PROGRESS, State.WAITING}:
            continue
        if step["last_error"]:
            yield step["link"], Wait(step["last_error"], step["attempts"])
        elif step["state"] == State.WAITING and step["link"] in TABLE.settles:
            yield step["link"], Wait(f"{TABLE.settles[step['link']]} is not decided yet")
        elif step["state"] == State.WAITING and page["order"]["status"] == RECEIVED and not page["workflow_id"]:
            yield step["link"], Wait("no workflow has taken it yet")
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
        case Refund(amount=amount, currency=currency):
            return written(amount, currency)
        case PaidOrder(payment=payment):
            return f"{payment.status} {written(payment.amount, payment.currency)}"
        case ReceivedOrder(order=order):
            return order.summary()
        case _:
            return ""


def _parking(parked: Parking) -> str:
    return f"parked, {in_words(parked.reason)}, after {parked.attempts} attempts: {parked.last_error}"


def in_words(reason: str) -> str:
    """`too_heavy` is for programs, `too heavy` for people."""
    return reason.replace("_", " ")
