import pytest

from lanka.funnel import duration


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
