"""The relay by itself: windows that the ledger cannot extend, replies that are closed on every way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perquery.calls import Call, Dialect, Event, Kind, Price, Route, Usage
from perquery.catalog.price import bound
from perquery.dialects.chat_out import ChatWriter
from perquery.errors import LedgerUnavailable, UpstreamError
from perquery.metering.attempts import Answer
from perquery.metering.caller import Caller
from perquery.metering.recording import Recording
from perquery.metering.relay import Relay
from perquery.metering.reserve import Held, Quote
from perquery.metering.settlement import Seen
from perquery.money import ONE
from perquery.store.ledger import Ledger
from perquery.store.operations import Operation, Result

ROUTE = Route("up", "m", Price(((0, {"input": 10**6, "output": 10**6}),)), ONE)


class Away(Ledger):
    """A ledger whose database does not answer."""

    def __init__(self) -> None:
        self.asked = 0

    def submit(self, operation: Operation) -> asyncio.Future[Result]:
        self.asked += 1
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        future.set_exception(LedgerUnavailable("away"))
        return future


class Words:
    """A reply of so many one-word events, then perhaps a failure."""

    cancel_stops_billing = True
    keeps_nothing = False
    kinds: frozenset[Kind] = frozenset()
    name = "up"
    dialects: tuple[Dialect, ...] = ("openai-chat",)
    request_id = None

    def __init__(self, number: int, failure: BaseException | None = None) -> None:
        self.number = number
        self.failure = failure
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        for _ in range(self.number):
            self.given += 1
            yield [Event(b'{"choices":[]}', text_bytes=4, parsed={"id": "x", "choices": []})]
            await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        self.closed = True

    async def send(self, _ask: Any) -> Any:
        return self


async def _receive() -> Any:
    await asyncio.Event().wait()


async def _send(_message: dict[str, Any]) -> None:
    await asyncio.sleep(0)


async def relayed(words: Words, *, window: int, first: Event | None = None) -> tuple[Relay, Seen, Away]:
    """What became of the words through a window of so many tokens, of a cap of 1,000. first: before them, by itself."""
    ledger, seen = Away(), Seen()
    call = Call("openai-chat", "m", {}, b"", stream=True)
    held = Held(ledger, "gen-1", 1, None, window * 1_000, 0)
    asked = Quote(bound([ROUTE]), "m", 0, 1_000, 256, True, False)
    relay = Relay(Caller(_receive, _send), seen, held, asked, call, ChatWriter(call, "gen-1"), windowed=True)
    rest = aiter(words)
    begun = await anext(rest) if first is None else [first]
    answer = Answer(ROUTE, words, words, begun, rest, native=False, asked_s=0.0)
    await relay.relay(answer, drain_s=1)
    return relay, seen, ledger


def test_what_cannot_be_reserved_is_not_sold() -> None:
    """The database is away while a window ends: the answer is cut there, and what was delivered is known."""

    async def run() -> None:
        words = Words(500)
        relay, seen, ledger = await relayed(words, window=100)
        assert (relay.cut, relay.error, words.closed) == (True, None, True)
        assert 100 <= seen.output_tokens == words.given < 110
        assert ledger.asked >= 1

    asyncio.run(run())


@pytest.mark.parametrize("failure", [None, UpstreamError("down", "x")])
def test_a_reply_is_closed_on_every_way_out(failure: UpstreamError | None) -> None:
    async def run() -> None:
        words = Words(5, failure)
        relay, seen, _ = await relayed(words, window=100)
        assert (words.closed, relay.error, seen.failed) == (True, failure, failure is not None)

    asyncio.run(run())


def test_a_reply_that_is_whole_with_its_first_event_is_closed_too() -> None:
    """It may have come on a stream that goes on, and would keep the connection."""

    async def run() -> None:
        words = Words(5)
        whole = Event(b"", parsed={"id": "x", "choices": []}, finish="stop", whole=True)
        relay, seen, _ = await relayed(words, window=100, first=whole)
        assert (words.closed, relay.error, seen.finish) == (True, None, "stop")

    asyncio.run(run())


def test_a_reply_is_closed_when_the_gateway_is_stopped() -> None:
    async def run() -> None:
        words = Words(5, asyncio.CancelledError())
        with pytest.raises(asyncio.CancelledError):
            await relayed(words, window=100)
        assert words.closed

    asyncio.run(run())


@pytest.mark.parametrize("gone, kept, asked_more", [(False, False, 1), (True, False, 0), (True, True, 1)])
def test_a_paused_turn_is_not_taken_up_for_nobody_nor_on_what_cannot_be_reserved(
    gone: bool, kept: bool, asked_more: int
) -> None:
    async def run() -> None:
        ledger, call = Away(), Call("openai-chat", "m", {}, b"", stream=True)
        held = Held(ledger, "gen-1", 1, None, 10_000, 0)
        asked = Quote(bound([ROUTE]), "m", 10, 100, 10, False, False)
        caller = Caller(_receive, _send)
        if kept:
            caller.recorded(Recording(_send))
        caller.gone = gone
        relay = Relay(caller, Seen(), held, asked, call, ChatWriter(call, "gen-1"), windowed=False)
        assert not await relay.go_on(Usage({"input": 50, "output": 5}))
        assert (ledger.asked, asked.extra_nano) == (asked_more, 0)

    asyncio.run(run())
