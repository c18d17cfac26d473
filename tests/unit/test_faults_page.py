"""The page of `make faults`: its table is made from the rows of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults import table
from tests.faults.table import BEGIN, END, Row, write


def test_the_table_is_made_anew_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "faults.md"
    page.write_text(f"# Faults\n\n{BEGIN}old\n{END}\n\nThe rest.\n")
    write(
        page,
        "4 tests in 1 minutes:",
        [
            Row("the worker is killed", 150, 150, 0, 0, 0, 0, 9.26, 52),
            Row("killed at cart.before_commit, batch of 1", 3, 3, 0, 0, 0, 0, 1.0, 2),
            Row("killed at cart.after_commit, batch of 1", 3, 2, 0, 1, 0, 0, 4.0, None),
            Row("killed at cart.after_commit, batch of 20", 20, 20, 0, 0, 0, 0, 2.0, 0),
        ],
    )
    assert (
        page.read_text()
        == f"""# Faults

{BEGIN}4 tests in 1 minutes:

| broken | accepted | ended | waiting | parked | lost | twice | oldest wait (s) | largest displacement |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| a process is killed at each of 2 points, batch of 1 | 6 | 5 | 0 | 1 | 0 | 0 | 4.0 | 2 |
| a process is killed at each of 1 points, batch of 20 | 20 | 20 | 0 | 0 | 0 | 0 | 2.0 | 0 |
| the worker is killed | 150 | 150 | 0 | 0 | 0 | 0 | 9.3 | 52 |

{END}

The rest.
"""
    )


@pytest.mark.parametrize("worker", [True, False], ids=["one of several processes", "the one that shows all"])
def test_only_who_knows_of_all_tests_makes_the_page_anew(tmp_path: Path, worker: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}before{table.END}")
    rows = table.Rows()
    rows.added.append(table.Row("a process", 1, 1, 0, 0, 0, 0, None, None))
    known: dict[str, Any] = {"getoption": lambda _: page, "stash": {table.ROWS: rows, table.BEGAN: 0.0}}
    config: Any = SimpleNamespace(**(known | ({"workerinput": {}} if worker else {})))
    reporter: Any = SimpleNamespace(section=print, write_line=print, stats={"passed": [1]})

    table.pytest_terminal_summary(reporter, config)

    assert ("before" in page.read_text()) is worker
