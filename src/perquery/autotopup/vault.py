"""The secrets of connected wallets, encrypted at rest (NIP-44: ChaCha20 and HMAC-SHA256, to the gateway's own key).

A secret must never be shown again, nor be written to a log.
"""

from __future__ import annotations

from nostr_sdk import Keys, NostrSdkError


class Sealed(Exception):
    """A secret cannot be read or written: the words say what the operator can do."""


class Vault:
    """Seals texts. key: 32 bytes (`own_key`), or None where there is none to be had."""

    def __init__(self, key: bytes | None) -> None:
        self._keys = Keys.parse(key.hex()) if key is not None else None

    def seal(self, text: str, about: str) -> bytes:
        """The text encrypted; it opens only together with `about`, so that rows cannot be swapped."""
        keys = self._ready()
        sealed: str = keys.nip44_encrypt(keys.public_key(), f"{about}\n{text}")
        return sealed.encode()

    def open(self, sealed: bytes, about: str) -> str:
        """Raises Sealed where the key is another, or the bytes were changed."""
        keys = self._ready()
        try:
            opened: str = keys.nip44_decrypt(keys.public_key(), sealed.decode("ascii"))
        except (NostrSdkError, UnicodeDecodeError) as error:
            raise Sealed("the key with which it was encrypted is not this gateway's secret_key") from error
        named, _, text = opened.partition("\n")
        if named != about:
            raise Sealed("it belongs to another connection")
        return text

    def _ready(self) -> Keys:
        if self._keys is None:
            raise Sealed("this gateway has no secret_key")
        return self._keys
