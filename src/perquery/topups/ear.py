"""How far one rail has been heard by this process. It must never ask the rail: that is the service's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from perquery.rails.rail import Rail

RETRY_MS: Final = 30_000  # between two attempts of a listing to hear a rail that has never answered here


@dataclass(slots=True)
class Ear:
    """It is asked one question at a time; who asks meanwhile shares the next. rounds: how often it was asked, the last
    time at `tried_ms`.
    """

    rail: Rail
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    rounds: int = 0
    tried_ms: int = 0
    heard_ms: int | None = None
    due_ms: int = 0
    ever_due_ms: int = 0

    def begin(self, now_ms: int) -> None:
        """A round."""
        self.rounds += 1
        self.tried_ms = now_ms

    def is_worth_a_wait(self, now_ms: int) -> bool:
        """Whether somebody who lists the ways to pay should wait for its answer: the first one, or after a pause."""
        return self.heard_ms is None and (self.rounds <= 1 or now_ms >= self.tried_ms + RETRY_MS)
