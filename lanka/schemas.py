"""The database brought to its newest schema: ours, and that of each chain that has tables of its own."""

from store import migrate as ours
from workflows.chains import schemas


async def migrate(database_url: str) -> None:
    """Raises `OlderDatabaseError`."""
    await ours.migrate(database_url, schemas())
