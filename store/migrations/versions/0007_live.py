"""Seeing: whoever watches a subject is told of all that follows its first event, and the links are counted by hour."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE FUNCTION tell_of_message() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('lanka_journal', NEW.subject);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER message_is_told AFTER INSERT ON messages
    FOR EACH ROW WHEN (NEW.id IS NOT NULL) EXECUTE FUNCTION tell_of_message()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
