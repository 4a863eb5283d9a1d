"""Who is signed in, as a signed cookie: the account, perhaps one of its keys, until when.

A cookie holds no secret: what it names is read anew at every request, so a revoked key ends its sessions. It is bound
to the account's own random id, so that it means nothing to another database. It must never be readable by a script.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from perquery.accounts import Access
from perquery.own_key import derived

LASTS_S: Final = 14 * 24 * 3_600
OPERATOR_LASTS_S: Final = 12 * 3_600
COOKIE_CHARACTERS_MAX: Final = 300
OPERATOR: Final = "operator"
_NAME: Final = "perquery"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a cookie says, its signature being right. mark: of the account's random id."""

    account_id: int
    key_id: str | None
    mark: str


class Sessions:
    """key: 32 bytes that every process of the gateway has, or None: nobody can sign in. now: seconds since 1970."""

    def __init__(self, key: bytes | None, now: Callable[[], float]) -> None:
        self._key = derived(key, "web sessions") if key is not None else None
        self._now = now

    @property
    def possible(self) -> bool:
        return self._key is not None

    def written(self, access: Access) -> str:
        """The cookie's value for who has signed in."""
        until_s = int(self._now()) + LASTS_S
        return self._signed(f"{access.account_id}.{access.key_id or ''}.{until_s}.{self._mark(access)}")

    def read(self, cookie: str) -> Claim | None:
        """What the cookie says; None where it is not ours, was changed, or is over."""
        parts = self._verified(cookie)
        if parts is None or len(parts) != 4:
            return None
        account_id, key_id, until_s, mark = parts
        return Claim(int(account_id), key_id or None, mark) if int(until_s) > self._now() else None

    def belongs(self, claim: Claim, access: Access) -> bool:
        """Whether the account is the one that the cookie was written for, and not one that has its number now."""
        return hmac.compare_digest(claim.mark, self._mark(access))

    def written_for_operator(self) -> str:
        return self._signed(f"{OPERATOR}.{int(self._now()) + OPERATOR_LASTS_S}")

    def is_operator(self, cookie: str) -> bool:
        parts = self._verified(cookie)
        return parts is not None and parts[0] == OPERATOR and len(parts) == 2 and int(parts[1]) > self._now()

    def _mark(self, access: Access) -> str:
        return self._mac((access.safety_id or "").encode())[:16]

    def _signed(self, text: str) -> str:
        return f"{text}.{self._mac(text.encode())}"

    def _verified(self, cookie: str) -> list[str] | None:
        """The parts before the signature, if that is ours."""
        if self._key is None or len(cookie) > COOKIE_CHARACTERS_MAX or not cookie.isascii():
            return None
        text, _, signature = cookie.rpartition(".")
        return text.split(".") if hmac.compare_digest(signature, self._mac(text.encode())) else None

    def _mac(self, text: bytes) -> str:
        if self._key is None:
            raise RuntimeError("nobody can sign in without a key")
        return urlsafe_b64encode(hmac.digest(self._key, text, "sha256")).decode().rstrip("=")


def cookie_name(*, secure: bool, operator: bool = False) -> str:
    """Over TLS a name that browsers accept from this very host alone."""
    name = f"{_NAME}-{OPERATOR}" if operator else _NAME
    return f"__Host-{name}" if secure else name
