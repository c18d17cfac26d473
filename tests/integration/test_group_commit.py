"""What many ask for at the same moment is done in one go, and each gets an answer of its own."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from chain.failures import Outage
from orders.order import Order
from store.database import Pool
from store.group_commit import LARGEST, GroupCommit
from store.orders import Accepted, Orders
from tests.shop import an_order, fetch
from workflows.order_confirmation import TABLE


class Oven:
    """Bakes what it is given, in batches that it remembers; some of it burns."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.away = False

    async def bake(self, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        await asyncio.sleep(0)
        if self.away:
            raise Outage("no gas")
        if any(item < 0 for item in items):
            raise ValueError("burnt")
        return [f"{item} loaves" for item in items]


async def test_who_comes_while_others_are_served_waits_for_the_next_go() -> None:
    oven = Oven()
    baked = GroupCommit(oven.bake)
    assert await asyncio.gather(*(baked(n) for n in range(5))) == [f"{n} loaves" for n in range(5)]
    assert await baked(5) == "5 loaves"
    assert oven.batches == [[0, 1, 2, 3, 4], [5]]


async def test_a_go_has_a_largest_size() -> None:
    oven = Oven()
    baked = GroupCommit(oven.bake)
    await asyncio.gather(*(baked(n) for n in range(LARGEST + 1)))
    assert [len(batch) for batch in oven.batches] == [LARGEST, 1]


async def test_one_that_fails_harms_no_other() -> None:
    baked = GroupCommit(Oven().bake)
    first, second, third = await asyncio.gather(baked(1), baked(-2), baked(3), return_exceptions=True)
    assert (first, third) == ("1 loaves", "3 loaves")
    assert isinstance(second, ValueError)


async def test_an_outage_is_everybodys_and_is_not_tried_again_for_each() -> None:
    oven = Oven()
    oven.away = True
    answers = await asyncio.gather(*map(GroupCommit(oven.bake), range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Outage] * 3
    assert len(oven.batches) == 1


async def test_who_has_gone_is_not_waited_for() -> None:
    baked = GroupCommit(Oven().bake)
    going, staying = asyncio.create_task(baked(1)), asyncio.create_task(baked(2))
    await asyncio.sleep(0)
    going.cancel()
    assert await staying == "2 loaves"


async def accept(orders: Orders, order: Order, key: str | None = None) -> Accepted:
    return await orders.accept(order, owner="shop:1", key=key or order.order_id, fingerprint=b"same")


async def test_orders_that_come_at_once_are_accepted_in_one_transaction_in_the_order_they_came(pool: Pool) -> None:
    orders, wanted = Orders(pool, TABLE), [an_order(cup=1) for _ in range(50)]
    await asyncio.gather(*(accept(orders, order) for order in wanted))
    rows = await fetch(pool, "SELECT subject, xmin::text FROM subjects ORDER BY position")
    assert [row["subject"] for row in rows] == [order.order_id for order in wanted]
    assert len({row["xmin"] for row in rows}) == 1


async def test_of_one_key_at_once_the_first_is_accepted_and_the_others_get_its_order(pool: Pool) -> None:
    orders, wanted = Orders(pool, TABLE), [an_order(cup=1) for _ in range(20)]
    answers = await asyncio.gather(*(accept(orders, order, key="one") for order in wanted))
    assert {answer.order_id for answer in answers} == {wanted[0].order_id}
    assert [answer.replayed for answer in answers] == [False] + [True] * 19


async def test_an_order_that_the_database_refuses_does_not_keep_the_others_out(pool: Pool) -> None:
    orders, good = Orders(pool, TABLE), [an_order(cup=1) for _ in range(3)]
    bad = an_order(cup=1).model_copy(update={"total": 0})
    answers = await asyncio.gather(*(accept(orders, order) for order in (*good, bad)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Accepted] * 3 + [asyncpg.CheckViolationError]
    with pytest.raises(asyncpg.CheckViolationError):
        await accept(orders, bad)
