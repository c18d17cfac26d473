"""Lost workflows are looked for without asking again and again for those that came to rest, or reading whole tables.

And one view says what waits for a person.
"""

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
    """
    CREATE VIEW parkings AS  -- of which nobody has released or taken back the subject; by the index journal_turns
    SELECT subject, position, source, id, type, time, data
    FROM journal AS parked
    WHERE type IN ('lanka.OrderParked', 'lanka.Parked') AND NOT EXISTS (
        SELECT FROM journal AS later
        WHERE later.subject = parked.subject AND later.position > parked.position AND (
            later.id = parked.id || '.released' OR later.type IN ('lanka.OrderWithdrawn', 'lanka.Withdrawn')
        )
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
