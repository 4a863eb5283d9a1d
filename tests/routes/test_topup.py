"""Top-ups over HTTP: exact bodies in and out, statuses, what is refused; with the real service and wallet behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import insert

from perquery import money
from perquery.accounts import Access
from perquery.config import Settings
from perquery.outbound import Client
from perquery.rails import bolt11, sandbox
from perquery.rails.backends import Means, open_rails
from perquery.rates.rate import FixedRates
from perquery.routes import answers, topup
from perquery.routes.access import account_of
from perquery.store.drivers import wall_ms
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from perquery.store.tables import accounts
from perquery.topups.service import Topups

CREATE = "/topup/create/btc-lightning"


class Shop:
    """The routes of top-ups as a caller of one account reaches them; `as_account` changes who calls."""

    def __init__(self, client: httpx2.AsyncClient, data: Path) -> None:
        self.client = client
        self.data = data
        self.account_id = 1

    async def post(self, body: str | bytes, path: str = CREATE) -> tuple[int, Any]:
        answer = await self.client.post(path, content=body)
        return answer.status_code, money.from_json(answer.content)

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.client.get(path)
        return answer.status_code, money.from_json(answer.content)


Run = Callable[[Callable[[Shop], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def runner(body: Callable[[Shop], Awaitable[None]]) -> None:
        asyncio.run(served(body, Settings(mode="sandbox", data=tmp_path)))

    return runner


async def served(body: Callable[[Shop], Awaitable[None]], settings: Settings) -> None:
    database = await asyncio.to_thread(open_database, settings.database, mode="sandbox")
    with database.writer.begin() as connection:
        connection.execute(insert(accounts), [{"credit_hash": b"%d" % n, "created_at": 0} for n in (1, 2)])
    ledger = Ledger(database.driver(), "gateway:test")
    ledger.start()
    rails = open_rails(settings, Means(Client(), wall_ms, asyncio.Event()))
    rates = FixedRates({"BTC": 100_000 * 10**9} if settings.sandbox else {})
    topups = Topups(database, ledger, rails, rates, settings, wall_ms)
    app = FastAPI()
    app.include_router(topup.router)
    answers.install(app)
    app.state.topups, app.state.settings = topups, settings
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        shop = Shop(client, settings.data)
        app.dependency_overrides[account_of] = lambda: Access(account_id=shop.account_id, key_id=None)
        await body(shop)
    await topups.close()
    await ledger.close()
    database.close()


def test_an_invoice_is_created_paid_and_settled(run: Run) -> None:
    async def body(shop: Shop) -> None:
        status, made = await shop.post('{"amount": 1000, "currency": "SATS"}')
        assert (status, made["amount"], made["currency"]) == (201, 1000, "SATS")
        assert made["expires_at"] - made["created_at"] == 900
        assert made["lightning_invoice"] == made["bolt11"] == made["payment_request"]
        assert made["checkout_url"] == f"http://gateway.test/checkout/{made['invoice_id']}"
        assert bolt11.decode(made["lightning_invoice"]).amount_msat == 1_000_000
        path = f"/topup/status/{made['invoice_id']}"
        assert (await shop.get(path))[1]["status"] == "New"
        sandbox.pay(shop.data, made["lightning_invoice"], wall_ms)
        status, settled = await shop.get(path)
        assert (status, settled["status"], settled["amount_due"]) == (200, "Settled", 0)
        assert (settled["credited_usd"], settled["bonus_usd"]) == (1, Decimal("0.05"))

    run(body)


def test_an_amount_is_never_a_float(run: Run) -> None:
    async def body(shop: Shop) -> None:
        status, made = await shop.post('{"amount": 0.123456789, "currency": "USD", "credit_id": "ignored"}')
        assert (status, made["amount"]) == (201, Decimal("0.123456789"))

    run(body)


def test_usd_is_meant_where_no_currency_is_named(run: Run) -> None:
    async def body(shop: Shop) -> None:
        assert (await shop.post('{"amount": "0.10"}'))[1]["currency"] == "USD"

    run(body)


def test_another_accounts_invoice_is_not_found(run: Run) -> None:
    async def body(shop: Shop) -> None:
        _, made = await shop.post('{"amount": 1}')
        shop.account_id = 2
        status, refused = await shop.get(f"/topup/status/{made['invoice_id']}")
        assert (status, refused["message"], refused["error"]["code"]) == (404, "Invoice not found", "not_found")
        assert (await shop.get("/topup"))[1] == {"data": []}

    run(body)


def test_the_list_is_bounded_and_newest_first(run: Run) -> None:
    async def body(shop: Shop) -> None:
        made = [(await shop.post('{"amount": 1}'))[1]["invoice_id"] for _ in range(3)]
        status, listed = await shop.get("/topup?limit=2")
        assert status == 200 and len(listed["data"]) == 2
        assert {entry["invoice_id"] for entry in (await shop.get("/topup"))[1]["data"]} == set(made)

    run(body)


def test_payment_methods_name_what_is_open(run: Run) -> None:
    async def body(shop: Shop) -> None:
        status, methods = await shop.get("/topup/payment-methods")
        assert (status, methods["success"]) == (200, True)
        assert [method["method"] for method in methods["supported_methods"]] == ["btc-lightning"]

    run(body)


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (b"", "amount"),
        (b"{", None),
        (b"[]", None),
        (b'"x"', None),
        (b"\xff\xfe", None),
        (b'{"amount": NaN}', None),
        (b"[" * 10_000, None),
        (b'{"amount": ' + b"9" * 5_000 + b"}", None),
        (b"{}", "amount"),
        (b'{"amount": null}', "amount"),
        (b'{"amount": true}', "amount"),
        (b'{"amount": {}}', "amount"),
        (b'{"amount": "1 USD"}', "amount"),
        (b'{"amount": 1e999999999}', "amount"),
        (b'{"amount": -1}', "amount"),
        (b'{"amount": 0}', "amount"),
        (b'{"amount": 1, "currency": "EUR"}', "currency"),
        (b'{"amount": 1, "currency": {"a": 1}}', "currency"),
        (b'{"amount": 1, "currency": "U\\u0000SD"}', "currency"),
        (b'{"amount": 1, "currency": "\\ud800"}', "currency"),
    ],
)
def test_a_bad_body_is_a_400_that_says_what_is_wrong(run: Run, sent: bytes, param: str | None) -> None:
    async def body(shop: Shop) -> None:
        status, refused = await shop.post(sent)
        assert (status, refused["statusCode"], refused["error"]["param"]) == (400, 400, param)

    run(body)


@pytest.mark.parametrize("path", ["/topup/create/doge", "/topup/create/btc%00", "/topup/create/%F0%9F%92%B8"])
def test_an_unknown_method_is_a_400_that_names_the_known(run: Run, path: str) -> None:
    async def body(shop: Shop) -> None:
        status, refused = await shop.post('{"amount": 1}', path)
        assert (status, refused["error"]["param"]) == (400, "method")
        assert "btc-lightning" in refused["message"]

    run(body)


@pytest.mark.parametrize("invoice_id", ["unknown", "%00" * 22, "%ED%A0%80" * 8, "x" * 4_000])
def test_an_impossible_invoice_is_not_found(run: Run, invoice_id: str) -> None:
    async def body(shop: Shop) -> None:
        assert (await shop.get(f"/topup/status/{invoice_id}"))[0] == 404

    run(body)


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_list_has_between_1_and_100_entries(run: Run, limit: str) -> None:
    async def body(shop: Shop) -> None:
        status, refused = await shop.get(f"/topup?limit={limit}")
        assert 400 <= status < 500 and refused["status"] == "error"

    run(body)
