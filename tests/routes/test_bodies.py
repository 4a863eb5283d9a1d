"""Small JSON bodies: exact, bounded, never read further than the bound."""

from __future__ import annotations

import asyncio
import gzip
from decimal import Decimal
from typing import Any

import pytest
from fastapi import Request

from perquery.errors import BadRequest, TooLarge
from perquery.routes.bodies import BODY_BYTES_MAX, object_in, received


def read(*messages: dict[str, Any], length: bytes | None = None) -> dict[str, Any]:
    """The object in these messages; after them nothing comes."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    headers = [] if length is None else [(b"content-length", length)]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    return asyncio.run(object_in(Request(scope, receive)))


def piece(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_numbers_are_exact() -> None:
    assert read(piece(b'{"a": 0.1', more=True), piece(b"}")) == {"a": Decimal("0.1")}


def test_no_body_is_an_empty_object() -> None:
    assert read(piece(b"")) == {}


def test_no_more_is_read_than_the_bound() -> None:
    with pytest.raises(TooLarge):
        read(piece(b" " * BODY_BYTES_MAX, more=True), piece(b" ", more=True))


def test_a_caller_who_leaves_is_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        read(piece(b"{", more=True), {"type": "http.disconnect"})


def test_what_says_that_it_is_too_large_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read(length=b"%d" % (BODY_BYTES_MAX + 1))


def unpacked(raw: bytes, packing: bytes = b"gzip", limit: int = 100) -> bytes:
    async def receive() -> dict[str, Any]:
        return piece(raw)

    return asyncio.run(received(receive, {b"content-encoding": packing}, limit))


def test_a_packed_body_is_unpacked_up_to_the_bound() -> None:
    assert unpacked(b"as it is", b"identity") == b"as it is"
    assert unpacked(gzip.compress(b" " * 100)) == b" " * 100
    with pytest.raises(TooLarge):
        unpacked(gzip.compress(b" " * 10_000_000))


CUT = gzip.compress(b"{}", mtime=0)[:-9]  # without the time of day, which would be another in each process


@pytest.mark.parametrize(
    ("raw", "packing"),
    [(b"{}", b"gzip"), (CUT, b"gzip"), (b"{}", b"zstd"), (b"{}", b"")],
)
def test_what_cannot_be_unpacked_is_a_bad_request(raw: bytes, packing: bytes) -> None:
    with pytest.raises(BadRequest, match="content-encoding"):
        unpacked(raw, packing)
