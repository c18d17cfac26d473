"""The funnel: the journal counted by the hour."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE link_hours (  -- the journal counted, some seconds behind it: no order waits for that
        hour   timestamptz NOT NULL,
        link   text NOT NULL,
        type   text NOT NULL,
        reason text NOT NULL,
        bucket smallint NOT NULL,  -- how long the subject was at the link (see store/funnel.py); -1: it began there
        events bigint NOT NULL,
        PRIMARY KEY (hour, link, type, reason, bucket)
    )
    """,
    """
    CREATE TABLE link_hours_progress (
        sole    boolean PRIMARY KEY DEFAULT true CHECK (sole),
        counted bigint NOT NULL DEFAULT 0,  -- position in the journal up to which all is in link_hours
        closing bigint NOT NULL DEFAULT 0,  -- up to here nothing comes any more once all before `xact` have ended
        xact    xid8 NOT NULL DEFAULT '0',
        seen    bigint NOT NULL DEFAULT 0,  -- the newest position at the last step
        at      timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO link_hours_progress DEFAULT VALUES",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
