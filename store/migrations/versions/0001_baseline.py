"""The schema as it was first released: `store/schema.sql`. From here it only grows, by migrations beside this one."""

from pathlib import Path

from alembic import op

revision = "baseline_1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = (Path(__file__).parents[2] / "schema.sql").read_text()
    driver = op.get_bind().connection.dbapi_connection
    assert driver
    # Not through SQLAlchemy, which prepares what it executes: only a single statement can be prepared.
    driver.run_async(lambda connection: connection.execute(schema))
