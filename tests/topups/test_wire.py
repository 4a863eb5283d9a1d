"""Top-ups as JSON: the fields and forms that PPQ's clients require, and ours beside them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from perquery import money
from perquery.rails.tokens import Token
from perquery.store.invoices import InvoiceRow, ReceiptRow
from perquery.topups import wire
from perquery.topups.invoice import Market, Topup, advance
from perquery.topups.methods import LIGHTNING, METHODS

INVOICE = InvoiceRow(
    id="Ab12Cd34Ef56Gh78Jk9mLn",
    account_id=1,
    rail=LIGHTNING.name,
    currency="SATS",
    amount="100",
    amount_nano=10**8,
    bonus_numerator=5,
    bonus_denominator=100,
    bonus_cap_nano=10**12,
    crypto_due=100_000,
    usd_nano_per_coin=10**14,
    payable="lnbcrt1u1…",
    rail_ref="hash",
    created_at=1_800_000_000_000,
    expires_at=1_800_000_900_000,
)
PAID = ReceiptRow(
    rail=LIGHTNING.name,
    receipt_id="hash",
    invoice_id=INVOICE.id,
    amount=100_000,
    state="confirmed",
    first_seen_at=1_800_000_000_500,
    confirmed_at=1_800_000_000_500,
    credit_nano=10**8,
    bonus_nano=5 * 10**6,
    credited_at=1_800_000_000_600,
)
NOW = 1_800_000_001_000


def topup(*receipts: ReceiptRow, invoice: InvoiceRow = INVOICE, as_of: int = NOW) -> Topup:
    return Topup(invoice, receipts, advance(invoice, receipts, as_of, Market(10**11, 10**14)))


def read(value: dict[str, Any]) -> Any:
    return money.from_json(money.json(value))


def test_a_created_invoice() -> None:
    assert read(wire.created(topup(), "https://ai.example.org")) == {
        "invoice_id": INVOICE.id,
        "amount": 100,
        "currency": "SATS",
        "created_at": 1_800_000_000,
        "expires_at": 1_800_000_900,
        "checkout_url": f"https://ai.example.org/checkout/{INVOICE.id}",
        "lightning_invoice": "lnbcrt1u1…",
        "bolt11": "lnbcrt1u1…",
        "payment_request": "lnbcrt1u1…",
        "crypto_amount_due": Decimal("0.000001"),
    }


def test_small_amounts_have_no_exponent() -> None:
    tiny = replace(INVOICE, currency="BTC", amount="0.00000001", crypto_due=1)
    text = money.json(wire.created(topup(invoice=tiny), "")).decode()
    assert '"amount":0.00000001,' in text and '"crypto_amount_due":0.00000000001}' in text


def test_an_amount_is_the_number_that_was_asked_for() -> None:
    usd = replace(INVOICE, currency="USD", amount="0.50")
    assert b'"amount":0.5,' in money.json(wire.created(topup(invoice=usd), ""))


def test_the_status_of_a_new_invoice() -> None:
    assert read(wire.status(topup())) == {
        "invoice_id": INVOICE.id,
        "status": "New",
        "amount": 100,
        "currency": "SATS",
        "created_at": 1_800_000_000,
        "expires_at": 1_800_000_900,
        "payment_method": "Bitcoin Lightning",
        "bolt11": "lnbcrt1u1…",
        "payment_request": "lnbcrt1u1…",
        "amount_paid": 0,
        "amount_due": Decimal("0.000001"),
        "lightning_invoice": "lnbcrt1u1…",
        "state": "new",
        "flags": [],
        "credited_usd": 0,
        "bonus_usd": 0,
    }


def test_the_status_of_a_settled_invoice() -> None:
    body = read(wire.status(topup(PAID)))
    assert (body["status"], body["state"], body["amount_paid"], body["amount_due"]) == (
        "Settled",
        "settled",
        Decimal("0.000001"),
        0,
    )
    assert (body["credited_usd"], body["bonus_usd"]) == (Decimal("0.1"), Decimal("0.005"))


def test_a_payment_that_waits_reads_as_new_outside() -> None:
    waiting = replace(PAID, credit_nano=None, bonus_nano=None, credited_at=None)
    body = read(wire.status(topup(waiting)))
    assert (body["status"], body["state"], body["credited_usd"]) == ("New", "seen", 0)


def test_an_overpaid_invoice_owes_nothing() -> None:
    body = read(wire.status(topup(replace(PAID, amount=250_000))))
    assert (body["amount_due"], body["flags"]) == (0, ["over"])


def test_an_expired_invoice() -> None:
    assert read(wire.status(topup(as_of=INVOICE.expires_at)))["status"] == "Expired"


def test_what_was_taken_back_is_not_shown_as_credited() -> None:
    body = read(wire.status(topup(replace(PAID, state="gone", reversed_at=NOW))))
    assert (body["credited_usd"], body["bonus_usd"], body["amount_paid"]) == (0, 0, 0)


def test_payment_methods() -> None:
    assert read(wire.payment_methods([(LIGHTNING, 64_000 * 10**9, True)])) == {
        "success": True,
        "supported_methods": [
            {
                "method": "btc-lightning",
                "display_name": "Bitcoin Lightning",
                "supported_currencies": ["USD", "BTC", "SATS"],
                "limits": {
                    "USD": {"min": Decimal("0.1"), "max": 1000},
                    "BTC": {"min": Decimal("0.000001"), "max": Decimal("0.01")},
                    "SATS": {"min": 100, "max": 1_000_000},
                },
                "expires_in_seconds": 900,
                "bonus_percent": 5,
                "confirmations": [],
                "coin": "BTC",
                "coins": ["BTC"],
                "usd_per_coin": 64_000,
                "available": True,
            }
        ],
    }


def test_a_bonus_that_is_not_whole_percent() -> None:
    body = read(wire.payment_methods([(replace(LIGHTNING, bonus=money.ratio("0.0125")), None, True)]))
    assert body["supported_methods"][0]["bonus_percent"] == Decimal("1.25")
    assert body["supported_methods"][0]["usd_per_coin"] is None


def test_an_address_has_a_payment_uri_and_no_lightning_invoice() -> None:
    asked = replace(INVOICE, rail="ltc", payable="ltc1q…", crypto_due=12_345_678)
    for body in (read(wire.created(topup(invoice=asked), "")), read(wire.status(topup(invoice=asked)))):
        assert body["address"] == body["payment_address"] == "ltc1q…"
        assert body["payment_uri"] == "litecoin:ltc1q…?amount=0.12345678"
        assert "lightning_invoice" not in body


def test_an_address_on_several_networks_has_a_uri_for_each() -> None:
    asked = replace(INVOICE, rail="usdc", payable="0xPayee", crypto_due=20_000_001_000)
    bnb, base = Token("bnb", 56, "0x" + "5b" * 20, 18), Token("base", 8453, "0x" + "ba" * 20, 6, 12)
    made = replace(topup(invoice=asked), networks=(bnb, base))
    for body in (read(wire.created(made, "")), read(wire.status(made))):
        assert body["address"] == body["payment_address"] == "0xPayee"
        assert [(each["network"], each["chain_id"], each["confirmations"]) for each in body["networks"]] == [
            ("bnb", 56, "finalized"),
            ("base", 8453, 12),
        ]
        assert [each["payment_uri"].partition("?")[2] for each in body["networks"]] == [
            "address=0xPayee&uint256=20000001000000000000",
            "address=0xPayee&uint256=20000001",
        ]
        assert body["payment_uri"] == body["networks"][0]["payment_uri"]
        assert body["payment_uri"].lower().startswith(f"ethereum:0x{'5b' * 20}@56/transfer?")


def test_an_address_whose_networks_are_gone_from_the_settings_is_shown_alone() -> None:
    body = read(wire.status(topup(invoice=replace(INVOICE, rail="usdt", payable="0xPayee"))))
    assert body["address"] == "0xPayee" and not {"networks", "payment_uri"} & body.keys()


def test_confirmations_by_amount() -> None:
    (shown,) = read(wire.payment_methods([(METHODS["btc"], None, True)]))["supported_methods"]
    assert shown["confirmations"][:2] == [{"from": 0, "count": 1}, {"from": Decimal("0.005"), "count": 2}]


def test_a_list() -> None:
    assert [entry["status"] for entry in read(wire.listing([topup(), topup(PAID)]))["data"]] == ["New", "Settled"]
