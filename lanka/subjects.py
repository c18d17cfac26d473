"""`lanka show`, `find`, `cancel` and `refunds`: one subject of any chain, and what is owed, over HTTP."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from chain.steps import State
from lanka.output import ago, duration, folded, local, printable, say, show, show_json, width
from lanka.terminal import (
    DEFAULT_HOME,
    Api,
    ApiOption,
    CursorOption,
    HomeOption,
    JsonOption,
    KeyOption,
    LimitOption,
    NotDoneError,
    NotFoundError,
    operators_api,
)

MARKS = {State.DONE: "✔", State.REFUSED: "✘", State.UNDONE: "←", State.PARKED: "‖", State.AHEAD: "○"}

SubjectArgument = Annotated[str, typer.Argument(metavar="ID", help="An order's id, a call's id, ...")]


def show_subject(
    subject: SubjectArgument,
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show where an order, or the subject of any chain, stands: since when, why, and what to do."""
    operator = operators_api(api, key, home)
    seen = _seen(operator, subject)
    if seen is None:
        raise NotDoneError(f"nobody knows {subject}; `lanka find` also looks for numbers, customers and payments")
    if as_json:
        show_json(seen)
        return
    say("\n".join(_page(seen, width())))


def find(
    sought: Annotated[str, typer.Argument(metavar="TEXT", help="An id, order number, customer or payment.")],
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Find orders by id, number, customer or payment, and the subject of any other chain by its id.

    Exit code 1 where there is none.
    """
    page = operators_api(api, key, home).page("/operations/subjects", {"q": sought, "limit": limit}, cursor)
    if as_json:
        show_json(page.rows)
    elif page.rows:
        rows = [{**each, "total": _money(each)} for each in page.rows]
        show(rows, "subject", "chain", "status", "total", "received_at", below=("customer_id",))
    page.tell_what_follows()
    if not page.rows and not page.cursor:
        raise NotDoneError(f"nothing found for {sought}")


def cancel(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The id of the order.")],
    why: Annotated[str | None, typer.Option(help="Why; it goes into the journal.")] = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Take an order back as its customer would: stock and money go back. Says the verdict.

    Exit code 0: it is cancelled, now or before. 1: too late, or nothing was decided.
    """
    path = f"/orders/{quote(order, safe='')}/cancel"
    answer = operators_api(api, key, home).call("POST", path, json={"reason": why} if why else {})
    if as_json:
        show_json(answer)
    else:
        say(f"{printable(order)}: {answer['verdict'].replace('_', ' ')}")
    if answer["verdict"] == "too_late":
        raise typer.Exit(1)


def refunds(
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
    api: ApiOption = None,
    key: KeyOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show the money that is to be given back and is not yet, the oldest first."""
    page = operators_api(api, key, home).page("/operations/refunds", {"limit": limit}, cursor)
    if as_json:
        show_json(page.rows)
    elif page.rows:
        rows = [{**each, "amount": _money(each)} for each in page.rows]
        show(rows, "order_id", "amount", "reason", "since", "late", below=("payment_id",))
    else:
        say("nothing is owed")
    page.tell_what_follows()


def _seen(operator: Api, subject: str) -> dict[str, Any] | None:
    """As operators see an order, else the subject of another chain; None where nobody knows it."""
    named = quote(subject, safe="")
    for path in (f"/operations/orders/{named}", f"/operations/subjects/{named}"):
        try:
            seen: dict[str, Any] = operator.call("GET", path)
        except NotFoundError:
            continue
        return seen
    return None


def _money(counted: Mapping[str, Any]) -> str:
    from orders.money import written  # noqa: PLC0415

    return "" if counted["amount"] is None else written(counted["amount"], counted["currency"])


def _page(seen: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    """What is known, a thing a line; ids and addresses whole, so that they can be copied."""
    order = seen.get("order")
    yield f"{seen['chain']}  {printable(seen['subject'])}"
    if order:
        yield from _about(order)
    yield ""
    for step in seen["steps"]:
        yield from _step(step, columns)
    yield ""
    for line in _what_to_do(seen):
        yield from [line] if seen["subject"] in line else folded(line, columns)
    for name, url in (("workflow", seen["workflow_url"]), ("trace", seen["trace_url"])):
        if url:
            yield f"{name}:"
            yield f"  {url}"


def _about(order: Mapping[str, Any]) -> Iterator[str]:
    from orders.money import written  # noqa: PLC0415

    reason = f", {_words(order['reason'])}" if order["reason"] else ""
    number = f", as {order['order_number']}" if order["order_number"] else ""
    yield f"  {_words(order['status'])}{reason}{number}"
    yield f"  {written(order['total'], order['currency'])}"
    yield f"  customer {printable(order['customer_id'])}"
    yield f"  payment {printable(order['payment_id'])}"
    yield f"  received {local(order['received_at'])}, {ago(order['received_at'])}"


def _step(step: Mapping[str, Any], columns: int | None) -> Iterator[str]:
    state = step["state"]
    told = [f"{MARKS.get(state, '…')} {step['title']} ({step['link']}): {_words(state)}"]
    if step["since"] and not step["ended"] and state != State.LEFT_OUT:
        told.append(f"since {local(step['since'])}")
    if step["since"] and step["ended"]:
        told.append(f"after {duration(_seconds(step['since'], step['ended']))}")
    if step["reason"]:
        told.append(_words(step["reason"]))
    if step["attempts"]:
        told.append(f"{step['attempts']} attempts")
    yield from folded(printable(", ".join(told)), columns)
    if step["last_error"]:
        yield from folded(printable(step["last_error"]), columns, "    ")


def _what_to_do(seen: Mapping[str, Any]) -> Iterator[str]:
    subject = printable(seen["subject"])
    at = [step for step in seen["steps"] if step["state"] in {State.WAITING, State.IN_PROGRESS}]
    if seen["parked"]:
        refusable = any(each["rejectable"] for each in seen["parked"])
        yield "parked: mend the cause, then let it go on" + (", or refuse it:" if refusable else ":")
        yield f"  lanka parked release {subject} --why ..."
        if refusable:
            yield f"  lanka parked reject {subject} --why ..."
    elif any(step["last_error"] for step in at):
        yield "it is tried again without end; nothing has to be done here, but to bring back what is away"
    elif not at and any(step["state"] == State.AHEAD for step in seen["steps"]):
        yield "it is accepted and not given to Temporal yet; that happens by itself, as soon as Temporal answers"
    elif any(step["state"] == State.WAITING for step in at):
        yield "it waits for an answer from outside, or for its turn"
    elif at:
        yield "it is on its way"


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


def _words(code: str) -> str:
    return printable(code.replace("_", " "))
