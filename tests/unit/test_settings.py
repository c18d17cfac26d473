"""Whoever starts a program without what it needs is told what that is."""

import pytest
import typer

from api.app import Settings
from lanka.settings import load_settings


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("LANKA_MAX_BODY_BYTES", "many")
    with pytest.raises(typer.BadParameter) as told:
        load_settings(Settings)
    assert "DATABASE_URL: field required" in str(told.value)
    assert "LANKA_MAX_BODY_BYTES" in str(told.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")
    assert load_settings(Settings).database_url == "postgresql://somewhere"
