"""NIP-47's events: what is written into them, and what of an incoming one may be believed. Pure.

An event counts only with its own id, the wallet's signature and the wallet's key; anything else is None, never an
error, because anybody can publish to a relay. This module must never do I/O or keep a secret beyond a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson
from nostr_sdk import Event, EventBuilder, Keys, Kind, NostrSdkError, PublicKey, Tag, Timestamp

from perquery import money
from perquery.nwc.uri import Connection

INFO: Final = 13194
REQUEST: Final = 23194
RESPONSE: Final = 23195
NOTIFICATIONS: Final = (23197, 23196)  # by nip44_v2, and by nip04

Encryption: TypeAlias = Literal["nip44_v2", "nip04"]
_PREFERRED: Final[tuple[Encryption, ...]] = ("nip44_v2", "nip04")
_CODE_CHARS_MAX: Final = 40
_WORDS_CHARS_MAX: Final = 300


class WalletError(Exception):
    """The wallet itself said no. code: as NIP-47 names it ("QUOTA_EXCEEDED"; "OTHER" where it names none)."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code}: {words}" if words else code)
        self.code = code
        self.words = words


class NoAnswer(Exception):
    """Nothing that could be believed came back. sent: False only if the request certainly reached no relay."""

    def __init__(self, words: str, *, sent: bool) -> None:
        super().__init__(words)
        self.words = words
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Info:
    """What a wallet says that this connection may do, and when it said so (seconds)."""

    methods: frozenset[str]
    encryption: Encryption
    notifications: frozenset[str]
    said_at: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of an own request's event: its id, and when it was made (seconds)."""

    id: str
    created_at: int


def sign(
    connection: Connection, method: str, params: Mapping[str, Any], encryption: str, expires_at: int | None, at: int
) -> str:
    """A request's signed event as JSON text, to be stored and published as it is. Times are in seconds.

    expires_at: after this the wallet should no longer act on it. Raises ValueError for an unknown encryption.
    """
    if encryption not in _PREFERRED:
        raise ValueError(f"no such encryption: {encryption}")
    keys, wallet = Keys.parse(connection.secret), PublicKey.parse(connection.wallet)
    body = orjson.dumps({"method": method, "params": dict(params)}).decode()
    sealed = keys.nip44_encrypt(wallet, body) if encryption == "nip44_v2" else keys.nip04_encrypt(wallet, body)
    tags = [Tag.parse(["p", connection.wallet]), Tag.parse(["encryption", encryption])]
    if expires_at is not None:
        tags.append(Tag.parse(["expiration", str(expires_at)]))
    event = EventBuilder(Kind(REQUEST), sealed).tags(tags).custom_created_at(Timestamp.from_secs(at))
    signed: str = event.finalize(keys).as_json()
    return signed


def own_request(connection: Connection, event_json: str) -> Request:
    """Raises ValueError where the text is no whole request of this connection."""
    event = authentic(_parsed(event_json), Keys.parse(connection.secret).public_key().to_hex())
    if event is None or event.kind().as_u16() != REQUEST or connection.wallet not in tagged(event, "p"):
        raise ValueError("this is no request that was signed for this connection")
    return Request(event.id().to_hex(), event.created_at().as_secs())


def authentic(raw: Any, author: str) -> Event | None:
    """The event, if its id and its signature hold and it is by this author (a public key in hex)."""
    if not isinstance(raw, dict) or raw.get("pubkey") != author:  # the cheap question before the dear one
        return None
    try:
        event = Event.from_json(orjson.dumps(raw).decode())
        return event if event.verify() else None
    except (NostrSdkError, orjson.JSONEncodeError):
        return None


def info(connection: Connection, raw: Any) -> Info | None:
    """What an event tells of the wallet; None where it is no authentic info event."""
    event = authentic(raw, connection.wallet)
    if event is None or event.kind().as_u16() != INFO:
        return None
    offered = " ".join(tagged(event, "encryption")).split()
    encryption: Encryption = next((each for each in _PREFERRED if each in offered), "nip04")
    notifications = " ".join(tagged(event, "notifications")).split()
    said_at = event.created_at().as_secs()
    return Info(frozenset(event.content().split()), encryption, frozenset(notifications), said_at)


def answer(connection: Connection, request_id: str, raw: Any) -> dict[str, Any] | None:
    """The result in an answer to this request; None where the event is no such thing. Raises WalletError.

    Numbers are int or Decimal. An answer without error has a result, empty where the wallet sent none.
    """
    event = authentic(raw, connection.wallet)
    if event is None or event.kind().as_u16() != RESPONSE or request_id not in tagged(event, "e"):
        return None
    body = _opened(connection, event)
    if body is None:
        return None
    error, result = body.get("error"), body.get("result")
    if error is not None:
        raise _wallet_error(error)
    if result is None and "result" not in body:
        return None
    return result if isinstance(result, dict) else {}


def notification(connection: Connection, raw: Any) -> dict[str, Any] | None:
    """The body of an authentic notification: `notification_type`, `notification`."""
    event = authentic(raw, connection.wallet)
    if event is None or event.kind().as_u16() not in NOTIFICATIONS:
        return None
    return _opened(connection, event)


def tagged(event: Event, name: str) -> list[str]:
    """The values of the tags of this name."""
    parts = (tag.to_vec() for tag in event.tags())
    return [part[1] for part in parts if len(part) > 1 and part[0] == name]


def _opened(connection: Connection, event: Event) -> dict[str, Any] | None:
    """What an event holds, decrypted by the scheme that it shows; the signature has vouched for it already."""
    keys, sealed = Keys.parse(connection.secret), event.content()
    decrypt = keys.nip04_decrypt if "?iv=" in sealed else keys.nip44_decrypt
    try:
        body = _parsed(decrypt(event.author(), sealed))
    except NostrSdkError:
        return None
    return body if isinstance(body, dict) else None


def _parsed(text: str) -> Any:
    try:
        return money.from_json(text.encode())
    except ValueError:
        return None


def _wallet_error(error: Any) -> WalletError:
    fields = error if isinstance(error, dict) else {}
    code, words = fields.get("code"), fields.get("message")
    return WalletError(
        printable(code, _CODE_CHARS_MAX) if isinstance(code, str) and code else "OTHER",
        printable(words, _WORDS_CHARS_MAX) if isinstance(words, str) else "",
    )


def printable(text: str, characters_max: int) -> str:
    """The beginning of what others wrote, fit to be stored and shown: no control characters, no halves of pairs."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:characters_max])
