"""The bed of the fire tests: the real application on a real socket, scripted upstreams behind it, in one loop.

`async with lit(tmp_path) as bed` starts both; afterwards the books are checked, whatever the test did. It must never
reach into what it tests but to wait for the end of a settlement and to read the books.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import uvicorn
from sqlalchemy import select

from perquery import money
from perquery.app import create_app
from perquery.cli.heads import Bounded
from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting, Settings
from perquery.metering.caller import Pace, Watch
from perquery.metering.gateway import Gateway
from perquery.metering.jobs import Jobs
from perquery.store import audit, credentials
from perquery.store.database import Database
from perquery.store.ledger import Ledger
from perquery.store.operations import Credit
from perquery.store.tables import accounts, api_keys, holds, requests
from tests.fire.client import Answer, Exchange, exchange
from tests.upstream import MARK, ScriptedUpstream, scripted

CHAT: Final = "/v1/chat/completions"
HOUSE_KEY: Final = "sk-the-key-of-the-house"
ALERT: Final = Pace(watch_after_s=0)


@dataclass(frozen=True)
class Account:
    id: int
    key: str
    credit_id: str
    credited: int


@dataclass(frozen=True)
class Figures:
    posted: int
    held: int
    owed: int


def price(prompt: int, completion: int, usd: tuple[int, int] = (1, 2), percent: int = 105) -> int:
    """Nano-USD that so many tokens cost at USD per million, with the markup: counted here in our own way."""
    pico = (prompt * usd[0] + completion * usd[1]) * 1_000_000
    return -(-pico * percent // (1_000 * 100))


@dataclass
class Bed:
    """A running gateway with its upstreams. `upstream` is the first of them."""

    port: int
    upstreams: dict[str, ScriptedUpstream]
    gateway: Gateway
    ledger: Ledger
    jobs: Jobs
    database: Database
    server: uvicorn.Server
    serving: asyncio.Task[None]

    @property
    def upstream(self) -> ScriptedUpstream:
        return next(iter(self.upstreams.values()))

    async def account(self, usd: str = "1", *, bonus: bool = False) -> Account:
        """A new account with so much credit."""
        made = await asyncio.to_thread(credentials.create_account, self.database)
        amount = money.nano(usd)
        more = money.Ratio(1, 20) if bonus else None
        done = await self.ledger.submit(Credit(made.account_id, "test:1", amount, "deposits:test", more))
        return Account(made.account_id, made.api_key, made.credit_id, done.amount)

    def opened(
        self,
        account: Account,
        *,
        script: str = "",
        stream: bool = False,
        model: str = "stub-model",
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
        key: str | None = None,
        **fields: Any,
    ) -> AbstractAsyncContextManager[Exchange]:
        """`async with bed.opened(...) as exchange`: a chat call that has been sent."""
        content = MARK + script if script else "Say something."
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream} | fields
        sent = {"authorization": f"Bearer {key or account.key}"} | dict(headers or {})
        return exchange(self.port, CHAT, body, sent, receive_buffer=receive_buffer)

    async def ask(self, account: Account, **how: Any) -> Answer:
        """One chat call, its whole answer."""
        async with self.opened(account, **how) as opened:
            return await opened.answer()

    def figures(self, account: Account) -> Figures:
        with self.database.reader.begin() as connection:
            columns = (accounts.c.posted, accounts.c.held, accounts.c.owed)
            return Figures(*connection.execute(select(*columns).where(accounts.c.id == account.id)).one())

    def rows(self, account: Account) -> list[dict[str, Any]]:
        """The account's receipts, oldest first, `detail` as an object."""
        with self.database.reader.begin() as connection:
            found = connection.execute(
                select(requests).where(requests.c.account_id == account.id).order_by(requests.c.id)
            )
            return [row | {"detail": money.from_json(row["detail"])} for row in map(dict, found.mappings())]

    def key_figures(self, account: Account) -> dict[str, Any]:
        """The first key's row."""
        with self.database.reader.begin() as connection:
            return dict(
                connection.execute(select(api_keys).where(api_keys.c.account_id == account.id)).mappings().first() or {}
            )

    async def noticed(self) -> None:
        """Wait until the gateway knows that callers who hung up are gone: their connections have ended."""
        while self.server.server_state.connections:
            await turns(1)
        await turns(10)  # from the end of a connection to the watch over it

    async def quiet(self) -> None:
        """Wait until no request is being served and nothing is held."""
        async with asyncio.timeout(60):
            while self.gateway.admission.in_flight or await asyncio.to_thread(self._open_holds):
                await turns(1)

    def _open_holds(self) -> int:
        with self.database.reader.begin() as connection:
            return len(connection.execute(select(holds.c.id)).all())

    async def spent(self, account: Account) -> int:
        """What the account has paid once everything has settled; the books must be right by then."""
        await self.quiet()
        report = await asyncio.to_thread(audit.verify, self.database)
        assert report.ok, report.findings
        figures = self.figures(account)
        assert (figures.held, figures.owed) == (0, 0)
        assert figures.posted >= 0
        return account.credited - figures.posted

    async def only_row(self, account: Account) -> dict[str, Any]:
        """The one receipt that there is, once it is there."""
        await self.quiet()
        (row,) = self.rows(account)
        return row


async def turns(number: int) -> None:
    """Let the event loop go around."""
    for _ in range(number):
        await asyncio.sleep(0)


def model(id: str, *routes: str, usd: tuple[str, str] = ("1.00", "2.00"), **more: Any) -> ModelSetting:
    """A model served by these providers, in this order, at USD per million of input and output."""
    given = {"context_tokens": 128_000, "output_tokens_max": 8_192} | more
    return ModelSetting(
        id=id,
        routes=tuple(RouteSetting(provider=name, model=f"{name}-{id}") for name in routes),
        price_usd_per_million=PriceSetting(input=Decimal(usd[0]), output=Decimal(usd[1])),
        **given,
    )


def _row(
    name: str,
    upstream: ScriptedUpstream,
    keys: tuple[str, ...],
    cancel_stops_billing: bool,
    markup: str | None,
    keeps_nothing: bool,
    dialect: str | None,
) -> Provider:
    return Provider(
        keeps_nothing=keeps_nothing,
        markup=Decimal(markup) if markup else None,
        name=name,
        dialect=dialect or "openai-chat",  # type: ignore[arg-type]
        base_url=upstream.base_url,
        api_keys=keys,
        cancel_stops_billing=cancel_stops_billing,
    )


@asynccontextmanager
async def lit(
    data: Path,
    *,
    models: Sequence[ModelSetting] = (),
    upstreams: Mapping[str, bool] | None = None,
    markups: Mapping[str, str] | None = None,
    discreet: Sequence[str] = (),
    dialects: Mapping[str, str] | None = None,
    keys: tuple[str, ...] = (HOUSE_KEY,),
    pace: Pace = ALERT,
    others: Sequence[Provider] = (),
    **settings: Any,
) -> AsyncIterator[Bed]:
    """A bed. upstreams: name → whether cancelling stops their bill; models: by default `stub-model` on the first;
    markups: name → a markup of its own, which makes its price another; discreet: those that keep nothing; dialects:
    name → another than chat; others: rows beside the scripted ones.
    """
    named = {"scripted": True} if upstreams is None else upstreams
    async with AsyncExitStack() as stack:
        started = {name: await stack.enter_async_context(scripted()) for name in named}
        rows = [
            _row(name, each, keys, named[name], (markups or {}).get(name), name in discreet, (dialects or {}).get(name))
            for name, each in started.items()
        ]
        chosen = Settings(
            data=data,
            providers=(*rows, *others),
            models=tuple(models) or (model("stub-model", next(iter(named))),),
            **settings,
        )
        bed = await stack.enter_async_context(_served(chosen, started))
        bed.gateway.watch = Watch(pace)
        yield bed
        await bed.quiet()
        report = await asyncio.to_thread(audit.verify, bed.database)
        assert report.ok, report.findings


@asynccontextmanager
async def _served(settings: Settings, upstreams: dict[str, ScriptedUpstream]) -> AsyncIterator[Bed]:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            interface="asgi3",
            http=Bounded,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=max(1, round(settings.timeouts.shutdown_s)),
        )
    )
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        while not server.started:
            assert not serving.done(), "the gateway did not start"
            await turns(1)
        parts = server.lifespan.state
        yield Bed(
            listening.getsockname()[1],
            upstreams,
            parts["gateway"],
            parts["ledger"],
            parts["jobs"],
            parts["database"],
            server,
            serving,
        )
    finally:
        server.should_exit = True
        await serving
        listening.close()
