"""The server's side of a connection: how large a request's head may be and how long it may take, and a refusal that
reads like every other answer. uvicorn with httptools bounds none of it.

It must never look into a body or know a path.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from perquery import money
from perquery.errors import BadRequest, PerQueryError, TooLarge, body_in

HEAD_BYTES_MAX: Final = 64 * 1024
_UPGRADE: Final = (b"connection", b"upgrade", b"http2-settings")


class HeadTooLarge(Exception):
    """Ends the parser's work."""


class Bounded(HttpToolsProtocol):
    """A connection. Between one piece of a body (or the end of a message) and the next, at most HEAD_BYTES_MAX may
    come: that bounds the head, but also trailers and chunk extensions. An upgrade is not taken up: the request is
    answered as what it is without (RFC 9110, section 7.8), its body included, which httptools would skip.
    """

    head_s: ClassVar[float] = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unaccounted = 0
        self._in_head = False
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unaccounted += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(_TOO_LARGE if isinstance(error.__context__, HeadTooLarge) else _NOT_HTTP)
            return
        if self._unaccounted > HEAD_BYTES_MAX:
            self._refuse(_TOO_LARGE)
        elif self._in_head and self._late is None:
            self._await_head()

    def _without_upgrade(self, rest: bytes) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":  # an upgrade by itself
            self._refuse(_NOT_HTTP)
            return
        lines = [method + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        lines += [name + b": " + value for name, value in self.headers if name not in _UPGRADE]
        self.parser = httptools.HttpRequestParser(self)
        self._unaccounted = 0
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _should_upgrade(self) -> bool:
        """Asked where the request wants one: the application is not to hear of it yet."""
        return True

    # -- what the parser tells ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        size = self._unaccounted
        if size > HEAD_BYTES_MAX:  # perhaps other messages came along with this one
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES_MAX:
            raise HeadTooLarge
        self._in_head = False
        self._head_is_here()
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.headers = []  # what comes now are trailers, which are nobody's headers

    def on_body(self, body: bytes) -> None:
        self._unaccounted = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unaccounted = 0
        super().on_message_complete()

    # -- ends ---------------------------------------------------------------------------------------------------

    def _await_head(self) -> None:
        self._late = self.loop.call_later(self.head_s, self.transport.close)

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, error: PerQueryError) -> None:
        """Say why, unless an answer to another request is on its way, and hang up."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._say(error)
        else:
            if cycle.more_body and not cycle.response_started and not self.pipeline:
                self._say(error)
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _say(self, error: PerQueryError) -> None:
        body = money.json(body_in(error, "openai"))
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)


_TOO_LARGE: Final = TooLarge(f"The request's head is larger than {HEAD_BYTES_MAX} bytes.")
_NOT_HTTP: Final = BadRequest("This is not an HTTP request that can be understood.")
