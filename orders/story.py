"""What an order tells its customer, from its journal and its steps: a headline, what becomes of the money, each step.

What is said of a link comes from the words of the table; only what is said of the order as a whole stands here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel

from chain.commands import CANCELLED_BY_CUSTOMER
from chain.event import AnyEvent, Kind, maker_of, type_of
from chain.position import Entry, decisive_of
from chain.steps import State, Step
from chain.table import Table
from chain.words import Language, LinkWords, Text
from orders.events import PaymentConfirmed, PaymentRefunded
from orders.money import written
from orders.payment import PaymentStatus
from orders.words import Status


class CustomerStep(BaseModel):
    """A link that customers are shown. `sentence` is empty while there is nothing to say of it."""

    link: str
    title: str
    state: State
    since: AwareDatetime | None
    ended: AwareDatetime | None
    sentence: str


class Money(BaseModel):
    mood: Literal["good", "wait"]
    text: str


class Story(BaseModel):
    """`deadline`: until then the bank may still say yes. `goes_back`: what was done is undone, before the end."""

    headline: str
    text: str
    money: Money | None
    cancellable: bool
    goes_back: bool
    deadline: AwareDatetime | None


class _Passage(NamedTuple):
    headline: Text
    text: Text


CONFIRMED = _Passage(
    Text("Your order is confirmed", "Ваше замовлення підтверджено"),
    Text("Thank you! There is nothing more for you to do.", "Дякуємо! Від вас більше нічого не потрібно."),
)
PARKED = _Passage(
    Text("We are checking your order by hand", "Перевіряємо ваше замовлення вручну"),
    Text(
        "Something went wrong on our side. Your order is safe and you need not do anything: it goes on as soon as one "
        "of us has checked it.",
        "На нашому боці щось пішло не так. Ваше замовлення збережено, і робити нічого не потрібно: воно рушить далі, "
        "щойно хтось із нас його перевірить.",
    ),
)
AWAITING_PAYMENT = _Passage(
    Text("Waiting for your bank", "Чекаємо на ваш банк"),
    Text(
        "We have not heard from your bank yet. If it does not confirm the transfer in time, the order ends and you "
        "pay nothing.",
        "Відповіді від вашого банку ще немає. Якщо він не підтвердить переказ вчасно, замовлення буде закрито, і ви "
        "нічого не сплатите.",
    ),
)
CANCELLING = _Passage(
    Text("Cancelling your order", "Скасовуємо ваше замовлення"),
    Text("It will not be confirmed any more.", "Його вже не буде підтверджено."),
)
CANCELLED = Text("Your order is cancelled", "Ваше замовлення скасовано")
REJECTED = Text("We could not confirm your order", "Ми не змогли підтвердити ваше замовлення")
REJECTING = Text("We cannot confirm your order", "Ми не можемо підтвердити ваше замовлення")
UNDERWAY = Text("We are working on your order", "Працюємо над вашим замовленням")
BY_ITSELF = Text(
    "This usually takes a few seconds. You can close this page; your order goes on.",
    "Зазвичай це триває кілька секунд. Сторінку можна закрити: замовлення від цього не зупиниться.",
)
RECEIVED = _Passage(
    Text("We have your order", "Ми отримали ваше замовлення"),
    Text(
        "It is safe, and we look at it as soon as we can. You can close this page; your order goes on.",
        "Його збережено, ми візьмемося за нього, щойно зможемо. Сторінку можна закрити: воно від цього не зупиниться.",
    ),
)
AND = Text("and", "і")
NO_REASON = Text("We could not accept it.", "Ми не змогли його прийняти.")

PAID = Text("You have paid {amount}.", "Ви сплатили {amount}.")
RESERVED = Text(
    "{amount} is reserved. You are charged only when we confirm the order.",
    "{amount} зарезервовано. Гроші спишуться, лише коли ми підтвердимо замовлення.",
)
TRANSFERRED = Text(
    "Your bank has confirmed the {amount}. We take the money only when we confirm the order.",
    "Ваш банк підтвердив {amount}. Ми приймемо гроші, лише коли підтвердимо замовлення.",
)
IF_NOT_CONFIRMED = Text(
    "If we cannot confirm the order, you get back whatever was reserved or charged for it.",
    "Якщо ми не зможемо підтвердити замовлення, усе, що за нього зарезервовано чи списано, повернеться до вас.",
)
NOT_HERE_YET = Text("We have not received the {amount} yet.", "Ми ще не отримали {amount}.")
FREE_AGAIN = Text(
    "You have not been charged: the {amount} reserved on your account is free again.",
    "Гроші не списано: резерв на {amount} знято.",
)
GIVEN_BACK = Text("We have refunded {amount} to you.", "Ми повернули вам {amount}.")
STUCK = Text(
    "Your refund of {amount} is delayed, and we are looking into it.",
    "Повернення {amount} затримується, ми вже з’ясовуємо причину.",
)
STILL_RESERVED = Text(
    "You have not been charged. The {amount} reserved on your account is not free again yet, and we are looking "
    "into it.",
    "Гроші не списано. Резерв на {amount} ще не знято, ми вже з’ясовуємо причину.",
)
LETTING_GO = Text(
    "You have not been charged: we are releasing the {amount} reserved on your account.",
    "Гроші не списано: знімаємо резерв на {amount}.",
)
GIVING_BACK = Text("We are refunding {amount} to you.", "Повертаємо вам {amount}.")
ARRIVED_LATE = Text(
    "Your payment arrived after the order had ended. You get it back.",
    "Ваш платіж надійшов, коли замовлення вже було закрито. Він повернеться до вас.",
)
NOTHING_TAKEN = Text("You have not been charged for this order.", "За це замовлення гроші не списано.")
WHATEVER = Text(
    "Whatever was reserved or charged for this order, you get back.",
    "Усе, що було зарезервовано чи списано за це замовлення, повернеться до вас.",
)

IS_REFUSED = Text("{title}: stopped here.", "{title}: перевірку не пройдено.")
IS_HELD = Text("{title}: we are checking it by hand.", "{title}: перевіряємо вручну.")
IS_AWAITED = Text("{title}: waiting for an answer.", "{title}: чекаємо на відповідь.")


def customer_steps(table: Table, steps: Sequence[Step], language: Language) -> list[CustomerStep]:
    """The links that customers are shown. What answers for another link shows there."""
    return [
        CustomerStep(
            link=step.link.name,
            title=words.customer.in_language(language),
            state=step.state,
            since=step.since,
            ended=step.ended,
            sentence=_sentence(words, step.state, language),
        )
        for step in _settled(table, steps)
        if (words := table.words.link(step.link.name)).customer
    ]


def story(table: Table, events: Sequence[AnyEvent], steps: Sequence[Step], amount: str, language: Language) -> Story:
    """`events`: the whole journal, oldest first. `amount`: what the order comes to, such as `EUR 12.50`."""
    return _Telling(table, events, steps, amount, language).story()


def _settled(table: Table, steps: Sequence[Step]) -> Iterator[Step]:
    settling = {table.settles[step.link.name]: step for step in steps if step.link.name in table.settles}
    for step in steps:
        other = settling.get(step.link.name)
        if other and step.state is State.UNDONE:
            yield replace(step, ended=other.ended or step.ended)
        elif other and step.state is State.DONE:
            yield replace(other, link=step.link, since=step.since if other.ended else other.since)
        else:
            yield step


def _sentence(words: LinkWords, state: State, language: Language) -> str:
    said = {
        State.IN_PROGRESS: words.doing,
        State.WAITING: IS_AWAITED,
        State.PARKED: IS_HELD,
        State.DONE: words.done,
        State.REFUSED: IS_REFUSED,
        State.UNDONE: words.undone,
    }.get(state)
    title = words.customer or words.title
    return said.in_language(language).format(title=title.in_language(language)) if said else ""


class _Telling:
    def __init__(
        self, table: Table, events: Sequence[AnyEvent], steps: Sequence[Step], amount: str, language: Language
    ) -> None:
        self._table = table
        self._amount = amount
        self._steps = steps
        self._language = language
        self._by_type = {event.type: event for event in reversed(events)}
        self._end = next((event for event in events if table.types.kind(event.type) is Kind.END), None)
        self._decisive = decisive_of(
            table, [Entry(maker_of(event.source), event.type, event.data.get("reason")) for event in events]
        )
        self._late = {link.name for route in table.all_routes if route.too_late for link in route.links}
        self._parked = any(step.state is State.PARKED for step in steps)
        self._deadline = self._awaited()

    def story(self) -> Story:
        headline, text = self._passage()
        return Story(
            headline=headline,
            text=text,
            money=self._money(),
            cancellable=self._cancellable(),
            goes_back=bool(self._decisive and not self._end),
            deadline=self._deadline,
        )

    def _awaited(self) -> str | None:
        """The deadline of what has no answer yet."""
        settling = [step for step in self._steps if step.link.name in self._table.settles]
        if self._decisive or not any(step.state is State.WAITING for step in settling):
            return None
        pending = [event for name, event in self._by_type.items() if self._pending(name)]
        return next((event.data.get("deadline") for event in pending), None)

    def _pending(self, name: str) -> bool:
        return self._table.types.kind(name) is Kind.PENDING

    def _passage(self) -> tuple[str, str]:
        if self._end or self._decisive:
            return self._ending()
        if self._parked:
            return self._said(*PARKED)
        return self._said(*AWAITING_PAYMENT) if self._deadline else self._underway()

    def _ending(self) -> tuple[str, str]:
        if self._decisive is None:
            return self._said(*CONFIRMED)
        reason = self._decisive.reason
        text = self._table.words.reason(reason) if reason else NO_REASON
        if self._end:
            cancelled = self._table.types[self._end.type].status == Status.CANCELLED
            return self._said(CANCELLED if cancelled else REJECTED, text)
        return self._said(*CANCELLING) if reason == CANCELLED_BY_CUSTOMER else self._said(REJECTING, text)

    def _underway(self) -> tuple[str, str]:
        """At each link by its own words."""
        if self._steps and all(step.state is State.AHEAD for step in self._steps):
            return self._said(*RECEIVED)
        here = [step.link for step in self._steps if step.state in (State.IN_PROGRESS, State.WAITING)]
        words = [self._table.words.link(link.name).doing for link in here]
        doing = [text.in_language(self._language) for text in words if text]
        if not doing:
            return self._said(UNDERWAY, BY_ITSELF)
        said = [doing[0], *(_after(before, text) for before, text in pairwise(doing))]
        last = f" {AND.in_language(self._language)} {said.pop()}" if len(said) > 1 else ""
        return ", ".join(said) + last, BY_ITSELF.in_language(self._language)

    def _cancellable(self) -> bool:
        here = {step.link.name for step in self._steps if step.state in (State.IN_PROGRESS, State.PARKED)}
        return not (self._end or self._decisive or self._late & here)

    def _money(self) -> Money | None:
        paid = self._by_type.get(type_of(PaymentConfirmed))
        refund = self._by_type.get(type_of(PaymentRefunded))
        was = (refund and refund.data.get("was")) or (paid and paid.data["payment"]["status"])
        reserved = was == PaymentStatus.AUTHORIZED
        if self._decisive is None:
            if not self._end and (paid is None or (reserved and self._parked and self._may_be_taken())):
                if self._parked:
                    return self._tell("wait", IF_NOT_CONFIRMED)
                return self._tell("wait", NOT_HERE_YET) if self._deadline else None
            promised = TRANSFERRED if any(map(self._pending, self._by_type)) else RESERVED
            return self._tell("good", PAID if self._end or not reserved else promised)
        if refund:
            back = written(refund.data["amount"], refund.data["currency"])
            return self._tell("good", FREE_AGAIN if reserved else GIVEN_BACK, back)
        if self._end:
            late = [step for step in self._steps if step.link.name in self._table.answering(Kind.LATE)]
            owed = any(step.state is not State.DONE for step in late)  # done without a word, there was no money
            return self._tell("wait", ARRIVED_LATE) if owed else self._tell("good", NOTHING_TAKEN)
        if paid is None or (reserved and self._may_be_taken()):
            text = WHATEVER
        elif self._parked:
            text = STILL_RESERVED if reserved else STUCK
        else:
            text = LETTING_GO if reserved else GIVING_BACK
        return self._tell("wait", text)

    def _may_be_taken(self) -> bool:
        """Whether reserved money may have been charged, or be no longer there: the order had come to that link."""
        refused = any(step.state is State.REFUSED and step.link.name not in self._late for step in self._steps)
        return not refused and any(step.since and step.link.name in self._late for step in self._steps)

    def _tell(self, mood: Literal["good", "wait"], text: Text, amount: str = "") -> Money:
        return Money(mood=mood, text=text.in_language(self._language).format(amount=amount or self._amount))

    def _said(self, headline: Text, text: Text) -> tuple[str, str]:
        return headline.in_language(self._language), text.in_language(self._language)


def _after(before: str, text: str) -> str:
    """As it goes on after `before`: Checking stock and *the price*."""
    first, _, rest = text.partition(" ")
    return rest if rest and before.partition(" ")[0] == first else first[:1].lower() + text[1:]
