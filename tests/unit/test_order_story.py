"""What an order tells its customer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chain.event import AnyEvent, Event, source_of, type_of
from chain.position import links_at
from chain.steps import Seen, State, Trying, steps
from chain.table import Link, Table, route
from chain.words import LinkWords, Text
from orders.events import (
    CartConfirmed,
    CartUnavailable,
    OrderCancelled,
    OrderConfirmed,
    OrderReceived,
    OrderRejected,
    OrderWithdrawn,
    PaymentArrivedLate,
    PaymentConfirmed,
    PaymentDeclined,
    PaymentPending,
    PaymentRefunded,
    PriceChanged,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from orders.story import IF_NOT_CONFIRMED, STILL_RESERVED, CustomerStep, Story, customer_steps, story
from orders.words import Reason
from workflows.chains import CHAINS

TABLE = CHAINS["orders"].table
BEGAN = datetime(2026, 11, 26, 12, tzinfo=UTC)
DEADLINE = BEGAN + timedelta(hours=1)
AMOUNT = "EUR 27.00"
ORDER = {"order_id": "o1"}

Made = tuple[str, type[Event[Any]], dict[str, Any]]

RECEIVED: Made = ("api", OrderReceived, {"order": ORDER})
PENDING: Made = ("payment", PaymentPending, {"order": ORDER, "deadline": DEADLINE.isoformat()})
AUTHORIZED: Made = ("payment", PaymentConfirmed, {"order": ORDER, "payment": {"status": "authorized"}})
CAPTURED: Made = ("payment", PaymentConfirmed, {"order": ORDER, "payment": {"status": "captured"}})
RESERVED: Made = ("cart", StockReserved, {})
PRICED: Made = ("price", PriceConfirmed, {})
CHECKED: Made = ("checks", CartConfirmed, {})
CONFIRMED: Made = ("finalize", OrderConfirmed, {"order_number": "LK-1"})
PUT_BACK: Made = ("release", StockReleased, {})
CANCELLED: Made = ("router", OrderWithdrawn, {"reason": "cancelled_by_customer", "detail": "", "by": "cus_1"})


def declined(link: str = "payment", reason: Reason = Reason.PAYMENT_DECLINED) -> Made:
    return link, PaymentDeclined, {"reason": reason}


def sold_out() -> Made:
    return "cart", CartUnavailable, {"reason": Reason.OUT_OF_STOCK}


def went_back(was: str, amount: int = 2700, currency: str = "EUR") -> Made:
    return "refund", PaymentRefunded, {"amount": amount, "currency": currency, "was": was}


REFUNDED, FREED = went_back("captured"), went_back("authorized")


def late(refund: Made) -> Made:
    return "late-refund", *refund[1:]


def dearer() -> Made:
    return "price", PriceChanged, {"reason": Reason.PRICE_CHANGED}


def rejected(reason: str) -> Made:
    return "reject", OrderRejected, {"reason": reason}


def journal(*made: Made) -> list[AnyEvent]:
    return [
        AnyEvent(
            id=f"o1.{nth}",
            source=source_of(link),
            type=type_of(event),
            subject="o1",
            time=BEGAN + timedelta(seconds=nth),
            data=data,
        )
        for nth, (link, event, data) in enumerate(made)
    ]


def seen(*made: Made, parked: Sequence[str] = (), done: Sequence[str] = (), table: Table = TABLE) -> Seen:
    """`done`: links that have claimed the order without a word."""
    claims = dict.fromkeys([*(link for link, _, _ in made[1:] if link in table.by_name), *done])
    return Seen(journal(*made), claims, parked={link: Trying(5, "boom") for link in parked}, moves=True)


def told(*made: Made, parked: Sequence[str] = (), done: Sequence[str] = (), uk: bool = False) -> Story:
    known = seen(*made, parked=parked, done=done)
    return story(TABLE, known.events, steps(TABLE, known), AMOUNT, "uk" if uk else "en")


def shown(*made: Made, parked: Sequence[str] = (), done: Sequence[str] = ()) -> dict[str, CustomerStep]:
    known = seen(*made, parked=parked, done=done)
    return {step.link: step for step in customer_steps(TABLE, steps(TABLE, known), "en")}


def states(*made: Made, parked: Sequence[str] = (), done: Sequence[str] = ()) -> dict[str, State]:
    return {link: step.state for link, step in shown(*made, parked=parked, done=done).items()}


def money(*made: Made, parked: Sequence[str] = (), done: Sequence[str] = ()) -> tuple[str, str] | None:
    answer = told(*made, parked=parked, done=done).money
    return (answer.mood, answer.text) if answer else None


# ---- straight on -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "headline"),
    [
        ([RECEIVED], "Checking your payment"),
        ([RECEIVED, CAPTURED], "Checking stock and the price"),
        ([RECEIVED, CAPTURED, PRICED], "Checking stock"),
        ([RECEIVED, CAPTURED, RESERVED], "Checking the price"),
        ([RECEIVED, CAPTURED, RESERVED, PRICED], "Confirming your order"),
        ([RECEIVED, CAPTURED, RESERVED, PRICED, CHECKED], "Confirming your order"),
    ],
)
def test_an_order_that_is_under_way_says_what_is_done_for_it_now(made: Sequence[Made], headline: str) -> None:
    assert told(*made).headline == headline


def test_while_an_order_is_under_way_it_says_where_the_money_is() -> None:
    assert told(RECEIVED).money is None, "nobody has asked the provider yet"
    assert money(RECEIVED, PENDING) == ("wait", "We have not received the EUR 27.00 yet.")
    assert money(RECEIVED, CAPTURED, RESERVED) == ("good", "You have paid EUR 27.00.")
    reserved = "EUR 27.00 is reserved. You are charged only when we confirm the order."
    assert money(RECEIVED, AUTHORIZED) == money(RECEIVED, AUTHORIZED, parked=["cart"]) == ("good", reserved)


def test_at_each_link_its_own_words_are_said() -> None:
    sentences = {link: step.sentence for link, step in shown(RECEIVED, CAPTURED, RESERVED).items()}

    assert sentences == {
        "payment": "Payment checked.",
        "cart": "Stock reserved.",
        "price": "Checking the price",
        "finalize": "",
    }


def test_a_confirmed_order_says_what_was_taken() -> None:
    confirmed = (RECEIVED, AUTHORIZED, RESERVED, PRICED, CHECKED, CONFIRMED)

    assert told(*confirmed).headline == "Your order is confirmed"
    assert money(*confirmed) == ("good", "You have paid EUR 27.00.")
    assert set(states(*confirmed).values()) == {State.DONE}
    assert not told(*confirmed).cancellable


def test_the_same_is_told_in_ukrainian() -> None:
    assert told(RECEIVED, CAPTURED, uk=True).headline == "Перевіряємо наявність і ціну"
    refused = told(RECEIVED, CAPTURED, sold_out(), PRICED, PUT_BACK, REFUNDED, rejected("out_of_stock"), uk=True)
    assert refused.text == Reason.OUT_OF_STOCK.words.uk
    assert refused.money
    assert refused.money.text == "Ми повернули вам EUR 27.00."


# ---- waiting -----------------------------------------------------------------------------------------------------


def test_a_transfer_that_is_on_its_way_is_awaited_until_its_deadline() -> None:
    awaiting = told(RECEIVED, PENDING)

    assert awaiting.headline == "Waiting for your bank"
    assert awaiting.deadline == DEADLINE
    assert awaiting.cancellable
    assert states(RECEIVED, PENDING)["payment"] is State.WAITING
    assert "settlement" not in states(RECEIVED, PENDING)


def test_when_the_bank_has_said_yes_the_payment_is_done_since_the_order_came() -> None:
    paid: Made = ("settlement", *CAPTURED[1:])

    assert told(RECEIVED, PENDING, paid).deadline is None
    step = shown(RECEIVED, PENDING, paid)["payment"]
    assert (step.state, step.since, step.ended) == (State.DONE, BEGAN, BEGAN + timedelta(seconds=2))


def test_when_the_bank_has_not_said_yes_in_time_the_payment_is_refused() -> None:
    timed_out = (RECEIVED, PENDING, declined("settlement", Reason.PAYMENT_TIMEOUT))

    assert told(*timed_out).text == "Your bank did not confirm the payment in time."
    assert states(*timed_out)["payment"] is State.REFUSED
    assert told(*timed_out).deadline is None


def test_a_parked_order_is_looked_at_and_kept_where_it_is() -> None:
    parked = told(RECEIVED, CAPTURED, RESERVED, parked=["price"])

    assert parked.headline == "We are checking your order by hand"
    assert parked.cancellable
    assert shown(RECEIVED, CAPTURED, RESERVED, parked=["price"])["price"].sentence == (
        "Price: we are checking it by hand."
    )


def test_an_order_can_be_cancelled_until_it_is_finalised() -> None:
    assert told(RECEIVED, CAPTURED, RESERVED).cancellable
    assert not told(RECEIVED, CAPTURED, RESERVED, PRICED).cancellable
    assert not told(RECEIVED, CAPTURED, RESERVED, PRICED, parked=["finalize"]).cancellable


# ---- refused, and taken back -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "link", "reason"),
    [
        ([declined()], "payment", Reason.PAYMENT_DECLINED),
        ([CAPTURED, sold_out(), PRICED], "cart", Reason.OUT_OF_STOCK),
        ([CAPTURED, dearer(), RESERVED], "price", Reason.PRICE_CHANGED),
        ([CAPTURED, dearer(), sold_out()], "cart", Reason.OUT_OF_STOCK),
        ([CAPTURED, RESERVED, PRICED, CHECKED, declined("finalize")], "finalize", Reason.PAYMENT_DECLINED),
    ],
)
def test_a_refused_order_says_why_while_it_goes_back_and_after(made: Sequence[Made], link: str, reason: Reason) -> None:
    back, ended = told(RECEIVED, *made), told(RECEIVED, *made, PUT_BACK, REFUNDED, rejected(reason))

    assert (back.headline, back.text) == ("We cannot confirm your order", reason.words.en)
    assert (ended.headline, ended.text) == ("We could not confirm your order", reason.words.en)
    assert states(RECEIVED, *made)[link] is State.REFUSED
    assert not back.cancellable


def test_a_reason_that_the_words_do_not_know_is_said_as_well_as_it_can_be() -> None:
    assert told(RECEIVED, ("payment", PaymentDeclined, {"reason": "not_on_sundays"})).text == "Not on sundays"


def test_what_has_not_begun_is_left_out_and_what_was_done_is_undone() -> None:
    at_the_price = (RECEIVED, CAPTURED, RESERVED, dearer(), PUT_BACK, REFUNDED, rejected("price_changed"))

    assert states(*at_the_price) == {
        "payment": State.UNDONE,
        "cart": State.UNDONE,
        "price": State.REFUSED,
        "finalize": State.LEFT_OUT,
    }
    assert shown(*at_the_price)["cart"].sentence == "Stock released."


def test_a_cancelled_order_says_so() -> None:
    ended: Made = ("reject", OrderCancelled, {"reason": "cancelled_by_customer"})

    assert told(RECEIVED, CAPTURED, CANCELLED).headline == "Cancelling your order"
    assert told(RECEIVED, CAPTURED, CANCELLED, REFUNDED, ended).headline == "Your order is cancelled"
    assert told(RECEIVED, PENDING, CANCELLED).deadline is None
    assert states(RECEIVED, PENDING, CANCELLED)["payment"] is State.LEFT_OUT


def test_of_an_order_that_somebody_in_the_shop_rejects_nothing_is_said_of_cancelling() -> None:
    by_operator: Made = ("router", OrderWithdrawn, {"reason": "rejected_by_operator"})

    assert told(RECEIVED, CAPTURED, by_operator).headline == "We cannot confirm your order"


# ---- what becomes of the money -----------------------------------------------------------------------------------

UNPAID = "You have not been charged for this order."
YOURS = "Whatever was reserved or charged for this order, you get back."
FREEING = "You have not been charged: we are releasing the EUR 27.00 reserved on your account."
FREE = "You have not been charged: the {} reserved on your account is free again."
BACK = "We have refunded {} to you."
LATE = "Your payment arrived after the order had ended. You get it back."
ENDED = rejected("out_of_stock")
MISMATCH = declined(reason=Reason.PAYMENT_AMOUNT_MISMATCH)
AT_FINALIZE = (AUTHORIZED, RESERVED, PRICED, CHECKED)
BY_OPERATOR: Made = ("router", OrderWithdrawn, {"reason": "rejected_by_operator"})
ARRIVED: Made = ("webhooks", PaymentArrivedLate, {})


@pytest.mark.parametrize(
    ("made", "parked", "mood", "text"),
    [
        ([CAPTURED, sold_out(), PRICED], [], "wait", "We are refunding EUR 27.00 to you."),
        ([AUTHORIZED, sold_out(), PRICED], [], "wait", FREEING),
        ([CAPTURED, sold_out(), PRICED, REFUNDED, ENDED], [], "good", BACK.format("EUR 27.00")),
        ([AUTHORIZED, sold_out(), PRICED, FREED, ENDED], [], "good", FREE.format("EUR 27.00")),
        # the provider has the last word, also of what the payment was when it was checked
        ([*AT_FINALIZE, BY_OPERATOR, REFUNDED, ENDED], [], "good", BACK.format("EUR 27.00")),
        # a refund that is owed
        (
            [CAPTURED, sold_out(), PRICED],
            ["refund"],
            "wait",
            "Your refund of EUR 27.00 is delayed, and we are looking into it.",
        ),
        (
            [AUTHORIZED, sold_out(), PRICED],
            ["refund"],
            "wait",
            STILL_RESERVED.en.format(amount="EUR 27.00"),
        ),
        # refused at the payment itself: declined, expired, timed out, of another order
        ([declined()], [], "wait", YOURS),
        ([declined(), rejected("payment_declined")], [], "good", UNPAID),
        ([declined(reason=Reason.PAYMENT_ALREADY_USED), rejected("payment_already_used")], [], "good", UNPAID),
        ([PENDING, declined("settlement", Reason.PAYMENT_TIMEOUT), rejected("payment_timeout")], [], "good", UNPAID),
        # another amount or currency than the order's
        ([MISMATCH], [], "wait", YOURS),
        ([MISMATCH, went_back("authorized", 1191), ENDED], [], "good", FREE.format("EUR 11.91")),
        ([MISMATCH, went_back("authorized", 2700, "USD"), ENDED], [], "good", FREE.format("USD 27.00")),
        ([MISMATCH, went_back("captured", 2700, "USD"), ENDED], [], "good", BACK.format("USD 27.00")),
        # taken back before the payment was checked, or parked there and then rejected
        ([CANCELLED], [], "wait", YOURS),
        ([CANCELLED, FREED, ENDED], [], "good", FREE.format("EUR 27.00")),
        ([CANCELLED, REFUNDED, ENDED], [], "good", BACK.format("EUR 27.00")),
        ([CANCELLED, ENDED], [], "good", UNPAID),
        ([BY_OPERATOR, FREED, ENDED], [], "good", FREE.format("EUR 27.00")),
        # it may have been charged, or be no longer there
        ([*AT_FINALIZE, declined("finalize", Reason.PAYMENT_EXPIRED)], [], "wait", YOURS),
        ([*AT_FINALIZE, declined("finalize", Reason.PAYMENT_EXPIRED), PUT_BACK, ENDED], [], "good", UNPAID),
        ([*AT_FINALIZE, BY_OPERATOR], [], "wait", YOURS),
        # it came after the end
        ([PENDING, CANCELLED, ENDED, ARRIVED], [], "wait", LATE),
        ([PENDING, CANCELLED, ENDED, ARRIVED], ["late-refund"], "wait", LATE),
        ([PENDING, CANCELLED, ENDED, ARRIVED, late(REFUNDED)], [], "good", BACK.format("EUR 27.00")),
        ([PENDING, CANCELLED, ENDED, ARRIVED, late(FREED)], [], "good", FREE.format("EUR 27.00")),
    ],
)
def test_what_is_told_of_the_money_is_what_the_provider_did(
    made: Sequence[Made], parked: Sequence[str], mood: str, text: str
) -> None:
    assert money(RECEIVED, *made, parked=parked) == (mood, text)


def test_late_money_that_was_gone_when_it_was_to_go_back_is_not_promised_for_ever() -> None:
    assert money(RECEIVED, PENDING, CANCELLED, ENDED, ARRIVED, done=["late-refund"]) == ("good", UNPAID)


def test_of_money_that_may_be_charged_at_this_moment_nobody_says_that_it_is_not() -> None:
    assert money(RECEIVED, *AT_FINALIZE, parked=["finalize"]) == ("wait", IF_NOT_CONFIRMED.en)


def test_of_money_that_was_not_asked_for_before_an_order_parked_the_customer_is_told_too() -> None:
    assert money(RECEIVED, parked=["payment"]) == ("wait", IF_NOT_CONFIRMED.en)


def test_a_transfer_that_the_bank_has_confirmed_is_called_no_reservation() -> None:
    text = "Your bank has confirmed the EUR 27.00. We take the money only when we confirm the order."
    assert money(RECEIVED, PENDING, ("settlement", *AUTHORIZED[1:])) == ("good", text)


def test_of_a_transfer_that_was_undone_the_time_is_that_of_the_banks_answer() -> None:
    settled: Made = ("settlement", *CAPTURED[1:])
    payment = shown(RECEIVED, PENDING, settled, CANCELLED, REFUNDED)["payment"]
    assert (payment.state, payment.ended) == (State.UNDONE, BEGAN + timedelta(seconds=2))


def test_an_order_that_goes_back_says_so_until_its_end() -> None:
    back, ended = (RECEIVED, CAPTURED, CANCELLED), rejected("cancelled_by_customer")
    assert [told(*made).goes_back for made in ([RECEIVED], back, [*back, REFUNDED, ended])] == [False, True, False]
    assert told(*back).text == "It will not be confirmed any more."


def test_a_refund_of_which_it_is_not_known_what_it_was_is_told_by_what_was_paid() -> None:
    older: Made = ("refund", PaymentRefunded, {"amount": 2700, "currency": "EUR"})
    assert money(RECEIVED, AUTHORIZED, CANCELLED, older, ENDED) == ("good", FREE.format("EUR 27.00"))


# ---- a link that nobody here has heard of ------------------------------------------------------------------------


def test_a_link_that_is_added_to_the_table_is_told_by_its_words() -> None:
    wrap = Link("wrap", next(iter(TABLE.links)).consumer, queue="wrap", makes=())
    words = LinkWords(Text("Wrap", "Пакування"), Text("Wrapping", "Пакування"), doing=Text("Wrapping it", "Пакуємо"))
    checks = TABLE.routes[PaymentConfirmed]
    table = replace(
        TABLE,
        routes={**TABLE.routes, PaymentConfirmed: route((*checks.stages[0], wrap), join=checks.join)},
        words=replace(TABLE.words, links={**TABLE.words.links, "wrap": words}),
    )
    known = seen(RECEIVED, CAPTURED, table=table)
    assert "wrap" in links_at(table, [event.type for event in known.events], known.done)

    told_of = story(table, known.events, steps(table, known), AMOUNT, "en")
    shown_there = {step.link: step.sentence for step in customer_steps(table, steps(table, known), "en")}

    assert told_of.headline == "Checking stock, the price and wrapping it"
    assert shown_there["wrap"] == "Wrapping it"
