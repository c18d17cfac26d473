"""The workflow that compares provider, orders, journal and stock once a day."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.reconcile import Reconcile
    from orders.discrepancies import Report
    from workflows.router import HEARTBEAT_TIMEOUT, OUTAGE_RETRIES

LONGEST = timedelta(hours=1)
"""The books of a large shop have thousands of pages."""


@workflow.defn
class Reconciliation:
    @workflow.run
    async def run(self) -> Report:
        return await workflow.execute_activity_method(
            Reconcile.reconcile,
            task_queue="finalize",
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OUTAGE_RETRIES,
        )
