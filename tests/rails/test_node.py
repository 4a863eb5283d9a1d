"""A node's HTTP API over a socket: its answers exactly, everything else as RailDown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.node import Node, Refused
from perquery.rails.rail import RailDown

Asked = tuple[str, str, str, bytes]


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[Asked]]]:
    """A server that answers everything alike: its URL, and what it was asked."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked.append((self.command, self.path, self.headers["x-key"], sent))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_node(url: str, ask: Callable[[Node], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await ask(Node("the node", url + "/", {"x-key": "secret"}, client))
        finally:
            await client.close()

    return asyncio.run(run())


def test_questions_and_answers() -> None:
    with answering(200, b'{"msat": 9007199254740993, "rate": 1e-7}') as (url, asked):
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
    with answering(404, body.encode()) as (url, _), pytest.raises(Refused, match=r"404.*no such wallet") as caught:
        with_node(url, lambda node: node.get("/"))
    assert (caught.value.status, caught.value.body) == (404, said)
    assert "secret" not in str(caught.value)


def test_what_is_not_json_is_down() -> None:
    with answering(200, b"<html>") as (url, _), pytest.raises(RailDown, match="something else than JSON"):
        with_node(url, lambda node: node.get("/"))


def test_nobody_there_is_down() -> None:
    with answering(200, b"{}") as (url, _):
        pass
    with pytest.raises(RailDown, match="the node does not answer"):
        with_node(url, lambda node: node.get("/"))
