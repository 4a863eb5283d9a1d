"""Keys that want no markers for a prompt cache.

A constant default: neither database rewrites the table, and an older process beside a newer one makes keys as it did.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column: sa.Column[bool] = sa.Column("prompt_caching", sa.Boolean(), nullable=False, server_default=sa.true())
    op.add_column("api_keys", column)
