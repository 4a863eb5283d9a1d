"""The rule of Idempotency-Key: what a key may be, and that it belongs to the body it was first used with.

Both who keep answers (calls) and who keep what was made (invoices) follow it. It must never see a kept answer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from perquery.errors import BadRequest, Conflict

KEY_LENGTH_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Once:
    """A caller's key, and the hash of the body that came with it: of the body itself nothing is kept."""

    key: str
    body_hash: bytes

    def check(self, kept_hash: bytes) -> None:
        """Raises Conflict where the key was first used with another body."""
        if kept_hash != self.body_hash:
            raise Conflict("This Idempotency-Key was used with another body.", code="idempotency_key_reused")


def once(key: str, body: bytes) -> Once:
    """Raises BadRequest where the key is empty or too long."""
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        raise BadRequest(f"`Idempotency-Key` must have 1 to {KEY_LENGTH_MAX} characters.", param="Idempotency-Key")
    return Once(key, hashlib.sha256(body).digest())
