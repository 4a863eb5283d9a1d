"""Several sources for one chain, none of which is trusted alone: what they disagree on waits.

A payment has the confirmations that the most reluctant of them grants; it is seen as soon as one shows it, and gone
when none does. Where two are configured two must answer. This module must never let one source alone make money.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from perquery.rails.chain import Chain, Output, Tip
from perquery.rails.rail import RailDown

_QUORUM: Final = 2
_APART: Final = 3  # blocks, from which on it is worth a word
_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Sources:
    """The chain as its sources agree on it."""

    def __init__(self, sources: Sequence[Chain]) -> None:
        self._sources = sources
        self._quorum = min(_QUORUM, len(sources))

    async def tip(self) -> Tip:
        tips = await self._answers([source.tip() for source in self._sources])
        heights = [tip.height for tip in tips]
        if max(heights) - min(heights) >= _APART:
            _log.warning("sources are %d blocks apart: %s", max(heights) - min(heights), tips)
        return Tip(min(heights), ", ".join(dict.fromkeys(tip.node for tip in tips)))

    async def outputs(self, addresses: Sequence[str]) -> Sequence[Output]:
        answers = await self._answers([source.outputs(addresses) for source in self._sources])
        by_id = [{output.id: output for output in answer} for answer in answers]
        return [self._agreed(name, by_id) for name in dict.fromkeys(name for found in by_id for name in found)]

    async def close(self) -> None:
        for source in self._sources:
            await source.close()

    def _agreed(self, name: str, answers: Sequence[dict[str, Output]]) -> Output:
        shown = [found[name] for found in answers if name in found]
        first = shown[0]
        if any((output.address, output.amount) != (first.address, first.amount) for output in shown):
            raise RailDown(f"sources disagree on what {name} pays")
        return Output(
            id=name,
            address=first.address,
            amount=first.amount,
            confirmations=min(output.confirmations for output in shown) if len(shown) == len(answers) else 0,
            mined=any(output.mined for output in shown),
            at_ms=max((output.at_ms for output in shown if output.at_ms is not None), default=None),
        )

    async def _answers(self, asked: Sequence[Awaitable[Answer]]) -> list[Answer]:
        """What those say that answer. Raises RailDown where they are too few."""
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        answers: list[Answer] = []
        wrong: list[RailDown] = []
        for outcome in outcomes:
            if isinstance(outcome, RailDown):
                wrong.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                answers.append(outcome)
        if len(answers) < self._quorum:
            raise RailDown("; ".join(str(each) for each in wrong))
        for each in wrong:
            _log.warning("going on without a source: %s", each)
        return answers
