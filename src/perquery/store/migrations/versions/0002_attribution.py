"""Attribution: the random id by which upstreams know an account, and what an upstream calls a request.

Both databases add a column without rewriting the table only where it may be empty, so they may.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RANDOM = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "replace(gen_random_uuid()::text, '-', '')"}


def upgrade() -> None:
    op.add_column("accounts", sa.Column("safety_id", sa.Text(), nullable=True))
    op.execute(f"UPDATE accounts SET safety_id = {RANDOM[op.get_bind().dialect.name]}")
    op.create_index("accounts_safety_id", "accounts", ["safety_id"], unique=True)
    op.add_column("requests", sa.Column("upstream_request_id", sa.Text(), nullable=True))
