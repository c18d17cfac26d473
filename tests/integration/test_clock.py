"""PostgreSQL's clock decides. A process whose host has another time works as well, and says that it is not ready."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from api.events import STRUCTURED
from orders.order import Order
from orders.payment import PaymentStatus
from store.catalogue import Catalogue
from store.database import Pool
from store.payments import Payments
from tests.integration.conftest import OPERATOR, serving
from tests.shop import (
    TwinProvider,
    accept,
    an_order,
    batch,
    fetch,
    paid,
    payment_confirmed,
    stock_up,
    the_journal,
)

WANTED = {
    "customer_id": "cus_1",
    "payment_id": "pay_1",
    "currency": "EUR",
    "lines": [{"sku": "NEW", "quantity": 1, "unit_price": 750}],
}
CALL = {
    "specversion": "1.0",
    "id": "1",
    "source": "/pbx",
    "type": "lanka.SupportCallStarted",
    "subject": "call_1",
    "data": {"customer_id": "cus_1", "language": "uk", "skill": "orders"},
}


@pytest.fixture
def faketime() -> str:
    """The library that gives a process another time, where this machine has it."""
    found = [each for each in Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1") if os.access(each, os.R_OK)]
    if not found:
        pytest.skip("libfaketime is not here: `apt-get install faketime` brings it")
    return str(found[0])


@pytest.fixture(params=["-2h", "+2h"])
def skewed(request: pytest.FixtureRequest, faketime: str) -> dict[str, str]:
    """The environment of a process whose clock is wrong."""
    return {"LD_PRELOAD": faketime, "FAKETIME": request.param, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


async def test_an_api_with_a_wrong_clock_accepts_at_the_right_time_and_price_and_is_not_ready(
    shop: str, pool: Pool, skewed: dict[str, str]
) -> None:
    async with serving(shop, **skewed) as api:
        for price in (700, 750):  # two hours ago it had none, and a moment ago another one
            product = {"name": "New", "unit_price": price, "currency": "EUR", "on_hand": 10}
            assert (await api.put("/catalogue/NEW", json=product, headers=OPERATOR)).is_success
        answer = await api.post("/orders", json=WANTED, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 202
        assert (await api.post("/events", json=CALL, headers={"Content-Type": STRUCTURED})).status_code == 202
        ready = await api.get("/readyz")
    (received,) = await the_journal(pool).of(answer.json()["order_id"])
    order = Order.model_validate(received.data["order"])
    checked = await CheckPrice(the_journal(pool), Catalogue(pool), 0).check_price(
        batch("price", [payment_confirmed(order)])
    )
    assert [event.type for event in checked.events] == ["lanka.PriceConfirmed"]
    assert (ready.status_code, ready.json()["code"]) == (503, "clocks_disagree")
    assert "LANKA_CLOCK_SKEW_SECONDS" in ready.json()["detail"]
    times = await fetch(
        pool, "SELECT now() - time AS age FROM journal UNION ALL SELECT now() - received_at FROM subjects"
    )
    assert all(timedelta(0) <= row["age"] < timedelta(hours=1) for row in times)
    assert len(times) == 5  # two subjects, what each began with, and the confirmed price


async def test_the_deadline_of_a_payment_is_that_of_postgresql(pool: Pool) -> None:
    await stock_up(pool, cup=1)
    order = an_order(cup=1)
    (received,) = await accept(pool, order)
    payment = paid(order, PaymentStatus.PENDING)
    check = CheckPayment(the_journal(pool), Payments(pool), TwinProvider(payment), timedelta(minutes=15))
    (pending,) = (await check.check_payment(batch("payment", [received]))).events
    assert (await check.settle_payment(batch("settle", [pending]))).left_out == [order.order_id]
    passed = pending.model_copy(update={"data": pending.data | {"deadline": await pool.fetchval("SELECT now()")}})
    (refused,) = (await check.settle_payment(batch("settle", [passed]))).events
    assert refused.data["reason"] == "payment_timeout"
