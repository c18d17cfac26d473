"""How often a link was tried until it had worked on a subject."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Null where it was the first attempt, which takes no room.
    op.execute("ALTER TABLE claims ADD COLUMN attempts integer CHECK (attempts > 1)")
