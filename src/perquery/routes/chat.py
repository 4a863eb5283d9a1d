"""The paid text endpoints, one handler for every dialect that callers speak: plain ASGI, because the request's own
task must learn of a disconnect and outlive it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from perquery.accounts import Access
from perquery.calls import Call, Writer
from perquery.dialects.search import PLAIN
from perquery.dialects.shapes import Shape
from perquery.errors import NoWebSocket, PerQueryError
from perquery.metering.caller import Caller, Receive, Send
from perquery.metering.estimate import input_count
from perquery.metering.idempotency import Served, once
from perquery.metering.ids import new_id
from perquery.metering.recording import Recording
from perquery.metering.run import run
from perquery.routes.answers import check_post, request_id_in, send_error
from perquery.routes.bodies import received


async def answer(shape: Shape, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """One answer, plain or streamed, paid from the caller's balance."""
    parts = scope["state"]
    headers = dict(scope["headers"])
    caller = Caller(receive, send)
    writer: Writer | None = None
    try:
        if scope["method"] != "POST":
            _check_method(shape, scope["method"])
        access = parts["accounts"].known(scope) or await parts["accounts"].caller(scope)
        raw = await received(receive, headers, parts["settings"].limits.body_bytes_max)
        call = shape.parse(raw)
        if shape.forward:
            call.forward = {name.decode(): headers[name].decode("latin-1") for name in shape.forward if name in headers}
        call.caching = call.caching and headers.get(b"x-perquery-cache", b"").lower() != b"off"
        call.strict_cap = headers.get(b"x-perquery-strict-cap", b"").lower() in (b"1", b"true")
        key, named = headers.get(b"idempotency-key"), new_id()
        writer = shape.writer(call, named[0])
        if key is None:
            await _serve(parts, call, access, headers, named, writer, caller)
            return
        gateway = parts["gateway"]
        await once(
            parts["database"],
            access.account_id,
            key.decode("latin-1"),
            raw,
            gateway.ledger.owner,
            named[0],
            send,
            # No lambda: what it closed over would be looked up the longer way in each call, asked for again or not.
            partial(_recorded, partial(_serve, parts, call, access, headers, named, writer), caller),
        )
    except PerQueryError as error:
        if caller.started and writer is not None:
            await send({"type": "http.response.body", "body": writer.broken(error), "more_body": False})
        else:
            await send_error(send, error, shape=shape.errors, request_id=request_id_in(scope["headers"]))


def _check_method(shape: Shape, method: str) -> None:
    if method == "GET" and shape.websocket:
        raise NoWebSocket("This path takes POST, not a WebSocket.", headers={"allow": "POST"})
    check_post(method)


async def count_tokens(shape: Shape, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """How many tokens a Messages body probably counts. Free."""
    parts = scope["state"]
    headers = dict(scope["headers"])
    try:
        _check_method(shape, scope["method"])
        await parts["accounts"].caller(scope)
        call = shape.parse(await received(receive, headers, parts["settings"].limits.body_bytes_max))
        parts["catalog"].find(call.model, datetime.now(UTC).date())
        body = orjson.dumps({"input_tokens": await asyncio.to_thread(input_count, call)})
        sized = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": sized})
        await send({"type": "http.response.body", "body": body})
    except PerQueryError as error:
        await send_error(send, error, shape=shape.errors, request_id=request_id_in(scope["headers"]))


def _recorded(serve: Callable[[Caller], Awaitable[Served]], caller: Caller, recording: Recording) -> Awaitable[Served]:
    return serve(caller.recorded(recording))


def _serve(
    parts: Mapping[str, Any],
    call: Call,
    access: Access,
    headers: Mapping[bytes, bytes],
    named: tuple[str, int],
    writer: Writer,
    caller: Caller,
) -> Awaitable[Served]:
    on = datetime.now(UTC).date()
    if call.preferences is None or not call.preferences.models:
        found = [parts["catalog"].find(call.model, on)]
    else:
        found = parts["catalog"].find_each((call.model, *call.preferences.models), on)
    source = headers.get(b"x-query-source", b"api").decode("latin-1")[:32]
    if found[0].online:
        call.search = call.search or PLAIN
    return run(parts["gateway"], call, found, access, caller, source, named, writer)
