"""Reconciliations: what each comparison of provider, orders, journal and stock has found."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE reconciliations (
        position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        started_at  timestamptz NOT NULL,
        finished_at timestamptz NOT NULL,
        checked     jsonb NOT NULL,  -- how many payments, orders, events and SKUs were compared
        total       bigint NOT NULL,
        findings    jsonb NOT NULL   -- the first of them
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
