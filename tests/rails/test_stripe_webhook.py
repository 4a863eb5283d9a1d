"""The signatures of Stripe's webhooks: good, forged, old; and secrets that are none."""

from __future__ import annotations

import pytest

from perquery.rails.stripe_webhook import TOLERANCE_S, WebhookSecret
from tests.rails.stripe import (
    WEBHOOK_SECRET,
    signed,
)

GOOD = signed(b'{"id": "evt_1"}', 1_000)


@pytest.mark.parametrize(
    ("payload", "header", "now_s", "holds"),
    [
        (b'{"id": "evt_1"}', GOOD, 1_000, True),
        (b'{"id": "evt_1"}', GOOD, 1_000 + TOLERANCE_S, True),
        (b'{"id": "evt_1"}', GOOD + ",v1=" + "0" * 64, 1_000, True),
        (b'{"id": "evt_1"}', GOOD, 1_001 + TOLERANCE_S, False),
        (b'{"id": "evt_1"}', GOOD, 999 - TOLERANCE_S, False),
        (b'{"id": "evt_2"}', GOOD, 1_000, False),
        (b'{"id": "evt_1"}', GOOD.replace("t=1000", "t=1001"), 1_000, False),
        (b'{"id": "evt_1"}', "t=1001," + GOOD, 1_000, False),
        (b'{"id": "evt_1"}', GOOD.replace("v1=", "v0="), 1_000, False),
        (b'{"id": "evt_1"}', signed(b'{"id": "evt_1"}', 1_000, ""), 1_000, False),
        (b'{"id": "evt_1"}', "", 1_000, False),
        (b'{"id": "evt_1"}', "t=1000", 1_000, False),
        (b'{"id": "evt_1"}', "t=1000,v1", 1_000, False),
        (b'{"id": "evt_1"}', "t=1000,v1=é", 1_000, False),
        (b'{"id": "evt_1"}', "t=" + "9" * 9_999 + ",v1=", 1_000, False),
        (b"\xff\xfe", GOOD, 1_000, False),
        (b"", GOOD, 1_000, False),
    ],
)
def test_a_signature(payload: bytes, header: str, now_s: int, holds: bool) -> None:
    assert WebhookSecret(WEBHOOK_SECRET).signed(payload, header, now_s) is holds


@pytest.mark.parametrize("secret", ["", " ", "\n", "whsec_", "whsec_short", "secret", WEBHOOK_SECRET + " "])
def test_what_is_no_secret(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^webhook_secret: "):
        WebhookSecret(secret)
