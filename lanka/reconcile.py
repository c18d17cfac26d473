"""`lanka reconcile`: compares provider, orders, journal and stock, and shows where they do not agree."""

from datetime import timedelta

import asyncpg

from activities.reconcile import Reconcile
from chain.failures import LankaError
from gateways.choice import PaymentSettings, payment_provider
from lanka.output import say, show, show_json
from lanka.terminal import NotDoneError
from orders.discrepancies import Report
from store.database import open_pool
from store.reconciliation import Reconciliations
from workflows.order_confirmation import TABLE


async def reconcile(database_url: str, payments_url: str, grace: float) -> Report:
    """`grace` is in seconds. Raises `NotDoneError`."""
    provider = payment_provider(PaymentSettings(payments_url=payments_url))
    try:
        async with open_pool(database_url, size=1) as pool:
            return await Reconcile(Reconciliations(pool, TABLE.types), provider, timedelta(seconds=grace)).reconcile()
    except (LankaError, asyncpg.PostgresError, ValueError) as error:
        raise NotDoneError(error, code=2) from error
    finally:
        await provider.close()


def show_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        show_json(report.model_dump(mode="json"))
        return
    compared = ", ".join(f"{number} {what}" for what, number in report.checked.items())
    if not report.total:
        say(f"{compared}: nothing to report")
        return
    show(
        [finding.model_dump(mode="json") for finding in report.findings], "subject", "kind", "since", below=("detail",)
    )
    shown = f", the first {len(report.findings)} are shown" if len(report.findings) < report.total else ""
    say(f"{compared}: {report.total} to look into{shown}")
