"""Orders that travel together: the cost is shared, and nobody waits for a neighbour or suffers from one."""

import asyncio
from collections import Counter
from datetime import timedelta

from orders.events import CartUnavailable, PaymentDeclined, PriceChanged
from orders.words import Reason
from tests.servers import HANGS_AFTER, until
from tests.workflows.conftest import Record, Send, ended
from tests.workflows.doubles import (
    Consumers,
    after,
    agrees,
    fails_unexpectedly,
    is_away,
    leaves_out,
    names,
    orders,
    refuses,
    waits_for_payment,
)

CONFIRMED, REJECTED = "lanka.OrderConfirmed", "lanka.OrderRejected"
FORWARD = ["check_cart", "check_payment", "check_price", "finalize_order"]


async def test_a_batch_asks_each_consumer_once_in_the_order_of_acceptance(send: Send, consumers: Consumers) -> None:
    batch = orders("together", 20)

    handle = await send(*batch)
    await ended(handle)

    assert handle.id == "batch-together-1"
    assert sorted(asked.consumer for asked in consumers.requests(*batch)) == FORWARD
    for asked in consumers.requests(*batch):
        assert asked.subjects == names(batch), asked.consumer


async def test_nobody_waits_for_neighbours_that_are_refused_pending_or_slow(send: Send, consumers: Consumers) -> None:
    batch = orders("company", 20)
    declined, pending, slow, *others = batch
    others_are_done = asyncio.Event()
    consumers.script |= {
        ("check_payment", declined.order_id): [refuses(PaymentDeclined, Reason.PAYMENT_DECLINED)],
        ("check_payment", pending.order_id): [waits_for_payment(timedelta(seconds=1))],
        ("settle_payment", pending.order_id): [after(others_are_done.wait, agrees)],
        ("check_payment", slow.order_id): [leaves_out, after(others_are_done.wait, agrees)],
    }

    handle = await send(*batch)
    await until(lambda: consumers.outcome.keys() >= set(names(others)), HANGS_AFTER, "the others")
    assert not {pending.order_id, slow.order_id} & consumers.outcome.keys()
    others_are_done.set()
    await ended(handle)

    outcomes = [consumers.outcome[name] for name in names(batch)]
    assert outcomes == [REJECTED, *[CONFIRMED] * 19]
    ends = [name for name in consumers.outcome if name in names(batch)]
    assert set(ends[-2:]) == {pending.order_id, slow.order_id}
    assert [name for name in ends if name in names(others)] == names(others)
    assert consumers.asked_about(slow).count("check_payment") == 2
    assert consumers.asked_about(others[0]).count("check_payment") == 1


async def test_a_slow_order_does_not_wait_for_those_that_were_faster(send: Send, consumers: Consumers) -> None:
    batch = orders("overtaken", 5)
    *others, slow = batch
    consumers.script["check_payment", slow.order_id] = [leaves_out, agrees]

    async def the_slow_order_has_ended() -> None:
        await until(lambda: slow.order_id in consumers.outcome, HANGS_AFTER, "the slow order")

    consumers.script["check_cart", others[0].order_id] = [after(the_slow_order_has_ended, agrees)]

    await ended(await send(*batch))

    ends = [name for name in consumers.outcome if name in names(batch)]
    assert ends == [slow.order_id, *names(others)]
    assert consumers.asked_about(others[0]).count("check_cart") == 1


async def test_one_bad_order_splits_the_batch_and_only_it_is_tried_again(
    send: Send, consumers: Consumers, record: Record
) -> None:
    batch = orders("split", 5)
    bad = batch[2]
    others = [order for order in batch if order is not bad]
    consumers.script["check_cart", bad.order_id] = [fails_unexpectedly, fails_unexpectedly]

    handle = await send(*batch)
    await ended(handle)

    asked = [asked.subjects for asked in consumers.requests(*batch) if asked.consumer == "check_cart"]
    together, *alone, again = asked
    assert together == names(batch)
    assert sorted(alone) == [[name] for name in names(batch)]
    assert again == [bad.order_id]
    tried = [asked.batch.tried for asked in consumers.requests(*batch) if asked.consumer == "check_cart"]
    assert tried == [0, *[1] * 5, 2]
    assert {consumers.outcome[name] for name in names(batch)} == {CONFIRMED}
    ends = [name for name in consumers.outcome if name in names(batch)]
    assert set(ends[:4]) == set(names(others))
    await record("batch_split", handle)


async def test_an_outage_keeps_the_batch_together(send: Send, consumers: Consumers) -> None:
    batch = orders("patient", 5)
    consumers.script["check_price", batch[0].order_id] = [is_away, is_away]

    await ended(await send(*batch))

    asked = Counter(asked.consumer for asked in consumers.requests(*batch))
    assert asked == {"check_payment": 1, "check_cart": 1, "check_price": 3, "finalize_order": 1}


async def test_each_order_of_a_batch_is_refused_for_its_own_reason(send: Send, consumers: Consumers) -> None:
    batch = orders("reasons", 4)
    sold_out, dearer, both, fine = batch
    consumers.script |= {
        ("check_cart", sold_out.order_id): [refuses(CartUnavailable, Reason.OUT_OF_STOCK)],
        ("check_price", dearer.order_id): [refuses(PriceChanged, Reason.PRICE_CHANGED)],
        ("check_cart", both.order_id): [refuses(CartUnavailable, Reason.UNKNOWN_SKU)],
        ("check_price", both.order_id): [refuses(PriceChanged, Reason.PRICE_CHANGED)],
    }

    await ended(await send(*batch))

    assert consumers.outcome[fine.order_id] == CONFIRMED
    reasons = [consumers.given("reject_order", order).data["reason"] for order in (sold_out, dearer, both)]
    assert reasons == [Reason.OUT_OF_STOCK, Reason.PRICE_CHANGED, Reason.UNKNOWN_SKU]
    assert sorted(consumers.asked_about(both)) == sorted(
        ["check_payment", "check_cart", "check_price", "release_stock", "refund_payment", "reject_order"]
    )
