"""Which payment providers the shop has: LANKA_PAYMENTS names them, and each is a module of this package.

Such a module has `provider(settings)` and `webhooks(settings)`, and may read settings of its own.
"""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Annotated, Protocol

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import gateways
from orders.ports import PaymentBooks, PaymentProvider, PaymentWebhooks

DEFAULT = ("sandbox",)


class PaymentGateway(PaymentProvider, PaymentBooks, Protocol):
    """All that Lanka asks of one provider."""

    async def close(self) -> None: ...


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    there = [each.name for each in pkgutil.iter_modules(gateways.__path__) if hasattr(_module(each.name), "provider")]
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"there is no payment provider {', '.join(map(repr, unknown))}; there are: {', '.join(there)}")
    return names


def _module(name: str) -> ModuleType:
    return import_module(f"gateways.{name}")


def _listed(names: object) -> object:
    return tuple(filter(None, map(str.strip, names.split(",")))) or DEFAULT if isinstance(names, str) else names


class PaymentSettings(BaseSettings):
    """`payments`: the providers by name, divided by commas; the first takes new orders."""

    model_config = SettingsConfigDict(env_prefix="LANKA_")

    payments: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_known)] = DEFAULT
    payments_url: str = "http://127.0.0.1:8090"
    webhook_secret: str | None = None


def payment_provider(settings: PaymentSettings) -> PaymentGateway:
    """The one that takes new orders. To be made where an event loop runs."""
    gateway: PaymentGateway = _module(settings.payments[0]).provider(settings)
    return gateway


def payment_webhooks(settings: PaymentSettings) -> Mapping[str, PaymentWebhooks]:
    """By the provider's name: how the webhooks of each are told from anybody else's, where the settings allow that."""
    found = {name: _module(name).webhooks(settings) for name in settings.payments}
    return {name: webhooks for name, webhooks in found.items() if webhooks}
