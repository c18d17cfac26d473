"""What the lines of the log tell, and what they never do."""

import logging
from collections.abc import Iterator

import pytest
import stamina
import structlog
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from telemetry.logs import set_up_logs


@pytest.fixture
def set_up() -> Iterator[None]:
    hooks, root = get_on_retry_hooks(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs()
    yield
    structlog.reset_defaults()
    set_on_retry_hooks(hooks)
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("set_up")
def test_what_is_tried_again_is_told_without_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    tries = []

    @stamina.retry(on=OSError, attempts=2, wait_initial=0, wait_jitter=0)
    def connect(url: str) -> None:
        tries.append(url)
        if len(tries) == 1:
            raise OSError("nobody is there")

    connect("postgresql://lanka:geheim@nowhere/lanka")
    (line,) = capsys.readouterr().out.splitlines()
    assert '"OSError: nobody is there"' in line
    assert "connect" in line
    assert "geheim" not in line
