"""The queries that docs/operations.md gives to people are understood by the server."""

import re
from pathlib import Path

import pytest
from temporalio.client import Client

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
QUERIES = re.findall(r"\| `` (.+?) `` \|", PAGE)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_of_the_page_is_understood(client: Client, query: str) -> None:
    assert (await client.count_workflows(query)).count >= 0


def test_the_page_has_queries() -> None:
    assert len(QUERIES) >= 8
