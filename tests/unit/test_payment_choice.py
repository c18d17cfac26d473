"""Which payment providers a shop has is a setting; each is a file."""

import json
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from gateways.choice import PaymentSettings, payment_provider, payment_webhooks
from lanka.settings import Payments, load_settings
from orders.ports import NotGenuineError, UnreadableNewsError

SECRET = "whsec_bGFua2EgbGFua2EgbGFua2EgbGFua2E="


def signed(body: str) -> dict[str, str]:
    at = datetime.now(UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", at, body),
    }


@pytest.mark.parametrize("names", ["sandbox", " sandbox ,", ""])
async def test_the_first_provider_of_the_list_takes_new_orders(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_PAYMENTS", names)
    provider = payment_provider(load_settings(Payments).of(PaymentSettings))
    assert provider.name == "sandbox"
    await provider.close()


def test_whoever_names_a_provider_that_nobody_knows_is_told_which_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LANKA_PAYMENTS", "sandbox, strip")
    with pytest.raises(SystemExit):
        load_settings(Payments)
    assert "LANKA_PAYMENTS=sandbox, strip: there is no provider strip; there are: sandbox\n" in capsys.readouterr().err


def test_news_is_believed_with_its_signature_only() -> None:
    body = json.dumps({"data": {"payment_id": "pay_1"}, "more": 1})
    webhooks = payment_webhooks(PaymentSettings(webhook_secret=SECRET))["sandbox"]
    assert webhooks.verify(signed(body), body.encode()) == ("msg_1", "pay_1", None)
    for headers in ({}, signed(body + " "), signed(body) | {"webhook-signature": "v1,!"}):
        with pytest.raises(NotGenuineError):
            webhooks.verify(headers, body.encode())


@pytest.mark.parametrize("body", ["{", "[]", '{"data": {}}', '{"data": {"payment_id": "a "}}', "[" * 100_000])
def test_genuine_news_that_names_no_payment_is_unreadable(body: str) -> None:
    webhooks = payment_webhooks(PaymentSettings(webhook_secret=SECRET))["sandbox"]
    with pytest.raises(UnreadableNewsError):
        webhooks.verify(signed(body), body.encode())


def test_without_a_secret_nobody_is_believed() -> None:
    assert payment_webhooks(PaymentSettings()) == {}
