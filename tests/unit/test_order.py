import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orders.order import Line, Order, new_order_id

LINES = st.lists(
    st.builds(
        Line,
        sku=st.sampled_from(["cup", "tea", "pot"]),
        quantity=st.integers(min_value=1, max_value=100),
        unit_price=st.integers(min_value=1, max_value=100),
    ),
    min_size=1,
    max_size=10,
)


def order(*lines: Line, **changes: Any) -> Order:
    told = {
        "order_id": "order1",
        "customer_id": "cus_42",
        "payment_id": "pay_1",
        "currency": "EUR",
        "lines": lines,
        "total": sum(line.quantity * line.unit_price for line in lines),
        "received_at": datetime.now(UTC),
    }
    return Order.model_validate(told | changes)


def line(sku: str, quantity: int = 1, unit_price: int = 100) -> Line:
    return Line(sku=sku, quantity=quantity, unit_price=unit_price)


def test_lines_of_one_sku_are_summed() -> None:
    assert order(line("cup", 2), line("tea", 1), line("cup", 3)).quantities() == {"cup": 5, "tea": 1}


@given(LINES)
def test_nothing_is_lost_in_summing(lines: list[Line]) -> None:
    quantities = order(*lines).quantities()

    assert sum(quantities.values()) == sum(line.quantity for line in lines)
    assert quantities.keys() == {line.sku for line in lines}


@pytest.mark.parametrize(
    ("lines", "summary"),
    [
        ([line("cup", 1, 500)], "1 item · EUR 5.00 · cus_42"),
        ([line("cup", 2, 1350), line("tea", 1, 1450)], "3 items · EUR 41.50 · cus_42"),
    ],
)
def test_an_order_is_summarised_in_one_line(lines: list[Line], summary: str) -> None:
    assert order(*lines).summary() == summary


@pytest.mark.parametrize(
    "changes",
    [
        {"currency": "XYZ"},
        {"customer_id": "cus\n42"},
        {"customer_id": ""},
        {"payment_id": "p" * 129},
        {"payment_id": ".."},
        {"received_at": datetime(2030, 1, 1)},  # noqa: DTZ001, the point
        {"discount": 5},
    ],
)
def test_an_order_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        order(line("cup"), **changes)


@pytest.mark.parametrize("quantity", [0, -1, 10_001, 1.0, "1"])
def test_a_quantity_is_a_whole_number_within_reason(quantity: Any) -> None:
    with pytest.raises(ValidationError):
        Line(sku="cup", quantity=quantity, unit_price=1)


def test_an_order_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        order(line("cup")).total = 1  # type: ignore[misc]


def test_an_order_id_has_at_most_16_characters_that_need_no_quoting() -> None:
    order_id = new_order_id()

    assert len(order_id) == 16
    assert order_id.isalnum()
    assert order_id.islower()


def test_order_ids_follow_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for second in range(100):
        now = 2_000_000_000 + second
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(time, "time_ns", lambda now=now: now * 10**9)
        ids.append(new_order_id())

    assert ids == sorted(ids)
    assert len({order_id[:10] for order_id in ids}) == 100, "the clock was not asked"


def test_order_ids_of_one_moment_differ() -> None:
    assert len({new_order_id() for _ in range(1000)}) == 1000
