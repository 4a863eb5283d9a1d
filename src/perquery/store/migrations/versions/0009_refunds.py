"""Refunds: money that an account asked back, and how far each has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("amount_nano", sa.BigInteger(), nullable=False),
        sa.Column("fee_most_nano", sa.BigInteger(), nullable=False),
        sa.Column("amount_msat", sa.BigInteger(), nullable=False),
        sa.Column("fee_most_msat", sa.BigInteger(), nullable=False),
        sa.Column("usd_nano_per_coin", sa.BigInteger(), nullable=False),
        sa.Column("bonus_numerator", sa.BigInteger(), nullable=False),
        sa.Column("bonus_denominator", sa.BigInteger(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("invoice", sa.Text(), nullable=False),
        sa.Column("payment_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("fee_msat", sa.BigInteger(), nullable=True),
        sa.Column("charged_nano", sa.BigInteger(), nullable=True),
        sa.Column("preimage", sa.Text(), nullable=True),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("booked_at", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("body_hash", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("amount_nano > 0 AND amount_msat > 0 AND fee_most_nano >= 0", name="refund_figures"),
        sa.CheckConstraint("state IN ('requested', 'held', 'sent', 'unknown', 'paid', 'failed')", name="refund_state"),
        sa.CheckConstraint("(ended_at IS NULL) = (state NOT IN ('paid', 'failed'))", name="refund_ended"),
        sa.CheckConstraint("(charged_nano IS NULL) = (state <> 'paid')", name="refund_charged"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("refunds_payment_hash", "refunds", ["payment_hash"], unique=True)
    op.create_index("refunds_idempotency", "refunds", ["account_id", "idempotency_key"], unique=True)
    op.create_index("refunds_account", "refunds", ["account_id", "created_at"], unique=False)
    op.create_index("refunds_created", "refunds", ["created_at"], unique=False)
    for name, column, unique, where in (
        ("refunds_active", "account_id", True, "ended_at IS NULL"),
        ("refunds_unbooked", "created_at", False, "booked_at IS NULL"),
    ):
        chosen = sa.text(where)
        op.create_index(name, "refunds", [column], unique=unique, sqlite_where=chosen, postgresql_where=chosen)
