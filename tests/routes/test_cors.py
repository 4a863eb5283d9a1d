"""Cross-origin access: granted on every answer, preflights answered at once, all else untouched."""

from __future__ import annotations

import asyncio
from typing import Any

from perquery.routes.cors import Cors
from tests.asgi import call


async def inner(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-perquery-cost", b"1")]})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


def test_every_answer_may_be_read_with_all_its_headers() -> None:
    answer = asyncio.run(call(Cors(inner), "GET", "/"))
    assert (answer.status, answer.body, answer.headers["x-perquery-cost"]) == (200, b"ab", "1")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "*"


def test_a_preflight_is_answered_without_the_application() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("a preflight reached the application")

    answer = asyncio.run(call(Cors(never), "OPTIONS", "/v1/chat/completions", {"origin": "https://a.example"}))
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "GET,POST,PATCH,DELETE,OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "*, authorization"


def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def run() -> None:
        await Cors(lifespan)({"type": "lifespan"}, _nothing, _nothing)

    asyncio.run(run())
    assert seen == ["lifespan"]


async def _nothing(*_: Any) -> Any:
    return None
