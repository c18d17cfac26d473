"""What holds for the whole store: kinds and no names in SQL, and one writer of where a subject stands."""

import re
from collections.abc import Iterator
from pathlib import Path

from chain.event import Kind, short
from store.database import Pool
from tests.shop import fetch
from workflows.chains import CHAINS, TYPES

ROOT = Path(__file__).parents[2]
SOURCES = [
    *ROOT.glob("store/**/*.py"),
    *ROOT.glob("store/**/*.sql"),
    *ROOT.glob("support/*.sql"),
    ROOT / "support/store.py",
]


def sql_of(source: Path) -> Iterator[str]:
    """The SQL in a file: all of an .sql, the statements in quotes of a module."""
    text = source.read_text()
    if source.suffix == ".sql":
        yield text
        return
    for quoted in re.findall(r'"""(.*?)"""|"([^"\n]*)"', text, re.DOTALL):
        statement = "".join(quoted)
        if re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE)\b", statement):
            yield statement


def test_no_sql_names_an_event_or_a_link_of_any_chain() -> None:
    links = {link.name for chain in CHAINS.values() for link in chain.table.links}
    names = {name for event in TYPES for name in (event.__name__, short(event.model_fields["type"].default))}
    for source in SOURCES:
        for statement in sql_of(source):
            found = [name for name in names if re.search(rf"\b{name}\b", statement)]
            found += [name for name in links if re.search(rf"(?<!-> )(?<!->> )'{name}'", statement)]
            assert not found, f"{source}: {found} in {statement}"


def test_the_kinds_of_the_schema_are_those_of_the_chain() -> None:
    listed = re.search(r"kind IN \(\s*--[^\n]*\n(.*?)\)\)", (ROOT / "store/schema.sql").read_text(), re.DOTALL)
    assert listed
    assert re.findall(r"'(\w+)'", listed[1]) == [str(kind) for kind in Kind]


def test_only_the_one_writer_says_where_a_subject_stands() -> None:
    writers = [
        (source.name, update)
        for source in SOURCES
        for statement in sql_of(source)
        for update in re.findall(r"UPDATE subjects\s+SET (.*?)(?:\bWHERE\b|;|$)", statement, re.DOTALL)
        if re.search(r"\b(status|ended_at) =", update)
    ]
    assert [name for name, _ in writers] == ["schema.sql"]
    writer = (ROOT / "store/schema.sql").read_text().split("CREATE FUNCTION record_events")[1].split("END $$")[0]
    assert "UPDATE subjects" in writer


async def test_what_does_not_go_straight_ahead_has_an_index_of_its_own(pool: Pool) -> None:
    (row,) = await fetch(pool, "SELECT pg_get_indexdef('journal_turns'::regclass) AS definition")
    assert set(re.findall(r"'(\w+)'", row["definition"])) == {"pending", "refusal", "withdrawal", "parked"}
