"""Whoever starts a program without what it needs, or with what it cannot use, is told so in a line each."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateways import sandbox as adapter
from gateways.choice import PaymentSettings
from lanka import settings, settings_page
from lanka.settings import (
    GROUPS,
    TESTS_ONLY,
    ApiSettings,
    Payments,
    Servers,
    Terminal,
    WorkerSettings,
    kind,
    load_settings,
    variable,
)
from sandbox.settings import Settings as Sandbox

ROOT = Path(__file__).parents[2]
SECRET = "whsec_bGFua2EgbGFua2EgbGFua2EgbGFua2E="
EVERYTHING = {variable(group, name): (group, name) for group in GROUPS for name in group.model_fields}

Refused = Callable[..., list[str]]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What is said, line by line, where nothing starts with these."""

    def refused(**environment: str) -> list[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            load_settings(ApiSettings, WorkerSettings, Terminal)
        assert ended.value.code == 2
        return capsys.readouterr().err.splitlines()

    return refused


@pytest.fixture(autouse=True)
def a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):  # which loading sets
        monkeypatch.setenv(name, "intranet")
    monkeypatch.setenv("DATABASE_URL", "postgresql://somewhere")


def test_settings_come_from_the_environment() -> None:
    assert load_settings(ApiSettings).database_url == "postgresql://somewhere"


def test_an_option_stands_for_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_API_PORT", "1")
    found = load_settings(ApiSettings, database_url="postgresql://other", api_port=2, api_host=None)
    assert (found.database_url, found.api_port, found.api_host) == ("postgresql://other", 2, "127.0.0.1")


def test_a_part_gets_what_it_has_fields_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_PAYMENTS_URL", "http://bank")
    assert load_settings(ApiSettings).of(PaymentSettings) == PaymentSettings(payments_url="http://bank")


def test_all_that_is_wrong_is_told_at_once(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    assert refused(LANKA_BATCH_SIZE="abc", LANKA_PAYMENT_DEADLINE_SECONDS="-1", LANKA_BATCHSIZE="5") == [
        "lanka: DATABASE_URL is not set: an address such as postgresql://user:password@host:5432/database is needed",
        "lanka: LANKA_BATCHSIZE: there is no such setting; did you mean LANKA_BATCH_SIZE?",
        "lanka: LANKA_BATCH_SIZE=abc: a whole number from 1 to 100 is needed",
        "lanka: LANKA_PAYMENT_DEADLINE_SECONDS=-1: a whole number from 1 to 2592000 is needed",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "mysql://host/db"),
        ("DATABASE_URL", "postgresql://host:port/db"),
        ("DATABASE_URL", "postgresql+asyncpg://host/db"),
        ("TEMPORAL_ADDRESS", "foo"),
        ("TEMPORAL_ADDRESS", "http://temporal:7233"),
        ("LANKA_PAYMENTS_URL", "foo"),
        ("LANKA_PAYMENTS_URL", "localhost:8090"),
        ("LANKA_PUBLIC_URL", "https://"),
        ("LANKA_WEBHOOK_SECRET", "abc"),
        ("LANKA_WEBHOOK_SECRET", "whsec_short"),
        ("LANKA_SHOP_KEY", "abc"),
        ("LANKA_BATCH_SIZE", "0"),
        ("LANKA_BATCH_SIZE", "101"),
        ("LANKA_BATCHES", "1.5"),
        ("LANKA_GATHER_SECONDS", "-1"),
        ("LANKA_GATHER_SECONDS", "nan"),
        ("LANKA_BACKLOG", "0"),
        ("LANKA_BACKLOG_SECONDS", "0"),
        ("LANKA_API_PORT", "65536"),
        ("LANKA_API_PORT", "http"),
        ("LANKA_WORKER_PORT", "-1"),
        ("LANKA_WORKER_HOST", "http://0.0.0.0"),
        ("LANKA_PAYMENT_DEADLINE_SECONDS", "0"),
        ("LANKA_PRICE_TOLERANCE_BASIS_POINTS", "10001"),
        ("LANKA_MAX_BODY_BYTES", "many"),
        ("LANKA_PAYMENTS", "strip"),
        ("LANKA_TRUSTED_PROXIES", "10.0.0.0/40"),
    ],
)
def test_what_a_variable_cannot_hold_is_told(refused: Refused, name: str, value: str) -> None:
    (line,) = refused(**{name: value})
    held = "" if name in {"DATABASE_URL", "LANKA_WEBHOOK_SECRET", "LANKA_SHOP_KEY"} else f"={value}"
    assert line.startswith(f"lanka: {name}{held}: ")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@h:5432/db",
        "postgresql://u:p%40@h/db?sslmode=disable",
        "postgresql://h/db?application_name=x&sslmode=require",
        "postgresql://u@[::1]:5432/db",
        "postgresql://one:5432,two:5433/db?target_session_attrs=read-write",
        "postgresql:///db?host=/var/run/postgresql",
    ],
)
def test_the_database_may_be_named_as_its_clients_know_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert load_settings(ApiSettings).database_url == url


def test_no_secret_is_shown(refused: Refused) -> None:
    secrets = {name: "s3cr3t" for name, (group, field) in EVERYTHING.items() if not group.model_fields[field].repr}
    lines = refused(**secrets)
    assert len(lines) == len(secrets) >= 4
    assert not any("s3cr3t" in line for line in lines)


def test_empty_means_not_set_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (EVERYTHING.keys() - {"DATABASE_URL"}) | {"TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "PGSSLMODE"}:
        monkeypatch.setenv(name, "")
    assert load_settings(ApiSettings, WorkerSettings, Terminal).batch_size == 100
    assert not {"TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "PGSSLMODE"} & os.environ.keys()
    monkeypatch.setenv("DATABASE_URL", "")
    assert load_settings(Servers).database_url is None


def test_what_kubernetes_says_of_a_service_is_not_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    services = {
        "LANKA_API_SERVICE_HOST": "10.0.0.1",
        "LANKA_API_SERVICE_PORT": "8000",
        "LANKA_API_SERVICE_PORT_HTTP": "8000",
        "LANKA_API_PORT": "tcp://10.0.0.1:8000",
        "LANKA_API_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "LANKA_API_PORT_8000_TCP_PROTO": "tcp",
        "LANKA_API_PORT_8000_TCP_PORT": "8000",
        "LANKA_API_PORT_8000_TCP_ADDR": "10.0.0.1",
        "LANKA_PORT": "tcp://10.0.0.1:8000",
        "SANDBOX_PORT": "tcp://10.0.0.1:8090",
    }
    for name, value in services.items():
        monkeypatch.setenv(name, value)
    assert load_settings(ApiSettings).api_port == 8000
    assert Sandbox().port == 8090


def test_what_the_tests_set_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TESTS_ONLY:
        monkeypatch.setenv(name, "x")
    load_settings(Servers)


class Bank(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LANKA_BANK_", env_ignore_empty=True)

    branch: int


def test_what_a_payment_provider_declares_is_known_and_needed(
    monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(adapter, "Settings", Bank, raising=False)
    assert refused() == ["lanka: LANKA_BANK_BRANCH is not set: a whole number is needed"]
    assert refused(LANKA_BANK_BRANCH="x") == ["lanka: LANKA_BANK_BRANCH=x: a whole number is needed"]
    monkeypatch.setenv("LANKA_BANK_BRANCH", "7")
    load_settings(Payments)
    load_settings(Servers)


def test_what_a_chain_declares_is_known_and_needed(tmp_path: Path) -> None:
    (tmp_path / "abroad.py").write_text(
        "from dataclasses import replace\n"
        "from pydantic_settings import BaseSettings, SettingsConfigDict\n"
        "import support\n"
        "CHAIN = replace(support.CHAIN, name='abroad')\n"
        "class Settings(BaseSettings):\n"
        "    model_config = SettingsConfigDict(env_prefix='LANKA_ABROAD_', env_ignore_empty=True)\n"
        "    country: str\n"
    )

    def said(**environment: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", "from lanka.settings import *; load_settings(ApiSettings); print('loaded')"],
            env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "DATABASE_URL": "postgresql://h", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        ).stdout

    assert said(LANKA_CHAINS="abroad") == "lanka: LANKA_ABROAD_COUNTRY is not set: a text is needed\n"
    assert said(LANKA_CHAINS="abroad", LANKA_ABROAD_COUNTRY="ee") == "loaded\n"
    assert "LANKA_ABROAD_CONTRY: there is no such setting; did you mean LANKA_ABROAD_COUNTRY?" in said(
        LANKA_CHAINS="abroad", LANKA_ABROAD_CONTRY="ee"
    )
    assert said(LANKA_CHAINS="abrod", LANKA_BATCHES="0") == (
        "lanka: LANKA_BATCHES=0: a whole number from 1 to 10000 is needed\n"
        "lanka: LANKA_CHAINS=abrod: the module abrod has no chain: No module named 'abrod'\n"
    )


def test_a_profile_of_temporal_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "temporal.toml").write_text("broken = [")
    (line,) = refused(TEMPORAL_CONFIG_FILE=str(tmp_path / "temporal.toml"))
    assert line.startswith("lanka: Temporal's own settings (TEMPORAL_..., profile): ")
    load_settings(Servers)  # nobody reads it where the embedded one is used


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "localhost,127.0.0.1,::1"),
        ("intranet", "intranet,localhost,127.0.0.1,::1"),
        ("*", "*"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_nothing_on_this_machine_is_behind_a_proxy(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
        if before is not None:
            monkeypatch.setenv(name, before)
    load_settings(Servers)
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == after


# ---- the page ----------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_settings_are() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page.page()


@pytest.mark.parametrize("group", [*GROUPS, Sandbox])
def test_every_setting_has_a_sentence_and_every_number_a_range(group: type[BaseSettings]) -> None:
    for name, field in group.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert " from " in kind(group, name) or "number" not in kind(group, name), name


def test_nobody_else_reads_the_environment() -> None:
    """But for what is there before anything is read, and for what libraries read."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for room in ("chain", "orders", "activities", "workflows", "support", "store", "gateways", "dispatch", "api")
        for path in (ROOT / room).rglob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"|(?:BaseSettings)", path.read_text())
    }
    assert found == {
        "store/failpoints.py: LANKA_FAIL_POINT",
        "store/failpoints.py: LANKA_FAIL_ONCE",
        "workflows/chains.py: LANKA_CHAINS",
        "workflows/order_details.py: LANKA_PUBLIC_URL",
    }
    assert {"LANKA_FAIL_POINT", "LANKA_FAIL_ONCE"} <= settings.TESTS_ONLY
