"""The cookie of who is signed in: the session's id, signed.

The id is random and means something only as long as the database has it, so signing out ends a session for good. It is
signed, so that who reads the database cannot make a cookie. It must never be readable by a script.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from typing import Final

from perquery.own_key import derived

LASTS_S: Final = 14 * 24 * 3_600
OPERATOR_LASTS_S: Final = 12 * 3_600
COOKIE_CHARACTERS_MAX: Final = 200
_NAME: Final = "perquery"


class Sessions:
    """key: 32 bytes that every process of the gateway has, or None: nobody can sign in."""

    def __init__(self, key: bytes | None) -> None:
        self._key = derived(key, "web sessions") if key is not None else None

    @property
    def possible(self) -> bool:
        return self._key is not None

    def written(self, id: str) -> str:
        """The cookie's value for a session."""
        return f"{id}.{self._mac(id)}"

    def read(self, cookie: str) -> str | None:
        """The session's id; None where the cookie is not ours or was changed."""
        if self._key is None or len(cookie) > COOKIE_CHARACTERS_MAX or not cookie.isascii():
            return None
        id, _, signature = cookie.rpartition(".")
        return id if hmac.compare_digest(signature, self._mac(id)) else None

    def _mac(self, id: str) -> str:
        if self._key is None:
            raise RuntimeError("nobody can sign in without a key")
        return urlsafe_b64encode(hmac.digest(self._key, id.encode(), "sha256")).decode().rstrip("=")


def cookie_name(*, secure: bool, operator: bool = False) -> str:
    """Over TLS a name that browsers accept from this very host alone."""
    name = f"{_NAME}-operator" if operator else _NAME
    return f"__Host-{name}" if secure else name
