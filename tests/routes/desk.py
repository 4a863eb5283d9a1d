"""The control plane as its callers reach it: real database, ledger and catalogue, one account with credit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter

from perquery import money
from perquery.accounts import Accounts, Made
from perquery.catalog.build import build
from perquery.config import Limits, ModelSetting, PriceSetting, RouteSetting, Settings
from perquery.routes import accounts, answers, keys, status, usage
from perquery.routes.cors import Cors
from perquery.store.database import Database
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from perquery.store.operations import Credit, Operation
from tests.asgi import Answer, call
from tests.store.clock import MONDAY, Clock

T = TypeVar("T")
BALANCE: Final = money.nano("1.5")
STUB: Final = ModelSetting(
    id="stub-model",
    aliases=("stub",),
    routes=(RouteSetting(provider="host", model="m"),),
    price_usd_per_million=PriceSetting(input=Decimal(1), output=Decimal(2)),
)


@dataclass(slots=True)
class Desk:
    """`made` is an account with a balance of 1.5 USD; calls carry its key unless they say otherwise."""

    app: FastAPI
    database: Database
    ledger: Ledger
    clock: Clock
    made: Made

    @property
    def master(self) -> dict[str, str]:
        return {"x-credit-id": self.made.credit_id}

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        headers: Mapping[str, str] | None = None,
        client: str = "127.0.0.1",
    ) -> Answer:
        shown = {"authorization": f"Bearer {self.made.api_key}"} if headers is None else headers
        return await call(Cors(self.app), method, path, shown, body, client=client)

    async def book(self, *operations: Operation) -> None:
        for operation in operations:
            assert (await self.ledger.submit(operation)).status == "APPLIED"


def visit(folder: Path, body: Callable[[Desk], Awaitable[T]]) -> T:
    """Run `body` with a desk."""
    return asyncio.run(_visited(folder, body))


async def _visited(folder: Path, body: Callable[[Desk], Awaitable[T]]) -> T:
    settings = Settings(mode="sandbox", data=folder, models=(STUB,), limits=Limits(accounts_per_address_hour=2))
    clock = Clock(MONDAY)
    database = open_database(settings.database, mode="sandbox", clock=clock)
    ledger = Ledger(database.driver(), "gateway:test")
    ledger.start()
    try:
        app = _app(settings, database, ledger)
        made = await app.state.accounts.create("10.9.9.9")
        await ledger.submit(Credit(made.account_id, "test:1", BALANCE, "deposits:test"))
        return await body(Desk(app, database, ledger, clock, made))
    finally:
        await ledger.close()
        database.close()


def _app(settings: Settings, database: Database, ledger: Ledger) -> FastAPI:
    app = FastAPI()
    for family in (status, accounts, keys, usage):
        app.include_router(family.router)
    answers.install(app)
    registry = CollectorRegistry()
    Counter("desk_visits", "Visits", registry=registry).inc()
    parts: dict[str, Any] = {
        "settings": settings,
        "database": database,
        "ledger": ledger,
        "accounts": Accounts(database, settings, lambda: 0.0),
        "catalog": build(settings, ["host"], today=date(2026, 1, 5)),
        "registry": registry,
    }
    for name, part in parts.items():
        setattr(app.state, name, part)
    return app
