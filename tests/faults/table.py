"""The table of the proof: what was broken, and what became of the orders that were accepted meanwhile.

Every test here adds its row; they are shown together at the end of the run. `--whole` runs everything, not a sample.
"""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

WHOLE = "--whole"
PAGE = "--page"

BEGIN, END = "<!-- made by `make faults` -->\n", "<!-- end of what is made -->"

KILLED = re.compile(r"killed at .*, (batch of \d+)")


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


NUMBERS = ("accepted", "ended", "waiting", "parked", "lost", "twice")
MOSTS = ("oldest_wait", "largest_displacement")
COLUMNS = [
    (field.name.replace("_", " ") + (" (s)" if field.name == "oldest_wait" else ""), field.name != "broken")
    for field in fields(Row)
]


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
BEGAN = pytest.StashKey[float]()
_SENT = "rows"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(WHOLE, action="store_true", help="break everything in tests/faults, not only a sample")
    parser.addoption(PAGE, type=Path, help="a page with a table of tests/faults, to be made anew if all pass")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = Rows()
    config.stash[BEGAN] = time.monotonic()


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
        page: Path | None = config.getoption(PAGE)
        # Each process of pytest-xdist comes here as well, and knows of its own tests only.
        shows_all = not hasattr(config, "workerinput")
        if page and shows_all and not terminalreporter.stats.keys() & {"failed", "error"}:
            passed, minutes = len(terminalreporter.stats["passed"]), (time.monotonic() - config.stash[BEGAN]) / 60
            write(page, f"{passed} tests in {minutes:.0f} minutes:", added)


def write(page: Path, sentence: str, rows: Sequence[Row]) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{sentence}\n\n{in_markdown(summed_up(rows))}\n\n{END}{after}")


def summed_up(rows: Sequence[Row]) -> list[Row]:
    """With one row for all fail points with batches of a size."""

    def size(row: Row) -> str:
        killed = KILLED.fullmatch(row.broken)
        return killed[1] if killed else ""

    ordered = sorted(rows, key=lambda row: (not size(row), size(row), row.broken.lower()))
    return [row for batches, group in groupby(ordered, size) for row in (_sum(batches, group) if batches else group)]


def _sum(batches: str, rows: Iterable[Row]) -> list[Row]:
    killed = [asdict(row) for row in rows]
    told = {name: sum(each[name] for each in killed) for name in NUMBERS}
    told |= {name: max(each[name] or 0 for each in killed) for name in MOSTS}
    return [Row(broken=f"a process is killed at each of {len(killed)} points, {batches}", **told)]


def in_markdown(rows: Sequence[Row]) -> str:
    names = [name for name, _ in COLUMNS]
    lines = [names, ["---"] * len(names), *([_written(value) for value in asdict(row).values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def shown(rows: Sequence[Row]) -> str:
    table = Table(box=None, pad_edge=False, header_style=None)
    for name, number in COLUMNS:
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
