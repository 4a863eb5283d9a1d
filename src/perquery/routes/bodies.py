"""Request bodies. Of the control plane: small JSON objects, their numbers exact; of the paid endpoints: whole, as they
are. Never more than a bound is read.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from perquery import money
from perquery.errors import BadRequest, TooLarge
from perquery.metering.caller import Receive

BODY_BYTES_MAX: Final = 64 * 1024
_ANY_FRAME: Final = zlib.MAX_WBITS | 32  # gzip's or zlib's


async def object_in(request: Request, example: str = "{}") -> dict[str, Any]:
    """The body as a JSON object ({} where it is empty). Raises BadRequest (it shows the example), TooLarge."""
    return parsed(await whole(request), example)


def parsed(raw: bytes, example: str = "{}") -> dict[str, Any]:
    """A body that was read as a JSON object ({} where it is empty). Raises BadRequest."""
    try:
        body = money.from_json(raw) if raw else {}
    except ValueError as error:
        raise BadRequest(f"The body must be JSON, such as {example}") from error
    if not isinstance(body, dict):
        raise BadRequest(f"The body must be a JSON object, such as {example}")
    return body


async def whole(request: Request) -> bytes:
    """The body. Raises TooLarge before reading what says that it is, BadRequest where the connection closes."""
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > BODY_BYTES_MAX:
        raise _too_large(BODY_BYTES_MAX)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > BODY_BYTES_MAX:
                raise _too_large(BODY_BYTES_MAX)
            pieces.append(piece)
    except ClientDisconnect as error:
        raise _broken_off() from error
    return b"".join(pieces).strip()


async def received(receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    """The whole body of a plain ASGI request, unpacked. Raises TooLarge before reading what says that it is,
    BadRequest where it does not come or cannot be unpacked."""
    stated = headers.get(b"content-length", b"0")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _broken_off()
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
        if not message.get("more_body"):
            break
    raw = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    packing = headers.get(b"content-encoding", b"identity").strip().lower()
    return raw if packing == b"identity" else await asyncio.to_thread(_unpacked, raw, packing, limit)


def _unpacked(raw: bytes, packing: bytes, limit: int) -> bytes:
    if packing not in (b"gzip", b"deflate"):
        raise BadRequest("The body's `content-encoding` is not read here; send it as it is, or as gzip.")
    reader = zlib.decompressobj(_ANY_FRAME)
    try:
        body = reader.decompress(raw, limit + 1)
    except zlib.error as error:
        raise BadRequest("The body is not what its `content-encoding` says.") from error
    if len(body) > limit:
        raise _too_large(limit)
    if not reader.eof:
        raise BadRequest("The body is not what its `content-encoding` says.")
    return body


def _broken_off() -> BadRequest:
    return BadRequest("The connection closed before the whole body had come.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")
