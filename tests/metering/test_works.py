"""Work whose answer is passed on as it comes: heads, prices, departures, breaks; and what is asked for twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from perquery.accounts import Access
from perquery.calls import Ask, Dialect, Event, Kind, Price, Reply, Route, Upstream, Usage, Work
from perquery.catalog.models import Found
from perquery.catalog.price import most_nano
from perquery.config import Settings
from perquery.errors import PerQueryError, Unprocessable, UpstreamError
from perquery.metering.caller import Caller, Pace, Watch
from perquery.metering.gateway import Gateway
from perquery.metering.meters import Meters
from perquery.metering.works import perform
from perquery.money import ONE, Ratio
from perquery.store import audit, credentials
from perquery.store.database import Database
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from perquery.store.operations import Credit, Renew
from perquery.store.tables import accounts, requests
from tests.metering.test_routing import found

DAY: Final = date(2026, 1, 1)
ROUTE: Final = Route("a", "a-m", Price(((0, {"character": 30_000_000}),)), Ratio(21, 20))
OTHER: Final = replace(ROUTE, provider="b")
COST: Final = 3_150_000  # 100 characters at 30 USD a million, times 1.05
USED: Final = Usage({"character": 100})


class Voice:
    """An upstream whose answer is these events, one batch each; between them it may be told to do something."""

    dialects: tuple[Dialect, ...] = ("openai-chat",)
    kinds: frozenset[Kind] = frozenset({"tts"})
    keeps_nothing = False
    request_id = "up-1"

    def __init__(self, *turns: Event | BaseException | Callable[[], Any], stops: bool = False, name: str = "a") -> None:
        self.name = name
        self.cancel_stops_billing = stops
        self.turns = turns
        self.asked = 0
        self.closed = False

    async def send(self, ask: Ask) -> Reply:
        self.asked += 1
        assert ask.work is not None and ask.stream
        if self.turns and isinstance(self.turns[0], UpstreamError):
            raise self.turns[0]
        return self

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        for turn in self.turns:
            if isinstance(turn, BaseException):
                raise turn
            if isinstance(turn, Event):
                yield [turn]
            else:
                turn()
                await asyncio.sleep(0)

    def close(self) -> None:
        self.closed = True


def work(**more: Any) -> Work:
    counts: dict[Any, int] = {"character": 100}
    plain = Work("tts", "m", {"input": "x"}, lambda _: counts, counts, lambda *_: b"", "audio/mpeg", streamed=True)
    return replace(plain, **more)


class Line:
    """The caller's side of ASGI. left: hang up."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._gone = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def leave(self) -> None:
        self._gone.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def ended(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", True)


class Stage:
    def __init__(self, database: Database, gateway: Gateway, access: Access) -> None:
        self.database = database
        self.gateway = gateway
        self.access = access
        self.line = Line()

    async def perform(self, asked: Work | None = None, *routes: Route) -> PerQueryError | None:
        """What was told to the caller instead of an answer."""
        caller = Caller(self.line.receive, self.line.send)
        model: Found = found(*(routes or (ROUTE,)))
        try:
            await perform(self.gateway, asked or work(), model, self.access, caller, "api", ("gen-1", 1))
        except PerQueryError as error:
            return error
        return None

    def unbilled(self) -> int:
        """Of the one receipt."""
        with self.database.reader.begin() as connection:
            return int(connection.execute(select(requests.c.unbilled_nano)).scalar_one())

    async def spent(self) -> int:
        """What the account has paid once nothing is held any more."""
        await self.gateway.ledger.submit(Renew())  # behind what was posted before
        report = await asyncio.to_thread(audit.verify, self.database)
        assert report.ok, report.findings
        with self.database.reader.begin() as connection:
            posted, held = connection.execute(select(accounts.c.posted, accounts.c.held)).one()
        assert held == 0
        return 10**9 - int(posted)


@asynccontextmanager
async def stage(folder: Path, *upstreams: Voice) -> AsyncIterator[Stage]:
    database = open_database(f"sqlite:///{folder}/x.db", mode="live")
    ledger = Ledger(database.driver(), "test")
    ledger.start()
    made = await asyncio.to_thread(credentials.create_account, database)
    await ledger.submit(Credit(made.account_id, "test:1", 10**9, "deposits:test", None))
    named: dict[str, Upstream] = {each.name: each for each in upstreams}
    meters = Meters(CollectorRegistry())
    gateway = Gateway(Settings(), ledger, named, lambda *_: (b"", []), meters, watch=Watch(Pace(watch_after_s=0)))
    access = Access(made.account_id, None)
    try:
        yield Stage(database, gateway, access)
    finally:
        await ledger.close()
        database.close()


def played(folder: Path, *upstreams: Voice, test: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        async with stage(folder, *upstreams) as made:
            await test(made)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_bytes_leave_as_they_come_and_the_end_after_settlement(tmp_path: Path) -> None:
    voice = Voice(Event(b"one", usage=USED), Event(b"two"), Event(b"", finish="stop"))

    async def test(made: Stage) -> None:
        assert await made.perform() is None
        assert [message.get("body") for message in made.line.sent] == [None, b"one", b"two", b""]
        assert (made.line.ended, made.line.headers["content-type"]) == (True, "audio/mpeg")
        assert (made.line.headers["x-perquery-cost"], made.line.headers["x-perquery-balance"]) == ("0.00315", "1")
        assert await made.spent() == COST

    played(tmp_path, voice, test=test)


def test_figures_that_come_last_are_in_no_header(tmp_path: Path) -> None:
    voice = Voice(Event(b"one"), Event(b"", usage=Usage({"character": 50}), finish="stop"))

    async def test(made: Stage) -> None:
        assert await made.perform() is None
        assert "x-perquery-cost" not in made.line.headers
        assert await made.spent() == COST // 2

    played(tmp_path, voice, test=test)


def test_without_figures_what_is_likely_is_charged(tmp_path: Path) -> None:
    async def test(made: Stage) -> None:
        assert await made.perform(work(likely={"character": 10})) is None
        assert await made.spent() == COST // 10

    played(tmp_path, Voice(Event(b"one"), Event(b"", finish="stop")), test=test)


def test_what_breaks_off_is_free_and_never_ends_well(tmp_path: Path) -> None:
    async def test(made: Stage) -> None:
        assert await made.perform() is not None
        assert (made.line.body, made.line.ended, await made.spent()) == (b"one", False, 0)

    played(tmp_path, Voice(Event(b"one", usage=USED), UpstreamError("down", "x")), test=test)


@pytest.mark.parametrize(("stops", "dropped"), [(True, True), (False, False)])
def test_who_leaves(tmp_path: Path, stops: bool, dropped: bool) -> None:
    """Left too where that ends the bill, which is for what was counted by then; else read to its end."""
    lines: list[Line] = []
    given = Event(b"one", given={"character": 20})
    voice = Voice(
        given, lambda: lines[0].leave(), lambda: None, lambda: None, Event(b"", usage=USED, finish="stop"), stops=stops
    )

    async def test(made: Stage) -> None:
        lines.append(made.line)
        assert await made.perform() is None
        assert await made.spent() == (COST // 5 if dropped else COST)

    played(tmp_path, voice, test=test)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (UpstreamError("down", "x", sent=False), 1),
        (UpstreamError("busy", "x", status=429, retry_after_s=60), 1),
        (UpstreamError("auth", "x", status=401), 1),
        (UpstreamError("down", "x", status=500), 0),
        (UpstreamError("busy", "x", status=503), 0),
        (UpstreamError("garbage", "x"), 0),
        (UpstreamError("timeout", "x"), 0),
        (UpstreamError("down", "x"), 0),
    ],
    ids=lambda value: f"{value.kind}-{value.status}-{value.sent}" if isinstance(value, UpstreamError) else str(value),
)
def test_what_may_have_been_done_is_not_asked_for_again(tmp_path: Path, error: UpstreamError, asked: int) -> None:
    second = Voice(Event(b"x", usage=USED), Event(b"", finish="stop"), name="b")

    async def test(made: Stage) -> None:
        told = await made.perform(None, ROUTE, OTHER)
        assert (second.asked, told is None) == (asked, bool(asked))
        assert await made.spent() == asked * COST
        assert made.unbilled() == (0 if asked else COST)

    played(tmp_path, Voice(error), second, test=test)


def test_what_a_model_cannot_do_is_refused_before_anything_is_held(tmp_path: Path) -> None:
    def refuse(_: Route) -> dict[Any, int]:
        raise Unprocessable("no such voice")

    voice = Voice()

    async def test(made: Stage) -> None:
        assert isinstance(await made.perform(work(most=refuse)), Unprocessable)
        assert (voice.asked, await made.spent()) == (0, 0)

    played(tmp_path, voice, test=test)


def test_what_is_held_is_the_most_in_the_units_that_the_price_names() -> None:
    counts: dict[Any, int] = {"second": 60, "audio_input": 1_000, "output": 500}
    by_second = Route("a", "m", Price(((0, {"second": 1_000}),)), ONE)
    by_token = Route("a", "m", Price(((0, {"input": 2_000, "output": 4_000, "request": 5_000}),)), Ratio(2, 1))
    assert most_nano(by_second, counts) == 60
    assert most_nano(by_token, counts) == 2 * (2_000 + 2_000 + 5)
    with pytest.raises(ValueError, match="nothing that its price names"):
        most_nano(by_second, {"image": 1})
