"""What does not go straight ahead is found without reading the journal of every open order."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # An order that goes straight to its confirmation has no entry here. Queries name the types as literals: with a
    # parameter PostgreSQL cannot know that this index will do.
    op.execute(
        """
        CREATE INDEX journal_turns ON journal (subject, position) WHERE type IN (
            'lanka.PaymentPending', 'lanka.PaymentDeclined', 'lanka.CartUnavailable', 'lanka.PriceChanged',
            'lanka.OrderWithdrawn', 'lanka.OrderParked', 'lanka.Parked'
        )
        """
    )
