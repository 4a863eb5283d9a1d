"""What becomes of an upstream's answer when its caller leaves, whatever is answered.

Where dropping the connection ends the upstream's bill it is dropped, else read to its end, within a bound. It must
never decide who pays: it says what happened.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from perquery.errors import UpstreamError
from perquery.metering.attempts import Answer
from perquery.metering.caller import Caller
from perquery.metering.settlement import Seen


class Departure(ABC):
    """cut: ended at the balance. dropped: the connection was closed because the caller left. stopped: by us."""

    def __init__(self, caller: Caller, seen: Seen) -> None:
        self._caller = caller
        self._seen = seen
        self._answer: Answer | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._drain_s = 0.0
        self.error: UpstreamError | None = None
        self.cut = self.dropped = self.stopped = False

    @abstractmethod
    async def _batches(self, answer: Answer) -> None:
        """Pass the answer's batches on, until it ends or is dropped."""

    @abstractmethod
    def _worth_dropping(self, answer: Answer) -> bool:
        """Whether the upstream is to be left too, at once."""

    def caller_left(self) -> None:
        """Called once when the caller is gone: close the upstream where that ends its bill, else drain."""
        answer = self._answer
        if answer is None:  # no headers yet: it counts as still billing
            return
        loop = asyncio.get_running_loop()
        if self._worth_dropping(answer):
            self._drop()
        elif self._drain is None:
            self._drain = loop.call_later(self._drain_s, self._drop)

    def _drop(self) -> None:
        self.dropped = True
        if self._answer is not None:
            self._answer.reply.close()

    async def relay(self, answer: Answer, *, drain_s: float) -> None:
        """Pass the answer on until it ends, breaks, is cut or dropped."""
        self._answer, self._drain_s = answer, drain_s
        if self._caller.gone:
            self.caller_left()
        try:
            await self._batches(answer)
        except UpstreamError as error:
            self._broke(error)
        finally:
            self._over()
            answer.reply.close()  # of no effect where it has ended

    def _over(self) -> None:
        """Nothing more is passed on."""
        if self._drain is not None:
            self._drain.cancel()

    def _broke(self, error: UpstreamError) -> None:
        if self.dropped or self.stopped:
            return  # we closed it ourselves
        self.error = error
        self._seen.failed = True
