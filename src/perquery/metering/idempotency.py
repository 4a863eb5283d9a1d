"""Idempotency-Key: the same key and body within a day get the first answer again, unpaid.

It wraps the ASGI `send` of one request and keeps what was sent. Prompts are never kept, only a hash of the body.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from perquery.errors import BadRequest, Conflict
from perquery.metering.caller import Send
from perquery.store import replies
from perquery.store.database import Database
from perquery.store.replies import Reply

KEPT_BYTES_MAX: Final = 1_048_576
KEY_LENGTH_MAX: Final = 255


class _Recording:
    """Passes everything on and keeps a copy, up to a bound."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: bytearray | None = bytearray()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        elif self.body is not None:
            self.body += message.get("body", b"")
            if len(self.body) > KEPT_BYTES_MAX:
                self.body = None
        await self._send(message)


async def once(
    database: Database,
    account_id: int,
    key: str,
    body: bytes,
    owner: str,
    request_id: str,
    send: Send,
    serve: Callable[[Send], Awaitable[None]],
) -> None:
    """Serve, or send again what was served under this key. Raises Conflict where it runs still or is another body."""
    if not 0 < len(key) <= KEY_LENGTH_MAX:
        raise BadRequest(f"`Idempotency-Key` must have 1 to {KEY_LENGTH_MAX} characters.", param="Idempotency-Key")
    body_hash = hashlib.sha256(body).digest()
    kept = await asyncio.to_thread(replies.claim, database, account_id, key, body_hash, request_id, owner)
    if kept is not None:
        await _again(kept, body_hash, send)
        return
    recording = _Recording(send)
    done = False
    try:
        await serve(recording)
        done = 200 <= recording.status < 300
    finally:
        work = _finish(database, account_id, key, recording, done)
        await asyncio.shield(asyncio.ensure_future(work))


async def _finish(database: Database, account_id: int, key: str, recording: _Recording, done: bool) -> None:
    if not done:
        await asyncio.to_thread(replies.forget, database, account_id, key)
        return
    body = bytes(recording.body) if recording.body is not None else None
    headers = orjson.dumps(recording.headers).decode()
    await asyncio.to_thread(replies.keep, database, account_id, key, recording.status, headers, body)


async def _again(kept: Reply, body_hash: bytes, send: Send) -> None:
    if kept.body_hash != body_hash:
        raise Conflict("This Idempotency-Key was used with another body.", code="idempotency_key_reused")
    if kept.status is None:
        raise Conflict(
            "The request with this Idempotency-Key is still running.",
            code="idempotency_key_in_use",
            headers={"retry-after": "1"},
        )
    if kept.body is None:
        raise Conflict(
            f"That request was served and paid already, but its answer is too long to keep: see {kept.request_id}.",
            code="idempotency_answer_gone",
        )
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(kept.headers or "[]")]
    headers.append((b"x-perquery-replayed", b"1"))
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body, "more_body": False})
