"""What a wallet that is to pay a refund has said, in two columns: that it pays, and that it does not.

Which of them an older row's answer was is not known. It counts as the promise: such a refund stays held until the
wallet's own record decides.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE refunds RENAME COLUMN answered_at TO accepted_at")
    op.add_column("refunds", sa.Column("declined_at", sa.BigInteger(), nullable=True))
