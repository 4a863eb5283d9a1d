"""What the ledger is asked and what it answers: plain data, the vocabulary of the money.

What every call makes is not frozen only because freezing doubles the cost of making it; nothing changes it.

Amounts are integer nano-USD, times milliseconds. Every operation may be sent again: its id or reference makes
the second one answer REPLAYED instead of moving money twice. Only an Extend sent again reserves again; what is
held too much comes back when the hold ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from perquery.money import ONE, Ratio

Status: TypeAlias = Literal["APPLIED", "REPLAYED", "REFUSED"]
Reason: TypeAlias = Literal[
    "no_account",
    "frozen",  # owed > 0: a deposit was taken back after it was spent
    "no_key",  # unknown, revoked
    "key_expired",
    "model_not_allowed",
    "key_limit",
    "balance",
    "tight",  # it fits, but takes more than its share: ask again with a sharper bound
    "no_hold",  # ended already, or never there
    "mismatch",  # the reference was used for another amount
]


@dataclass(frozen=True, slots=True)
class Credit:
    """Put `amount` from the house book `source` on the account, its bonus beside it; debts are paid first."""

    account_id: int
    reference: str
    amount: int
    source: str
    bonus: Ratio | None = None


@dataclass(frozen=True, slots=True)
class Reverse:
    """Take back `amount` of the credit `of`, and that credit's bonus in the same proportion.

    Takes what is free; the rest becomes owed. `part` names this reversal among several of one credit, which
    together never take back more than was credited.
    """

    account_id: int
    of: str
    amount: int
    part: str = ""

    @property
    def reference(self) -> str:
        return f"{self.of}:reverse{self.part}"


@dataclass(slots=True)
class Hold:
    """Reserve between `least` and `most`: all of `most` where it is within the part `fits` of what is free, else
    the part `share` of it, and at least `least`. A bound that is not `sharp` and whose least takes more than the
    share is refused as `tight`. The key's state, limit and models are decided here, in the same transaction.
    """

    id: str
    account_id: int
    key_id: str | None
    least: int
    most: int
    fits: Ratio
    share: Ratio
    sharp: bool
    model: str
    owner: str | None = None  # a durable job's name; None: this gateway's lease
    others: tuple[str, ...] = ()  # models that may answer in its place: the key must allow them all


@dataclass(slots=True)
class Extend:
    """Add between `least` and `most` to a hold, by the same rule."""

    id: str
    account_id: int
    key_id: str | None
    least: int
    most: int
    fits: Ratio
    share: Ratio


@dataclass(slots=True)
class RequestRow:
    """What the log keeps of a request, but for the money: that is the ledger's to say (`values`)."""

    account_id: int
    id: str
    key_id: str | None
    at: int
    model: str
    provider: str | None
    upstream_id: str | None
    kind: str
    source: str | None
    streamed: int
    input_count: int
    output_count: int
    upstream_nano: int
    unbilled_nano: int
    rule: str
    error_code: str | None
    first_event_ms: int | None
    total_ms: int
    detail: str
    upstream_request_id: str | None

    def values(self, held_nano: int, cost_nano: int, shortfall_nano: int) -> tuple[Any, ...]:
        """In the order of the table's columns."""
        return (
            *(self.account_id, self.id, self.key_id, self.at, self.model, self.provider, self.upstream_id),
            *(self.kind, self.source, self.streamed, self.input_count, self.output_count),
            *(held_nano, cost_nano, shortfall_nano, self.upstream_nano, self.unbilled_nano),
            *(self.rule, self.error_code, self.first_event_ms, self.total_ms, self.detail, self.upstream_request_id),
        )


@dataclass(slots=True)
class Settle:
    """End a hold by charging `charge`; `record` is the request's row, completed and written with it."""

    id: str
    account_id: int
    key_id: str | None
    charge: int
    record: RequestRow | None = None


@dataclass(slots=True)
class Release:
    """End a hold without a charge. `if_lapsed`: only if its owner's lease has run out (the sweep)."""

    id: str
    account_id: int
    key_id: str | None
    if_lapsed: bool = False
    record: RequestRow | None = None


@dataclass(frozen=True, slots=True)
class HoldRefund:
    """Reserve `amount` for a refund, out of what is free beyond the bonus, and with it the bonus on that amount: the
    part `bonus` of it, as far as there is bonus that was not taken back.
    """

    id: str
    account_id: int
    amount: int
    bonus: Ratio

    @property
    def reference(self) -> str:
        return f"refund:{self.id}"


@dataclass(frozen=True, slots=True)
class Refund:
    """End that hold: `amount` of it has left the house, the bonus on it goes back, the rest is free again."""

    id: str
    account_id: int
    amount: int
    bonus: Ratio

    @property
    def reference(self) -> str:
        return f"refund:{self.id}"


@dataclass(frozen=True, slots=True)
class House:
    """A transfer between two house books (upstream costs of a day)."""

    reference: str
    source: str
    target: str
    amount: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Nothing but the renewal of this gateway's lease, which every batch does when it is due."""


Operation: TypeAlias = Credit | Reverse | Hold | Extend | Settle | Release | HoldRefund | Refund | House | Renew


@dataclass(slots=True)
class Result:
    """status; amount: granted, charged or credited; shortfall: the house's loss; and the account's figures
    after the operation: free (also bounded by the key's limit), posted, held, owed. caching: of a hold, whether its
    key lets prompts be marked for the upstream's cache.
    """

    status: Status
    reason: Reason | None = None
    amount: int = 0
    shortfall: int = 0
    free: int = 0
    posted: int = 0
    held: int = 0
    owed: int = 0
    caching: bool = True

    @property
    def balance(self) -> int:
        return self.posted - self.owed


WHOLE: Ratio = ONE  # the share of a hold that may take all that is free
