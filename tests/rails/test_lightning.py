"""A node's invoice is handed out only where it is what was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perquery.rails import bolt11
from perquery.rails.lightning import payable
from perquery.rails.rail import PayableRequest, RailDown

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
