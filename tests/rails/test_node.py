"""A node's HTTP API over a socket: its answers exactly, everything else as RailDown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.node import Node, Refused
from perquery.rails.rail import RailDown
from tests.answering import Asked, answering

Call = tuple[str, str, str, bytes]


@contextmanager
def node(status: int, body: bytes) -> Iterator[tuple[str, list[Call]]]:
    """A server that answers everything alike: its URL, and what it was asked."""
    calls: list[Call] = []

    def answer(asked: Asked) -> tuple[int, bytes]:
        calls.append((asked.method, asked.path, asked.headers["x-key"], asked.body))
        return status, body

    with answering(answer) as url:
        yield url, calls


def with_node(url: str, ask: Callable[[Node], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await ask(Node("the node", url + "/", {"x-key": "secret"}, client))
        finally:
            await client.close()

    return asyncio.run(run())


def test_questions_and_answers() -> None:
    with node(200, b'{"msat": 9007199254740993, "rate": 1e-7}') as (url, asked):
        found = with_node(url, lambda node: node.get("/v1/x", label="a b", n=1))
        with_node(url, lambda node: node.post("/v1/y", {"amount": 5}))
        with_node(url, lambda node: node.post_form("/v1/z", {"amountSat": 5}))
    assert found == {"msat": 9007199254740993, "rate": Decimal("1E-7")}
    assert asked == [
        ("GET", "/v1/x?label=a%20b&n=1", "secret", b""),
        ("POST", "/v1/y", "secret", b'{"amount":5}'),
        ("POST", "/v1/z", "secret", b"amountSat=5"),
    ]


@pytest.mark.parametrize("said", [{"detail": "no such wallet"}, "<html>no such wallet</html>"])
def test_a_refusal_says_what_the_node_said(said: Any) -> None:
    body = said if isinstance(said, str) else json.dumps(said)
    with node(404, body.encode()) as (url, _), pytest.raises(Refused, match=r"404.*no such wallet") as caught:
        with_node(url, lambda node: node.get("/"))
    assert (caught.value.status, caught.value.body) == (404, said)
    assert "secret" not in str(caught.value)


def test_what_is_not_json_is_down() -> None:
    with node(200, b"<html>") as (url, _), pytest.raises(RailDown, match="something else than JSON"):
        with_node(url, lambda node: node.get("/"))


def test_nobody_there_is_down() -> None:
    with node(200, b"{}") as (url, _):
        pass
    with pytest.raises(RailDown, match="the node does not answer"):
        with_node(url, lambda node: node.get("/"))
