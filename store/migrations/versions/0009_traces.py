"""The trace of an order is kept with it, so that whatever goes on hours later joins it."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # W3C Trace Context, as CloudEvents' extension of that name has it; null where nothing is traced.
    op.execute("ALTER TABLE subjects ADD COLUMN traceparent text")
