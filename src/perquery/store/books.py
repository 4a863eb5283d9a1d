"""The ledger's decisions: one pure function from (state, operation) to (state, result).

`apply` changes only the State it is given, which holds the locked rows that a batch touches, and collects what
must be written. No SQL, no clock, no I/O: the same function serves SQLite, PostgreSQL and the tests' auditor.
It must never let available (posted − held) fall below zero, and never end a hold twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from perquery import money
from perquery.store.operations import (
    Credit,
    Extend,
    Hold,
    HoldRefund,
    House,
    Operation,
    Reason,
    Refund,
    Release,
    Renew,
    RequestRow,
    Result,
    Reverse,
    Settle,
)
from perquery.store.tables import HOUSE, requests

CUSTOMER, REVENUE, SHORTFALL, BONUS, DEBTORS = "customer", "revenue", "shortfall", "bonus", "debtors"
PAYOUTS = "payouts"
_HELD: Final = list(requests.columns.keys()).index("held_nano")  # its place in a row of `State.records`
REFUNDS = "refunds"  # who owns the holds of refunds: a durable job, whose holds no sweep ends


@dataclass(slots=True)
class Account:
    id: int
    posted: int
    held: int
    owed: int
    bonus: int

    @property
    def free(self) -> int:
        return self.posted - self.held


@dataclass(slots=True)
class Key:
    id: str
    account_id: int
    deleted_at: int | None
    expire_at: int | None
    limit_nano: int | None
    reset_period: str | None
    models: frozenset[str] | None
    period: int
    period_used: int
    period_held: int
    total_used: int
    prompt_caching: bool = True

    def roll(self, now_ms: int) -> None:
        """Begin the period that `now_ms` lies in; what earlier periods used and hold no longer counts."""
        if self.reset_period is None:
            return
        current = period_start(self.reset_period, now_ms)
        if current > self.period:  # a clock set back begins no period a second time
            self.period, self.period_used, self.period_held = current, 0, 0

    @property
    def free(self) -> int | None:
        return None if self.limit_nano is None else self.limit_nano - self.period_used - self.period_held


@dataclass(slots=True)
class HoldRow:
    id: str
    account_id: int
    key_id: str | None
    amount: int
    owner: str
    period: int
    model: str
    quoted_nano: int
    created_at: int

    def values(self) -> tuple[Any, ...]:
        """In the order of the table's columns."""
        return (
            *(self.id, self.account_id, self.key_id, self.amount, self.owner),
            *(self.period, self.model, self.quoted_nano, self.created_at),
        )


@dataclass(slots=True)
class State:
    """The rows that a batch locked, as they stand after the operations applied so far, and what to write.

    references: the transfers that exist already among those the batch may write: (account, reference) → amount.
    lapsed: owners whose lease has run out.
    """

    now_ms: int
    owner: str
    accounts: dict[int, Account] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    holds: dict[str, HoldRow] = field(default_factory=dict)
    references: dict[tuple[int, str], int] = field(default_factory=dict)
    lapsed: frozenset[str] = frozenset()
    new_holds: dict[str, HoldRow] = field(default_factory=dict)
    resized: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    transfers: list[tuple[int, str, str, str, int, int]] = field(default_factory=list)
    records: dict[tuple[int, str], tuple[Any, ...]] = field(default_factory=dict)
    touched_accounts: set[int] = field(default_factory=set)
    touched_keys: set[str] = field(default_factory=set)

    def hold_of(self, operation: Hold | Extend | Settle | Release | HoldRefund | Refund) -> HoldRow | None:
        """The operation's hold; one of another account is none of its."""
        row = self.holds.get(operation.id)
        return row if row is not None and row.account_id == operation.account_id else None

    def move(self, account_id: int, reference: str, source: str, target: str, amount: int) -> None:
        self.references[account_id, reference] = amount
        self.transfers.append((account_id, reference, source, target, amount, self.now_ms))

    def change(self, account: Account, *, posted: int = 0, held: int = 0, owed: int = 0, bonus: int = 0) -> None:
        account.posted += posted
        account.held += held
        account.owed += owed
        account.bonus += bonus
        self.touched_accounts.add(account.id)


def period_start(reset_period: str | None, now_ms: int) -> int:
    """The first millisecond (UTC) of the day, week (Monday) or month of `now_ms`; 0 where nothing resets."""
    if reset_period is None:
        return 0
    day = datetime.fromtimestamp(now_ms // 1000, UTC).replace(hour=0, minute=0, second=0)
    if reset_period == "weekly":
        day -= timedelta(days=day.weekday())
    elif reset_period == "monthly":
        day = day.replace(day=1)
    return int(day.timestamp()) * 1000


def granted(asked: Hold | Extend, free: int) -> int:
    """How much of [least, most] to hold out of `free`: all where it fits, else the share."""
    if asked.most <= money.share(free, asked.fits):
        return asked.most
    return max(asked.least, min(asked.most, money.share(free, asked.share)))


def apply(state: State, operation: Operation) -> Result:
    """Decide one operation on the state; the result carries the figures after it."""
    match operation:
        case Hold():
            return _hold(state, operation)
        case Settle():
            return _settle(state, operation)
        case Extend():
            return _extend(state, operation)
        case Release():
            return _release(state, operation)
        case Credit():
            return _credit(state, operation)
        case Reverse():
            return _reverse(state, operation)
        case HoldRefund():
            return _hold_refund(state, operation)
        case Refund():
            return _refund(state, operation)
        case House():
            return _house(state, operation)
        case Renew():
            return Result("APPLIED")


def _figures(
    status: Any,
    account: Account,
    *,
    amount: int = 0,
    shortfall: int = 0,
    free: int | None = None,
    caching: bool = True,
) -> Result:
    return Result(
        status,
        None,
        amount,
        shortfall,
        account.free if free is None else free,
        account.posted,
        account.held,
        account.owed,
        caching,
    )


def _refused(reason: Reason, account: Account | None, free: int = 0) -> Result:
    if account is None:
        return Result("REFUSED", reason)
    return Result("REFUSED", reason, 0, 0, free, account.posted, account.held, account.owed)


def _why_not(state: State, operation: Hold, account: Account, key: Key | None) -> Reason | None:
    """Why this key may not spend from this account now, amounts apart."""
    if account.owed:
        return "frozen"
    if operation.key_id is None:
        return None
    if key is None or key.deleted_at is not None or key.account_id != account.id:
        return "no_key"
    if key.expire_at is not None and key.expire_at <= state.now_ms:
        return "key_expired"
    if key.models is not None and not key.models.issuperset((operation.model, *operation.others)):
        return "model_not_allowed"
    return None


def _free(account: Account, key: Key | None, now_ms: int) -> tuple[int, Reason]:
    """What may still be held, and which of the two, balance or key limit, is the narrower bound."""
    if key is None:
        return account.free, "balance"
    key.roll(now_ms)
    limit = key.free
    if limit is None or limit >= account.free:
        return account.free, "balance"
    return max(limit, 0), "key_limit"


def _hold(state: State, operation: Hold) -> Result:
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    key = state.keys.get(operation.key_id) if operation.key_id else None
    caching = key is None or key.prompt_caching
    if existing := state.hold_of(operation):
        return _figures("REPLAYED", account, amount=existing.amount, caching=caching)
    if reason := _why_not(state, operation, account, key):
        return _refused(reason, account)
    free, bound = _free(account, key, state.now_ms)
    if operation.least > free:
        return _refused(bound, account, free)
    if not operation.sharp and operation.least > money.share(free, operation.share):
        return _refused("tight", account, free)
    amount = granted(operation, free)
    row = HoldRow(
        operation.id,
        account.id,
        operation.key_id,
        amount,
        operation.owner or state.owner,
        key.period if key else 0,
        operation.model,
        operation.most,
        state.now_ms,
    )
    state.holds[row.id] = state.new_holds[row.id] = row
    state.change(account, held=amount)
    if key is not None:
        key.period_held += amount
        state.touched_keys.add(key.id)
    return _figures("APPLIED", account, amount=amount, free=free - amount, caching=caching)


def _extend(state: State, operation: Extend) -> Result:
    account, row = state.accounts.get(operation.account_id), state.hold_of(operation)
    if account is None or row is None:
        return _refused("no_hold", account)
    if account.owed:
        return _refused("frozen", account)
    key = state.keys.get(row.key_id) if row.key_id else None
    free, bound = _free(account, key, state.now_ms)
    if operation.least > free:
        return _refused(bound, account, free)
    amount = granted(operation, free)
    row.amount += amount
    if row.id not in state.new_holds:
        state.resized[row.id] = row.amount
    state.change(account, held=amount)
    if key is not None:
        key.period_held += amount if key.period == row.period else 0
        state.touched_keys.add(key.id)  # also where only its period began anew
    return _figures("APPLIED", account, amount=amount, free=free - amount)


def _end(state: State, account: Account, row: HoldRow) -> None:
    """Give a hold back; the caller charges, if anything."""
    del state.holds[row.id]
    state.resized.pop(row.id, None)
    if state.new_holds.pop(row.id, None) is None:
        state.ended.append(row.id)
    state.change(account, held=-row.amount)
    key = state.keys.get(row.key_id) if row.key_id else None
    if key is not None:
        key.roll(state.now_ms)
        if key.period == row.period:
            key.period_held -= row.amount
        state.touched_keys.add(key.id)


def _settle(state: State, operation: Settle) -> Result:
    """Charge once: with the hold if it lives, else (its owner's lease had run out) from what is free."""
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    row = state.hold_of(operation)
    if row is not None:
        _end(state, account, row)
    else:
        charged = state.references.get((account.id, operation.id))
        lost = state.references.get((account.id, f"{operation.id}:shortfall"))
        if charged is not None or lost is not None:
            return _figures("REPLAYED", account, amount=charged or 0, shortfall=lost or 0)
    amount = min(operation.charge, account.free)
    shortfall = operation.charge - amount
    if amount:
        state.change(account, posted=-amount)
        state.move(account.id, operation.id, CUSTOMER, REVENUE, amount)
    if shortfall:
        state.move(account.id, f"{operation.id}:shortfall", SHORTFALL, REVENUE, shortfall)
    key = state.keys.get(operation.key_id) if operation.key_id else None
    if key is not None:
        key.roll(state.now_ms)
        key.total_used += amount
        if row is None or row.period == key.period:
            key.period_used += amount
        state.touched_keys.add(key.id)
    _pay_owed(state, account, operation.id)
    _record(state, operation.record, row, amount, shortfall)
    return _figures("APPLIED", account, amount=amount, shortfall=shortfall)


def _release(state: State, operation: Release) -> Result:
    account, row = state.accounts.get(operation.account_id), state.hold_of(operation)
    if account is None or row is None:
        return _refused("no_hold", account)
    if operation.if_lapsed and row.owner not in state.lapsed:
        return _refused("no_hold", account)
    _end(state, account, row)
    _pay_owed(state, account, operation.id)
    _record(state, operation.record, row, 0, 0)
    return _figures("APPLIED", account, amount=row.amount)


def _record(state: State, record: RequestRow | None, row: HoldRow | None, amount: int, shortfall: int) -> None:
    if record is None:
        return
    name = (record.account_id, record.id)
    earlier = state.records.get(name)  # of the sweep, in the same batch
    held = row.amount if row else earlier[_HELD] if earlier else 0
    state.records[name] = record.values(held, amount, shortfall)


def _pay_owed(state: State, account: Account, reference: str) -> None:
    """Debts are paid from whatever becomes free."""
    payment = min(account.owed, account.free) if account.owed else 0
    if payment > 0:
        state.change(account, posted=-payment, owed=-payment)
        state.move(account.id, f"{reference}:owed", CUSTOMER, DEBTORS, payment)


def _credit(state: State, operation: Credit) -> Result:
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    before = state.references.get((account.id, operation.reference))
    if before is not None:
        same = before == operation.amount
        return _figures("REPLAYED", account, amount=before) if same else _refused("mismatch", account)
    state.change(account, posted=operation.amount)
    state.move(account.id, operation.reference, operation.source, CUSTOMER, operation.amount)
    bonus = money.share(operation.amount, operation.bonus) if operation.bonus else 0
    if bonus:
        state.change(account, posted=bonus, bonus=bonus)
        state.move(account.id, f"{operation.reference}:bonus", BONUS, CUSTOMER, bonus)
    _pay_owed(state, account, operation.reference)
    return _figures("APPLIED", account, amount=operation.amount + bonus)


def _reverse(state: State, operation: Reverse) -> Result:
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    taken = state.references.get((account.id, operation.reference))
    owed = state.references.get((account.id, f"{operation.reference}:debt"))
    if taken is not None or owed is not None:
        return _figures("REPLAYED", account, amount=(taken or 0) + (owed or 0))
    credited = state.references.get((account.id, operation.of))
    if credited is None or operation.amount > credited - _reversed(state, operation, bonus=False):
        return _refused("mismatch", account)
    bonus = min(_bonus_due(state, operation, credited), account.bonus)  # a refund may have taken it already
    book = f"reversals:{operation.of.partition(':')[0]}"
    _take(state, account, operation.reference, book, operation.amount)
    _take(state, account, f"{operation.reference}:bonus", BONUS, bonus)
    state.change(account, bonus=-bonus)
    return _figures("APPLIED", account, amount=operation.amount + bonus)


def _bonus_due(state: State, operation: Reverse, credited: int) -> int:
    """The bonus that goes back with this part: rounded up once over all parts, so they never exceed the bonus."""
    given = state.references.get((operation.account_id, f"{operation.of}:bonus"), 0)
    back = _reversed(state, operation, bonus=False) + operation.amount
    return -(-given * back // credited) - _reversed(state, operation, bonus=True)


def _reversed(state: State, operation: Reverse, *, bonus: bool) -> int:
    """How much of the credit, or of its bonus, earlier reversals took back."""
    parts = f"{operation.of}:reverse"
    return sum(
        amount
        for (account_id, reference), amount in state.references.items()
        if account_id == operation.account_id and reference.startswith(parts) and (":bonus" in reference) == bonus
    )


def _take(state: State, account: Account, reference: str, book: str, amount: int) -> None:
    """Move `amount` to a house book: what is free from the customer, the rest on the customer's debt."""
    taken = min(amount, account.free)
    if taken:
        state.change(account, posted=-taken)
        state.move(account.id, reference, CUSTOMER, book, taken)
    if debt := amount - taken:
        state.change(account, owed=debt)
        state.move(account.id, f"{reference}:debt", DEBTORS, book, debt)


def _hold_refund(state: State, operation: HoldRefund) -> Result:
    """Everything that is free beyond the bonus was deposited, for the bonus is spent last."""
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    if existing := state.hold_of(operation):
        return _figures("REPLAYED", account, amount=existing.amount)
    if (before := _paid_out(state, operation)) is not None:
        return _figures("REPLAYED", account, amount=before)
    if account.owed:
        return _refused("frozen", account)
    spare = max(0, account.free - account.bonus)
    if operation.amount > spare:
        return _refused("balance", account, spare)
    amount = operation.amount + min(account.bonus, _bonus_on(operation))
    row = HoldRow(operation.id, account.id, None, amount, REFUNDS, 0, "", operation.amount, state.now_ms)
    state.holds[row.id] = state.new_holds[row.id] = row
    state.change(account, held=amount)
    return _figures("APPLIED", account, amount=amount)


def _refund(state: State, operation: Refund) -> Result:
    """The bonus that goes back was held with the amount; without a hold (which cannot be) the amount goes all the same,
    for it has left the wallet.
    """
    account = state.accounts.get(operation.account_id)
    if account is None:
        return _refused("no_account", None)
    if (before := _paid_out(state, operation)) is not None:
        return _figures("REPLAYED", account, amount=before)
    row, held_beyond = state.hold_of(operation), 0
    if row is not None:
        held_beyond = max(0, row.amount - operation.amount)
        _end(state, account, row)
    bonus = min(account.bonus, held_beyond, _bonus_on(operation))
    _take(state, account, operation.reference, PAYOUTS, operation.amount)
    _take(state, account, f"{operation.reference}:bonus", BONUS, bonus)
    state.change(account, bonus=-bonus)
    _pay_owed(state, account, operation.reference)
    return _figures("APPLIED", account, amount=operation.amount + bonus)


def _bonus_on(operation: HoldRefund | Refund) -> int:
    """Rounded up: a deposit and its refund never leave a bonus behind."""
    return -(-operation.amount * operation.bonus.numerator // operation.bonus.denominator)


def _paid_out(state: State, operation: HoldRefund | Refund) -> int | None:
    names = operation.reference, f"{operation.reference}:debt"
    found = [
        state.references[operation.account_id, name]
        for name in names
        if (operation.account_id, name) in state.references
    ]
    return sum(found) if found else None


def _house(state: State, operation: House) -> Result:
    before = state.references.get((HOUSE, operation.reference))
    if before is not None:
        return Result("REPLAYED", None, before)
    state.move(HOUSE, operation.reference, operation.source, operation.target, operation.amount)
    return Result("APPLIED", None, operation.amount)
