"""Connections on a real socket before an application that echoes: bounds of the head, upgrades, trailers, patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from perquery.cli.heads import HEAD_BYTES_MAX, Bounded
from tests.outbound.bed import Notebook

PATIENCE_S = 20


class Impatient(Bounded):
    head_s = 0.05
    body_s = 0.05


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was told: the number of headers, the body, and whether the caller left."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    told = {
        "method": scope["method"],
        "headers": [name.decode() for name, _ in scope["headers"]],
        "body": body.decode(),
    }
    data = json.dumps(told).encode()
    headers = [(b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


@asynccontextmanager
async def serving(protocol: type[Bounded]) -> AsyncIterator[int]:
    config = uvicorn.Config(echo, http=protocol, ws="none", lifespan="off", log_config=None, port=0)
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def asked(*pieces: bytes, protocol: type[Bounded] = Bounded) -> bytes:
    """All that is answered until the connection ends, each piece sent once the one before was taken in."""

    async def ask() -> bytes:
        async with serving(protocol) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            try:
                return await asyncio.wait_for(reader.read(), PATIENCE_S)
            finally:
                writer.transport.abort()

    return asyncio.run(ask())


def head(*lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" / HTTP/1.1", b"connection: close", *lines, b"", b""])


def told(answer: bytes) -> dict[str, Any]:
    assert answer.startswith(b"HTTP/1.1 200"), answer
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def test_a_head_up_to_the_bound_is_read() -> None:
    assert "x" in told(asked(head(b"x: " + b"y" * (HEAD_BYTES_MAX - 100))))["headers"]


def test_a_larger_head_is_refused() -> None:
    answer = asked(head(b"x: " + b"y" * HEAD_BYTES_MAX))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_too_large"


def test_a_head_in_pieces_is_counted_as_one() -> None:
    line = b"x: " + b"y" * 1_000 + b"\r\n"
    enough = HEAD_BYTES_MAX // len(line) + 1
    assert asked(head()[:-2], *[line] * enough).startswith(b"HTTP/1.1 413 ")


def test_many_requests_in_one_piece_are_not_one_head() -> None:
    one = head().replace(b"connection: close\r\n", b"x: " + b"y" * 10_000 + b"\r\n")
    assert asked(one * 10 + head()).count(b"HTTP/1.1 200") == 11


def test_a_body_may_be_larger_than_a_head() -> None:
    size = 4 * HEAD_BYTES_MAX
    sent = head(b"content-length: %d" % size, method=b"POST") + b"y" * size
    assert len(told(asked(sent[:50], sent[50:1_000], sent[1_000:]))["body"]) == size


@pytest.mark.parametrize("tail", [b"0\r\nx: y\r\n\r\n", b"0;x=y\r\nauthorization: z\r\n\r\n"])
def test_trailers_are_nobodys_headers(tail: bytes) -> None:
    found = told(asked(head(b"transfer-encoding: chunked", method=b"POST") + b"2\r\nhi\r\n" + tail))
    assert (found["headers"], found["body"]) == (["connection", "transfer-encoding"], "hi")


def test_an_offered_upgrade_loses_no_body_and_is_not_heard_of() -> None:
    offer = head(b"upgrade: h2c", b"content-length: 4", method=b"POST").replace(
        b": close", b": upgrade, http2-settings"
    )
    more = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"
    answers = asked(offer + b"bo", b"dy" + more).split(b"HTTP/1.1 ")[1:]
    assert [told(b"HTTP/1.1 " + answer)["body"] for answer in answers] == ["body", ""]
    assert told(b"HTTP/1.1 " + answers[0])["headers"] == ["content-length"]


@pytest.mark.parametrize("data", [b"\x00", b"CONNECT a:1 HTTP/1.1\r\n\r\n"])
def test_what_is_not_http_is_a_400(data: bytes) -> None:
    assert asked(data).startswith(b"HTTP/1.1 400 ")


def test_noise_within_a_body_is_a_400() -> None:
    assert asked(head(b"transfer-encoding: chunked", method=b"POST") + b"zz\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [b"", b"a"])
def test_a_body_that_does_not_come_is_refused(sent: bytes) -> None:
    said = asked(head(b"content-length: 2", method=b"POST") + sent, protocol=Impatient)
    assert said.startswith(b"HTTP/1.1 400 ") and b'"body_timeout"' in said


def test_a_body_in_time_is_read_however_many_came_before() -> None:
    keep = head(b"content-length: 2", method=b"POST").replace(b": close", b": keep-alive")
    said = asked(keep + b"a", b"b" + keep + b"c", b"d" + head(), protocol=Impatient)
    assert said.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("pieces", [(), (b"GET / HT",), (head().replace(b": close", b": keep-alive"), b"GET / HT")])
def test_a_head_that_does_not_come_ends_the_connection(pieces: tuple[bytes, ...]) -> None:
    assert asked(*pieces, protocol=Impatient).count(b"HTTP/1.1 200") == max(0, len(pieces) - 1)


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\r\n", b"a\n", b"\ra", b"a\r", b"a\0b"])
def test_a_header_that_would_break_the_answer_apart_ends_the_connection(value: bytes) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", value)]})

    async def main() -> None:
        async with waiting(broken) as (_, transport):
            await asyncio.sleep(0)
            assert transport.written == [] and transport.closed

    asyncio.run(main())


def test_an_application_that_fails_or_says_nothing_is_excused() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("unforeseen")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    async def main() -> None:
        for app in (failing, silent):
            async with waiting(app) as (_, transport):
                await asyncio.sleep(0)
                (written,) = transport.written
                assert written.startswith(b"HTTP/1.1 500 ") and b"unforeseen" not in written
                assert json.loads(written.partition(b"\r\n\r\n")[2])["error"]["code"] == "internal_error"
                assert transport.closed

    asyncio.run(main())


def test_an_answer_that_is_left_in_the_middle_ends_the_connection() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def main() -> None:
        async with waiting(half) as (_, transport):
            await asyncio.sleep(0)
            assert transport.closed

    asyncio.run(main())


@asynccontextmanager
async def waiting(app: Any = echo) -> AsyncIterator[tuple[Bounded, Notebook]]:
    """A connection whose answer is there and, where it is whole, waits for the end of the round."""
    config = uvicorn.Config(app, http=Bounded, ws="none", lifespan="off", log_config=None, port=0)
    config.load()
    protocol, transport = Bounded(config, uvicorn.server.ServerState(), {}), Notebook()
    protocol.connection_made(transport)
    protocol.data_received(head().replace(b": close", b": keep-alive"))
    await asyncio.sleep(0)
    yield protocol, transport
    protocol.connection_lost(None)


def test_a_whole_answer_leaves_at_the_end_of_its_round_in_one_write() -> None:
    async def main() -> None:
        async with waiting() as (protocol, transport):
            assert transport.written == []
            await asyncio.sleep(0)
            (written,) = transport.written
            assert told(written)["body"] == ""
            assert written not in vars(protocol.cycle).values()  # a large one would stay with each idle connection

    asyncio.run(main())


def test_an_answer_that_waits_leaves_before_a_refusal() -> None:
    async def main() -> None:
        async with waiting() as (protocol, transport):
            protocol.data_received(b"\0")
            assert [written.split()[1] for written in transport.written] == [b"200", b"400"]
            assert transport.closed

    asyncio.run(main())


def test_an_answer_that_waits_leaves_before_the_server_stops() -> None:
    async def main() -> None:
        async with waiting() as (protocol, transport):
            protocol.shutdown()
            assert [written.split()[1] for written in transport.written] == [b"200"]
            assert transport.closed

    asyncio.run(main())
