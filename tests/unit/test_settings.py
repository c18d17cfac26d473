"""Whoever starts a program without what it needs, or with what it cannot use, is told so in a line each."""

from collections.abc import Callable

import pytest

from gateways.choice import PaymentSettings
from lanka.settings import ApiSettings, WorkerSettings, load_settings

Refused = Callable[..., list[str]]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What is said, line by line, where the API and the worker do not start with these."""

    def refused(**environment: str) -> list[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            load_settings(ApiSettings, WorkerSettings)
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()

    return refused


@pytest.fixture(autouse=True)
def a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")


def test_settings_come_from_the_environment() -> None:
    assert load_settings(ApiSettings).database_url == "postgresql://somewhere"


def test_all_that_is_wrong_is_told_at_once(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    assert refused(LANKA_BATCH_SIZE="abc", LANKA_PAYMENT_DEADLINE_SECONDS="-1", LANKA_BATCHSIZE="5") == [
        "lanka: DATABASE_URL is not set: an address such as postgresql://user:password@host:5432/database is needed",
        "lanka: LANKA_BATCHSIZE: there is no such setting; did you mean LANKA_BATCH_SIZE?",
        "lanka: LANKA_BATCH_SIZE=abc: a whole number from 1 to 100 is needed",
        "lanka: LANKA_PAYMENT_DEADLINE_SECONDS=-1: a whole number from 1 to 2592000 is needed",
    ]


def test_a_part_gets_what_it_has_fields_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_PAYMENTS_URL", "http://bank")
    assert load_settings(ApiSettings).of(PaymentSettings) == PaymentSettings(payments_url="http://bank")
