"""Money that arrived late is found without reading the whole journal."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX journal_late_money ON journal (subject) WHERE type = 'lanka.PaymentArrivedLate'")
