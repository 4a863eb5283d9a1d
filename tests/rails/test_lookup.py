"""Awaited invoices looked up one by one: what is over is asked for no more, all else again and again."""

from __future__ import annotations

import asyncio

import pytest

from perquery.rails.lookup import Lookups, Seen
from perquery.rails.rail import RailDown, Receipt, Watched

PAID = Receipt("paid", "paid", 1, "confirmed", 1)
NODE: dict[str, Seen] = {"paid": PAID, "open": "open", "over": "over"}
ALL = [Watched(ref, 0) for ref in ("over", "paid", "open")]


def test_what_is_asked_for_again() -> None:
    asked: list[str] = []

    async def look(ref: str) -> Seen:
        asked.append(ref)
        return NODE[ref]

    async def rounds() -> None:
        lookups = Lookups()
        for watched in (ALL, ALL, [], ALL):
            found = await lookups.receipts(watched, look)
            assert found == ([PAID] if watched else [])

    asyncio.run(rounds())
    assert asked == ["over", "paid", "open", "paid", "open", "over", "paid", "open"]


def test_an_error_is_passed_on() -> None:
    async def look(ref: str) -> Seen:
        raise RailDown(ref)

    with pytest.raises(RailDown, match="over"):
        asyncio.run(Lookups().receipts(ALL, look))
