"""The worker puts on each queue what the tables name, and knows no consumer itself."""

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

import worker
from chain.table import Link
from workflows.chains import CHAINS


def test_each_queue_has_the_consumers_of_its_links_and_the_workflows_of_its_chains() -> None:
    served = worker.queues(Mock())

    for chain in CHAINS.values():
        assert chain.workflow in served[chain.queue].workflows
        for link in chain.table.links:
            bound: Any = served[link.queue].consumers[link.consumer]
            assert bound.__func__ is link.consumer


def test_the_queues_with_calls_to_the_provider_keep_to_a_rate() -> None:
    parts = Mock()
    parts.settings.provider_batches_per_second = 7
    served = worker.queues(parts)

    calling = {link.queue for chain in CHAINS.values() for link in chain.table.links if link.calls_out}
    assert {name for name, queue in served.items() if queue.per_second == 7} == calling == {"payment", "finalize"}


def test_a_link_whose_consumer_nobody_brings_is_named() -> None:
    async def nobodys(_: object, __: object) -> Any: ...

    link: Link = replace(CHAINS["orders"].table.links[0], name="wrap", consumer=nobodys)
    with pytest.raises(LookupError, match="nobodys, which the link wrap needs"):
        worker._bound(link, [])
