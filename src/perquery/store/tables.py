"""The schema as SQLAlchemy tables. Alembic's migrations must lead to exactly this (a test compares them).

All amounts are integer nano-USD, all times integer milliseconds since 1970 (UTC). A transfer moves an amount
from one book to another, so the sum over all books is always zero; `customer` is the book of the account in
`account_id`, every other book is the house's. The database itself refuses negative figures, a reference used
twice, and any change of a transfer (triggers in the migration).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
    true,
)

HOUSE = 0  # account_id of transfers that concern no customer
metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only INTEGER keys

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

accounts = Table(
    "accounts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("credit_hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("posted", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
    Column("owed", BigInteger, nullable=False, server_default="0"),
    Column("bonus", BigInteger, nullable=False, server_default="0"),
    # What upstreams know the account by: random, made once. None only for an account that an older process made
    # beside a newer one: upstreams are told nothing of it.
    Column("safety_id", Text),
    CheckConstraint("held >= 0 AND held <= posted", name="held_within_posted"),
    CheckConstraint("owed >= 0 AND bonus >= 0", name="owed_and_bonus"),
    Index("accounts_safety_id", "safety_id", unique=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("expire_at", BigInteger),
    Column("limit_nano", BigInteger),
    Column("reset_period", Text),
    Column("models", Text),
    Column("period", BigInteger, nullable=False, server_default="0"),
    Column("period_used", BigInteger, nullable=False, server_default="0"),
    Column("period_held", BigInteger, nullable=False, server_default="0"),
    Column("total_used", BigInteger, nullable=False, server_default="0"),
    Column("prompt_caching", Boolean, nullable=False, server_default=true()),
    CheckConstraint("period_used >= 0 AND period_held >= 0 AND total_used >= 0", name="key_figures"),
    CheckConstraint("reset_period IN ('daily', 'weekly', 'monthly')", name="reset_period_known"),
    Index("api_keys_account", "account_id"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("key_id", Text, ForeignKey("api_keys.id")),
    Column("amount", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("period", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("quoted_nano", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    CheckConstraint("amount >= 0", name="hold_amount"),
    sqlite_with_rowid=False,
)

transfers = Table(
    "transfers",
    metadata,
    Column("account_id", _Id, primary_key=True, autoincrement=False),
    Column("reference", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("amount > 0", name="transfer_amount"),
    CheckConstraint("source <> target", name="transfer_books"),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# One row a call that was held: the receipt. Ids begin with the time, so the key is also the order in time.
# `detail` is JSON: usage, lines, rule, attempts.
requests = Table(
    "requests",
    metadata,
    Column("account_id", _Id, primary_key=True, autoincrement=False),
    Column("id", Text, primary_key=True),
    Column("key_id", Text),
    Column("at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text),
    Column("upstream_id", Text),
    Column("kind", Text, nullable=False),
    Column("source", Text),
    Column("streamed", Integer, nullable=False),
    Column("input_count", BigInteger, nullable=False),
    Column("output_count", BigInteger, nullable=False),
    Column("held_nano", BigInteger, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("shortfall_nano", BigInteger, nullable=False),
    Column("upstream_nano", BigInteger, nullable=False),
    Column("unbilled_nano", BigInteger, nullable=False),
    Column("rule", Text, nullable=False),
    Column("error_code", Text),
    Column("first_event_ms", BigInteger),
    Column("total_ms", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Column("upstream_request_id", Text),
    CheckConstraint("cost_nano >= 0 AND shortfall_nano >= 0 AND upstream_nano >= 0", name="request_figures"),
    # All that a day's sums need: the rows themselves are wide.
    Index("requests_at", "at", "cost_nano", "upstream_nano", "shortfall_nano"),
    sqlite_with_rowid=False,
)

replies = Table(
    "replies",
    metadata,
    Column("account_id", _Id, primary_key=True, autoincrement=False),
    Column("idempotency_key", Text, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Index("replies_created", "created_at"),
)

# An asking to be paid. `crypto_due` and `crypto_paid` are in the currency's smallest unit (millisatoshi).
invoices = Table(
    "invoices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("rail", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", Text, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("bonus_numerator", BigInteger, nullable=False),
    Column("bonus_denominator", BigInteger, nullable=False),
    Column("bonus_cap_nano", BigInteger, nullable=False),
    Column("crypto_due", BigInteger, nullable=False),
    Column("crypto_paid", BigInteger, nullable=False, server_default="0"),
    Column("usd_nano_per_coin", BigInteger, nullable=False),
    Column("payable", Text, nullable=False),
    Column("rail_ref", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("flags", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    # The caller's Idempotency-Key and the hash of what came with it: one key, one invoice.
    Column("idempotency_key", Text),
    Column("body_hash", LargeBinary),
    CheckConstraint("amount_nano > 0 AND crypto_due > 0 AND crypto_paid >= 0", name="invoice_figures"),
    Index("invoices_account", "account_id", "created_at"),
    Index("invoices_rail_ref", "rail", "rail_ref", unique=True),
    Index("invoices_status", "status", "expires_at"),
    Index("invoices_idempotency", "account_id", "idempotency_key", unique=True),
)

# A payment that a rail reported. `credit_nano` and `bonus_nano` are decided once, before the ledger is asked, so
# that asking again asks for the same; `unfinished` is 1 while the ledger or the rail may still have a word.
receipts = Table(
    "receipts",
    metadata,
    Column("rail", Text, primary_key=True),
    Column("receipt_id", Text, primary_key=True),
    Column("invoice_id", Text, ForeignKey("invoices.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),
    Column("credit_nano", BigInteger),
    Column("bonus_nano", BigInteger),
    Column("credited_at", BigInteger),
    Column("reversed_at", BigInteger),
    Column("unfinished", Integer, nullable=False),
    CheckConstraint("amount > 0", name="receipt_amount"),
    CheckConstraint("state IN ('pending', 'confirmed', 'gone')", name="receipt_state"),
    Index("receipts_invoice", "invoice_id"),
    Index("receipts_unfinished", "unfinished"),
    Index("receipts_credited", "credited_at"),
    Index("receipts_reversed", "reversed_at"),
)

# Numbers that are given in the order of commits: whoever takes some keeps the row until its transaction ends.
counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# The journal of invoices: how each stood after every change. `body` is the JSON that callers are shown. The account
# is no foreign key: that would ask for a lock on its row after the counter's, which another order could cross.
invoice_events = Table(
    "invoice_events",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("invoice_id", Text, ForeignKey("invoices.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("invoice_events_account", "account_id", "number"),
    Index("invoice_events_invoice", "invoice_id", "number"),
)

# What one of the operator's webhooks is told, in the order of `number`. `webhook` is its name in the settings.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    Column("webhook", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("invoice_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("redelivery_of", Text),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempted_at", BigInteger),
    Column("answer_status", Integer),
    Column("answer", Text),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="delivery_state"),
    Index("webhook_deliveries_id", "id", unique=True),
    Index("webhook_deliveries_waiting", "webhook", "state", "number"),
    Index("webhook_deliveries_created", "created_at"),
)

# What a user allowed an app: exchanged once, before `expires_at`, for a key of the account.
grants = Table(
    "grants",
    metadata,
    Column("code_hash", LargeBinary, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("challenge", Text),
    Column("method", Text),
    Column("name", Text, nullable=False),
    Column("limit_nano", BigInteger),
    Column("reset_period", Text),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("(challenge IS NULL) = (method IS NULL)", name="grant_challenge"),
    Index("grants_expiry", "expires_at"),
)

# A wallet that an account lets us ask for payments. `sealed`: its address with the secret, encrypted; `shown`: the
# same without the secret. `next_at`: before that it is not asked again.
wallets = Table(
    "wallets",
    metadata,
    Column("account_id", _Id, ForeignKey("accounts.id"), primary_key=True, autoincrement=False),
    Column("connection_id", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("shown", Text, nullable=False),
    Column("encryption", Text, nullable=False),
    Column("threshold_nano", BigInteger, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("daily_nano", BigInteger, nullable=False),
    Column("monthly_nano", BigInteger, nullable=False),
    Column("connected_at", BigInteger, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("next_at", BigInteger, nullable=False, server_default="0"),
    Column("reason", Text),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("refusals", Integer, nullable=False, server_default="0"),
    CheckConstraint("threshold_nano > 0 AND amount_nano > 0", name="wallet_figures"),
)

# Money that an account asked back, over Lightning: one open refund an account, one refund an invoice for ever.
# `wallet`: which wallet was asked to pay; `charged_nano`: amount and fee, decided once; `booked_at`: when the ledger
# was known to have ended its hold.
refunds = Table(
    "refunds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("fee_most_nano", BigInteger, nullable=False),
    Column("amount_msat", BigInteger, nullable=False),
    Column("fee_most_msat", BigInteger, nullable=False),
    Column("usd_nano_per_coin", BigInteger, nullable=False),
    Column("bonus_numerator", BigInteger, nullable=False),
    Column("bonus_denominator", BigInteger, nullable=False),
    Column("destination", Text, nullable=False),
    Column("invoice", Text, nullable=False),
    Column("payment_hash", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("wallet", Text),
    Column("sent_at", BigInteger),
    Column("accepted_at", BigInteger),
    Column("fee_msat", BigInteger),
    Column("charged_nano", BigInteger),
    Column("preimage", Text),
    Column("words", Text),
    Column("ended_at", BigInteger),
    Column("booked_at", BigInteger),
    Column("idempotency_key", Text),
    Column("body_hash", LargeBinary),
    Column("declined_at", BigInteger),
    CheckConstraint("amount_nano > 0 AND amount_msat > 0 AND fee_most_nano >= 0", name="refund_figures"),
    CheckConstraint("state IN ('requested', 'held', 'sent', 'unknown', 'paid', 'failed')", name="refund_state"),
    CheckConstraint("(ended_at IS NULL) = (state NOT IN ('paid', 'failed'))", name="refund_ended"),
    CheckConstraint("(charged_nano IS NULL) = (state <> 'paid')", name="refund_charged"),
    Index("refunds_payment_hash", "payment_hash", unique=True),
    Index("refunds_idempotency", "account_id", "idempotency_key", unique=True),
    Index("refunds_account", "account_id", "created_at"),
    Index("refunds_created", "created_at"),
    Index(
        "refunds_active",
        "account_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "refunds_unbooked",
        "created_at",
        sqlite_where=text("booked_at IS NULL"),
        postgresql_where=text("booked_at IS NULL"),
    ),
)

# One attempt to have such a wallet pay one invoice: an account never has two at once. `request`: the signed event,
# as it was or will be published.
wallet_attempts = Table(
    "wallet_attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("connection_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("invoice_id", Text, ForeignKey("invoices.id")),
    Column("request", Text),
    Column("code", Text),
    Column("words", Text),
    Column("ended_at", BigInteger),
    CheckConstraint("amount_nano > 0", name="attempt_amount"),
    CheckConstraint(
        "state IN ('claimed', 'invoice_created', 'request_signed', 'sent', 'answered', 'unknown', 'settled',"
        " 'failed_final')",
        name="attempt_state",
    ),
    CheckConstraint("(ended_at IS NULL) = (state NOT IN ('settled', 'failed_final'))", name="attempt_ended"),
    Index(
        "wallet_attempts_active",
        "account_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index("wallet_attempts_account", "account_id", "created_at"),
)

# Work that outlives its request (videos). The hold of the same id belongs to the job, not to a gateway's lease.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("key_id", Text),
    Column("kind", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("counts", Text, nullable=False),
    Column("price", Text, nullable=False),
    Column("quoted_nano", BigInteger, nullable=False),
    Column("token", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("ticket", Text),
    Column("progress", Integer, nullable=False, server_default="0"),
    Column("looks", Integer, nullable=False, server_default="0"),
    Column("sent_at", BigInteger),
    Column("verdict", Text),
    Column("cost_nano", BigInteger),
    Column("error_code", Text),
    Column("error", Text),
    Column("media_type", Text),
    Column("media_bytes", BigInteger),
    Column("content_until", BigInteger),
    Column("deleted_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("hook_url", Text),
    Column("hook_secret", Text),
    Column("hook_body", Text),
    Column("hook_state", Text, nullable=False, server_default=""),
    Column("hook_attempts", Integer, nullable=False, server_default="0"),
    Column("hook_due_at", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("quoted_nano > 0", name="job_quote"),
    CheckConstraint(
        "state IN ('new', 'sending', 'running', 'settling', 'releasing', 'completed', 'failed')", name="job_state"
    ),
    CheckConstraint("(ended_at IS NULL) = (state NOT IN ('completed', 'failed'))", name="job_ended"),
    Index("jobs_account", "account_id", "id"),
    Index(
        "jobs_open",
        "state",
        "due_at",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "jobs_hooks",
        "hook_due_at",
        sqlite_where=text("hook_state = 'pending'"),
        postgresql_where=text("hook_state = 'pending'"),
    ),
)

# Who is signed in to the site; no account_id: the operator.
web_sessions = Table(
    "web_sessions",
    metadata,
    Column("id_hash", LargeBinary, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id")),
    Column("key_id", Text),
    Column("expires_at", BigInteger, nullable=False),
    Index("web_sessions_account", "account_id"),
    Index("web_sessions_expiry", "expires_at"),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id"), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint("sign_count >= 0", name="passkey_count"),
    Index("passkeys_account", "account_id"),
)

# What a passkey is to sign, once and soon; with an account_id, to be added to that account.
challenges = Table(
    "challenges",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account_id", _Id, ForeignKey("accounts.id")),
    Column("expires_at", BigInteger, nullable=False),
    Index("challenges_expiry", "expires_at"),
)
