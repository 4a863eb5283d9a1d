"""The books, recomputed: every balance and invariant from the transfers, in one snapshot. It never writes.

Each check is one query that finds what is wrong; an empty answer is the proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from perquery import money
from perquery.store.database import Database

# What must be empty, and what it means if it is not. Each finds rows (what, is, should be).
CHECKS: Final[dict[str, str]] = {
    "an account's balance differs from its transfers": """
        SELECT a.id, a.posted, COALESCE(SUM(CASE WHEN t.target = 'customer' THEN t.amount
            WHEN t.source = 'customer' THEN -t.amount ELSE 0 END), 0) AS due
        FROM accounts a LEFT JOIN transfers t ON t.account_id = a.id GROUP BY a.id, a.posted
        HAVING a.posted <> COALESCE(SUM(CASE WHEN t.target = 'customer' THEN t.amount
            WHEN t.source = 'customer' THEN -t.amount ELSE 0 END), 0)""",
    "an account's debt differs from its transfers": """
        SELECT a.id, a.owed, COALESCE(SUM(CASE WHEN t.source = 'debtors' THEN t.amount
            WHEN t.target = 'debtors' THEN -t.amount ELSE 0 END), 0) AS due
        FROM accounts a LEFT JOIN transfers t ON t.account_id = a.id GROUP BY a.id, a.owed
        HAVING a.owed <> COALESCE(SUM(CASE WHEN t.source = 'debtors' THEN t.amount
            WHEN t.target = 'debtors' THEN -t.amount ELSE 0 END), 0)""",
    "an account's bonus differs from its transfers": """
        SELECT a.id, a.bonus, COALESCE(SUM(CASE WHEN t.source = 'bonus' THEN t.amount
            WHEN t.target = 'bonus' THEN -t.amount ELSE 0 END), 0) AS due
        FROM accounts a LEFT JOIN transfers t ON t.account_id = a.id GROUP BY a.id, a.bonus
        HAVING a.bonus <> COALESCE(SUM(CASE WHEN t.source = 'bonus' THEN t.amount
            WHEN t.target = 'bonus' THEN -t.amount ELSE 0 END), 0)""",
    "what an account holds differs from its holds": """
        SELECT a.id, a.held, COALESCE(SUM(h.amount), 0) AS due FROM accounts a LEFT JOIN holds h
        ON h.account_id = a.id GROUP BY a.id, a.held HAVING a.held <> COALESCE(SUM(h.amount), 0)""",
    "an account holds more than it has": "SELECT id, held, posted FROM accounts WHERE held > posted OR posted < 0",
    "an account in debt has something free": """
        SELECT id, posted - held, 0 FROM accounts WHERE owed > 0 AND posted > held""",
    "a key's period has more use than the key": """
        SELECT id, period_used, total_used FROM api_keys WHERE period_used > total_used""",
    "what a key holds differs from its holds": """
        SELECT k.id, k.period_held, COALESCE(SUM(h.amount), 0) AS due FROM api_keys k LEFT JOIN holds h
        ON h.key_id = k.id AND h.period = k.period GROUP BY k.id, k.period_held
        HAVING k.period_held <> COALESCE(SUM(h.amount), 0)""",
    "a key's use differs from its calls": """
        SELECT k.id, k.total_used, COALESCE(SUM(r.cost_nano), 0) AS due FROM api_keys k LEFT JOIN requests r
        ON r.account_id = k.account_id AND r.key_id = k.id GROUP BY k.id, k.total_used
        HAVING k.total_used <> COALESCE(SUM(r.cost_nano), 0)""",
    "a call's cost differs from its transfer": """
        SELECT r.id, r.cost_nano, COALESCE(t.amount, 0) AS due FROM requests r LEFT JOIN transfers t
        ON t.account_id = r.account_id AND t.reference = r.id WHERE r.cost_nano <> COALESCE(t.amount, 0)""",
    "a call's shortfall differs from its transfer": """
        SELECT r.id, r.shortfall_nano, COALESCE(t.amount, 0) AS due FROM requests r LEFT JOIN transfers t
        ON t.account_id = r.account_id AND t.reference = r.id || ':shortfall'
        WHERE r.shortfall_nano <> COALESCE(t.amount, 0)""",
    "a charge has no call": """
        SELECT t.reference, t.amount, 0 AS due FROM transfers t LEFT JOIN requests r
        ON r.account_id = t.account_id AND r.id = t.reference
        WHERE t.source = 'customer' AND t.target = 'revenue' AND r.id IS NULL""",
    "a shortfall has no call": """
        SELECT t.reference, t.amount, 0 AS due FROM transfers t LEFT JOIN requests r
        ON r.account_id = t.account_id AND r.id = substr(t.reference, 1, length(t.reference) - length(':shortfall'))
        WHERE t.source = 'shortfall' AND r.id IS NULL""",
    "a finished job's cost differs from its transfer": """
        SELECT j.id, j.cost_nano, COALESCE(t.amount, 0) AS due FROM jobs j LEFT JOIN transfers t
        ON t.account_id = j.account_id AND t.reference = j.id
        WHERE j.ended_at IS NOT NULL AND COALESCE(j.cost_nano, 0) <> COALESCE(t.amount, 0)""",
    "a job under way is not held": """
        SELECT j.id, j.quoted_nano, COALESCE(h.amount, 0) AS due FROM jobs j LEFT JOIN holds h ON h.id = j.id
        WHERE j.state IN ('sending', 'running') AND COALESCE(h.amount, 0) < j.quoted_nano""",
    "a job's hold has no job": """
        SELECT h.id, h.amount, 0 AS due FROM holds h LEFT JOIN jobs j ON j.id = h.id
        WHERE substr(h.owner, 1, 4) = 'job:' AND j.id IS NULL""",
    "a credited receipt differs from its transfer": """
        SELECT r.receipt_id, r.credit_nano, COALESCE(t.amount, 0) AS due FROM receipts r
        JOIN invoices i ON i.id = r.invoice_id LEFT JOIN transfers t
        ON t.account_id = i.account_id AND t.reference = r.rail || ':' || r.receipt_id
        WHERE r.credited_at IS NOT NULL AND r.credit_nano <> COALESCE(t.amount, 0)""",
    "a refund differs from its transfers": """
        SELECT r.id, r.charged_nano, COALESCE(t.amount, 0) + COALESCE(d.amount, 0) AS due FROM refunds r
        LEFT JOIN transfers t ON t.account_id = r.account_id AND t.reference = 'refund:' || r.id
        LEFT JOIN transfers d ON d.account_id = r.account_id AND d.reference = 'refund:' || r.id || ':debt'
        WHERE r.booked_at IS NOT NULL
        AND COALESCE(r.charged_nano, 0) <> COALESCE(t.amount, 0) + COALESCE(d.amount, 0)""",
    "a payout has no refund": """
        SELECT t.reference, t.amount, 0 AS due FROM transfers t LEFT JOIN refunds r
        ON r.account_id = t.account_id AND t.reference IN ('refund:' || r.id, 'refund:' || r.id || ':debt')
        WHERE t.target = 'payouts' AND r.id IS NULL""",
    "a refund that may be paid holds nothing": """
        SELECT r.id, 0, r.amount_nano + r.fee_most_nano AS due FROM refunds r LEFT JOIN holds h ON h.id = r.id
        WHERE r.state IN ('held', 'sent', 'unknown') AND h.id IS NULL""",
    "a transfer of a customer names no account": """
        SELECT t.reference, t.account_id, t.amount FROM transfers t LEFT JOIN accounts a ON a.id = t.account_id
        WHERE (t.source = 'customer' OR t.target = 'customer') AND a.id IS NULL""",
}
_BOOKS: Final = """
    SELECT book, SUM(amount) FROM (
        SELECT target AS book, amount FROM transfers UNION ALL SELECT source AS book, -amount FROM transfers
    ) AS moves GROUP BY book ORDER BY book"""
_FIGURES: Final[dict[str, str]] = {
    "accounts": "SELECT COUNT(*) FROM accounts",
    "transfers": "SELECT COUNT(*) FROM transfers",
    "calls": "SELECT COUNT(*) FROM requests",
    "open holds": "SELECT COUNT(*) FROM holds",
}
_LOST: Final = text("""
    SELECT COUNT(*) FROM holds h LEFT JOIN leases l ON l.name = h.owner AND l.expires_at >= :now
    WHERE h.owner LIKE 'gateway:%' AND l.name IS NULL""")
_AMOUNTS: Final[dict[str, str]] = {
    "held": "SELECT COALESCE(SUM(amount), 0) FROM holds",
    "customers' balances": "SELECT COALESCE(SUM(posted), 0) FROM accounts",
    "customers' debts": "SELECT COALESCE(SUM(owed), 0) FROM accounts",
    "upstream costs": "SELECT COALESCE(SUM(upstream_nano), 0) FROM requests",
    "unbilled": "SELECT COALESCE(SUM(unbilled_nano), 0) FROM requests",
}


@dataclass(frozen=True, slots=True)
class Report:
    """findings: what is wrong, in words. counts; amounts and books (their net, nano-USD) by name."""

    findings: tuple[str, ...]
    counts: dict[str, int]
    amounts: dict[str, int]
    books: dict[str, int]

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """For `money.json`; amounts in USD."""
        return {
            "ok": self.ok,
            "findings": list(self.findings),
            "figures": {
                **{name.replace(" ", "_"): count for name, count in self.counts.items()},
                **{name.replace(" ", "_").replace("'", ""): money.number(n) for name, n in self.amounts.items()},
            },
            "books": {name: money.number(amount) for name, amount in self.books.items()},
        }

    def lines(self) -> list[tuple[str, str]]:
        """For people."""
        return [
            *((name, str(count)) for name, count in self.counts.items()),
            *((name, money.plain(amount)) for name, amount in self.amounts.items()),
            *((f"book {name}", money.plain(amount)) for name, amount in self.books.items()),
        ]


def verify(database: Database) -> Report:
    """Check everything in one snapshot of the database."""
    now_ms = database.now_ms()
    with database.reader.begin() as connection:
        findings = [finding for name, query in CHECKS.items() for finding in _findings(connection, name, query)]
        books = {str(row[0]): int(row[1]) for row in connection.exec_driver_sql(_BOOKS)}
        amounts = {name: _one(connection, query) for name, query in _AMOUNTS.items()}
        counts = {name: _one(connection, query) for name, query in _FIGURES.items()}
        counts["holds of lost gateways"] = connection.scalar(_LOST, {"now": now_ms}) or 0  # the sweep's next work
    if total := sum(books.values()):
        findings.append(f"the books do not sum to zero: {money.plain(total)}")
    if (net := books.get("customer", 0)) != amounts["customers' balances"]:
        findings.append(f"the customers' book says {money.plain(net)}")
    return Report(tuple(findings), counts, amounts, books)


def _findings(connection: Connection, name: str, query: str) -> list[str]:
    return [f"{name}: {row[0]}: {row[1]}, not {row[2]}" for row in connection.exec_driver_sql(query).fetchmany(20)]


def _one(connection: Connection, query: str) -> int:
    return int(connection.exec_driver_sql(query).scalar() or 0)
