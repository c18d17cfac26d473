"""Whatever a workflow's module imports without passing it through is loaded again for each workflow.

One web framework imported that way cost 527 ms a workflow, and its tasks timed out. No server is needed to see it.
"""

import importlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from workflows.chains import CHAINS

CARELESS = """
from temporalio import workflow
{import_}

@workflow.defn
class Careless:
    @workflow.run
    async def run(self) -> None: ...
"""


async def load(workflow: type[Any]) -> None:
    """Loads the workflow into a sandbox that refuses careless imports."""
    restrictions = SandboxRestrictions.default.with_import_notification_policy(
        SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    )

    async def no_histories() -> AsyncIterator[WorkflowHistory]:
        histories: tuple[WorkflowHistory, ...] = ()
        for history in histories:
            yield history

    replayer = Replayer(workflows=[workflow], workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions))
    await replayer.replay_workflows(no_histories())


@pytest.mark.parametrize("workflow", [chain.workflow for chain in CHAINS.values()], ids=lambda w: w.__name__)
async def test_a_workflow_imports_nothing_carelessly(workflow: type[Any]) -> None:
    await load(workflow)


@pytest.mark.parametrize(
    ("name", "import_", "careful"),
    [
        ("loads_a_framework", "import fastapi", False),
        ("loads_our_own", "from orders.events import OrderReceived", False),
        ("passes_through", "with workflow.unsafe.imports_passed_through():\n    import fastapi", True),
    ],
)
async def test_a_careless_import_is_noticed(
    name: str, import_: str, careful: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text(CARELESS.format(import_=import_))
    monkeypatch.syspath_prepend(tmp_path)
    workflow = importlib.import_module(name).Careless

    if careful:
        await load(workflow)
    else:
        with pytest.raises(RuntimeError, match="Failed validating workflow Careless") as refused:
            await load(workflow)
        assert "was not intentionally passed through" in str(refused.value.__cause__)
