"""The server's side of a connection: how large a request's head may be, how long the head and the body may take, and
a refusal that reads like every other answer. uvicorn with httptools bounds none of it.

It must never look into a body or know a path.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from perquery import money
from perquery.cli.exchange import Bell, Exchange
from perquery.errors import BadRequest, PerQueryError, TooLarge, body_in
from perquery.rounds import Round

HEAD_BYTES_MAX: Final = 64 * 1024
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}
_UPGRADE: Final = (b"connection", b"upgrade", b"http2-settings")


class HeadTooLarge(Exception):
    """Ends the parser's work."""


class Bounded(HttpToolsProtocol):
    """A connection. Between one piece of a body (or the end of a message) and the next, at most HEAD_BYTES_MAX may
    come: that bounds the head, but also trailers and chunk extensions. An upgrade is not taken up: the request is
    answered as what it is without (RFC 9110, section 7.8), its body included, which httptools would skip.
    """

    head_s: ClassVar[float] = 30.0
    body_s: ClassVar[float] = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unaccounted = 0
        self._in_head = False
        self._part = False  # a head or a body has come in part, and its time runs
        self._late: asyncio.TimerHandle | None = None
        self._due_s: float | None = None  # when it must be whole, loop time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._round = self.app_state.get("round") or Round(self.loop)
        self._expect(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unaccounted += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(_TOO_LARGE if isinstance(error.__context__, HeadTooLarge) else _NOT_HTTP)
            return
        cycle: Exchange | None = self.cycle  # type: ignore[assignment]
        if self._unaccounted > HEAD_BYTES_MAX:
            self._refuse(_TOO_LARGE)
        elif not self._part and (self._in_head or (cycle is not None and cycle.more_body)):
            self._part = True
            self._expect(self.head_s if self._in_head else self.body_s)

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
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        size = self._unaccounted
        if size > HEAD_BYTES_MAX:  # perhaps other messages came along with this one
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES_MAX:
            raise HeadTooLarge
        self._in_head = self._part = False
        self._due_s = None
        if not self.parser.should_upgrade():
            self._begin_exchange()
            self.headers = []  # what comes now are trailers, which are nobody's headers

    def _begin_exchange(self) -> None:
        """Hand the request to the application, behind those that the same connection brought before."""
        parser, url = self.parser, httptools.parse_url(self.url)
        version, path = parser.get_http_version(), url.path.decode("ascii")
        scope: Any = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "state": self.app_state,  # the application's own: no request puts anything there
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        before: Exchange | None = self.cycle  # type: ignore[assignment]
        keep_alive = version != "1.0" and parser.should_keep_alive()
        self.cycle = exchange = Exchange(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,  # no access log
            self.server_state.default_headers,
            Bell(),  # type: ignore[arg-type]  # all of an asyncio.Event that is used
            self.expect_100_continue,
            keep_alive,
            self.on_response_complete,
        )
        exchange.round = self._round
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        task = self.loop.create_task(app(cycle.scope, cycle.receive, cycle.send))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(cycle.over)

    def on_body(self, body: bytes) -> None:
        self._unaccounted = 0
        cycle: Exchange | None = self.cycle  # type: ignore[assignment]
        if cycle is None or cycle.response_complete or self.parser.should_upgrade():
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._unaccounted = 0
        self._part, self._due_s = False, None
        cycle: Exchange | None = self.cycle  # type: ignore[assignment]
        if cycle is not None and cycle.response_complete:  # answered before it was whole
            self._expect(self.timeout_keep_alive)
        elif cycle is not None and not self.parser.should_upgrade():
            cycle.more_body = False
            cycle.message_event.set()

    # -- ends ---------------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """The next request of the connection, or its keep-alive time: the time that its next head has."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_head:
            self._expect(self.timeout_keep_alive)

    def shutdown(self) -> None:
        """The server stops. Streams without an end of their own are told: a stop waits for every answer."""
        self._round.end()
        if (stopping := self.app_state.get("stopping")) is not None:
            stopping.set()
        super().shutdown()

    def _expect(self, within_s: float) -> None:
        """One timer a connection, which looks and re-arms itself: most requests then need none of their own."""
        due_s = self._due_s = self.loop.time() + within_s
        if self._late is not None:
            if self._late.when() <= due_s:
                return
            self._late.cancel()
        self._late = self.loop.call_at(due_s, self._look)

    def _look(self) -> None:
        self._late = None
        if self._due_s is None:
            return
        if self.loop.time() < self._due_s:
            self._late = self.loop.call_at(self._due_s, self._look)
        elif self._part and not self._in_head:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()

    def _refuse(self, error: PerQueryError) -> None:
        """Say why, unless an answer to another request is on its way, and hang up."""
        self._round.end()
        cycle: Exchange | None = self.cycle  # type: ignore[assignment]
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
_TOO_SLOW: Final = BadRequest("The body did not come in time.", code="body_timeout")
_NOT_HTTP: Final = BadRequest("This is not an HTTP request that can be understood.")
