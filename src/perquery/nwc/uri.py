"""The connection string that a wallet hands out: `nostr+walletconnect://WALLET?relay=…&secret=…`.

Pure. Who has the string may do whatever the wallet allows it, so neither it nor its secret may ever be shown, and
no message here repeats a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from coincurve import PublicKeyXOnly
from nostr_sdk import Keys, NostrSdkError

RELAYS_MAX: Final = 5
_SCHEMES: Final = ("nostr+walletconnect", "nostrwalletconnect")
_TEXT_MAX: Final = 4096
_HEX_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Connection:
    """wallet: its public key; secret: our own secret key (both hex); relays: where both listen, ws or wss URLs;
    lud16: the wallet's Lightning address.
    """

    wallet: str
    relays: tuple[str, ...]
    secret: str = field(repr=False)
    lud16: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Raises ValueError, in words for whoever pasted it."""
        scheme, _, rest = uri.strip().partition(":")
        if len(uri) > _TEXT_MAX or scheme.lower() not in _SCHEMES:
            raise ValueError("This is not a wallet's connection string: it begins with nostr+walletconnect://")
        wallet, _, query = rest.removeprefix("//").partition("?")
        try:
            fields = parse_qs(query, max_num_fields=32)
        except ValueError:
            raise ValueError("The connection string has too many fields.") from None
        secret = _only(fields, "secret")
        relays = tuple(dict.fromkeys(_relay(relay) for relay in fields.get("relay", [])))
        if not relays:
            raise ValueError("The connection string names no relay (relay=wss://…).")
        if len(relays) > RELAYS_MAX:
            raise ValueError(f"The connection string names more than {RELAYS_MAX} relays.")
        lud16 = fields.get("lud16", [None])[0]
        return cls(_public(wallet.strip("/")), relays, _secret(secret), lud16)

    def uri(self) -> str:
        """The string, secret included."""
        fields = [("relay", relay) for relay in self.relays] + [("secret", self.secret)]
        if self.lud16 is not None:
            fields.append(("lud16", self.lud16))
        return f"{_SCHEMES[0]}://{self.wallet}?{urlencode(fields, quote_via=quote, safe='')}"


def _only(fields: dict[str, list[str]], name: str) -> str:
    found = fields.get(name, [])
    if len(found) != 1:
        raise ValueError(f"The connection string must have one {name}, and has {len(found) or 'none'}.")
    return found[0]


def _public(text: str) -> str:
    key = text.lower()
    try:
        if _HEX_KEY.fullmatch(key):
            PublicKeyXOnly(bytes.fromhex(key))
            return key
    except ValueError:  # no point of the curve
        pass
    raise ValueError("The connection string's wallet key (behind ://) is not a public key of 64 hex digits.")


def _secret(text: str) -> str:
    key = text.lower()
    try:
        if _HEX_KEY.fullmatch(key) and Keys.parse(key):
            return key
    except NostrSdkError:
        pass
    raise ValueError("The connection string's secret is not a key of 64 hex digits.")


def _relay(text: str) -> str:
    try:
        parts = urlsplit(text.strip())
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.scheme not in ("wss", "ws"):
        raise ValueError("A relay of the connection string is not a URL that begins with wss://.")
    if parts.username is not None or parts.fragment:
        raise ValueError("A relay of the connection string must not hold a user, a password or a fragment.")
    return text.strip()
