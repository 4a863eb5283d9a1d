"""Answers byte by byte: what is whole, what is broken, what is not HTTP, and what may be kept afterwards."""

from __future__ import annotations

import asyncio

import pytest

from perquery.outbound import OutboundError
from perquery.outbound.connection import HEAD_LIMIT
from tests.outbound.bed import CHUNKED, HEAD, Bed, Cranked, cranked


def exchange(*pieces: bytes, eof: bool = False, bodyless: bool = False) -> tuple[int, bytes, str, list[str]]:
    """(status, body, kind of the error or "", what the pool was told) of one answer fed in these pieces."""
    result: list[tuple[int, bytes, str, list[str]]] = []

    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response, body, kind = bed.ask(bodyless=bodyless), b"", ""
        bed.feed(*pieces)
        if eof:
            bed.connection.eof_received()
        try:
            await bed.head(response)
            async for chunk in response:
                body += chunk
        except OutboundError as error:
            kind = error.kind
        result.append((response.status, body, kind, bed.shelf.said))
        bed.connection.close()

    cranked(main)
    status, body, kind, said = result[0]
    return status, body, kind, said[:1]


WHOLE = {
    "length": (HEAD + b"0123456789", 200, b"0123456789"),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
    "chunked": (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 200, b"hello world"),
    "extensions and trailers": (CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;z\r\nX-T: 1\r\nY: 2\r\n\r\n', 200, b"hello"),
    "upper-case chunk size": (CHUNKED + b"0A\r\n0123456789\r\n0\r\n\r\n", 200, b"0123456789"),
    "interim heads": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\ncontent-length: 3\r\n\r\n"
        + HEAD
        + b"0" * 10,
        200,
        b"0" * 10,
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", 304, b""),
    "redirect": (b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 2\r\n\r\nno", 302, b"no"),
    "offered upgrade": (
        b"HTTP/1.1 200 OK\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    "unknown status": (b"HTTP/1.1 599 ?\r\ncontent-length: 2\r\n\r\nok", 599, b"ok"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_whole_answer_split_anywhere(case: str) -> None:
    data, status, body = WHOLE[case]
    for cut in range(len(data)):
        assert exchange(data[:cut] or data, data[cut:] if cut else b"") == (status, body, "", ["kept"]), cut


@pytest.mark.parametrize("case", WHOLE)
def test_whole_answer_a_byte_at_a_time(case: str) -> None:
    data, status, body = WHOLE[case]
    assert exchange(*(data[i : i + 1] for i in range(len(data)))) == (status, body, "", ["kept"])


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
    ],
)
def test_body_until_close(data: bytes) -> None:
    for cut in range(1, len(data)):
        assert exchange(data[:cut], data[cut:], eof=True) == (200, b"hello", "", ["lost"])


BROKEN = {
    "before anything": (b"", 0, b""),
    "in the head": (b"HTTP/1.1 200 OK\r\ncont", 0, b""),
    "after an interim head": (b"HTTP/1.1 100 Continue\r\n\r\n", 0, b""),
    "after the head": (HEAD, 200, b""),
    "in the body": (HEAD + b"012345678", 200, b"012345678"),
    "in a chunk": (CHUNKED + b"5\r\nhel", 200, b"hel"),
    "before the last chunk": (CHUNKED + b"5\r\nhello\r\n", 200, b"hello"),
    "in the trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", 200, b"hello"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_close_before_the_end_is_broken_after_what_came(case: str) -> None:
    data, status, body = BROKEN[case]
    assert exchange(data, eof=True) == (status, body, "broken", ["lost"])


def test_reset_of_a_body_until_close_is_broken() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
        bed.connection.connection_lost(ConnectionResetError())
        with pytest.raises(OutboundError) as caught:
            await response.read(100)
        assert (caught.value.kind, caught.value.sent) == ("broken", True)

    cranked(main)


GARBAGE = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64",
    "status": b"HTTP/1.1 abc OK\r\n\r\n",
    "short status": b"HTTP/1.1 20 OK\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk",
    "length and chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n",
    "length beyond all": b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "header without colon": b"HTTP/1.1 200 OK\r\nfoo bar\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nfoo: a\0b\r\n\r\n",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_a_protocol_error(case: str) -> None:
    assert exchange(GARBAGE[case]) == (0, b"", "protocol", ["lost"])


@pytest.mark.parametrize("size", [b"zz", b"-1", b"fffffffffffffffff", b"5 x", b""])
def test_bad_chunk_size_is_a_protocol_error(size: bytes) -> None:
    assert exchange(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n") == (200, b"", "protocol", ["lost"])


def test_chunk_longer_than_its_size_is_a_protocol_error() -> None:
    assert exchange(CHUNKED + b"2\r\nhello\r\n0\r\n\r\n") == (200, b"he", "protocol", ["lost"])


def test_answer_to_head_has_no_body_and_ends_the_connection() -> None:
    assert exchange(HEAD, bodyless=True) == (200, b"", "", ["lost"])


FLOODS = {
    "one endless header": [b"HTTP/1.1 200 OK\r\nx: ", *[b"y" * 1024] * 70],
    "one endless name": [b"HTTP/1.1 200 OK\r\n", *[b"y" * 1024] * 70],
    "many headers": [b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n" * 100] * 120],
    "many interim heads": [b"HTTP/1.1 100 Continue\r\n\r\n" * 50] * 60,
    "in one piece": [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok"],
    "endless reason": [b"HTTP/1.1 200 ", *[b"y" * 1024] * 70],
}


@pytest.mark.parametrize("case", FLOODS)
def test_head_above_the_limit_is_a_protocol_error(case: str) -> None:
    assert exchange(*FLOODS[case]) == (0, b"", "protocol", ["lost"])


def test_endless_trailers_are_a_protocol_error() -> None:
    flood = [b"t: " + b"y" * 1024 + b"\r\n"] * 70
    assert exchange(CHUNKED + b"2\r\nok\r\n0\r\n", *flood) == (200, b"ok", "protocol", ["lost"])


def test_endless_chunk_extension_is_a_protocol_error() -> None:
    assert exchange(CHUNKED + b"2;", *[b"y" * 1024] * 70) == (200, b"", "protocol", ["lost"])


def test_large_body_in_one_piece_with_its_head_is_no_large_head() -> None:
    body = b"z" * 200_000
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + body
    assert exchange(data) == (200, body, "", ["kept"])


def test_head_just_below_the_limit_is_read() -> None:
    data = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: "
    data += b"y" * (HEAD_LIMIT - len(data) - 4) + b"\r\n\r\n"
    assert exchange(data + b"ok") == (200, b"ok", "", ["kept"])


def test_headers_are_lower_case_and_joined() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a:2 \r\nB:\r\nC: \xe4\r\ncontent-length: 0\r\n\r\n")
        assert response.headers == {"x-a": "1, 2", "b": "", "c": "ä", "content-length": "0"}
        bed.connection.close()

    cranked(main)


def test_the_first_of_some_headers_that_says_something() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(b"HTTP/1.1 200 OK\r\nB: two\r\nEmpty:\r\nA: one \r\na: again\r\ncontent-length: 0\r\n\r\n")
        asked = [(b"a", b"b"), (b"empty", b"b"), (b"b",), (b"empty",), (b"none",)]
        assert [response.header(*names) for names in asked] == ["one", "two", "two", "", ""]
        bed.connection.close()

    cranked(main)


def test_headers_of_an_interim_head_are_forgotten() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD)
        assert response.headers == {"content-length": "10"}
        bed.connection.close()

    cranked(main)


def test_trailers_are_no_headers() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(CHUNKED + b"2\r\nok\r\n", b"0\r\nset-cookie: x\r\n\r\n")
        assert response.headers == {"transfer-encoding": "chunked"}
        bed.connection.close()

    cranked(main)


def test_chunks_come_as_they_arrive_and_what_waited_comes_as_one() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(CHUNKED + b"1\r\na\r\n")
        assert await anext(response) == b"a"
        bed.feed(b"1\r\nb\r\n", b"1\r\nc\r\n")
        assert await anext(response) == b"bc"
        waiting = loop.create_task(response.read(10))
        await asyncio.sleep(0)
        bed.feed(b"1\r\nd\r\n0\r\n\r\n")
        assert await waiting == b"d"
        bed.connection.close()

    cranked(main)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok!",
    ],
)
def test_connection_that_ends_or_says_too_much_is_not_kept(data: bytes) -> None:
    assert exchange(data) == (200, b"ok", "", ["lost"])
