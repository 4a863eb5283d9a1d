"""What the ledger should answer and hold, by arithmetic of its own: lists and sums, no running figures.

It shares nothing with `perquery.store.books` but the vocabulary. Amounts are integers, times milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, TypeAlias

from perquery.store.operations import (
    Credit,
    Extend,
    Hold,
    HoldRefund,
    Operation,
    Reason,
    Refund,
    Release,
    Reverse,
    Settle,
    Status,
)

DAY_MS: Final = 86_400_000
LEASE_MS: Final = 30_000
RENEW_MS: Final = 5_000
Answer: TypeAlias = tuple[Status, Reason | None, int, int]  # status, reason, amount, shortfall


@dataclass
class Given:
    """A credit and what was taken back of it, by part."""

    amount: int
    bonus: int
    parts: dict[str, int] = field(default_factory=dict)
    bonus_parts: dict[str, int] = field(default_factory=dict)


@dataclass
class Reserved:
    account_id: int
    key_id: str | None
    amount: int
    day: int
    owner: str


@dataclass
class Charge:
    """day: in which day's limit it counts; None: in none."""

    account_id: int
    key_id: str | None
    amount: int
    lost: int
    day: int | None


@dataclass
class KeyTerms:
    daily: bool
    limit: int | None = None
    revoked: bool = False


class Auditor:
    """`now_ms` moves only forward. keys: key id → terms."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.keys: dict[str, KeyTerms] = {}
        self.credits: dict[tuple[int, str], Given] = {}
        self.debts_paid: dict[int, list[int]] = {}
        self.debts: dict[int, list[int]] = {}
        self.holds: dict[str, Reserved] = {}
        self.charges: dict[str, Charge] = {}
        self.refunds: dict[str, tuple[int, int, int]] = {}  # account, what left, the bonus that went back with it
        self.jobs_over: set[str] = set()  # by their holds' ids: given up by a verdict that released nothing
        self.leases: dict[str, int] = {}
        self.renewals: dict[str, int] = {}

    # -- figures, each a sum ------------------------------------------------------------------------------

    def owed(self, account_id: int) -> int:
        return sum(self.debts.get(account_id, [])) - sum(self.debts_paid.get(account_id, []))

    def held(self, account_id: int) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.account_id == account_id)

    def bonus(self, account_id: int) -> int:
        mine = [given for (owner, _), given in self.credits.items() if owner == account_id]
        refunded = sum(bonus for owner, _, bonus in self.refunds.values() if owner == account_id)
        return sum(given.bonus - sum(given.bonus_parts.values()) for given in mine) - refunded

    def posted(self, account_id: int) -> int:
        """All that came less all that went; what was taken back beyond what was free went on the debt instead."""
        mine = [given for (owner, _), given in self.credits.items() if owner == account_id]
        came = sum(given.amount + given.bonus for given in mine)
        back = sum(sum(given.parts.values()) + sum(given.bonus_parts.values()) for given in mine)
        spent = sum(charge.amount for charge in self.charges.values() if charge.account_id == account_id)
        refunded = sum(left + bonus for owner, left, bonus in self.refunds.values() if owner == account_id)
        return came - back - spent - refunded + self.owed(account_id)

    def free(self, account_id: int) -> int:
        return self.posted(account_id) - self.held(account_id)

    def today(self, key_id: str) -> int:
        return self.now_ms // DAY_MS if self.keys[key_id].daily else 0

    def used(self, key_id: str) -> int:
        """What counts in the key's current period."""
        return sum(c.amount for c in self.charges.values() if c.key_id == key_id and c.day == self.today(key_id))

    def used_ever(self, key_id: str) -> int:
        return sum(charge.amount for charge in self.charges.values() if charge.key_id == key_id)

    def key_held(self, key_id: str) -> int:
        return sum(h.amount for h in self.holds.values() if h.key_id == key_id and h.day == self.today(key_id))

    # -- leases -------------------------------------------------------------------------------------------

    def worked(self, owner: str) -> None:
        """The owner committed a batch."""
        if owner not in self.renewals or self.now_ms - self.renewals[owner] >= RENEW_MS:
            self.renewals[owner] = self.now_ms
            self.leases[owner] = self.now_ms + LEASE_MS

    def lapsed(self, sweeper: str) -> set[str]:
        return {owner for owner, end in self.leases.items() if end < self.now_ms} - {sweeper}

    # -- the verbs ----------------------------------------------------------------------------------------

    def apply(self, operation: Operation, owner: str) -> Answer:
        match operation:
            case Credit():
                return self._credit(operation)
            case Reverse():
                return self._reverse(operation)
            case Hold():
                return self._hold(operation, owner)
            case Extend():
                return self._extend(operation)
            case Settle():
                return self._settle(operation)
            case HoldRefund():
                return self._hold_refund(operation)
            case Refund():
                return self._refund(operation)
            case Release():
                hold = self.holds.get(operation.id)
                if operation.if_lapsed and (hold is None or hold.owner not in self.lapsed(owner)):
                    return "REFUSED", "no_hold", 0, 0
                return self._release(operation.id, operation.account_id)
        raise AssertionError(operation)

    def _room(self, account_id: int, key_id: str | None) -> tuple[int, Reason]:
        free = self.free(account_id)
        limit = self.keys[key_id].limit if key_id else None
        if key_id is None or limit is None:
            return free, "balance"
        left = limit - self.used(key_id) - self.key_held(key_id)
        return (max(left, 0), "key_limit") if left < free else (free, "balance")

    @staticmethod
    def _granted(asked: Hold | Extend, free: int) -> int:
        if Fraction(*asked.fits) * free >= asked.most:
            return asked.most
        part = math.floor(Fraction(*asked.share) * free)
        return max(asked.least, min(part, asked.most))

    def _hold(self, asked: Hold, owner: str) -> Answer:
        if asked.id in self.holds:
            return "REPLAYED", None, self.holds[asked.id].amount, 0
        if self.owed(asked.account_id):
            return "REFUSED", "frozen", 0, 0
        if asked.key_id and self.keys[asked.key_id].revoked:
            return "REFUSED", "no_key", 0, 0
        free, bound = self._room(asked.account_id, asked.key_id)
        if asked.least > free:
            return "REFUSED", bound, 0, 0
        if not asked.sharp and asked.least > math.floor(Fraction(*asked.share) * free):
            return "REFUSED", "tight", 0, 0
        amount = self._granted(asked, free)
        day = self.today(asked.key_id) if asked.key_id else 0
        self.holds[asked.id] = Reserved(asked.account_id, asked.key_id, amount, day, asked.owner or owner)
        return "APPLIED", None, amount, 0

    def _extend(self, asked: Extend) -> Answer:
        hold = self.holds.get(asked.id)
        if hold is None:
            return "REFUSED", "no_hold", 0, 0
        if self.owed(asked.account_id):
            return "REFUSED", "frozen", 0, 0
        free, bound = self._room(asked.account_id, asked.key_id)
        if asked.least > free:
            return "REFUSED", bound, 0, 0
        amount = self._granted(asked, free)
        hold.amount += amount
        return "APPLIED", None, amount, 0

    def _settle(self, asked: Settle) -> Answer:
        hold = self.holds.pop(asked.id, None)
        before = self.charges.get(asked.id)
        if hold is None and before is not None and before.amount + before.lost:
            return "REPLAYED", None, before.amount, before.lost
        amount = min(asked.charge, self.free(asked.account_id))
        lost = asked.charge - amount
        today = self.today(asked.key_id) if asked.key_id else 0
        day = today if hold is None or hold.day == today else None
        self.charges[asked.id] = Charge(asked.account_id, asked.key_id, amount, lost, day)
        self._pay_debts(asked.account_id)
        return "APPLIED", None, amount, lost

    def _release(self, id: str, account_id: int) -> Answer:
        hold = self.holds.pop(id, None)
        if hold is None:
            return "REFUSED", "no_hold", 0, 0
        self._pay_debts(account_id)
        return "APPLIED", None, hold.amount, 0

    def sweep(self, sweeper: str) -> int:
        lapsed = self.lapsed(sweeper)
        found = [id for id, hold in self.holds.items() if hold.owner in lapsed or id in self.jobs_over]
        for id in found:
            self._release(id, self.holds[id].account_id)
        return len(found)

    def _pay_debts(self, account_id: int) -> None:
        payment = min(self.owed(account_id), self.free(account_id))
        if payment > 0:
            self.debts_paid.setdefault(account_id, []).append(payment)

    def _credit(self, asked: Credit) -> Answer:
        before = self.credits.get((asked.account_id, asked.reference))
        if before is not None:
            return "REPLAYED", None, before.amount, 0
        bonus = math.floor(asked.amount * Fraction(*asked.bonus)) if asked.bonus else 0
        self.credits[asked.account_id, asked.reference] = Given(asked.amount, bonus)
        self._pay_debts(asked.account_id)
        return "APPLIED", None, asked.amount + bonus, 0

    def _reverse(self, asked: Reverse) -> Answer:
        given = self.credits.get((asked.account_id, asked.of))
        if given is not None and asked.part in given.parts:
            return "REPLAYED", None, given.parts[asked.part], 0
        if given is None or sum(given.parts.values()) + asked.amount > given.amount:
            return "REFUSED", "mismatch", 0, 0
        free = self.free(asked.account_id)
        back = sum(given.parts.values()) + asked.amount
        due = math.ceil(Fraction(given.bonus * back, given.amount)) - sum(given.bonus_parts.values())
        bonus = min(due, self.bonus(asked.account_id))
        given.parts[asked.part], given.bonus_parts[asked.part] = asked.amount, bonus
        self.debts.setdefault(asked.account_id, []).append(max(0, asked.amount + bonus - free))
        return "APPLIED", None, asked.amount + bonus, 0

    def _hold_refund(self, asked: HoldRefund) -> Answer:
        if asked.id in self.holds:
            return "REPLAYED", None, self.holds[asked.id].amount, 0
        if asked.id in self.refunds:
            return "REPLAYED", None, self.refunds[asked.id][1], 0
        if self.owed(asked.account_id):
            return "REFUSED", "frozen", 0, 0
        if asked.amount > self.free(asked.account_id) - self.bonus(asked.account_id):
            return "REFUSED", "balance", 0, 0
        bonus = min(self.bonus(asked.account_id), math.ceil(asked.amount * Fraction(*asked.bonus)))
        self.holds[asked.id] = Reserved(asked.account_id, None, asked.amount + bonus, 0, "refunds")
        return "APPLIED", None, asked.amount + bonus, 0

    def _refund(self, asked: Refund) -> Answer:
        if asked.id in self.refunds:
            return "REPLAYED", None, self.refunds[asked.id][1], 0
        hold = self.holds.pop(asked.id)
        due = math.ceil(asked.amount * Fraction(*asked.bonus))
        bonus = min(self.bonus(asked.account_id), due, hold.amount - asked.amount)
        self.refunds[asked.id] = (asked.account_id, asked.amount, bonus)
        self._pay_debts(asked.account_id)
        return "APPLIED", None, asked.amount + bonus, 0
