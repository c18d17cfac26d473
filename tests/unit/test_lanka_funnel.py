import io
from typing import Any

import pytest
from rich.console import Console

from lanka.funnel import duration, shown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (0.0401, "40 ms"),
        (2.51, "2.5 s"),
        (720, "12 min"),
        (3 * 3600, "3 h"),
        (50 * 3600, "2 d"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_fits(seconds: float | None, told: str) -> None:
    assert duration(seconds) == told


def told(*hours: dict[str, Any]) -> list[str]:
    ends = {"received": 5, "confirmed": 3, "rejected": 1, "cancelled": 1}
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(shown({"links": [], "conversion": 0.6, "hours": hours, **ends}, 24))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def an_hour(hour: int, received: int, confirmed: int) -> dict[str, Any]:
    begins = f"2026-07-01T{hour:02}:00:00Z"
    return {"hour": begins, "received": received, "confirmed": confirmed, "rejected": 0, "cancelled": 0}


def test_what_became_of_the_orders_is_told_hour_by_hour() -> None:
    lines = told(an_hour(9, 2, 1), an_hour(10, 0, 0), an_hour(11, 3, 2))
    assert lines[-3:] == ["UTC received confirmed rejected cancelled", "07-01 09:00 2 1 · ·", "07-01 11:00 3 2 · ·"]


def test_one_hour_needs_no_table_of_its_own() -> None:
    assert told(an_hour(9, 5, 3))[-1] == "those that ended)"
