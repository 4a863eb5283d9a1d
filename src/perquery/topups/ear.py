"""How far one rail has been heard by this process, and whether its wallet is proven here: what its credential must be
able to do, it can. It must never hear the rail: that is the service's.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from perquery.rails.rail import Inspectable, Rail, RailDown

RETRY_MS: Final = 30_000  # between two attempts to prove a rail, or of a listing to hear one that never answered here
PROVE_S: Final = 10.0  # the longest that a wallet may take to tell what it is
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ear:
    """It is asked one question at a time; who asks meanwhile shares the next. rounds: how often it was asked, the last
    time at `tried_ms`. proven: whether its wallet has told what it is, where it can; until then it is asked again from
    `proof_due_ms` on.
    """

    rail: Rail
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    rounds: int = 0
    tried_ms: int = 0
    heard_ms: int | None = None
    due_ms: int = 0
    ever_due_ms: int = 0
    proven: bool = False
    proof_due_ms: int = 0

    def begin(self, now_ms: int) -> None:
        """A round."""
        self.rounds += 1
        self.tried_ms = now_ms

    @property
    def is_open(self) -> bool:
        """Whether there is a wallet here that one can be asked to pay into."""
        return self.proven and self.heard_ms is not None

    async def prove(self, name: str, now_ms: int) -> None:
        """Have the wallet say what it is, once: a credential that lacks a permission, or a server of another chain,
        shows by that before anybody pays. What is paid is heard all the same.
        """
        if self.proven or now_ms < self.proof_due_ms:
            return
        self.proof_due_ms = now_ms + RETRY_MS
        try:
            if isinstance(self.rail, Inspectable):
                async with asyncio.timeout(PROVE_S):
                    await self.rail.inspect()
            self.proven = True
        except (RailDown, TimeoutError) as error:
            _log.warning("%s: not proven, and so not listed: %s", name, str(error) or "it does not answer")

    def is_worth_a_wait(self, now_ms: int) -> bool:
        """Whether somebody who lists the ways to pay should wait for its answer: the first one, or after a pause."""
        return not self.is_open and (self.rounds <= 1 or now_ms >= self.tried_ms + RETRY_MS)
