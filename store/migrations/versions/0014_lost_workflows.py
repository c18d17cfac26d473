"""Lost workflows are looked for without asking again and again for those that came to rest, or reading whole tables."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Its workflow has completed and nothing told of an end: where a chain has none, nothing is lost.
    "ALTER TABLE subjects ADD COLUMN at_rest boolean NOT NULL DEFAULT false",
    "CREATE INDEX messages_by_subject ON messages (subject)",
    "CREATE INDEX webhooks_by_payment ON webhooks (payment_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
