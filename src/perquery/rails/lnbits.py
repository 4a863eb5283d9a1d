"""LNbits as the Lightning wallet: invoices and received payments of one of its wallets, by its invoice key.

It never asks for anything that spends: every question here is one that the invoice (read) key may ask. What the
wallet says of a payment is taken only from its own list; nothing that is pushed to us counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any, Final

from perquery.outbound import Client
from perquery.rails.lightning import payable
from perquery.rails.node import Node
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

NAME: Final = "LNbits"
PAGE: Final = 100
_EARLIER_MS: Final = 600_000  # payments written at once may appear out of order; so far back they are looked at again
_MSAT: Final = 1_000
_ADVICE: Final = (
    "this is the admin key, which can spend: use the wallet's Invoice/read key instead (LNbits, the wallet's page,"
    " Node URL, API keys)"
)


class LnbitsWallet:
    """The rail. network: the prefix that its invoices must have."""

    pace_s = 2.0
    receivable: int | None = None

    def __init__(self, client: Client, url: str, key: str, network: str) -> None:
        self._node = Node(NAME, url, {"x-api-key": key}, client)
        self._network = network

    async def make(self, request: PayableRequest) -> Payable:
        """An invoice over whole satoshi, which is all that LNbits takes."""
        if request.amount % _MSAT:
            raise ValueError(f"LNbits takes whole satoshi, not {request.amount} msat")
        asked = {
            "out": False,
            "amount": request.amount // _MSAT,
            "unit": "sat",
            "memo": request.description,
            "expiry": request.expiry_s,
        }
        made = await self._node.post("/api/v1/payments", asked)
        text, payment_hash = _text(made, "bolt11"), _text(made, "payment_hash")
        return payable(NAME, text, payment_hash, request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """One page of the list, the newest change first, down to what was seen before.

        A payment changes when it is paid, and stands first from then on, so what comes while pages are turned is
        above the first one and belongs to the next pass. The cursor is `SINCE`, or `SINCE:NEWEST:OFFSET` where a
        pass goes on: the times (milliseconds) of the newest payment of the last pass and of this one.
        """
        since, newest, offset = _position(cursor)
        rows, awaited = await self._page(offset), {each.rail_ref for each in watched}
        page, wrong = _receipts(rows, awaited)
        fresh = [receipt for receipt in page if receipt.at_ms > since or receipt.rail_ref in awaited]
        if wrong:
            raise RailDown(wrong, fresh)
        if offset == 0:
            newest = max([since, *(receipt.at_ms for receipt in page)])
        if offset == 0 and newest == since:
            return fresh, cursor
        if len(rows) == PAGE and (not page or page[-1].at_ms >= since - _EARLIER_MS):
            return fresh, f"{since}:{newest}:{offset + PAGE}"
        return fresh, str(newest)

    async def close(self) -> None:
        """Nothing is open; the client belongs to whoever made it."""

    async def inspect(self) -> Inspection:
        """An admin key is told by the wallet's own id, which LNbits shows to no other key."""
        wallet = await self._node.get("/api/v1/wallet")
        name, spends = _text(wallet, "name"), "id" in wallet
        return Inspection(f"{NAME}, wallet {name!r}", self._network, spends, (_ADVICE,) if spends else ())

    async def _page(self, offset: int) -> list[Any]:
        query: dict[str, str | int] = {
            "status[eq]": "success",
            "amount[gt]": 0,
            "sortby": "updated_at",
            "direction": "desc",
            "limit": PAGE,
            "offset": offset,
        }
        rows = await self._node.get("/api/v1/payments", **query)
        if not isinstance(rows, list):
            raise RailDown(f"{NAME} answered something else than a list of payments")
        return rows


def _position(cursor: str) -> tuple[int, int, int]:
    parts = [int(part) for part in cursor.split(":")] if cursor else [0]
    since, newest, offset = parts if len(parts) > 1 else [*parts, 0, 0]
    return since, newest, offset


def _receipts(rows: Sequence[Any], awaited: Set[str]) -> tuple[list[Receipt], str]:
    """Those that can be read; and what is wrong with one that is awaited. Others are no matter of ours."""
    page, wrong = [], ""
    for row in rows:
        try:
            page.append(_receipt(row))
        except RailDown as error:
            if _text(row, "payment_hash").lower() in awaited:
                wrong = str(error)
    return page, wrong


def _receipt(row: Any) -> Receipt:
    payment_hash, amount = _text(row, "payment_hash").lower(), row.get("amount")
    if row.get("status") != "success" or type(amount) is not int or amount <= 0:
        raise RailDown(f"{NAME} lists {payment_hash} as received, but not how much")
    return Receipt(payment_hash, payment_hash, amount, "confirmed", _ms(_text(row, "updated_at")))


def _ms(written: str) -> int:
    """The time, which is UTC where it names no zone."""
    try:
        at = datetime.fromisoformat(written)
    except ValueError as error:
        raise RailDown(f"{NAME} wrote a time that is none: {written[:40]!r}") from error
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _text(answer: Any, name: str) -> str:
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, str):
        said = answer.get("detail") if isinstance(answer, Mapping) else None
        raise RailDown(f"{NAME} answered without {name}" + (f": {said}" if said else ""))
    return found
