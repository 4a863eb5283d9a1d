"""Connected wallets and the attempts to have them pay, as rows: reading and writing, no decisions.

An attempt moves from state to state by `move`, which changes it only where it still is in the state that the mover
saw: so of two gateways one wins, and what the loser made is never used. The database refuses an account a second
attempt while one is open. Nothing here moves money.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, not_, or_, select, update

from perquery.store import invoices as invoice_rows
from perquery.store.invoices import InvoiceRow
from perquery.store.tables import accounts, invoices, wallet_attempts, wallets

State: TypeAlias = Literal[
    "claimed", "invoice_created", "request_signed", "sent", "answered", "unknown", "settled", "failed_final"
]
BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class WalletRow:
    """A wallet that tops up its account. sealed: its address, encrypted; shown: the address without the secret;
    amounts in nano-USD; next_at: it is not asked before; reason: why it waits or is switched off; failures,
    refusals: attempts in a row that failed, and that the wallet refused for good.
    """

    account_id: int
    connection_id: str
    sealed: bytes
    shown: str
    encryption: str
    threshold_nano: int
    amount_nano: int
    daily_nano: int
    monthly_nano: int
    connected_at: int
    enabled: bool = True
    next_at: int = 0
    reason: str | None = None
    failures: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt. request: the signed event; code, words: what the wallet said, or what happened instead."""

    id: str
    account_id: int
    connection_id: str
    state: State
    amount_nano: int
    created_at: int
    invoice_id: str | None = None
    request: str | None = None
    code: str | None = None
    words: str | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier attempt as the caps see it: nano-USD that it brought or may still bring."""

    created_at: int
    counted_nano: int


_WALLET: Final = [wallets.c[name] for name in WalletRow.__slots__]
_ATTEMPT: Final = [wallet_attempts.c[name] for name in AttemptRow.__slots__]
_OPEN: Final = wallet_attempts.c.ended_at.is_(None)


def find(connection: Connection, account_id: int) -> WalletRow | None:
    row = connection.execute(select(*_WALLET).where(wallets.c.account_id == account_id)).one_or_none()
    return WalletRow(**row._mapping) if row is not None else None


def put(connection: Connection, wallet: WalletRow) -> None:
    """Connect the wallet, in place of the one that the account had."""
    remove(connection, wallet.account_id)
    connection.execute(insert(wallets).values(asdict(wallet)))


def change(connection: Connection, wallet: WalletRow, **changes: Any) -> None:
    """Change what `changes` names, where the account still has this wallet."""
    same = (wallets.c.account_id == wallet.account_id, wallets.c.connection_id == wallet.connection_id)
    connection.execute(update(wallets).where(*same).values(changes))


def remove(connection: Connection, account_id: int) -> bool:
    """Forget the account's wallet and its secret; whether there was one."""
    return connection.execute(delete(wallets).where(wallets.c.account_id == account_id)).rowcount == 1


def low(connection: Connection, now_ms: int) -> list[int]:
    """The accounts below their wallet's threshold, whose wallet may be asked now; at most a batch."""
    asked = select(wallet_attempts.c.id).where(wallet_attempts.c.account_id == wallets.c.account_id, _OPEN)
    query = (
        select(wallets.c.account_id)
        .join(accounts, accounts.c.id == wallets.c.account_id)
        .where(wallets.c.enabled, wallets.c.next_at <= now_ms, _free() < wallets.c.threshold_nano, ~asked.exists())
    )
    return list(connection.scalars(query.order_by(wallets.c.next_at).limit(BATCH)))


def lock_account(connection: Connection, account_id: int) -> None:
    """Until the end of the transaction nobody else claims an attempt for the account."""
    invoice_rows.lock_account(connection, account_id)


def effective_nano(connection: Connection, account_id: int) -> int:
    """What the account has to spend, and what was paid and is about to be credited."""
    free = connection.scalar(select(_free()).where(accounts.c.id == account_id)) or 0
    coming = select(func.coalesce(func.sum(invoices.c.amount_nano), 0))
    coming = coming.where(invoices.c.account_id == account_id, invoices.c.status == "seen")
    return int(free) + int(connection.scalar(coming) or 0)


def _free() -> ColumnElement[int]:
    return accounts.c.posted - accounts.c.held - accounts.c.owed


def is_asked(connection: Connection, account_id: int) -> bool:
    """Whether an attempt of the account is open."""
    query = select(wallet_attempts.c.id).where(wallet_attempts.c.account_id == account_id, _OPEN)
    return connection.execute(query).one_or_none() is not None


def past(connection: Connection, account_id: int, since_ms: int) -> list[Past]:
    """The account's attempts since then, oldest first. One whose invoice was never paid counts for nothing."""
    query = (
        select(wallet_attempts.c.created_at, wallet_attempts.c.amount_nano, _counts().label("counts"))
        .join(invoices, invoices.c.id == wallet_attempts.c.invoice_id, isouter=True)
        .where(wallet_attempts.c.account_id == account_id, wallet_attempts.c.created_at > since_ms)
        .order_by(wallet_attempts.c.created_at)
    )
    return [Past(row.created_at, row.amount_nano if row.counts else 0) for row in connection.execute(query)]


def _counts() -> ColumnElement[bool]:
    return or_(_OPEN, wallet_attempts.c.state == "settled", func.coalesce(invoices.c.crypto_paid, 0) > 0)


def add(connection: Connection, attempt: AttemptRow) -> None:
    connection.execute(insert(wallet_attempts).values(asdict(attempt)))


def attempt(connection: Connection, attempt_id: str) -> AttemptRow:
    row = connection.execute(select(*_ATTEMPT).where(wallet_attempts.c.id == attempt_id)).one()
    return AttemptRow(**row._mapping)


def open_attempts(connection: Connection, dead_ms: int, limit: int) -> list[AttemptRow]:
    """The open ones with which there may be something to do, the oldest first. Left out are those that can only wait:
    for their invoice to be paid, or to have expired by `dead_ms`.
    """
    asked = wallet_attempts.c.state.in_(("answered", "unknown"))
    waiting = and_(asked, invoices.c.status != "settled", invoices.c.expires_at > dead_ms)
    query = select(*_ATTEMPT).join(invoices, invoices.c.id == wallet_attempts.c.invoice_id, isouter=True)
    query = query.where(_OPEN, not_(waiting)).order_by(wallet_attempts.c.created_at, wallet_attempts.c.id).limit(limit)
    return [AttemptRow(**row._mapping) for row in connection.execute(query)]


def latest(connection: Connection, account_id: int, limit: int) -> list[tuple[AttemptRow, InvoiceRow | None]]:
    """The account's attempts with their invoices, newest first."""
    query = select(*_ATTEMPT).where(wallet_attempts.c.account_id == account_id)
    query = query.order_by(wallet_attempts.c.created_at.desc(), wallet_attempts.c.id).limit(limit)
    rows = [AttemptRow(**row._mapping) for row in connection.execute(query)]
    return [(row, invoice_of(connection, row)) for row in rows]


def invoice_of(connection: Connection, row: AttemptRow) -> InvoiceRow | None:
    """The invoice that the attempt has made."""
    return invoice_rows.find(connection, row.invoice_id) if row.invoice_id else None


def move(connection: Connection, attempt_id: str, seen: State, to: State, **changes: Any) -> bool:
    """Move the attempt on, if it still is in the state `seen`; whether it was."""
    same = (wallet_attempts.c.id == attempt_id, wallet_attempts.c.state == seen)
    return connection.execute(update(wallet_attempts).where(*same).values(state=to, **changes)).rowcount == 1
