"""`perquery` as a process that kills itself, where this is the first that it does.

It dies by SIGKILL when an auto top-up reaches STATE: `before` that is committed, or as soon as it is (`after`). And it
waits for a wallet's answer for a moment only, so that `unknown` is reached without waiting.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from perquery.autotopup import runner
from perquery.store import wallets

ANSWER_S = 1.0


def die_of(moment: str, state: str) -> None:
    reached: ContextVar[list[str]] = ContextVar("reached", default=[])  # noqa: B039  # nobody reads that one

    def watched(change: Callable[..., Any], into: Callable[..., str]) -> Callable[..., Any]:
        def changed(*args: Any, **values: Any) -> Any:
            result = change(*args, **values)
            if into(*args) == state and result is not False:
                if moment == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                reached.get().append(state)
            return result

        return changed

    async def to_thread(work: Callable[..., Any], *args: Any, **values: Any) -> Any:
        # Only where this very transaction has ended: others end meanwhile.
        here: list[str] = []
        token = reached.set(here)
        try:
            result = await whole(work, *args, **values)
        finally:
            reached.reset(token)
        if here:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    whole = asyncio.to_thread
    wallets.add = watched(wallets.add, lambda _connection, row: row.state)
    wallets.move = watched(wallets.move, lambda _connection, _name, _from, to: to)
    asyncio.to_thread = to_thread  # type: ignore[assignment]  # where its transactions end
    setattr(runner, "ANSWER_S", ANSWER_S)  # noqa: B010  # it is Final to everybody else
