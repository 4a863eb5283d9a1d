"""The secrets of connected wallets, encrypted at rest (NIP-44: ChaCha20 and HMAC-SHA256, to a key of our own).

The key is the setting `secret_key`; without it, a file made once in the data folder where the database is the
embedded one. It must never be written to the database or to a log, and a secret must never be shown again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from nostr_sdk import Keys, NostrSdkError

from perquery.config import Settings

FILE_NAME: Final = "secret.key"


class Sealed(Exception):
    """A secret cannot be read or written: the words say what the operator can do."""


class Vault:
    """Seals texts. key: 32 bytes, or None where there is none to be had."""

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


def vault_from(settings: Settings) -> Vault:
    """The vault that the settings ask for. Raises OSError where the key's file cannot be read or made."""
    if settings.secret_key is not None:
        return Vault(hashlib.sha256(settings.secret_key.encode()).digest())
    if settings.database.startswith("sqlite:"):
        return Vault(_kept(settings.data.joinpath(FILE_NAME)))
    return Vault(None)


def _kept(path: Path) -> bytes:
    """The key in the file, which is made where there is none; of two processes that make it, one wins."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{FILE_NAME} in the data folder is damaged: it must have 32 bytes")
    return key
