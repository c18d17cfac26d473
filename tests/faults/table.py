"""The table of the proof: what was broken, and what became of the orders that were accepted meanwhile.

Every test here adds its row; they are shown together at the end of the run. `--whole` runs everything, not a sample.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

WHOLE = "--whole"


@dataclass(frozen=True)
class Row:
    """`oldest_wait`: seconds from acceptance to the end. `largest_displacement`: places that an order was overtaken."""

    broken: str
    accepted: int
    ended: int
    waiting: int
    parked: int
    lost: int
    twice: int
    oldest_wait: float | None
    largest_displacement: int | None


class Rows:
    """The rows of this process."""

    def __init__(self) -> None:
        self.added: list[Row] = []

    def add(
        self,
        broken: str,
        *,
        accepted: int,
        ended: int,
        waiting: int,
        parked: int,
        lost: int,
        twice: int,
        oldest_wait: float | None,
        largest_displacement: int | None,
    ) -> None:
        """Adds what was counted: `row.add("the worker dies", **(await count(...))._asdict())`."""
        self.added.append(Row(broken, accepted, ended, waiting, parked, lost, twice, oldest_wait, largest_displacement))


ROWS = pytest.StashKey[Rows]()
_SENT = "rows"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(WHOLE, action="store_true", help="break everything in tests/faults, not only a sample")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = Rows()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of pytest-xdist sends its rows to the one that shows them."""
    sent: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if sent is not None:
        sent[_SENT] = [asdict(added) for added in session.config.stash[ROWS].added]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    sent = getattr(node, "workeroutput", {}).get(_SENT, [])
    node.config.stash[ROWS].added.extend(Row(**added) for added in sent)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if added := config.stash[ROWS].added:
        terminalreporter.section("what was broken, and what became of the orders")
        terminalreporter.write_line(shown(added))


def shown(rows: Sequence[Row]) -> str:
    table = Table(box=None, pad_edge=False, header_style=None)
    for field in fields(Row):
        number = field.name != "broken"
        name = field.name.replace("_", " ") + (" (s)" if field.name == "oldest_wait" else "")
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for each in sorted(rows, key=lambda each: each.broken):
        table.add_row(*(_written(value) for value in asdict(each).values()))
    console = Console(width=180, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _written(value: str | float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
