"""Rounds of an event loop, and what is left for their ends."""

from __future__ import annotations

import asyncio

import pytest

from perquery.rounds import Round


def test_what_is_left_happens_once_and_in_order_before_what_is_begun_later() -> None:
    async def main() -> list[str]:
        loop, said = asyncio.get_running_loop(), list[str]()
        round = Round(loop)
        round.at_end(lambda: said.append("first"))
        loop.call_soon(said.append, "later")
        round.at_end(lambda: said.append("second"))
        assert said == []
        await asyncio.sleep(0)
        return said

    assert asyncio.run(main()) == ["first", "second", "later"]


def test_each_round_has_an_end_of_its_own() -> None:
    async def main() -> list[str]:
        said: list[str] = []
        round = Round(asyncio.get_running_loop())
        for word in ("one", "two"):
            round.at_end(lambda word=word: said.append(word))  # type: ignore[misc]
            await asyncio.sleep(0)
        return said

    assert asyncio.run(main()) == ["one", "two"]


def test_an_end_at_once_leaves_nothing_for_later() -> None:
    async def main() -> list[str]:
        said: list[str] = []
        round = Round(asyncio.get_running_loop())
        round.at_end(lambda: said.append("one"))
        round.end()
        round.end()
        await asyncio.sleep(0)
        return said

    assert asyncio.run(main()) == ["one"]


def test_one_that_fails_keeps_nobody_else_from_leaving() -> None:
    async def main() -> list[str]:
        said: list[str] = []
        round = Round(asyncio.get_running_loop())
        round.at_end(lambda: [][0])
        round.at_end(lambda: said.append("two"))
        round.at_end(lambda: said.append("three"))
        with pytest.raises(IndexError):
            round.end()
        await asyncio.sleep(0)
        return said

    assert asyncio.run(main()) == ["two", "three"]


def test_what_is_left_by_what_is_done_has_the_next_end() -> None:
    async def main() -> list[str]:
        said: list[str] = []
        round = Round(asyncio.get_running_loop())
        round.at_end(lambda: round.at_end(lambda: said.append("two")))
        await asyncio.sleep(0)
        assert said == []
        await asyncio.sleep(0)
        return said

    assert asyncio.run(main()) == ["two"]
