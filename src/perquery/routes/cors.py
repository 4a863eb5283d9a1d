"""Cross-origin access as PPQ grants it: any web page may call, with its own key. The API reads no cookie; the
site's own pages, which do, stand before it and grant nothing.

Plain ASGI around the API; the hot path pays one closure a request and one comparison a message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

ALLOWED: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
)
# The Fetch standard (3.3.4) does not let the wildcard stand for Authorization, so that is named beside it.
PREFLIGHT: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-headers", b"*, authorization"),
    (b"access-control-allow-methods", b"GET,POST,PATCH,DELETE,OPTIONS"),
    (b"access-control-max-age", b"86400"),
)


class Cors:
    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        if scope["method"] == "OPTIONS":
            return _grant(send)

        def sending(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *ALLOWED]
            return send(message)

        return self.app(scope, receive, sending)


async def _grant(send: Send) -> None:
    """The answer to a browser that asks beforehand."""
    await send({"type": "http.response.start", "status": 204, "headers": list(PREFLIGHT)})
    await send({"type": "http.response.body", "body": b""})
