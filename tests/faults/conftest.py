"""What every proof asks for: the table that it adds its row to, and whether to break everything or a sample."""

import pytest

from tests.faults.table import ROWS, WHOLE, Rows


@pytest.fixture(scope="session")
def row(pytestconfig: pytest.Config) -> Rows:
    return pytestconfig.stash[ROWS]


@pytest.fixture(scope="session")
def whole(pytestconfig: pytest.Config) -> bool:
    """Whether everything is to be broken, as `make faults` does."""
    return bool(pytestconfig.getoption(WHOLE))
