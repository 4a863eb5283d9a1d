"""Idempotency-Key: the same key and body within a day get the first answer again, unpaid.

It wraps the ASGI `send` of one request and keeps what was sent. Prompts are never kept, only a hash of the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias

import orjson

from perquery.errors import Conflict
from perquery.metering.caller import Send
from perquery.metering.recording import Recording
from perquery.store import idempotency, replies
from perquery.store.database import Database
from perquery.store.replies import Reply

Served: TypeAlias = Literal["nothing", "part", "whole"]  # of an answer that was charged


async def once(
    database: Database,
    account_id: int,
    key: str,
    body: bytes,
    owner: str,
    request_id: str,
    send: Send,
    serve: Callable[[Recording], Awaitable[Served]],
) -> None:
    """Serve, or send again what was served under this key. Raises Conflict where it runs still or is another body.

    serve: says how much of an answer it sent and charged. Nothing: the key may be used again. A part (the drain's
    bound ended it after the caller had left): it was paid, so it is not served again either.
    """
    asked = idempotency.once(key, body)
    kept = await asyncio.to_thread(replies.claim, database, account_id, key, asked.body_hash, request_id, owner)
    if kept is not None:
        asked.check(kept.body_hash)
        await _again(kept, send)
        return
    recording = Recording(send)
    served: Served = "nothing"
    try:
        served = await serve(recording)
    finally:
        work = _finish(database, account_id, key, recording, served)
        try:
            await asyncio.shield(asyncio.ensure_future(work))
        finally:
            await recording.release()  # kept or not: it is paid


async def _finish(database: Database, account_id: int, key: str, recording: Recording, served: Served) -> None:
    if served == "nothing":
        await asyncio.to_thread(replies.forget, database, account_id, key)
        return
    body = bytes(recording.body) if recording.body is not None and served == "whole" else None
    headers = orjson.dumps(recording.headers).decode()
    await asyncio.to_thread(replies.keep, database, account_id, key, recording.status, headers, body)


async def _again(kept: Reply, send: Send) -> None:
    if kept.status is None:
        raise Conflict(
            "The request with this Idempotency-Key is still running.",
            code="idempotency_key_in_use",
            headers={"retry-after": "1"},
        )
    if kept.body is None:
        raise Conflict(
            f"That request was served and paid already, but its answer was not kept: see {kept.request_id}.",
            code="idempotency_answer_gone",
        )
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(kept.headers or "[]")]
    headers.append((b"x-perquery-replayed", b"1"))
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body, "more_body": False})
