"""Request bodies. Of the control plane: small JSON objects, their numbers exact; of the paid endpoints: whole, as they
are. Never more than a bound is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from perquery import money
from perquery.errors import BadRequest, TooLarge
from perquery.metering.caller import Receive

BODY_BYTES_MAX: Final = 64 * 1024


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
    """The whole body of a plain ASGI request. Raises TooLarge before reading what says that it is, BadRequest where it
    does not come."""
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
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _broken_off() -> BadRequest:
    return BadRequest("The connection closed before the whole body had come.")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes.")
