"""The signature of Stripe's webhooks, checked by Stripe's own SDK (Stripe's documentation: "Verify webhook
signatures").

What a webhook says is only a reason to ask Stripe. This module must never check with an empty secret (anybody can sign
with that), nor look into a body.
"""

from __future__ import annotations

import re
from typing import Final

import stripe

TOLERANCE_S: Final = 300
_SECRET: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]{16,}")
_TIME: Final = re.compile(r"(?:^|,)t=([0-9]{1,12})(?:,|$)")


class WebhookSecret:
    """The signing secret of one endpoint. Raises ValueError where it is none."""

    def __init__(self, secret: str) -> None:
        if not _SECRET.fullmatch(secret):
            wrong = "is empty" if not secret.strip() else "is none"
            raise ValueError(
                f"webhook_secret: {wrong}; it is the endpoint's signing secret, which begins with whsec_"
                " (Stripe Dashboard, Webhooks)"
            )
        self._secret = secret

    def signed(self, payload: bytes, signature_header: str, now_s: int) -> bool:
        """Whether Stripe signed these bytes within five minutes of `now_s`; a replay within them is signed too."""
        at = _TIME.search(signature_header) if signature_header.isascii() else None
        if at is None or abs(now_s - int(at[1])) > TOLERANCE_S:
            return False
        try:
            # Its own tolerance would go by the wall clock.
            stripe.WebhookSignature.verify_header(payload, signature_header, self._secret, tolerance=None)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            return False
        return True
