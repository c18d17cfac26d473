"""Which payment providers the shop has: LANKA_PAYMENTS names them, and each is a module of this package.

Such a module has `provider(settings)` and `webhooks(settings)`, and may read settings of its own.
"""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Protocol

import gateways
from orders.ports import PaymentBooks, PaymentProvider, PaymentWebhooks


class PaymentGateway(PaymentProvider, PaymentBooks, Protocol):
    """All that Lanka asks of one provider."""

    async def close(self) -> None: ...


def adapters() -> Mapping[str, ModuleType]:
    """Every module of this package that is a provider's, by its name."""
    modules = {each.name: _module(each.name) for each in pkgutil.iter_modules(gateways.__path__)}
    return {name: module for name, module in modules.items() if hasattr(module, "provider")}


def _module(name: str) -> ModuleType:
    return import_module(f"gateways.{name}")


@dataclass(frozen=True)
class PaymentSettings:
    """`payments`: the providers by name; the first takes new orders. The others are the sandbox provider's."""

    payments: tuple[str, ...] = ("sandbox",)
    payments_url: str | None = None
    webhook_secret: str | None = None


def payment_provider(settings: PaymentSettings) -> PaymentGateway:
    """The one that takes new orders. To be made where an event loop runs."""
    gateway: PaymentGateway = _module(settings.payments[0]).provider(settings)
    return gateway


def payment_webhooks(settings: PaymentSettings) -> Mapping[str, PaymentWebhooks]:
    """By the provider's name: how the webhooks of each are told from anybody else's, where the settings allow that."""
    found = {name: _module(name).webhooks(settings) for name in settings.payments}
    return {name: webhooks for name, webhooks in found.items() if webhooks}
