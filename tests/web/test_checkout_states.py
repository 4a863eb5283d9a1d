"""What a checkout says in every state that an invoice comes to, and on every rail; the test decides what is paid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from perquery.rates.rate import FixedRates
from perquery.store.invoices import InvoiceRow
from perquery.topups.invoice import MONITORING_MS
from tests.topups.conftest import RATE, Till
from tests.topups.conftest import Clock as Hands
from tests.web.house import House, Seen, visit

Happens: TypeAlias = Callable[[Till, InvoiceRow], None]
HOUR_MS: Final = 3_600_000
MISSING: Final = "are still missing. Send them to the same address"
FROM_NOW: Final = "at the rate of then if that is lower"


def paid(share: str, state: str = "confirmed", after_ms: int = 0) -> Happens:
    """So much of what is due arrives. share: as "1/2"."""
    part, _, whole = share.partition("/")

    def happens(till: Till, invoice: InvoiceRow) -> None:
        till.clock.now_ms += after_ms
        till.rail.pay(invoice.rail_ref, invoice.crypto_due * int(part) // int(whole), state)  # type: ignore[arg-type]

    return happens


def passed(after_ms: int) -> Happens:
    def happens(till: Till, _invoice: InvoiceRow) -> None:
        till.clock.now_ms += after_ms

    return happens


def gone(till: Till, invoice: InvoiceRow) -> None:
    till.rail.change(invoice.rail_ref, "gone")


STATES: Final[tuple[tuple[str, tuple[Happens, ...], tuple[str, ...], tuple[str, ...]], ...]] = (
    ("btc", (), ("Pay 0.0002 BTC", "It credits $20.00", "Credited after", "Address"), ("Receipt", "expired")),
    ("btc", (paid("1/2", "pending"),), ("Payment seen", "0.0001 BTC of 0.0002 BTC", MISSING), ("Paid", "Expired")),
    ("btc", (paid("1/1", "pending"),), ("Payment seen", "You may close this page"), ("missing", "Paid")),
    (
        "btc",
        (paid("1/2"), passed(HOUR_MS)),
        ("Expired Less than asked", "credited: $10.00", "Receipt"),
        ("Nothing arrived",),
    ),
    ("btc", (passed(HOUR_MS),), ("Expired Nothing arrived", FROM_NOW, "Top up anew"), ("Receipt",)),
    (
        "btc",
        (paid("1/1", after_ms=HOUR_MS),),
        ("Paid $20.00", "after the invoice had expired", "Receipt"),
        ("Expired",),
    ),
    ("btc", (paid("3/2"),), ("Paid $30.00", "More than asked arrived", "Receipt"), ("expired", "missing")),
    ("btc", (paid("1/1", "pending"), gone, passed(HOUR_MS)), ("Not confirmed", "it is credited by itself"), ("Paid",)),
    (
        "btc",
        (paid("1/1", "pending"), passed(HOUR_MS + MONITORING_MS)),
        ("Not confirmed", "it is credited by itself"),
        ("Paid", "Receipt"),
    ),
    ("btc-lightning", (passed(HOUR_MS),), ("Expired Nothing arrived", "Top up anew"), (FROM_NOW,)),
    ("btc-lightning", (paid("1/1"),), ("Paid $21.00", "$1.00 of it as a bonus"), ("confirmation",)),
)


async def shown(house: House, rail: str, *happenings: Happens) -> tuple[Seen, Seen]:
    """The checkout of an invoice over $20 after all that, and its receipt."""
    till = Till(house.state["database"], house.state["ledger"], Hands(), house.state["settings"].data)
    rates = FixedRates(
        {"BTC": RATE, "LTC": RATE, "LBTC": RATE, "XMR": RATE, "USDC": 10**9, "USDT": 10**9, "USD": 10**9}
    )
    house.state["topups"] = topups = till.topups(rates=rates, name=rail)
    invoice = (await topups.create(house.made.account_id, rail, 20, "USD")).invoice
    for happens in happenings:
        happens(till, invoice)
        await topups.poll()
    browser = house.browser()
    return await browser.get(f"/checkout/{invoice.id}"), await browser.get(f"/checkout/{invoice.id}/receipt")


@pytest.mark.parametrize(("rail", "happenings", "says", "never"), STATES)
def test_a_checkout_says_how_it_stands(
    tmp_path: Path, rail: str, happenings: tuple[Happens, ...], says: tuple[str, ...], never: tuple[str, ...]
) -> None:
    async def body(house: House) -> None:
        page, receipt = await shown(house, rail, *happenings)
        for words in says:
            assert words in page.words
        for words in never:
            assert words not in page.words
        assert receipt.status == 200
        is_open = page.words.count("Pay ") or "Payment seen" in page.words
        assert ('data-live="/checkout/' in page.text) == bool(is_open)  # it goes on by itself only while it is open

    visit(tmp_path, body)


RAILS: Final = (
    ("btc-lightning", 'href="lightning:pay 200', "Lightning invoice"),
    ("btc", 'href="bitcoin:pay 20000?amount=0.0002', "Address"),
    ("ltc", 'href="litecoin:pay ', "Address"),
    ("lbtc", 'href="liquidnetwork:pay ', "Address"),
    ("xmr", 'href="monero:pay ', "Address"),
    ("usdc", "<code>pay 20", "Address"),  # no network is served
    ("usdt", "<code>pay 20", "Address"),
    ("card", 'href="pay ', "To Stripe's page"),
    ("other", 'href="pay ', "Choose a coin and pay"),
)


@pytest.mark.parametrize(("rail", "link", "words"), RAILS)
def test_each_rail_is_paid_its_own_way(tmp_path: Path, rail: str, link: str, words: str) -> None:
    async def body(house: House) -> None:
        page, _ = await shown(house, rail)
        assert page.status == 200 and link in page.text and words in page.words
        assert ('class="qr"' in page.text) == (rail not in ("usdc", "usdt", "card", "other"))
        assert ("lightning:" in page.text) == (rail == "btc-lightning")
        assert ("card" in page.words.lower()) == (rail == "card")

    visit(tmp_path, body)
