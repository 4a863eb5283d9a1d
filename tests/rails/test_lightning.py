"""A node's invoice is handed out only where it is what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from coincurve import PrivateKey

from perquery.rails import bech32, bolt11
from perquery.rails.lightning import payable, receipt
from perquery.rails.rail import PayableRequest, RailDown, Receipt

KEY = b"\x11" * 32
ASKED = PayableRequest(amount=1_000_000, description="Top-up", expiry_s=900)
GOOD = bolt11.Bolt11(
    network="bcrt",
    amount_msat=1_000_000,
    created_at=1_800_000_000,
    payment_hash=b"\x22" * 32,
    payment_secret=b"\x33" * 32,
    description="Top-up",
    expiry_s=900,
)
HASH = "22" * 32


def test_what_was_asked_for_is_handed_out() -> None:
    text = bolt11.encode(GOOD, KEY)
    made = payable("node", text, HASH.upper(), ASKED, "bcrt")
    assert (made.text, made.rail_ref) == (text, HASH)


@pytest.mark.parametrize(
    ("invoice", "says"),
    [
        (replace(GOOD, amount_msat=999_000), "for 999000 msat, not 1000000"),
        (replace(GOOD, amount_msat=None), "for None msat"),
        (replace(GOOD, network="bc"), "for the network bc, not bcrt"),
        (replace(GOOD, payment_hash=b"\x44" * 32), "another payment hash"),
        (replace(GOOD, expiry_s=300), "payable for 300 s, not 900"),
    ],
)
def test_anything_else_is_not(invoice: bolt11.Bolt11, says: str) -> None:
    with pytest.raises(RailDown, match=says):
        payable("node", bolt11.encode(invoice, KEY), HASH, ASKED, "bcrt")


def test_what_is_no_invoice_is_not() -> None:
    with pytest.raises(RailDown, match="node made no invoice"):
        payable("node", "lnbc1nonsense", HASH, ASKED, "bc")


def test_one_that_names_an_address_of_the_chain_is_not() -> None:
    """A payer could pay there, and nobody would see it."""
    readable, words = bech32.decode(bolt11.encode(GOOD, KEY))
    signed = [*words[:-104], 9, 1, 1, 0, *bech32.words_of(b"\x55" * 20)]
    message = readable.encode() + bech32.bytes_of(signed, pad=True)
    text = bech32.encode(readable, signed + bech32.words_of(PrivateKey(KEY).sign_recoverable(message)))
    with pytest.raises(RailDown, match="names an address of the chain"):
        payable("node", text, HASH, ASKED, "bcrt")


@pytest.mark.parametrize(
    ("amount_msat", "at_s"),
    [(0, 1_800_000_000), (-1, 1_800_000_000), (21 * 10**17 + 1, 1_800_000_000), (1, 0), (1, 1 << 63)],
)
def test_a_payment_that_cannot_be_is_none(amount_msat: int, at_s: int) -> None:
    with pytest.raises(RailDown, match="which cannot be"):
        receipt("node", HASH, amount_msat, at_s)


def test_a_payment() -> None:
    assert receipt("node", HASH, 1, 1_800_000_000) == Receipt(HASH, HASH, 1, "confirmed", 1_800_000_000_000)
