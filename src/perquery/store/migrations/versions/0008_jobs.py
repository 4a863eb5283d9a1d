"""Work that outlives its request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "shape", "source", "model", "provider")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("upstream_model", "state", "counts", "price")),
        sa.Column("quoted_nano", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("progress", sa.Integer(), server_default="0", nullable=False),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("cost_nano", sa.BigInteger(), nullable=True),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("error_code", "error", "media_type")),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("media_bytes", "content_until")),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in ("deleted_at", "ended_at")),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("hook_url", "hook_secret", "hook_body")),
        sa.Column("hook_state", sa.Text(), server_default="", nullable=False),
        sa.Column("hook_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("hook_due_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("quoted_nano > 0", name="job_quote"),
        sa.CheckConstraint(
            "state IN ('new', 'sending', 'running', 'settling', 'releasing', 'completed', 'failed')", name="job_state"
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (state NOT IN ('completed', 'failed'))", name="job_ended"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("jobs_account", "jobs", ["account_id", "id"], unique=False)
    unended, pending = sa.text("ended_at IS NULL"), sa.text("hook_state = 'pending'")
    op.create_index("jobs_open", "jobs", ["state", "due_at"], sqlite_where=unended, postgresql_where=unended)
    op.create_index("jobs_hooks", "jobs", ["hook_due_at"], sqlite_where=pending, postgresql_where=pending)
