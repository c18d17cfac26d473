"""`lanka reconcile`: compares provider, orders, journal and stock, and shows where they do not agree."""

from datetime import timedelta

import asyncpg
from rich.console import Console
from rich.table import Table

from activities.reconcile import Reconcile
from chain.failures import LankaError
from gateways.choice import PaymentSettings, payment_provider
from lanka.terminal import fail
from orders.discrepancies import Report
from store.database import open_pool
from store.reconciliation import Reconciliations
from workflows.order_confirmation import TABLE


async def reconcile(database_url: str, payments_url: str, grace: float) -> Report:
    """`grace` is in seconds. Ends the command where it could not be done."""
    provider = payment_provider(PaymentSettings(payments_url=payments_url))
    try:
        async with open_pool(database_url, size=1) as pool:
            return await Reconcile(Reconciliations(pool, TABLE.types), provider, timedelta(seconds=grace)).reconcile()
    except (LankaError, asyncpg.PostgresError, ValueError) as error:
        fail(error, code=2)
    finally:
        await provider.close()


def show(report: Report) -> None:
    console = Console()
    compared = ", ".join(f"{number} {what}" for what, number in report.checked.items())
    if not report.total:
        console.print(f"{compared}: nothing to report")
        return
    table = Table("kind", "subject", "since", "detail")
    for column in table.columns[:3]:
        column.no_wrap = True
    for finding in report.findings:
        since = f"{finding.since:%Y-%m-%d %H:%M:%S}" if finding.since else ""
        table.add_row(finding.kind, finding.subject, since, finding.detail)
    console.print(table)
    shown = f", the first {len(report.findings)} are shown" if len(report.findings) < report.total else ""
    console.print(f"{compared}: {report.total} to look into{shown}")
