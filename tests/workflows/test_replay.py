"""New code replays old histories: an order that is on its way when a deployment happens goes on.

`pytest tests/workflows --record-histories` tells the stories anew. Do that for a change that is meant to break
old histories only when no order can be on its way.
"""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from chain.table import Join, Route, route, way_back
from orders.events import CartConfirmed, PaymentConfirmed, PaymentDeclined
from tests.workflows.conftest import HISTORIES, reroute
from workflows.chains import CHAINS
from workflows.order_confirmation import CART, PRICE, REFUND, REJECT, RELEASE

STORIES = sorted(HISTORIES.glob("*.json"))

every_story = pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)


def told(story: Path) -> WorkflowHistory:
    events = WorkflowHistory.from_json("", story.read_text()).events
    return WorkflowHistory(events[0].workflow_execution_started_event_attributes.workflow_id, events)


async def replay(history: WorkflowHistory) -> None:
    workflows = [chain.workflow for chain in CHAINS.values()]
    replayer = Replayer(workflows=workflows, data_converter=pydantic_data_converter)
    await replayer.replay_workflow(history)


@every_story
async def test_an_old_history_is_replayed_by_the_code_of_today(story: Path) -> None:
    await replay(told(story))


def test_all_stories_are_told() -> None:
    assert {story.stem for story in STORIES} >= {
        "confirmed",
        "payment_already_used",
        "payment_amount_mismatch",
        "payment_currency_mismatch",
        "payment_declined",
        "payment_expired",
        "payment_not_found",
        "payment_timeout",
        "pending_confirmed",
        "out_of_stock",
        "price_changed",
        "unknown_sku",
        "parked_released",
        "parked_rejected",
        "cancelled",
        "late_payment",
        "parked_in_bulk",
        "parked_in_bulk_unpatched",
        "batch_split",
        "call_assigned",
        "call_waits",
        "call_hung_up",
        "call_parked",
        "call_parked_twice",
        "calls_in_a_batch",
    }


@every_story
def test_a_history_names_nobodys_machine(story: Path) -> None:
    assert "stackTrace" not in story.read_text()
    assert "@" not in story.read_text(), "the default identity is pid@host"


CHECKED = Join("checks", into=CartConfirmed)


@pytest.mark.parametrize(
    "changed",
    [
        route(CART, join=CHECKED),
        route((PRICE, CART), join=CHECKED),
        route((CART, PRICE), REFUND, join=CHECKED),
    ],
    ids=["without the price", "the price first", "with a refund"],
)
async def test_a_changed_table_does_not_replay_unnoticed(changed: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    reroute(monkeypatch, PaymentConfirmed, changed)

    with pytest.raises(NondeterminismError):
        await replay(told(HISTORIES / "confirmed.json"))


async def test_a_way_back_without_refund_does_not_replay_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reroute(monkeypatch, PaymentDeclined, way_back(RELEASE, REJECT))

    with pytest.raises(NondeterminismError):
        await replay(told(HISTORIES / "payment_declined.json"))


async def test_an_order_parked_before_the_patch_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    before = told(HISTORIES / "parked_in_bulk_unpatched.json")
    await replay(before)

    monkeypatch.setattr("workflows.router.workflow.patched", lambda _: True)
    with pytest.raises(NondeterminismError):
        await replay(before)
