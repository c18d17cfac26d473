"""The database brought to its newest schema: ours, and that of each chain that has tables of its own."""

from collections.abc import Mapping
from importlib import import_module
from importlib.resources import files

from store import migrate as ours
from workflows.chains import CHAINS, module_of


async def migrate(database_url: str) -> None:
    """Raises `OlderDatabaseError`."""
    await ours.migrate(database_url, schemas())


def schemas() -> Mapping[str, str]:
    """The `schema.sql` of each chain whose package has one, by the chain's name."""
    packages = {name: module for name in CHAINS if hasattr(import_module(module := module_of(name)), "__path__")}
    found = {name: files(package) / "schema.sql" for name, package in packages.items()}
    return {name: schema.read_text() for name, schema in found.items() if schema.is_file()}
