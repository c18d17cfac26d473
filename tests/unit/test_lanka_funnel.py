import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from lanka.funnel import shown


@pytest.fixture
def kathmandu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()


def told(*hours: dict[str, Any]) -> list[str]:
    ends = {"received": 5, "confirmed": 3, "rejected": 1, "cancelled": 1}
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(shown({"links": [], "conversion": 0.6, "hours": hours, **ends}, 24))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def an_hour(hour: int, received: int, confirmed: int) -> dict[str, Any]:
    begins = f"2026-07-01T{hour:02}:00:00Z"
    return {"hour": begins, "received": received, "confirmed": confirmed, "rejected": 0, "cancelled": 0}


def test_what_became_of_the_orders_is_told_hour_by_hour_in_the_time_of_this_place(kathmandu: None) -> None:
    lines = told(an_hour(9, 2, 1), an_hour(10, 0, 0), an_hour(11, 3, 2))
    assert lines[-3:] == ["hour received confirmed rejected cancelled", "07-01 14:45 2 1 · ·", "07-01 16:45 3 2 · ·"]


def test_one_hour_needs_no_table_of_its_own() -> None:
    assert told(an_hour(9, 5, 3))[-1] == "those that ended)"
