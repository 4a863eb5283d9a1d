"""Who may come in: a bound on requests in flight, fair shares of it, and patience with empty balances.

In-process and in memory; no money is decided here. There is no rate limit: a caller with credit is never slowed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from perquery.errors import BalanceBackoff, Overloaded

STRIKES = 10  # refusals for want of money before the gateway asks for patience
BACKOFF_S = (1, 2, 4, 8, 16, 32, 60)
REMEMBERED = 10_000
FORGET_S = 60


@dataclass(slots=True)
class _Strikes:
    count: int = 0
    last_s: float = 0
    until_s: float = 0


class _Place:
    """Entered once, left once."""

    __slots__ = ("_account_id", "_admission")

    def __init__(self, admission: Admission, account_id: int) -> None:
        self._admission = admission
        self._account_id = account_id

    def __enter__(self) -> None:
        self._admission.enter(self._account_id)

    def __exit__(self, *_: object) -> None:
        self._admission.leave(self._account_id)


class Admission:
    """`limit` requests at once; while more than three quarters are in use, an account with a quarter must wait."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self._by_account: dict[int, int] = {}
        self._strikes: OrderedDict[int, _Strikes] = OrderedDict()
        self.in_flight = 0

    def place(self, account_id: int) -> _Place:
        """`with admission.place(...)`: a place for one request. Raises Overloaded or BalanceBackoff."""
        return _Place(self, account_id)

    def enter(self, account_id: int) -> None:
        if self._strikes:
            self._check_strikes(account_id)
        mine = self._by_account.get(account_id, 0)
        if self.in_flight * 4 >= self._limit * 3 and self._is_full(mine):
            raise Overloaded("Too many requests are in flight; try again in a second.", headers={"retry-after": "1"})
        self.in_flight += 1
        self._by_account[account_id] = mine + 1

    def _is_full(self, mine: int) -> bool:
        others = self.in_flight - mine
        return self.in_flight >= self._limit or (others > 0 and (mine + 1) * 4 > self._limit)

    def leave(self, account_id: int) -> None:
        self.in_flight -= 1
        left = self._by_account[account_id] - 1
        if left:
            self._by_account[account_id] = left
        else:
            del self._by_account[account_id]

    def _check_strikes(self, account_id: int) -> None:
        strikes = self._strikes.get(account_id)
        if strikes is None:
            return
        wait_s = strikes.until_s - self._now()
        if wait_s > 0:
            seconds = max(1, round(wait_s))
            raise BalanceBackoff(
                f"The balance is empty and requests keep coming; try again in {seconds} s or top up.",
                headers={"retry-after": str(seconds)},
                details={"retry_after_seconds": seconds},
            )

    def refused_empty(self, account_id: int) -> None:
        """A request was refused at a balance of zero; after STRIKES of them the account is asked to wait."""
        now = self._now()
        strikes = self._strikes.setdefault(account_id, _Strikes())
        if now - strikes.last_s > FORGET_S:
            strikes.count = 0
        strikes.count, strikes.last_s = strikes.count + 1, now
        if strikes.count >= STRIKES:
            strikes.until_s = now + BACKOFF_S[min(strikes.count - STRIKES, len(BACKOFF_S) - 1)]
        self._strikes.move_to_end(account_id)
        while len(self._strikes) > REMEMBERED:
            self._strikes.popitem(last=False)

    def credited(self, account_id: int) -> None:
        """Money came in, or a hold succeeded: nothing is held against the account any longer."""
        self._strikes.pop(account_id, None)
