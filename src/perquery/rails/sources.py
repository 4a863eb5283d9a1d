"""Several sources for one chain, none of which is trusted alone: what they disagree on waits.

A payment has the confirmations that the most reluctant of them grants; it is seen as soon as one shows it, and gone
when none does. Where two are configured two must answer. This module must never let one source alone make money.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from perquery.rails.chain import Chain, View
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output

QUORUM: Final = 2
_APART: Final = 3
_log = logging.getLogger(__name__)


class Sources:
    """The chain as its sources agree on it. apart: how many blocks, from which on it is worth a word."""

    def __init__(self, sources: Sequence[Chain], apart: int = _APART) -> None:
        self._sources = sources
        self._quorum = min(QUORUM, len(sources))
        self._apart = apart

    async def look(self, addresses: Sequence[str]) -> View:
        views = await self._views(addresses)
        heights = [view.height for view in views]
        if max(heights) - min(heights) >= self._apart:
            _log.warning("sources are %d blocks apart: %s", max(heights) - min(heights), heights)
        by_id = [{output.id: output for output in view.outputs} for view in views]
        names = dict.fromkeys(name for found in by_id for name in found)
        node = ", ".join(dict.fromkeys(view.node for view in views))
        return View(min(heights), [self._agreed(name, by_id) for name in names], node)

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
            block=max(output.block for output in shown),
        )

    async def _views(self, addresses: Sequence[str]) -> list[View]:
        """What those say that answer. Raises RailDown where they are too few."""
        looks = [source.look(addresses) for source in self._sources]
        views: list[View] = []
        wrong: list[RailDown] = []
        for outcome in await asyncio.gather(*looks, return_exceptions=True):
            if isinstance(outcome, RailDown):
                wrong.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                views.append(outcome)
        if len(views) < self._quorum:
            raise RailDown("; ".join(str(each) for each in wrong))
        for each in wrong:
            _log.warning("going on without a source: %s", each)
        return views
