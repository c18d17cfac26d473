"""Speed: what statements that run for every batch look up is found by its key, however young the tables' statistics."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    # As before, but with the subject of `subjects`: asked for one of them, it looks at that one only.
    """
    CREATE OR REPLACE VIEW intake AS
    SELECT subjects.position, subjects.chain, subjects.workflow_id, subjects.taken_at, subjects.dispatched_at,
           first.source, first.id, first.type, subjects.subject, first.time, first.data
    FROM subjects
    CROSS JOIN LATERAL (
        SELECT journal.* FROM journal LEFT JOIN routes USING (type)
        WHERE journal.subject = subjects.subject AND routes.starts IS NOT FALSE
        ORDER BY journal.position LIMIT 1
    ) AS first
    """,
    # What waits for the dispatcher and what was taken, but not marked, each found without reading the other.
    "DROP INDEX subjects_waiting",
    "CREATE INDEX subjects_waiting ON subjects (position) WHERE taken_at IS NULL",
    "CREATE INDEX subjects_taken ON subjects (position) WHERE taken_at IS NOT NULL AND dispatched_at IS NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
