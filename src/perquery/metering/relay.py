"""The answer on its way: one batch of events in, at most one write out, nothing kept but the figures.

It watches the window (output that the hold covers, extended at half), drops the connection where the caller left
and that stops the bill, and drains it, within a bound, where it does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Call, Event, Usage, Writer
from perquery.dialects.assemble import Assembly
from perquery.dialects.chat_out import as_chunk
from perquery.errors import LedgerUnavailable
from perquery.metering.attempts import Answer
from perquery.metering.caller import Caller
from perquery.metering.departure import Departure
from perquery.metering.reserve import FLOOR_TOKENS, Held, Quote
from perquery.metering.search import CONTEXT_TOKENS
from perquery.metering.settlement import Seen

WINDOW_TOKENS = 2_000
PAUSES_MAX = 5


class Relay(Departure):
    """A chat answer on its way. cited: gives an event its sources, where we searched; None where it is to stay as it
    is.
    """

    def __init__(
        self, caller: Caller, seen: Seen, held: Held, asked: Quote, call: Call, writer: Writer, windowed: bool
    ) -> None:
        super().__init__(caller, seen)
        self._writer = writer
        self._held = held
        self._asked = asked
        self._call = call
        self._assembly = None if call.stream else Assembly()
        self._plain: dict[str, Any] | None = None
        self._allowed = asked.tokens(held.amount) if windowed else None
        self._extension: asyncio.Task[bool] | None = None
        self._refused = False
        self._turns = self._searches = self._read_nano = 0  # of an answer that was paused
        self.cited: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None

    def _worth_dropping(self, answer: Answer) -> bool:
        """Not where the upstream bills on, nor where all has been said and only the figures are to come, nor where
        the answer is kept for the caller's next try."""
        finished = self._seen.finish is not None and self._call.choices == 1
        whole = self._plain is not None or answer.first[0].whole
        return answer.upstream.cancel_stops_billing and not (whole or finished or self._caller.kept)

    def _over(self) -> None:
        super()._over()
        if self._extension is not None:
            self._extension.cancel()

    def took(self, answer: Answer) -> bool:
        """Take in what came whole for a caller who is answered whole: nothing is passed on, and nothing waited for.
        False: it is to be relayed.
        """
        first = answer.first
        if self._assembly is None or self._allowed is not None or len(first) > 1 or not first[0].whole:
            return False
        self._writer.begin(native=answer.native)
        self._pass(first[0])
        answer.reply.close()
        return True

    async def _batches(self, answer: Answer) -> None:
        self._writer.begin(native=answer.native)
        batch, rest = answer.first, answer.rest
        while batch and not self.dropped:
            out = self._pass(batch[0]) if len(batch) == 1 else b"".join([self._pass(event) for event in batch])
            if out:
                await self._caller.write(out)
            if self.error is not None or self.dropped:
                return
            if self._allowed is not None and await self._exhausted():
                self.cut = True
                return
            if batch[-1].whole:
                return
            try:
                batch = await rest.__anext__()  # anext() would put a wrapper around what is awaited
            except StopAsyncIteration:
                return

    def _pass(self, event: Event) -> bytes:
        """Note an event; the bytes of it that go to the caller's stream now."""
        if event.error is not None:
            self._broke(event.error)
            return b""
        self._seen.note(event)
        if self.cited is not None and (noted := self.cited(event.parsed or {})):
            event = replace(event, parsed=noted, data=orjson.dumps(noted))
        if event.whole:
            self._plain = event.parsed or {}
            return b"" if self._assembly is not None else self._writer.event(as_chunk(self._plain, event))
        if self._assembly is not None:
            self._assembly.add(event.parsed or {})
            return b""
        return self._writer.event(event)

    async def _exhausted(self) -> bool:
        """Whether the output has reached what the hold covers and the balance gives no more.

        More is asked for at half, without waiting for the answer; only at the end of the window it is awaited.
        """
        used, extension = self._seen.output_tokens, self._extension
        if extension is not None and (extension.done() or used >= (self._allowed or 0)):
            self._refused = not await extension
            self._extension = extension = None
        allowed = self._allowed or 0
        if allowed >= self._asked.cap_tokens:
            return False  # the whole cap is covered
        if extension is None and used * 2 >= allowed and not self._refused:
            self._extension = asyncio.ensure_future(self._extend())
        if used < allowed:
            return False
        return not await (self._extension or self._extend())

    async def _extend(self) -> bool:
        """Ask for another window; the balance may give less, but at least the floor."""
        asked, held = self._asked, self._held
        allowed = self._allowed or 0
        floor = min(asked.cap_tokens, allowed + FLOOR_TOKENS * self._call.choices)
        most = min(asked.cap_tokens, allowed + max(WINDOW_TOKENS * self._call.choices, allowed))
        try:
            given = await held.extend(asked.nano(floor) - held.amount, asked.nano(most) - held.amount)
        except LedgerUnavailable:  # what cannot be reserved cannot be sold
            return False
        self._allowed = asked.tokens(held.amount)
        return given

    async def go_on(self, used: Usage) -> bool:
        """Whether a turn that the upstream paused may be taken up again: not too often, not for a caller who has gone,
        and only where the balance gives what was read so far and what will be: all of that again, what was said, and
        further searches.
        """
        asked, held, read = self._asked, self._held, used.total(INPUT_UNITS)
        searched = used.counts.get("search", 0)
        self._turns += 1
        self._searches += searched
        self._read_nano += asked.bound.hold_nano(read, 0, searches=searched)
        if self._turns > PAUSES_MAX or (self._caller.gone and not self._caller.kept):
            return False
        left = max(1, asked.searches - self._searches)
        tokens = read + used.total(OUTPUT_UNITS) + left * CONTEXT_TOKENS
        more_nano = self._read_nano + asked.bound.hold_nano(tokens, 0, searches=left) - asked.nano(0)
        if more_nano <= 0:
            return True
        try:
            given = await held.extend(more_nano, more_nano)
        except LedgerUnavailable:  # what cannot be reserved cannot be sold
            return False
        asked.extra_nano += more_nano if given else 0
        return given

    def completion(self) -> dict[str, Any]:
        """The plain answer: the upstream's own object, or the one put together from its stream."""
        if self._plain is not None:
            return self._plain
        assert self._assembly is not None
        if self.cut:
            self._assembly.finish("length")
        return self._assembly.completion()
