"""A copy of what one caller was sent, for whoever repeats the request under the same Idempotency-Key.

It passes messages on to the caller, the last one only when it is released: once an answer is whole, a repeated
request must find it kept. What is said after the caller has gone is only noted. Never more than a bound is kept,
and never a prompt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

KEPT_BYTES_MAX: Final = 1_048_576


class Recording:
    """An ASGI `send` that remembers. body: None once it is too long to keep."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._send = send
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body: bytearray | None = bytearray()
        self._last: dict[str, Any] | None = None

    async def __call__(self, message: dict[str, Any]) -> None:
        self.note(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._last = message
        else:
            await self._send(message)

    async def release(self) -> None:
        """Let the caller have the last bytes."""
        if self._last is not None:
            last, self._last = self._last, None
            await self._send(last)

    def note(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        elif self.body is not None:
            self.body += message.get("body", b"")
            if len(self.body) > KEPT_BYTES_MAX:
                self.body = None
