"""Sessions of people at a browser: customers in the shop, operators at the console."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE sessions (
        hash        bytea PRIMARY KEY,  -- SHA-256 of the cookie
        customer_id text,
        key_hash    bytea REFERENCES api_keys,  -- the operator's key that began it: revoked, it ends the session
        expires_at  timestamptz NOT NULL,
        CHECK (num_nonnulls(customer_id, key_hash) = 1)
    )
    """,
    "CREATE INDEX sessions_by_expiry ON sessions (expires_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
