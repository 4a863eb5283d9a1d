"""The gateway's own secret: the setting `secret_key`; without it, a file made once in the data folder where the
database is the embedded one.

What is sealed or signed with it uses a key derived for that one purpose. It must never be written to the database
or to a log.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from perquery.config import Settings

FILE_NAME: Final = "secret.key"
_BYTES: Final = 32


def own_key(settings: Settings) -> bytes | None:
    """32 bytes, or None where there are none to be had. Raises OSError where the file cannot be read or made."""
    if settings.secret_key is not None:
        return hashlib.sha256(settings.secret_key.encode()).digest()
    if settings.database.startswith("sqlite:"):
        return _kept(settings.data.joinpath(FILE_NAME))
    return None


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose, from which neither the other keys nor the own one can be found."""
    return hmac.digest(key, purpose.encode(), "sha256")


def _kept(path: Path) -> bytes:
    """The key in the file, which is made where there is none; of two processes that make it, one wins."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    key = path.read_bytes()
    if len(key) != _BYTES:
        raise OSError(f"{FILE_NAME} in the data folder is damaged: it must have {_BYTES} bytes")
    return key
