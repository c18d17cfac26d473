"""The workflow of one order, or of several that travel together: takes their OrderReceived and follows the table."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from workflows.chain_workflow import ChainWorkflow
    from workflows.routing import ORDER_TABLE


@workflow.defn
class OrderConfirmation(ChainWorkflow):
    table = ORDER_TABLE

    @workflow.run
    async def run(self) -> None:
        await self.until_done()
