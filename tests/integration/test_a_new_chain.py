"""docs/a-new-chain.md, run: its code becomes a package, and a parcel goes through a real worker to its end."""

import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity

from activities.consume import Journal as AnyJournal
from activities.consume import consume
from activities.note_events import NoteEvents
from chain.batch import Batch, Processed, Work
from chain.event import AnyEvent, Event, type_of
from chain.subject import Data
from chain.table import Link, Table, route
from orders.events import OrderReceived
from store.database import Pool
from store.intake import Intake
from support.events import SupportCallStarted
from tests.servers import HANGS_AFTER, free_port, process, temporal_server, until
from tests.shop import batch, fetch, the_journal
from workflows.chains import CHAINS

PAGE = Path(__file__).parents[2] / "docs" / "a-new-chain.md"
PARCEL = AnyEvent(
    id="1",
    source="/shop",
    type="parcels.ParcelHandedOver",
    subject="parcel_1",
    time=datetime.now(UTC),
    data={"customer_id": "cus_42"},
)


def code() -> Mapping[str, str]:
    """The files of the page, each named in the first line of its block."""
    return dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in code().items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def settings(package: Path) -> dict[str, str]:
    """What every part of Lanka is told."""
    return {"PYTHONPATH": f"{package}{os.pathsep}{PAGE.parents[1]}", "LANKA_CHAINS": "parcels"}


def test_the_page_has_a_chain_of_two_links_in_under_60_lines() -> None:
    lines = [line for text in code().values() for line in text.splitlines() if line.strip()]

    assert len(lines) < 60
    assert [name for name in code() if "test" in name] == ["test_parcels.py"]


async def test_the_pages_own_test_passes(package: Path, settings: dict[str, str]) -> None:
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "test_parcels.py")
    async with process(*command, cwd=package, env=settings) as ran:
        await until(lambda: ran.exit_code is not None, HANGS_AFTER, "the page's test")

        assert ran.exit_code == 0
        assert "1 passed" in ran.printed()


async def test_lanka_shows_the_new_chain(settings: dict[str, str]) -> None:
    async with process(sys.executable, "-m", "lanka", "chains", "parcels", env=settings) as ran:
        await until(lambda: ran.exit_code is not None, HANGS_AFTER, "lanka chains")

        assert ran.exit_code == 0
        assert "letters: write_letter -> ReviewAskedFor (end)" in ran.printed()


async def test_what_a_chain_has_of_tables_is_made_by_the_migration_once(
    package: Path, settings: dict[str, str], database_url: str, pool: Pool
) -> None:
    (package / "parcels" / "schema.sql").write_text(
        "CREATE TABLE letters (parcel text);\nINSERT INTO letters VALUES ('1')"
    )
    for _ in range(2):
        command = (sys.executable, "-P", "-m", "lanka", "migrate", "--database-url", database_url)
        async with process(*command, env=settings) as ran:
            await until(lambda: ran.exit_code is not None, HANGS_AFTER, "lanka migrate")
            assert ran.exit_code == 0

    assert await fetch(pool, "SELECT parcel FROM letters") == [{"parcel": "1"}]


async def test_the_api_does_not_start_while_two_chains_accept_the_same_event(
    package: Path, settings: dict[str, str], database_url: str
) -> None:
    boxes = "from dataclasses import replace\nimport parcels\nCHAIN = replace(parcels.CHAIN, name='boxes')\n"
    (package / "boxes.py").write_text(boxes)
    env = settings | {"LANKA_CHAINS": "parcels,boxes", "DATABASE_URL": database_url}
    async with process(sys.executable, "-P", "-m", "lanka", "api", "--port", str(free_port()), env=env) as ran:
        await until(lambda: ran.exit_code is not None, HANGS_AFTER, "lanka api")

        assert ran.exit_code == 1
        assert "the chains parcels and boxes both accept parcels.ParcelHandedOver" in ran.printed()
        assert "Traceback" not in ran.printed()


async def test_a_parcel_goes_through_the_new_chain_to_its_end(
    database_url: str, pool: Pool, tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> None:
    async with temporal_server(tmp_path_factory.mktemp("temporal")) as temporal:
        env = settings | {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal}
        async with running(env):
            await until(lambda: routed(pool), HANGS_AFTER, "the route of the new chain")
            assert await Intake(pool).publish([PARCEL]) == [True]
            await until(lambda: ended(pool), HANGS_AFTER, "the end of the parcel's chain")

    assert [(event.source, event.type) for event in await the_journal(pool).of(PARCEL.subject)] == [
        ("/shop", "parcels.ParcelHandedOver"),
        ("/lanka/tell", "parcels.CustomerTold"),
        ("/lanka/ask", "parcels.ReviewAskedFor"),
    ]
    (subject,) = await fetch(pool, "SELECT chain, status, workflow_id FROM subjects")
    assert subject == {"chain": "parcels", "status": "review_asked_for", "workflow_id": "parcel-parcel_1"}


@asynccontextmanager
async def running(env: Mapping[str, str]) -> AsyncIterator[None]:
    """The API with its dispatcher, and a worker."""
    command = (sys.executable, "-P", "-m")
    async with (
        process(*command, "worker", env={**env, "LANKA_WORKER_PORT": str(free_port())}),
        process(*command, "lanka", "api", "--port", str(free_port()), env=env),
    ):
        yield


async def routed(pool: Pool) -> bool:
    return bool(await fetch(pool, "SELECT 1 FROM routes WHERE type = $1", PARCEL.type))


async def ended(pool: Pool) -> bool:
    return bool(await fetch(pool, "SELECT 1 FROM subjects WHERE ended_at IS NOT NULL"))


# ---- a consumer in several chains --------------------------------------------------------------------------------


class Greeting(Data):
    times: int


class Greeted(Event[Greeting]):
    type: str = "tests.Greeted"


class Greet:
    """Takes any event of any chain."""

    def __init__(self, journal: AnyJournal) -> None:
        self._journal = journal
        self.times = 0

    @activity.defn
    async def greet(self, batch: Batch) -> Processed:
        async def decide(work: Work, events: Sequence[AnyEvent]) -> list[Event[Any]]:
            self.times += 1
            return [work.made(Greeted, event, {"times": self.times}) for event in events]

        return await consume(self._journal, batch, AnyEvent, decide)


def a_table(starts: type[Event[Any]], link: str) -> Table:
    greeting = Link(link, Greet.greet, queue="greetings", makes=(Greeted,))
    note = Link("note", NoteEvents.note_events, queue="greetings", makes=())
    return Table(starts, {starts: route(greeting)}, note=note)


async def test_one_consumer_stands_in_two_chains_and_each_link_is_claimed_by_itself(pool: Pool) -> None:
    tables = [a_table(OrderReceived, "greet-buyer"), a_table(SupportCallStarted, "greet-caller")]
    consumer = Greet(the_journal(pool))

    async def through(table: Table) -> Sequence[AnyEvent]:
        given = PARCEL.model_copy(update={"type": type_of(table.starts)})
        link = table.links[0]
        return (await link.consumer(consumer, batch(link.name, [given]))).events

    made = [await through(table) for table in (*tables, *tables)]

    assert [(event.source, event.data) for (event,) in made[:2]] == [
        ("/lanka/greet-buyer", {"times": 1}),
        ("/lanka/greet-caller", {"times": 2}),
    ]
    assert made[2:] == made[:2], "called again, each link works once"
    claims = await fetch(pool, "SELECT link FROM claims WHERE subject = $1 ORDER BY link", PARCEL.subject)
    assert [claim["link"] for claim in claims] == ["greet-buyer", "greet-caller"]


def test_what_is_parked_is_told_by_the_same_consumer_in_the_order_and_the_support_chain() -> None:
    assert {chain.table.note.consumer for chain in CHAINS.values()} == {NoteEvents.note_events}
    assert len({chain.table.note.queue for chain in CHAINS.values()}) == len(CHAINS)
