"""Which chains there are, and how a batch is shown and found in the Temporal Web UI."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.common import SearchAttributeKey

from chain.event import AnyEvent, Kind
from orders.events import OrderReceived
from orders.order import new_order_id
from tests.shop import an_order, untyped
from tests.unit.twins import NOW
from workflows import chains
from workflows.chains import CHAINS
from workflows.ui_details import CUSTOMER_IDS, MAX_ATTRIBUTE_BYTES, ORDER_IDS

CHAIN = CHAINS["orders"]


def received(*customers: str) -> list[AnyEvent]:
    orders = [an_order(customer_id=customer, cup=2, tea=1) for customer in customers]
    return [untyped(OrderReceived.made_by("intake", o.order_id, NOW, {"order": o})) for o in orders]


def stored(values: Sequence[str]) -> int:
    """How many bytes a keyword list takes in Temporal."""
    return len(json.dumps(values, separators=(",", ":")).encode())


def found_by(events: Sequence[AnyEvent], key: SearchAttributeKey[Sequence[str]]) -> Sequence[str] | None:
    return CHAIN.attributes(events).get(key)


def test_one_order_is_summarised_by_itself() -> None:
    assert CHAIN.summary(received("cus_42")) == "3 items · EUR 7.50 · cus_42"


def test_a_batch_is_summarised_in_numbers() -> None:
    assert CHAIN.summary(received("cus_1", "cus_2", "cus_2")) == "3 orders · 9 items"


def test_one_that_nobody_can_read_does_not_keep_the_others_from_being_dispatched() -> None:
    *readable, broken = received("cus_1", "cus_2", "cus_3")
    unreadable = broken.model_copy(update={"data": {"order": "?"}})

    assert CHAIN.summary([unreadable]) == "an order that cannot be read"
    assert CHAIN.summary([unreadable, *readable]) == "3 orders · 6 items"
    assert found_by([unreadable, *readable], CUSTOMER_IDS) == ["cus_1", "cus_2"]
    assert found_by([unreadable], ORDER_IDS) == [unreadable.subject]


def test_one_order_is_one_workflow_and_several_share_one() -> None:
    assert CHAIN.workflow_id(["first"]) == "order-first"
    assert CHAIN.workflow_id(["first", "second"]) == "batch-first"


def test_a_batch_is_found_by_each_order_and_each_customer() -> None:
    events = received("cus_2", "cus_1", "cus_2")

    assert found_by(events, ORDER_IDS) == [event.subject for event in events]
    assert found_by(events, CUSTOMER_IDS) == ["cus_1", "cus_2"]


def test_a_hundred_order_ids_fit() -> None:
    events = received(*["cus_1"] * 100)

    assert stored(found_by(events, ORDER_IDS) or []) <= MAX_ATTRIBUTE_BYTES
    assert stored([new_order_id() for _ in range(100)]) <= MAX_ATTRIBUTE_BYTES


def test_the_ids_of_more_than_fit_are_left_out() -> None:
    assert found_by(received(*["cus_1"] * 150), ORDER_IDS) is None


@pytest.mark.parametrize("length", range(10, 30))
def test_customers_are_left_out_rather_than_too_long(length: int) -> None:
    customers = [f"{number:0{length}}" for number in range(100)]

    told = found_by(received(*customers), CUSTOMER_IDS)

    fits = stored(customers) < MAX_ATTRIBUTE_BYTES
    assert (told is not None) is fits
    assert stored(told or []) <= MAX_ATTRIBUTE_BYTES


def test_a_chain_of_another_package_takes_part_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls_abroad.py").write_text(
        "from dataclasses import replace\nimport support\nCHAIN = replace(support.CHAIN, name='abroad')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LANKA_CHAINS", " calls_abroad, support,")

    found = {"orders": "workflows.order_confirmation", "support": "support", "abroad": "calls_abroad"}
    assert chains._load() == (found, [])


def test_what_is_no_chain_is_told_in_a_sentence_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calls_again.py").write_text("from support import CHAIN\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LANKA_CHAINS", "calls_again,nonsense,json")

    found, problems = chains._load()

    assert [*found] == ["orders", "support"]
    assert problems == [
        "the modules support and calls_again both have a chain called support",
        "the module nonsense has no chain: No module named 'nonsense'",
        "the module json has no chain: module 'json' has no attribute 'CHAIN'",
    ]


def test_what_may_come_from_outside_is_known_by_its_kind() -> None:
    assert [(each.type, each.chain, each.kind, each.status) for each in chains.accepted()] == [
        ("lanka.SupportCallStarted", "support", Kind.START, "received"),
        ("lanka.SupportCallEnded", "support", Kind.END, "ended"),
    ]
