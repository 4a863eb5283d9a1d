"""Calls an ASGI application in this process: one request, the whole answer. It must never hide an exception."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from perquery import money

Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: names in lower case, the last of a name."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, its amounts exact (Decimals)."""
        return money.from_json(self.body)


async def call(
    app: Application,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | str = b"",
    *,
    client: str = "127.0.0.1",
) -> Answer:
    """One request; `path` is as on the wire: escaped, perhaps with a query. Raises what the application raises."""
    target, _, query = path.partition("?")
    sent = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(target),
        "raw_path": target.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(b"host", b"gateway.test"), *sent],
        "client": (client, 40_000),
        "server": ("gateway.test", 80),
        "state": {},
    }
    messages: list[MutableMapping[str, Any]] = []
    pending = [{"type": "http.request", "body": body.encode() if isinstance(body, str) else body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    received = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], received, b"".join(message.get("body", b"") for message in messages[1:]))
