"""What a command prints, whatever reads it and whatever is in it."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from lanka.output import _table, ago, duration, make_safe, printable, show_json, without_colour

PARKED = {
    "subject": "01m841jgb2p35sdv",
    "link": "payment",
    "reason": "unexpected_answer",
    "attempts": 3,
    "since": "2026-01-01T10:00:00.123456Z",
    "last_error": "what the provider says " * 9,
    "id": "01m841jgb2p35sdv.payment.parked.0a1b2c3d",
}


def listed(*rows: dict[str, Any], width: int = 80) -> list[str]:
    columns = ("subject", "link", "reason", "attempts", "since")
    return [*_table(rows, columns, ("last_error", "id"), width)]


def test_a_list_fits_80_columns_and_an_id_stays_whole() -> None:
    lines = listed(PARKED, PARKED | {"attempts": 12, "last_error": "Ж" * 300})
    assert max(cell_len(line) for line in lines) <= 80
    assert lines[0].split() == ["subject", "link", "reason", "attempts", "since"]
    assert lines[1].endswith(" d ago")
    assert f"    {PARKED['id']}" in lines
    assert sum(line.startswith("    ") for line in lines) > 4, "a long error is folded"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("subject", ["call1", "c" * 128, "дзвінок-" * 16])
def test_an_id_is_on_one_line_however_long_it_is(subject: str, width: int) -> None:
    lines = listed(PARKED | {"subject": subject})
    assert any(line.split("  ")[0] == subject for line in lines)
    assert max(cell_len(line) for line in lines if subject not in line) <= 80


def test_what_is_too_wide_for_columns_is_told_one_after_the_other() -> None:
    lines = listed(PARKED | {"link": "a-link-with-quite-a-long-name" * 3})
    assert max(map(cell_len, lines)) <= 80
    assert "3  " in " ".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("two\nlines\tof  text ", "two lines of text"),
        ("\x1b[2Jgone\x07", "\\x1b[2Jgone\\x07"),
        ("a\u202eb\ud83d", "a\\u202eb\\ud83d"),
        ("Кава ☕", "Кава ☕"),
    ],
)
def test_text_from_outside_does_not_steer_the_terminal(text: str, told: str) -> None:
    assert printable(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("✔ ┬ cart · 3 items…", "+ + cart - 3 items~"),
        ("⠋ waits", "* waits"),
        ("café “Lviv” — 2 × 3", 'cafe "Lviv" - 2 x 3'),
        ("ланка", "\\u043b\\u0430\\u043d\\u043a\\u0430"),
    ],
)
def test_where_only_ascii_is_understood_everything_is_told_in_that(
    monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    make_safe({})
    print(text, end="", flush=True)  # noqa: T201
    assert written.getvalue().decode() == told


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),  # how Python itself changes it
        ({"LANG": "uk_UA.UTF-8", "LC_ALL": "POSIX"}, True),
        ({"TERM": "dumb", "LANG": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
        ({}, False),
    ],
)
def test_a_terminal_gets_ascii_where_its_locale_says_so(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], ascii_only: bool
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    make_safe(environ)
    assert (stream.encoding == "ascii") is ascii_only


def test_a_lone_surrogate_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8"))
    make_safe({})
    print("\udcff", end="", flush=True)  # noqa: T201
    assert written.getvalue() == b"\\udcff"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_says_the_same_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    make_safe({})
    show_json({"sku": "кава ☕ \x1b"})
    assert json.loads(written.getvalue().decode(encoding)) == {"sku": "кава ☕ \x1b"}


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_refused(environ: dict[str, str]) -> None:
    assert without_colour(environ)
    assert not without_colour({"TERM": "xterm", "NO_COLOR": ""})


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


def test_a_time_is_told_by_how_long_ago_it_was() -> None:
    now = datetime.now(UTC)
    assert ago((now - timedelta(minutes=12, seconds=5)).isoformat()) == "12 min ago"
    assert ago((now + timedelta(seconds=5)).isoformat()) == "0 s ago", "a clock that is behind"
    assert ago(None) == ""
