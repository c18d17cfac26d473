"""A model: people, a provider and deliveries do whatever comes to Hypothesis' mind to a small shop.

The consumers, the journal and PostgreSQL are the real ones. Events are delivered twice, late, side by side and in
batches of any size; attempts are cut off; answers get lost; the provider fails before and after it has done its work.
After every step the books must agree, and once everything was delivered every order has ended.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.check_cart import CheckCart
from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from activities.finalize_order import FinalizeOrder
from activities.note_events import NoteEvents
from activities.refund_payment import RefundPayment
from activities.reject_order import RejectOrder
from activities.release_stock import ReleaseStock
from chain.batch import Batch, Processed
from chain.event import BACKWARD, AnyEvent, id_of, source_of, type_of
from chain.failures import Failure, Outage, UnexpectedAnswer
from chain.table import Link, Route
from dispatch.payment_webhooks import deliver_news
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.ports import ListedPayment, PaymentNews
from orders.words import Reason
from store.catalogue import Catalogue
from store.database import Pool, connected, open_pool
from store.orders import Orders
from store.outbox import Outbox
from store.payments import Payments
from store.reconciliation import Reconciliations
from store.stock import Stock
from store.webhooks import Webhooks
from tests.shop import TwinProvider, an_order, fetch, paid, stock_up, the_journal, untyped
from workflows.order_confirmation import TABLE

T = TypeVar("T")

ON_HAND = {"cup": 9, "pot": 7, "tea": 5}
OWED = {PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED}
CONFIRMED, REFUSED = "lanka.OrderConfirmed", {"lanka.OrderRejected", "lanka.OrderCancelled"}


# ---- the provider ------------------------------------------------------------------------------------------------


class TrustingProvider(TwinProvider):
    """Does the work once for each key, and again for another key: nothing else protects the customer's money.

    `moods` are how the next calls go: `away` before the work is done, `silent` or `mad` after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moods: list[str] = []
        self.answers: dict[str, Payment] = {}

    async def find(self, payment_id: str, *, timeout: float) -> Payment | None:
        return await self._call(lambda: self.payments.get(payment_id))

    async def capture(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        return await self._call(lambda: self._once(key, payment_id, _captured))

    async def refund(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        return await self._call(lambda: self._once(key, payment_id, _refunded))

    async def _call(self, work: Callable[[], T]) -> T:
        mood = self.moods.pop() if self.moods else "well"
        await asyncio.sleep(0)
        if mood == "away":
            raise Outage("the provider is away")
        answer = work()
        await asyncio.sleep(0)
        if mood == "silent":
            raise Outage("the provider has done it and does not answer")
        if mood == "mad":
            raise UnexpectedAnswer("the provider has done it and talks nonsense")
        return answer

    def _once(self, key: str, payment_id: str, change: Callable[[Payment], Payment | None]) -> Payment:
        if key not in self.answers:
            changed = change(self.payments[payment_id])
            if changed is None:  # a refusal changes nothing and is not remembered
                return self.payments[payment_id]
            self.answers[key] = self.payments[payment_id] = changed
        return self.answers[key]


def _captured(payment: Payment) -> Payment | None:
    if payment.status not in OWED:
        return None
    taken = payment.captured_amount + payment.amount
    return payment.model_copy(update={"status": PaymentStatus.CAPTURED, "captured_amount": taken})


def _refunded(payment: Payment) -> Payment | None:
    if payment.status not in {*OWED, PaymentStatus.REFUNDED}:
        return None
    given = payment.refunded_amount + payment.captured_amount
    return payment.model_copy(update={"status": PaymentStatus.REFUNDED, "refunded_amount": given})


# ---- the router --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    link: Link
    event: AnyEvent

    @property
    def place(self) -> tuple[str, str]:
        return self.link.name, self.event.subject


class Directions:
    """Where events go, by the table of the real router: `known` is all that was ever to be delivered."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Delivery] = {}
        self.made: dict[tuple[str, str], AnyEvent | None] = {}
        self.given_up: set[tuple[str, str]] = set()
        self._withdrawn: dict[str, AnyEvent] = {}
        self._too_late: set[str] = set()
        self._going_back: set[str] = set()

    def waiting(self) -> list[Delivery]:
        return [delivery for place, delivery in self.known.items() if place not in self.made]

    def direct(self, event: AnyEvent) -> None:
        if event.subject in self._withdrawn and event.subject not in self._going_back:
            event = self._withdrawn[event.subject]
        if route := TABLE.by_type.get(event.type):
            if route.too_late:
                self._too_late.add(event.subject)
            if route.back:
                self._going_back.add(event.subject)
            self._bring(event, route.stages[0])

    def arrived(self, delivery: Delivery, made: AnyEvent | None) -> None:
        """The answer to the same event is the same, however often it is delivered."""
        if delivery.place in self.made:
            assert delivery.place in self.given_up or made == self.made[delivery.place], "another answer than before"
            return
        self.made[delivery.place] = made
        route = TABLE.by_type.get(delivery.event.type)
        if route is None or delivery.link == TABLE.note:
            return
        nth = next(nth for nth, stage in enumerate(route.stages) if delivery.link in stage)
        places = [(link.name, delivery.event.subject) for link in route.stages[nth]]
        if all(place in self.made for place in places):
            self._beyond(route, nth, delivery.event, [event for place in places if (event := self.made[place])])

    def _beyond(self, route: Route, nth: int, given: AnyEvent, made: Sequence[AnyEvent]) -> None:
        """Behind the `nth` stage: a "no" first, else what has a route of its own, else the next stage, else the end."""
        routed = [event for event in made if event.type in TABLE.by_type]
        refusals = [event for event in routed if TABLE.types.kind(event.type) in BACKWARD]
        for event in refusals[:1] or routed:
            self.direct(event)
        if routed:
            return
        if nth + 1 < len(route.stages):
            self._bring(given, route.stages[nth + 1])
        elif route.join:
            self.direct(_own(type_of(route.join.into), route.join.name, given.subject, given.data))

    def withdraw(self, subject: str, reason: Reason) -> None:
        """As long as it is not too late. What waits for its payment does not wait any longer."""
        if subject in self._withdrawn or subject in self._too_late:
            return
        data = {"reason": reason, "detail": "changed my mind", "by": "ann"}
        event = self._withdrawn[subject] = _own(type_of(TABLE.withdrawn), "withdrawal", subject, data)
        self._bring(event, [TABLE.note])
        self.give_up([each for each in self.waiting() if each.event.subject == subject and each.link.asks_again])

    def give_up(self, deliveries: Sequence[Delivery]) -> None:
        """They waited for a person, who has withdrawn the order. Attempts may still be under way somewhere."""
        for delivery in deliveries:
            withdrawn = self._withdrawn.get(delivery.event.subject)
            if withdrawn and delivery.event.subject not in self._going_back and delivery.place not in self.made:
                self.given_up.add(delivery.place)
                self.arrived(delivery, withdrawn)

    def parkable(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        return [
            each for each in deliveries if each.place not in self.made and each.event.subject not in self._going_back
        ]

    def _bring(self, event: AnyEvent, links: Sequence[Link]) -> None:
        for link in links:
            self.known.setdefault((link.name, event.subject), Delivery(link, event))


def _own(kind: str, link: str, subject: str, data: dict[str, Any]) -> AnyEvent:
    now = datetime.now(UTC)
    return AnyEvent(id=id_of(subject, link), source=source_of(link), type=kind, subject=subject, time=now, data=data)


class Workflows:
    """What the news of a payment need of Temporal."""

    def __init__(self, directions: Directions) -> None:
        self._directions = directions
        self._started: set[str] = set()

    async def start_workflow(self, _: Any, *, id: str, start_signal_args: list[list[AnyEvent]], **__: Any) -> None:  # noqa: A002
        if id in self._started:
            raise WorkflowAlreadyStartedError(id, "OrderConfirmation")
        self._started.add(id)
        for event in start_signal_args[0]:
            self._directions.direct(untyped(event))


# ---- the shop ----------------------------------------------------------------------------------------------------


class World:
    """One event loop and one pool for all examples; each begins with an empty database."""

    def __init__(self, database_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.pool = self.run(self._open(database_url))

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(doing, 60))

    async def begin(self) -> None:
        async with connected(self.pool) as connection:
            tables = await connection.fetchval(
                "SELECT string_agg(relname, ', ') FROM pg_stat_user_tables WHERE relname !~ '^alembic'"
            )
            await connection.execute(f"TRUNCATE {tables}")
        await stock_up(self.pool, **ON_HAND)

    def close(self) -> None:
        self.run(self.pool.close())
        self._loop.close()

    @staticmethod
    async def _open(database_url: str) -> Pool:
        return await open_pool(database_url)


some = st.integers(0, 999)
"""Which of those there are: the number is taken modulo how many. What there is depends on who was faster."""


@dataclass(frozen=True)
class Attempt:
    """A batch at the `link`-th link where something is to do: `size` events from the `first` on.

    `again`: also those that were delivered there before. `fate`: its answer may be lost, or it is cut off.
    """

    link: int
    first: int
    size: int
    again: bool
    fate: str


@dataclass(frozen=True)
class Meanwhile:
    """What goes on at the same time."""

    moods: list[str]
    cancels: list[int]
    rejects: list[int]
    decides: list[tuple[int, PaymentStatus]]
    webhooks: int
    attempts: list[Attempt]


meanwhile = st.builds(
    Meanwhile,
    moods=st.lists(st.sampled_from(["well", "well", "away", "silent", "mad"]), max_size=4),
    cancels=st.lists(some, max_size=1),
    rejects=st.lists(some, max_size=1),
    decides=st.lists(
        st.tuples(some, st.sampled_from([*OWED, PaymentStatus.DECLINED, PaymentStatus.EXPIRED])), max_size=1
    ),
    webhooks=st.integers(0, 2),
    attempts=st.lists(
        st.builds(
            Attempt,
            link=some,
            first=some,
            size=st.integers(1, 9),
            again=st.booleans(),
            fate=st.sampled_from(["", "", "", "lost", "cut off"]),
        ),
        min_size=1,
        max_size=5,
    ),
)


class Shop(RuleBasedStateMachine):
    world: World

    def __init__(self) -> None:
        super().__init__()
        self.run = self.world.run
        self.pool = self.world.pool
        self.run(self.world.begin())
        self.journal = the_journal(self.pool)
        self.provider = TrustingProvider()
        self.directions = Directions()
        self.workflows: Any = Workflows(self.directions)
        self.orders: dict[str, Order] = {}
        self.troubled: list[Delivery] = []
        self.decided: list[str] = []
        self.dispatching = asyncio.Lock()  # only one dispatcher leads
        self.clicks = 0
        self.wrong = False

    @initialize(deadline=st.sampled_from([timedelta(0), timedelta(hours=1)]))
    def opens(self, deadline: timedelta) -> None:
        payments, stock, outbox = Payments(self.pool), Stock(), Outbox()
        paying = CheckPayment(self.journal, payments, self.provider, deadline)
        refunding = RefundPayment(self.journal, payments, self.provider)
        finalizing = FinalizeOrder(self.journal, Orders(self.pool, TABLE), stock, payments, outbox, self.provider)
        self.consumers: dict[str, Callable[[Batch], Awaitable[Processed]]] = {
            "payment": paying.check_payment,
            "settlement": paying.settle_payment,
            "cart": CheckCart(self.journal, stock).check_cart,
            "price": CheckPrice(self.journal, Catalogue(self.pool), 0).check_price,
            "finalize": finalizing.finalize_order,
            "release": ReleaseStock(self.journal, stock).release_stock,
            "refund": refunding.refund_payment,
            "late-refund": refunding.refund_late_payment,
            "reject": RejectOrder(self.journal, outbox).reject_order,
            "note": NoteEvents(self.journal).note_events,
        }

    # ---- what happens --------------------------------------------------------------------------------------------

    @rule(
        lines=st.dictionaries(st.sampled_from(sorted(ON_HAND)), st.integers(1, 2), min_size=1),
        status=st.sampled_from([*OWED, *OWED, PaymentStatus.PENDING, PaymentStatus.PENDING, PaymentStatus.DECLINED]),
        another=some,
        clicks=st.integers(1, 3),
        meanwhile=meanwhile,
    )
    def somebody_orders(
        self, lines: dict[str, int], status: PaymentStatus, another: int, clicks: int, meanwhile: Meanwhile
    ) -> None:
        """Pays, or in one case of eight names a payment that was named before, and clicks once or several times."""
        known = list(self.provider.payments)
        payment_id = known[another % len(known)] if known and another % 8 == 0 else f"pay-{self.clicks}"
        order = an_order(payment_id, "cus_1", **lines)
        captured = order.total if status is PaymentStatus.CAPTURED else 0
        payment = paid(order, status).model_copy(update={"captured_amount": captured})
        self.provider.payments.setdefault(payment_id, payment)
        self._side_by_side(meanwhile, self._click(order, clicks))

    @rule(meanwhile=meanwhile)
    def time_passes(self, meanwhile: Meanwhile) -> None:
        self._side_by_side(meanwhile)

    def _side_by_side(self, meanwhile: Meanwhile, *others: Awaitable[None]) -> None:
        self.provider.moods = [*meanwhile.moods]
        for which in meanwhile.cancels:
            self._cancel(which)
        for which in meanwhile.rejects:
            self._reject(which)
        for which, status in meanwhile.decides:
            self._decide(which, status)
        batches = [(self._batch(attempt), attempt.fate) for attempt in meanwhile.attempts]

        async def all_at_once() -> None:
            news = self._news(self.decided[-1:] * meanwhile.webhooks)
            await asyncio.gather(*others, news, *(self._deliver(batch, fate) for batch, fate in batches if batch))

        with self._alert():
            self.run(all_at_once())

    async def _click(self, order: Order, clicks: int) -> None:
        key = f"key-{self.clicks}"
        same = [order.model_copy(update={"order_id": f"o-{self.clicks + nth}"}) for nth in range(clicks)]
        self.clicks += clicks
        accept = Orders(self.pool, TABLE).accept
        answers = await asyncio.gather(*(accept(each, owner="shop", key=key, fingerprint=b"same") for each in same))
        (order_id,) = {answer.order_id for answer in answers}
        assert [answer.replayed for answer in answers].count(False) == 1
        self.orders[order_id] = next(each for each in same if each.order_id == order_id)
        (received,) = await self.journal.of(order_id)
        self.directions.direct(received)

    def _cancel(self, which: int) -> None:
        if self.orders:
            self.directions.withdraw(list(self.orders)[which % len(self.orders)], Reason.CANCELLED_BY_CUSTOMER)

    def _reject(self, which: int) -> None:
        """The operator rejects an order of those that are parked."""
        if parked := self.directions.parkable(self.troubled):
            subject = parked[which % len(parked)].event.subject
            self.directions.withdraw(subject, Reason.REJECTED_BY_OPERATOR)
            self.directions.give_up([each for each in parked if each.event.subject == subject])

    def _decide(self, which: int, status: PaymentStatus) -> None:
        """A pending payment is decided, or an authorisation expires."""
        expires = {PaymentStatus.AUTHORIZED} if status is PaymentStatus.EXPIRED else set()
        if undecided := self._payments(PaymentStatus.PENDING, *expires):
            self._becomes(undecided[which % len(undecided)], status)

    def _becomes(self, payment: Payment, status: PaymentStatus) -> None:
        captured = payment.amount if status is PaymentStatus.CAPTURED else 0
        changes = {"status": status, "captured_amount": captured}
        self.provider.payments[payment.payment_id] = payment.model_copy(update=changes)
        self.decided.append(payment.payment_id)

    def _payments(self, *status: PaymentStatus) -> list[Payment]:
        return [each for each in self.provider.payments.values() if each.status in status]

    async def _news(self, payment_ids: Sequence[str]) -> None:
        keep = Webhooks(self.pool).keep
        news = [PaymentNews(f"msg-{payment_id}", payment_id, None) for payment_id in payment_ids]
        await asyncio.gather(*(keep("twin", each, b"{}") for each in news))
        async with self.dispatching, connected(self.pool) as connection:
            await deliver_news(connection, self.workflows)

    def _batch(self, attempt: Attempt) -> list[Delivery]:
        groups = self._groups(list(self.directions.known.values()) if attempt.again else self.directions.waiting())
        if not groups:
            return []
        group = groups[attempt.link % len(groups)]
        start = attempt.first % len(group)
        return group[start : start + attempt.size]

    async def _deliver(self, deliveries: Sequence[Delivery], fate: str = "") -> None:
        link, events = deliveries[0].link, [delivery.event for delivery in deliveries]
        own = events[0].type in TABLE.own
        batch = Batch(link=link.name, events=events, unrecorded=own, closes=TABLE.closes(link))
        try:
            async with asyncio.timeout(0.006 if fate == "cut off" else None):
                processed = await self.consumers[link.name](batch)
        except TimeoutError:
            return
        except Failure as failure:
            if "PostgreSQL" in str(failure):
                raise  # nobody has touched it, so it was a deadlock
            self.troubled.extend(deliveries)
            return
        made = {event.subject: event for event in processed.events}
        for delivery in deliveries:
            if delivery.event.subject in processed.left_out:
                self.troubled.append(delivery)
            elif fate != "lost":
                self.directions.arrived(delivery, made.get(delivery.event.subject))

    @staticmethod
    def _groups(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
        groups: dict[tuple[str, str], list[Delivery]] = {}
        for delivery in deliveries:
            groups.setdefault((delivery.link.name, delivery.event.type), []).append(delivery)
        return list(groups.values())

    # ---- what must hold after every step -------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        with self._alert():
            self.run(self._audit())

    async def _audit(self) -> None:
        told = await fetch(self.pool, "SELECT subject, type, data FROM journal")
        twice = [each for each, n in Counter((row["subject"], row["type"]) for row in told).items() if n > 1]
        assert not twice, f"journalled twice: {twice}"
        ends = [(row["subject"], row["type"]) for row in told if row["type"] in {CONFIRMED, *REFUSED}]
        assert len(dict(ends)) == len(ends), f"an order with two ends: {ends}"
        confirmed = {subject for subject, kind in ends if kind == CONFIRMED}
        refused = {subject for subject, kind in ends if kind in REFUSED}
        await self._audit_stock(confirmed, confirmed | refused)
        await self._audit_orders(confirmed, dict(ends))
        claimed = {row["order_id"]: row["payment_id"] for row in await fetch(self.pool, "SELECT * FROM payments")}
        self._audit_money(claimed, confirmed, refused)
        served = Counter(
            row["data"]["payment"]["payment_id"] for row in told if row["type"] == "lanka.PaymentConfirmed"
        )
        assert not [each for each, n in served.items() if n > 1], f"payments that serve several orders: {served}"

    async def _audit_stock(self, confirmed: set[str], ended: set[str]) -> None:
        sold = Counter[str]()
        for order_id in confirmed:
            sold.update(self.orders[order_id].quantities())
        held = Counter[str]()
        for row in await fetch(self.pool, "SELECT * FROM reservations WHERE state = 'held'"):
            held[row["sku"]] += row["quantity"]
            assert row["order_id"] not in ended, f"order {row['order_id']} has ended and still holds {row['sku']}"
        for row in await fetch(self.pool, "SELECT * FROM stock"):
            sku = row["sku"]
            assert 0 <= row["reserved"] <= row["on_hand"], f"more is reserved than there is: {row}"
            assert (row["on_hand"], row["reserved"]) == (ON_HAND[sku] - sold[sku], held[sku]), f"{sku}: {row}"

    async def _audit_orders(self, confirmed: set[str], ends: dict[str, str]) -> None:
        rows = await fetch(self.pool, "SELECT order_id, order_number FROM orders WHERE order_number IS NOT NULL")
        assert {row["order_id"] for row in rows} == confirmed, "the confirmed orders have a number, and only they"
        assert len({row["order_number"] for row in rows}) == len(rows), f"a number on two orders: {rows}"
        rows = await fetch(self.pool, "SELECT subject, status FROM subjects WHERE ended_at IS NOT NULL")
        assert {row["subject"]: row["status"] for row in rows} == {
            o: TABLE.types[kind].status for o, kind in ends.items()
        }
        rows = await fetch(self.pool, "SELECT subject, type FROM outbox ORDER BY position")
        assert sorted((row["subject"], row["type"]) for row in rows) == sorted(ends.items()), "told once, how it ended"

    def _audit_money(self, claimed: dict[str, str], confirmed: set[str], refused: set[str]) -> None:
        for payment in self.provider.payments.values():
            assert payment.captured_amount in {0, payment.amount}, f"taken more than once: {payment}"
            assert payment.refunded_amount in {0, payment.captured_amount}, f"given back more than once: {payment}"
        for order_id in confirmed:
            payment = self.provider.payments[claimed[order_id]]
            money = (payment.captured_amount, payment.refunded_amount)
            assert money == (self.orders[order_id].total, 0), f"order {order_id} is confirmed: {payment}"
        for order_id in refused & claimed.keys():
            payment = self.provider.payments[claimed[order_id]]
            late = payment.payment_id in self.decided
            assert late or payment.status not in OWED, f"order {order_id} is refused: {payment}"

    # ---- the end -------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not self.wrong:
            self.run(self._bring_everything_to_its_end())

    async def _bring_everything_to_its_end(self) -> None:
        self.provider.moods.clear()
        for nth, payment in enumerate(self._payments(PaymentStatus.PENDING)):
            self._becomes(payment, PaymentStatus.CAPTURED if nth % 2 else PaymentStatus.DECLINED)
        for _ in range(12):  # the longest way back has nine links
            await self._news(self.decided)
            await asyncio.gather(*(self._deliver(group) for group in self._groups(self.directions.waiting())))
        assert not self.directions.waiting(), "something never arrives"
        await self._audit()
        ended = await fetch(self.pool, "SELECT subject FROM subjects WHERE ended_at IS NOT NULL")
        assert {row["subject"] for row in ended} == set(self.orders), "every order has ended"
        report = await Reconciliations(self.pool, TABLE.types).compare("twin", self._books(), grace=timedelta(0))
        assert not report.findings, report.findings

    async def _books(self) -> AsyncIterator[Sequence[ListedPayment]]:
        yield [ListedPayment(payment, datetime.now(UTC)) for payment in self.provider.payments.values()]

    @contextmanager
    def _alert(self) -> Iterator[None]:
        """What is already wrong does not have to come to its end as well."""
        try:
            yield
        except BaseException:
            self.wrong = True
            raise


SAMPLE = settings(
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(1200)
def test_whatever_happens_the_books_agree_and_every_order_ends(database_url: str, whole: bool) -> None:
    world = World(database_url)
    try:
        machine = type("Shop", (Shop,), {"world": world})
        run_state_machine_as_test(
            machine, settings=settings(SAMPLE, max_examples=400, derandomize=False) if whole else SAMPLE
        )
    finally:
        world.close()
