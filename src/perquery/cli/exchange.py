"""One request and its answer on a connection: ASGI's `send` as bytes on the wire.

It differs from uvicorn's own in three things. For the sake of whoever would be woken, the head of an answer leaves
together with the first piece of its body, and an answer that is whole leaves at the end of the event loop's round, with
the others of that round. And the application's own coroutine is the request's task: one around it would be resumed at
each of its waits. It must never look into a body.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from perquery import money
from perquery.errors import InternalError, body_in
from perquery.rounds import Round

_EXCUSE: Final = money.json(body_in(InternalError("Something went wrong here."), "openai"))
_FAILED: Final = (
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_EXCUSE)),
    (b"connection", b"close"),
)


class Bell:
    """Rung when something has come or all is over. Few ever wait for it, so what they need is made when they do."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def set(self) -> None:
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Until it is rung next."""
        self._event = event = self._event or asyncio.Event()
        event.clear()
        await event.wait()


class Exchange(RequestResponseCycle):
    """A cycle whose head waits for the body: at most until the event loop's next round. `round` is set by its maker."""

    round: Round
    _head = b""
    _whole = b""
    _received = False  # the last piece of the body was handed over

    def over(self, task: asyncio.Task[None]) -> None:
        """The application has returned: what it left undone ends here."""
        error = None if task.cancelled() else task.exception()
        undone = not (self.response_complete or self.disconnected)
        if error is not None or (undone and not task.cancelled()):
            self.logger.error("the application failed, or did not finish its answer", exc_info=error)
        if undone:
            if self.response_started:
                self.transport.close()
            else:
                self._begin(500, _FAILED)
                self._go_on(_EXCUSE, more=False)
        self.on_response = _nobody

    async def send(self, message: Any) -> None:
        """Raises RuntimeError for messages out of order and for headers that would break the answer apart."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        kind = message["type"]
        if kind == "http.response.body" and self.response_started:
            self._go_on(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self.response_started:
            self._begin(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"{kind} out of order")

    async def receive(self) -> Any:
        """What of the body is here, as nearly every one is when the application asks; else what comes next."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if self.flow.read_paused and not (self.disconnected or self.response_complete):
            self.flow.resume_reading()
        while not (self.disconnected or self.response_complete):
            if self.body or not (self.more_body or self._received):
                body, self.body = bytes(self.body), bytearray()
                self._received = not self.more_body
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            await self.message_event.wait()
        return {"type": "http.disconnect"}

    def _begin(self, status: int, headers: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        fields = [*self.default_headers, *headers]
        named = dict(fields)
        length = named.get(b"content-length")
        if b"connection" in named and b"close" in named[b"connection"].lower():
            self.keep_alive = False
            fields = [field for field in fields if field[0] != b"connection"]
        lines = [STATUS_LINE[status][:-2], *map(b": ".join, fields)]
        if not self.keep_alive:
            lines.append(b"connection: close")
        if length is not None:
            self.expected_content_length = int(length)
        elif self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked")
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        if len(head.splitlines()) != len(lines) + 1 or head.find(b"\0") >= 0:
            raise RuntimeError("a header with a line break")
        self._head = head
        if length is None:  # its body may take its time
            asyncio.get_running_loop().call_soon(self._let_go)

    def _let_go(self) -> None:
        if self._head and not self.disconnected:
            self.transport.write(self._head)
            self._head = b""

    def _go_on(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = piece if more else piece + b"0\r\n\r\n"
        elif len(body) > self.expected_content_length:
            raise RuntimeError("the body is longer than its content-length")
        else:
            self.expected_content_length -= len(body)
        whole = self._head and not more and self.keep_alive
        if out := self._head + body if self._head else body:
            self._head = b""
            if whole:
                self._whole = out
                self.round.at_end(self._leave)
            else:
                self.transport.write(out)
        if more:
            return
        if self.expected_content_length:
            raise RuntimeError("the body is shorter than its content-length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _leave(self) -> None:
        whole, self._whole = self._whole, b""  # the connection remembers this exchange until its next one
        if not self.transport.is_closing():
            self.transport.write(whole)


def _nobody() -> None:
    """Who hears that a second answer were complete."""
