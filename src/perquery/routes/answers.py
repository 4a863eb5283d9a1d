"""Answers: JSON with exact amounts, errors in every API's shape, and the handlers that turn one into the other.

No answer may hold a traceback, a path, a key or a text of somebody else's software.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response

from perquery import money
from perquery.errors import (
    BadRequest,
    InternalError,
    LedgerUnavailable,
    MethodNotAllowed,
    NotFound,
    PerQueryError,
    Shape,
    TooLarge,
    body_in,
    status_in,
)

REQUEST_ID_MAX: Final = 128
_BY_STATUS: Final = {400: BadRequest, 404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
_TEXTS: Final = {
    404: "There is nothing at this path; GET /openapi.json lists what there is.",
    405: "This path does not take that method.",
    413: "The request is too large.",
}
_log = logging.getLogger(__name__)


class MoneyJSON(Response):
    """JSON in which amounts are `money.number()`s."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return money.json(content)


def iso(at_ms: int | None) -> str | None:
    """A time as PPQ writes it: "2026-01-02T03:04:05.678Z"; None stays None."""
    if at_ms is None:
        return None
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def request_id_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's x-request-id where it is at most 128 printable ASCII characters, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if 0 < len(given) <= REQUEST_ID_MAX and given.isascii() and given.isprintable():
                return given
    return uuid4().hex


def headers_of(error: PerQueryError, request_id: str = "") -> dict[str, str]:
    """An error's headers. A 402 is told not to be tried again: SDKs would otherwise follow their own rules."""
    headers = dict(error.headers)
    if error.status == 402:
        headers.setdefault("x-should-retry", "false")
    if request_id:
        headers |= {"x-request-id": request_id, "request-id": request_id}
    return headers


def _body(error: PerQueryError, shape: Shape, request_id: str) -> dict[str, Any]:
    """What a caller sent may stand in a message; half a surrogate pair could not be written."""
    error.message = error.message.encode("utf-8", "replace").decode()
    return body_in(error, shape, request_id)


def error_response(error: PerQueryError, shape: Shape = "openai", request_id: str = "") -> Response:
    """The error as an answer in an API's shape."""
    body = _body(error, shape, request_id)
    return MoneyJSON(body, status_code=status_in(error, shape), headers=headers_of(error, request_id))


async def send_error(
    send: Callable[[dict[str, Any]], Awaitable[None]],
    error: PerQueryError,
    *,
    shape: Shape = "openai",
    request_id: str = "",
) -> None:
    """The same for plain ASGI."""
    body = money.json(_body(error, shape, request_id))
    fixed = {"content-type": "application/json", "content-length": str(len(body))}
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in (headers_of(error, request_id) | fixed).items()]
    await send({"type": "http.response.start", "status": status_in(error, shape), "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Started:
    """An ASGI `send` that passes messages on and remembers whether the answer has begun."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self.started = False

    def __call__(self, message: dict[str, Any]) -> Awaitable[None]:
        self.started = True
        return self._send(message)


def check_post(method: str) -> None:
    """Raises MethodNotAllowed. The plain ASGI routes have no router to do so."""
    if method != "POST":
        raise MethodNotAllowed("Use POST.", headers={"allow": "POST"})


def install(app: Starlette) -> None:
    """Make the application answer every error in our shape."""
    app.add_exception_handler(PerQueryError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(Exception, _unexpected)


def _answer(request: Request, error: PerQueryError) -> Response:
    return error_response(error, request_id=request_id_in(request.scope["headers"]))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, PerQueryError)
    return _answer(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    """A parameter that FastAPI refused: which one, and what would be right."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = str(first["loc"][-1]) if len(first["loc"]) > 1 else None
    return _answer(request, BadRequest(f"{param or 'request'}: {first['msg']}", param=param))


async def _framework(request: Request, error: Exception) -> Response:
    """What Starlette refused by itself: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code, BadRequest if error.status_code < 500 else InternalError)
    text = _TEXTS.get(error.status_code, "The request could not be read.")
    return _answer(request, kind(text, headers=error.headers))


async def _database(request: Request, error: Exception) -> Response:
    _log.error("the database does not answer: %s", type(error).__name__)
    return _answer(
        request, LedgerUnavailable("The database does not answer; try again shortly.", headers={"retry-after": "2"})
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    """A bug of ours: the caller gets an id, the log the rest (the server logs the traceback)."""
    request_id = request_id_in(request.scope["headers"])
    _log.error("request %s failed: %s", request_id, type(error).__name__)
    failed = InternalError(f"Something went wrong here; the request's id is {request_id}.")
    return error_response(failed, request_id=request_id)
