"""Sessions of the site and passkeys; the days' sums of calls and payments by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "web_sessions",
        sa.Column("id_hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", _ID, nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id_hash"),
    )
    op.create_index("web_sessions_account", "web_sessions", ["account_id"], unique=False)
    op.create_index("web_sessions_expiry", "web_sessions", ["expires_at"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("sign_count >= 0", name="passkey_count"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("passkeys_account", "passkeys", ["account_id"], unique=False)
    op.create_table(
        "challenges",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", _ID, nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("challenges_expiry", "challenges", ["expires_at"], unique=False)
    op.create_index("requests_at", "requests", ["at", "cost_nano", "upstream_nano", "shortfall_nano"], unique=False)
    op.create_index("receipts_credited", "receipts", ["credited_at"], unique=False)
    op.create_index("receipts_reversed", "receipts", ["reversed_at"], unique=False)
