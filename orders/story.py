"""What an order tells its customer, from its journal and its steps: a headline, what becomes of the money, each step.

What is said of a link comes from the words of the table; only what is said of the order as a whole stands here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel

from chain.commands import CANCELLED_BY_CUSTOMER
from chain.event import AnyEvent, Kind, maker_of, type_of
from chain.position import Entry, decisive_of
from chain.steps import State, Step
from chain.table import Table
from chain.words import Language, LinkWords, Text
from orders.events import PaymentConfirmed, PaymentRefunded
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
    """`deadline`: until then the bank may still say yes."""

    headline: str
    text: str
    money: Money | None
    cancellable: bool
    deadline: AwareDatetime | None


class _Passage(NamedTuple):
    headline: Text
    text: Text


CONFIRMED = _Passage(
    Text("Your order is confirmed", "Ваше замовлення підтверджено"),
    Text("Thank you for your order.", "Дякуємо за замовлення."),
)
PARKED = _Passage(
    Text("Somebody is looking at it", "Хтось із нас дивиться на нього"),
    Text(
        "Something went wrong on our side. Your order is kept where it is, and goes on when a person has looked.",
        "У нас щось пішло не так. Замовлення збережено, і воно піде далі, щойно його перегляне людина.",
    ),
)
AWAITING_PAYMENT = _Passage(
    Text("Waiting for your bank", "Чекаємо на ваш банк"),
    Text(
        "The transfer is on its way. We wait for your bank to confirm it.",
        "Переказ у дорозі. Чекаємо, поки ваш банк його підтвердить.",
    ),
)
CANCELLED = Text("Your order is cancelled", "Ваше замовлення скасовано")
REJECTED = Text("We could not confirm your order", "Ми не змогли підтвердити ваше замовлення")
CANCELLING = Text("Cancelling your order", "Скасовуємо ваше замовлення")
REJECTING = Text("We cannot confirm your order", "Ми не можемо підтвердити ваше замовлення")
UNDERWAY = Text("We are working on your order", "Працюємо над вашим замовленням")
ONE = Text("It takes a few seconds and goes on by itself.", "Це триває кілька секунд і відбувається саме собою.")
SEVERAL = Text("All at the same time.", "Усе водночас.")
AND = Text("and", "і")
NO_REASON = Text("The shop could not confirm it.", "Крамниця не змогла його підтвердити.")

TAKEN = Text("{amount} was taken.", "{amount} сплачено.")
FREE_AGAIN = Text(
    "Nothing was taken. The {amount} reserved on your account is free again.",
    "Нічого не списано. Зарезервовані {amount} знову вільні.",
)
GIVEN_BACK = Text("{amount} has been given back to you.", "{amount} вам повернено.")
STUCK = Text(
    "{amount} goes back to you. It got stuck, and somebody is looking at it.",
    "{amount} повертається до вас. Повернення затрималося, і хтось із нас уже дивиться на це.",
)
LETTING_GO = Text(
    "Nothing was taken. The {amount} reserved on your account is being let go.",
    "Нічого не списано. Резерв {amount} на вашому рахунку знімається.",
)
GIVING_BACK = Text("{amount} is being given back to you.", "{amount} повертаємо вам.")
ARRIVED_LATE = Text(
    "The money arrived after the end. It is being given back to you.",
    "Гроші надійшли запізно. Ми повертаємо їх вам.",
)
NOTHING_TAKEN = Text("Nothing was taken.", "Нічого не списано.")
WHATEVER = Text("Whatever was reserved or taken is being given back.", "Усе зарезервоване чи списане повертається.")

IS_REFUSED = Text("{title} refused.", "{title}: відмова.")
IS_HELD = Text("{title} is held: somebody is looking at it.", "{title}: затримка, хтось із нас уже дивиться.")
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
        other = settling.get(step.link.name) if step.state is State.DONE else None
        yield replace(other, link=step.link, since=step.since if other.ended else other.since) if other else step


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
        self._kinds = {table.types.kind(event.type) for event in events}
        self._by_type = {event.type: event for event in reversed(events)}
        self._end = next((event for event in events if table.types.kind(event.type) is Kind.END), None)
        self._decisive = decisive_of(
            table, [Entry(maker_of(event.source), event.type, event.data.get("reason")) for event in events]
        )
        self._parked = any(step.state is State.PARKED for step in steps)
        self._deadline = self._awaited()

    def story(self) -> Story:
        headline, text = self._passage()
        return Story(
            headline=headline,
            text=text,
            money=self._money(),
            cancellable=self._cancellable(),
            deadline=self._deadline,
        )

    def _awaited(self) -> str | None:
        """The deadline of what has no answer yet."""
        settling = [step for step in self._steps if step.link.name in self._table.settles]
        if self._decisive or not any(step.state is State.WAITING for step in settling):
            return None
        pending = [each for each in self._by_type.values() if self._table.types.kind(each.type) is Kind.PENDING]
        return next((event.data.get("deadline") for event in pending), None)

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
        return self._said(CANCELLING if reason == CANCELLED_BY_CUSTOMER else REJECTING, text)

    def _underway(self) -> tuple[str, str]:
        """At each link by its own words."""
        here = [step.link for step in self._steps if step.state in (State.IN_PROGRESS, State.WAITING)]
        words = [self._table.words.link(link.name).doing for link in here]
        doing = [text.in_language(self._language) for text in words if text]
        if not doing:
            return self._said(UNDERWAY, ONE)
        first, *others = doing
        last = [f" {AND.in_language(self._language)} {_lower(others[-1])}"] if others else []
        headline = "".join([", ".join([first, *map(_lower, others[:-1])]), *last])
        return headline, (SEVERAL if others else ONE).in_language(self._language)

    def _cancellable(self) -> bool:
        late = {link.name for route in self._table.all_routes if route.too_late for link in route.links}
        here = {step.link.name for step in self._steps if step.state in (State.IN_PROGRESS, State.PARKED)}
        return not (self._end or self._decisive or late & here)

    def _money(self) -> Money | None:
        if self._decisive is None:
            return self._tell("good", TAKEN) if self._end else None
        paid = self._by_type.get(type_of(PaymentConfirmed))
        reserved = bool(paid and paid.data["payment"]["status"] == PaymentStatus.AUTHORIZED)
        if type_of(PaymentRefunded) in self._by_type:
            return self._tell("good", FREE_AGAIN if reserved else GIVEN_BACK)
        if self._end:
            late = Kind.LATE in self._kinds
            return self._tell("wait", ARRIVED_LATE) if late else self._tell("good", NOTHING_TAKEN)
        if paid is None or self._lost():
            return self._tell("wait", WHATEVER)
        return self._tell("wait", STUCK if self._parked else LETTING_GO if reserved else GIVING_BACK)

    def _lost(self) -> bool:
        """Whether money that was promised could not be taken: the provider refused it later than at its own link."""
        assert self._decisive, "asked of an order that was refused"
        late = [link.name for route in self._table.all_routes if route.too_late for link in route.links]
        return self._table.types.kind(self._decisive.type) is Kind.REFUSAL and self._decisive.link in late

    def _tell(self, mood: Literal["good", "wait"], text: Text) -> Money:
        return Money(mood=mood, text=text.in_language(self._language).format(amount=self._amount))

    def _said(self, headline: Text, text: Text) -> tuple[str, str]:
        return headline.in_language(self._language), text.in_language(self._language)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
