"""Holds: how much to reserve for a call, and the only way to get it (`async with reserved(...)`).

A hold is released on every way out that did not settle it, also where the request is cancelled while the ledger
still answers. Ends of holds are handed to the ledger without waiting, so no cancel can lose one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from perquery import money
from perquery.accounts import Access
from perquery.calls import Call
from perquery.catalog.price import Bound
from perquery.errors import (
    AccountFrozen,
    Forbidden,
    InsufficientCredits,
    KeyLimitExceeded,
    PerQueryError,
    Unauthorized,
)
from perquery.metering.estimate import input_bound, sharp_input_bound
from perquery.metering.search import CONTEXT_TOKENS
from perquery.money import Ratio
from perquery.store.ledger import Ledger
from perquery.store.operations import WHOLE, Extend, Hold, Release, RequestRow, Result, Settle

FLOOR_TOKENS: Final = 256  # a cap is never lowered below this, nor a window opened smaller
EIGHTH: Final = Ratio(1, 8)
HALF: Final = Ratio(1, 2)
HOLD_PATIENCE_S: Final = 20.0
_PAUSE_S: Final = (0.02, 0.05, 0.1, 0.2)  # then the last one over and over


class EmptyBalance(InsufficientCredits):
    """There is nothing left at all."""


@dataclass(slots=True)
class Quote:
    """What a call may cost. cap_tokens: the output that it may produce, over all choices.

    windowed: every billed output token shows in the stream and dropping the connection stops the bill, so a part
    is enough to begin with; else the worst case is held, and a cap that does not fit is lowered.
    """

    bound: Bound
    model: str
    input_tokens: int
    cap_tokens: int
    floor_tokens: int
    windowed: bool
    strict: bool
    added_tokens: int = 0  # to the input, by a search
    searches: int = 0  # of the upstream's own
    fewer: Sequence[int] = ()  # what the searches may be lowered to, from the most to the fewest
    extra_nano: int = 0  # for a search of ours
    most: int = 0  # the worst case in nano-USD, as it was asked for
    others: tuple[str, ...] = ()  # the models that may answer in its place

    def nano(self, output_tokens: int) -> int:
        return self.bound.hold_nano(self.input_tokens, output_tokens, searches=self.searches) + self.extra_nano

    def tokens(self, amount_nano: int) -> int:
        """Output tokens that the amount covers beside the input, at most the cap."""
        left_nano = amount_nano - self.extra_nano
        return min(self.cap_tokens, self.bound.output_tokens(self.input_tokens, left_nano, searches=self.searches))


def quote(call: Call, bound: Bound, model: str, output_tokens_max: int, floor_tokens: int, *, windowed: bool) -> Quote:
    """The quote of a call, its input bounded by its bytes."""
    cap = min(call.cap_tokens or output_tokens_max, output_tokens_max) * call.choices
    floor = min(cap, max(FLOOR_TOKENS, floor_tokens) * call.choices)
    return Quote(bound, model, input_bound(call), cap, floor, windowed and not call.strict_cap, call.strict_cap)


def fixed(model: str, most_nano: int) -> Quote:
    """The quote of what is held for whole: the work of other kinds than chat, which cannot be cut short."""
    return Quote(Bound(()), model, 0, 0, 0, windowed=False, strict=True, extra_nano=most_nano)


@dataclass(slots=True)
class Held:
    """A hold in this request's hands. amount: nano-USD reserved; balance: the account's, before this call;
    caching: whether the key lets the prompt be marked for a cache.
    """

    ledger: Ledger
    id: str
    account_id: int
    key_id: str | None
    amount: int
    balance: int
    caching: bool = True
    ended: bool = False

    async def extend(self, least: int, most: int) -> bool:
        """Reserve more; False where the balance does not give it."""
        result = await self.ledger.submit(Extend(self.id, self.account_id, self.key_id, least, most, EIGHTH, EIGHTH))
        self.amount += result.amount if result.status == "APPLIED" else 0
        return result.status == "APPLIED"

    def settle(self, charge: int, record: RequestRow) -> asyncio.Future[Result]:
        """End the hold by charging; handed over at once, awaited for durability."""
        self.ended = True
        return self.ledger.submit(Settle(self.id, self.account_id, self.key_id, charge, record))

    def release(self, record: RequestRow | None = None) -> None:
        """End the hold free of charge, if it has not ended."""
        if not self.ended:
            self.ended = True
            self.ledger.post(Release(self.id, self.account_id, self.key_id, record=record))


class reserved:
    """`async with reserved(...) as held`: a hold for the quote, released on leaving unless it was settled.

    Raises InsufficientCredits, KeyLimitExceeded, AccountFrozen, Unauthorized, Forbidden, LedgerUnavailable.
    patience_s: how long a request that the balance covers waits for running ones to give back what they hold in excess,
    as long as it is `wanted`. The quote's input bound is sharpened (by tokenising the call, in a thread) where it takes
    more than its share.
    """

    __slots__ = ("_asked", "_call", "_held", "_patience_s", "_topup_url", "_wanted")

    def __init__(
        self,
        ledger: Ledger,
        id: str,
        access: Access,
        call: Call | None,
        asked: Quote,
        patience_s: float,
        wanted: Callable[[], bool],
        topup_url: str,
    ) -> None:
        self._held = Held(ledger, id, access.account_id, access.key_id, 0, 0)
        self._call = call
        self._asked = asked
        self._patience_s = patience_s
        self._wanted = wanted
        self._topup_url = topup_url

    async def __aenter__(self) -> Held:
        held, asked = self._held, self._asked
        try:
            result = await _submit(held, asked, sharp=asked.strict)
            if result.status == "REFUSED" and self._call is not None and _may_fit(result, asked):
                asked.input_tokens = asked.added_tokens + await asyncio.to_thread(sharp_input_bound, self._call)
                result = await _submit(held, asked, sharp=True)
            if result.reason in ("balance", "key_limit") and _lower_searches(asked, result.free):
                result = await _submit(held, asked, sharp=True)
            if _may_come(result, asked):
                result = await _wait(held, asked, result, self._patience_s, self._wanted)
        except BaseException:
            held.release()  # it may have been granted to nobody
            raise
        if result.status == "REFUSED":
            raise refusal(result, asked, self._topup_url)
        held.amount, held.balance, held.caching = result.amount, result.balance, result.caching
        return held

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give back what was not settled."""
        self._held.release()


def _submit(held: Held, asked: Quote, *, sharp: bool) -> asyncio.Future[Result]:
    asked.most = most = asked.nano(asked.cap_tokens)
    least = most if asked.strict or asked.cap_tokens <= asked.floor_tokens else _least(asked)
    fits, share = (EIGHTH, EIGHTH) if asked.windowed else (WHOLE, HALF)
    return held.ledger.submit(
        Hold(held.id, held.account_id, held.key_id, least, most, fits, share, sharp, asked.model, None, asked.others)
    )


def _least(asked: Quote) -> int:
    """Nano-USD without which the call is refused."""
    return asked.nano(asked.cap_tokens if asked.strict else min(asked.cap_tokens, asked.floor_tokens))


def _lower_searches(asked: Quote, room_nano: int) -> bool:
    """Allow as many searches as there is room for: few that are offered ever happen, none is worth a refusal.

    False where even the fewest do not fit; they are what a refusal then speaks of.
    """
    own_tokens = asked.input_tokens - asked.added_tokens
    for count in asked.fewer:
        asked.searches, asked.added_tokens = count, count * CONTEXT_TOKENS
        asked.input_tokens = own_tokens + asked.added_tokens
        if _least(asked) <= room_nano:
            return True
    return False


def _may_fit(result: Result, asked: Quote) -> bool:
    """Whether a sharper bound of the input could change the answer; an empty balance is not worth tokenising."""
    if asked.strict or result.reason not in ("tight", "balance", "key_limit"):
        return False
    room = result.balance if result.reason == "balance" and result.held else result.free
    return asked.bound.hold_nano(1, asked.floor_tokens) <= room or result.reason == "tight"


def _may_come(result: Result, asked: Quote) -> bool:
    """Whether the balance covers the request and only what running ones hold stands in its way.

    Holds are larger than what most calls come to: refusing would be a false 402.
    """
    return result.reason == "balance" and result.held > 0 and _least(asked) <= result.balance


async def _wait(held: Held, asked: Quote, result: Result, patience_s: float, wanted: Callable[[], bool]) -> Result:
    """Ask again until it fits, cannot fit any more, or the patience is over."""
    loop = asyncio.get_running_loop()
    until, round = loop.time() + patience_s, 0
    while _may_come(result, asked) and wanted() and loop.time() < until:
        await asyncio.sleep(_PAUSE_S[min(round, len(_PAUSE_S) - 1)])
        round += 1
        result = await _submit(held, asked, sharp=True)
    return result


def refusal(result: Result, asked: Quote, topup_url: str) -> PerQueryError:
    """The error that says why a hold was refused. 401, 402 and 403 always mean the caller's own. topup_url: where a
    person tops up; what a program calls for that is in the message.
    """
    needed = _least(asked)
    match result.reason:
        case "no_key" | "no_account":
            return Unauthorized("Invalid API key: API key not found or has been revoked.")
        case "key_expired":
            return Unauthorized("This API key has expired.", code="api_key_expired")
        case "model_not_allowed":
            names = ", ".join((asked.model, *asked.others))
            each = "all of " if asked.others else ""
            return Forbidden(f"This API key may not use {each}{names}.", code="model_not_allowed", param="model")
        case "frozen":
            return AccountFrozen(
                f"This account owes {money.dollars(result.owed)} because a deposit was taken back;"
                " any top-up pays it first."
            )
        case "key_limit":
            return KeyLimitExceeded(
                f"This key's limit leaves {money.dollars(result.free)} and the request needs at least"
                f' {money.dollars(needed)}; raise the limit or use another key. {{"code":402}}',
                headers={"x-should-retry": "false"},
                details={"required": money.plain(needed), "available": money.plain(result.free)},
            )
    held = f" ({money.dollars(result.held)} of it held by running requests)" if result.held else ""
    kind = InsufficientCredits if result.balance > 0 else EmptyBalance
    return kind(
        f"insufficient credits: this request needs at least {money.dollars(needed)} and the balance is"
        f' {money.dollars(result.balance)}{held}. Top up with POST /topup/create/btc-lightning. {{"code":402}}',
        headers={"x-should-retry": "false"},
        details={
            "required": money.plain(needed),
            "available": money.plain(result.free),
            "topup_url": topup_url,
        },
    )
