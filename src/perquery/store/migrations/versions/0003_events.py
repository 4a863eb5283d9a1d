"""Events of invoices: their journal, and the caller's key of a creation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("invoices", sa.Column("idempotency_key", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("body_hash", sa.LargeBinary(), nullable=True))
    op.create_index("invoices_idempotency", "invoices", ["account_id", "idempotency_key"], unique=True)
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "invoice_events",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"]),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("invoice_events_account", "invoice_events", ["account_id", "number"], unique=False)
    op.create_index("invoice_events_invoice", "invoice_events", ["invoice_id", "number"], unique=False)
