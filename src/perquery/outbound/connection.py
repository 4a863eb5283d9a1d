"""One connection and the response that is arriving on it.

The protocol is fed by the event loop and never runs a task: a request costs one write, at the end of the loop's round,
one future for the head and one for each time that its reader had to wait. One timer per connection watches the total
time, the idle time and the stay in the pool; it is re-armed when it fires, not when bytes come. This module must never
send a request twice, decode a body, or let a connection back into the pool whose last answer did not end exactly where
it should.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, cast

import httptools

from perquery.outbound.errors import Kind, OutboundError
from perquery.rounds import Round

HEAD_LIMIT = 64 * 1024  # bytes in a row that are no body: a head, interim heads, trailers, chunk framing
PAUSE_ABOVE = 256 * 1024  # undelivered bytes
_CHUNK_COST = 64  # what a chunk costs beside its bytes, so that a flood of tiny ones is bounded too
_JOIN_BELOW = 64 * 1024  # a body so small is copied behind its head, for one system call


class Pool(Protocol):
    """Who a connection belongs to. Each exchange ends with exactly one of the two.

    idle_s: how long a connection is kept; 0 is for one exchange only.
    """

    idle_s: float

    def kept(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection) -> None: ...


class Response:
    """An answer whose head has arrived. Iterate its chunks, or `read()` it; use it with `async with`.

    status: the HTTP status. Chunks are delivered as they arrive; what waited meanwhile comes as one. Reading to
    the end gives the connection back by itself; leaving the `async with` earlier, or abort(), closes it.
    Iterated by one task at a time.
    """

    __slots__ = (
        *("_chunks", "_connection", "_done", "_error", "_fields", "_first", "_headers", "_held", "_waiter"),
        "status",
    )

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers: dict[str, str] | None = None
        self._first: dict[bytes, bytes] | None = None
        self._chunks: list[bytes] = []
        self._held = 0
        self._waiter = connection.future()
        self._connection: Connection | None = connection
        self._done = False
        self._error: OutboundError | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields with lower-case names; repeated ones joined by ", ". Read on first use."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for raw_name, raw_value in self._fields:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            self._headers = headers
        return self._headers

    def header(self, *names: bytes) -> str:
        """The first of these header fields, by names in lower case, that says something; "" where none does. Cheaper
        than reading all of them.
        """
        fields = self._first
        if fields is None:
            fields = self._first = dict(self._fields[::-1])
        for name in names:
            if value := fields.get(name):
                return value.decode("latin-1").strip(" \t")
        return ""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next bytes of the body, never empty; raises OutboundError after the last that arrived."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._done:
                raise StopAsyncIteration
            try:
                await self._more()
            except asyncio.CancelledError:
                self.abort()
                raise
        return self._take()

    async def read(self, limit_bytes: int) -> bytes:
        """The rest of the body; longer than `limit_bytes` it is aborted, with OutboundError("protocol")."""
        if self._done and self._error is None and self._held <= limit_bytes:  # as nearly every plain answer
            return self._take()
        parts: list[bytes] = []
        left = limit_bytes
        async for chunk in self:
            left -= len(chunk)
            if left < 0:
                self.abort()
                raise OutboundError("protocol", f"the answer is longer than {limit_bytes} bytes", sent=True)
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self) -> None:
        """Close the connection at once; nothing happens where the answer has already ended."""
        if self._connection is not None:
            self._connection.fail("broken", "aborted here")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def opened(self) -> asyncio.Future[None]:
        """Done once the head is there, or the end without one: then `error` says why. (The client's part, before
        anybody else has this response.)
        """
        return self._waiter

    @property
    def error(self) -> OutboundError | None:
        """Why nothing more comes, where it did not end well."""
        return self._error

    def _more(self) -> asyncio.Future[None]:
        """Done once there is something new. A coroutine in its place would be resumed for each piece of a stream."""
        assert self._connection is not None, "nothing more comes"
        self._waiter = waiter = self._connection.future()
        return waiter

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        if self._connection is not None and self._connection._paused:
            self._connection.resume()
        return data

    def _end(self, error: OutboundError | None) -> None:
        """Nothing more comes. The connection may serve somebody else from now on, so it is forgotten."""
        self._done = True
        self._error = error
        self._connection = None
        self._wake()


class Connection(asyncio.Protocol):
    """A connected socket: idle in its pool, or busy with one exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, round: Round) -> None:
        self._loop = loop
        self._pool = pool
        self._round = round
        self._unsent = b""  # the request, until the round's end
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._closed = False
        self._paused = False
        self._keep = True  # may go back into the pool after this exchange
        self._bodyless = False  # the answer to HEAD, of which the parser knows nothing
        self._complete = False  # the parser has seen the end of the message
        self._quiet = 0  # bytes received since the last byte of a body
        self._seen = 0.0  # when bytes last came, loop time
        self._deadline = 0.0  # of the exchange, or of the stay in the pool
        self._idle_s = 0.0
        self._stay_s: float | None = None  # how long the server lets it idle, known after the first answer
        self._timer: asyncio.TimerHandle | None = None

    def future(self) -> asyncio.Future[None]:
        """Of its own loop: to ask which one runs is a system call."""
        return self._loop.create_future()

    @property
    def usable(self) -> bool:
        return not self._closed and self._transport is not None and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether not one byte of an answer came in the last exchange."""
        return self._quiet == 0

    def send(
        self, parts: Sequence[bytes], deadline: float, idle_s: float, *, bodyless: bool = False, keep: bool = True
    ) -> Response | None:
        """Send a request (its head first) in one go. None: closing, and not one byte was accepted.

        deadline: loop time; idle_s: longest gap within the answer, from its head on. keep: False where the request asks
        the other side to close: it may do so without having said it.
        """
        transport = self._transport
        if transport is None or self._closed or transport.is_closing():
            return None
        self._response = response = Response(self)
        self._keep, self._bodyless, self._complete = keep, bodyless, False
        self._quiet = 0
        self._deadline, self._idle_s = deadline, idle_s
        self._seen = self._loop.time()
        if sum(map(len, parts)) < _JOIN_BELOW:
            self._unsent = b"".join(parts)
            self._round.at_end(self._leave)
        else:
            transport.writelines(parts)
        self._arm(min(deadline, self._seen + idle_s))
        return response

    def _leave(self) -> None:
        unsent, self._unsent = self._unsent, b""
        if unsent and self._transport is not None and not self._transport.is_closing():
            self._transport.write(unsent)

    def fail(self, kind: Kind, why: str) -> None:
        """End the exchange with an error and close the socket at once."""
        if self._response is not None:
            response, self._response = self._response, None
            response._end(OutboundError(kind, why, sent=not self._unsent))
        self.close()

    def close(self) -> None:
        """Close the socket at once, without a farewell: whoever wanted the rest has gone."""
        if self._response is not None:
            self.fail("broken", "closed here")
        if self._closed:
            return
        self._closed = True
        self._unsent = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._pool.lost(self)

    def resume(self) -> None:
        """The reader has taken everything: let the socket be read again."""
        self._paused = False
        self._seen = self._loop.time()
        if self._transport is not None and self.usable:
            self._transport.resume_reading()

    # The event loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without deriving from it

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # nobody has asked: not a connection to trust with the next request
            self.close()
            return
        self._seen = self._loop.time()
        self._quiet += len(data)
        try:
            if self._quiet > HEAD_LIMIT and not response.status:
                self._feed_large(response, data)
            else:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._keep = False
            if not self._complete:
                self.fail("protocol", "the answer is not HTTP/1.1")
                return
        if self._complete:
            self._finish(response)
        elif self._quiet > HEAD_LIMIT:
            self.fail("protocol", f"more than {HEAD_LIMIT} bytes of head")
        else:
            if response._held > PAUSE_ABOVE and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
            if response._chunks or response.status:
                response._wake()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)

    # The parser's side.

    def on_message_begin(self) -> None:
        if self._complete:  # bytes behind the end of the answer
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        if response is not None and not response.status:  # later ones are trailers
            response._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        response = self._response
        if response is None or self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:  # 101 never comes to an end for the parser, which then raises
            response._fields.clear()
            return
        response.status = status
        if self._bodyless:
            self._complete, self._keep = True, False

    def on_body(self, data: bytes) -> None:
        response = self._response
        if response is not None and not self._complete:
            self._quiet = 0
            response._chunks.append(data)
            response._held += len(data) + _CHUNK_COST

    def on_message_complete(self) -> None:
        response = self._response
        if response is not None and response.status and not self._complete:
            self._complete = True
            if not self._parser.should_keep_alive():
                self._keep = False

    # Ends.

    def _feed_large(self, response: Response, data: bytes) -> None:
        """Feed what may still be head, and the rest only if that was its end."""
        room = max(0, HEAD_LIMIT - (self._quiet - len(data)))
        self._parser.feed_data(data[:room])
        if response.status:
            self._quiet = 0
            self._parser.feed_data(data[room:])

    def _finish(self, response: Response) -> None:
        """The answer is whole: back into the pool, if nothing speaks against it."""
        if self._stay_s is None:
            self._stay_s = _stay(response.headers, self._pool.idle_s)
        self._response = None
        response._end(None)
        transport = self._transport
        hasty = transport is not None and transport.get_write_buffer_size() > 0  # answered before it had read all
        if not self._keep or self._stay_s <= 0 or hasty or self._unsent or not self.usable:
            self.close()
            return
        if self._paused:
            self.resume()
        self._deadline = self._seen + self._stay_s
        self._arm(self._deadline)
        self._pool.kept(self)

    def _ended(self, error: Exception | None) -> None:
        """The other side closed, or the connection broke."""
        response = self._response
        if response is not None and error is None and response.status and _until_close(response.headers):
            self._response = None
            response._end(None)
        if self._response is not None:
            self.fail("broken", "the connection ended before the answer did")
        else:
            self.close()

    def _arm(self, when: float) -> None:
        """Let the timer fire at `when` at the latest; one that fires earlier looks and re-arms itself."""
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        response = self._response
        if now >= self._deadline:
            self.fail("timeout", "the total time is over")
        elif response is None:
            self._arm(self._deadline)
        elif not response.status or self._paused:  # waiting for a head, or for the reader: only the total counts
            self._arm(min(self._deadline, now + self._idle_s))
        elif now >= self._seen + self._idle_s:
            self.fail("idle", f"no byte came for {self._idle_s:g} s")
        else:
            self._arm(min(self._deadline, self._seen + self._idle_s))


def _until_close(headers: Mapping[str, str]) -> bool:
    """Whether the end of the connection is the end of the body."""
    return "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "").lower()


def _stay(headers: Mapping[str, str], longest_s: float) -> float:
    """How long the connection may idle, in seconds: a second less than the server announces, at most `longest_s`."""
    for part in headers.get("keep-alive", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit():
            return min(longest_s, float(int(value[:9]) - 1))
    return longest_s
