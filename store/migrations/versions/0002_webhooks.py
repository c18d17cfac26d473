"""Webhooks of payment providers: stored before they are answered, worked off by the dispatcher."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE webhooks (
        position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        provider    text NOT NULL,
        webhook_id  text NOT NULL,
        payment_id  text NOT NULL,
        payload     jsonb NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        look_at     timestamptz NOT NULL DEFAULT now(),  -- again, while nothing can be done
        handled_at  timestamptz,
        UNIQUE (provider, webhook_id)  -- a webhook that comes again is the same webhook
    )
    """,
    "CREATE INDEX webhooks_unhandled ON webhooks (look_at) WHERE handled_at IS NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
