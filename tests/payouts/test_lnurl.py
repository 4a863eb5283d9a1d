"""From an address to an invoice, over sockets: what the service says is bounded, and where it may be is guarded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.payouts.lnurl import Resolver, Unusable
from perquery.rails import bech32
from tests.answering import Asked, answering

OFFER = {"tag": "payRequest", "minSendable": 1_000, "maxSendable": 10_000_000, "metadata": "[]"}


class Service:
    def __init__(self) -> None:
        self.url = ""
        self.offer: dict[str, Any] = dict(OFFER)
        self.answer: dict[str, Any] = {"pr": "lnbc…", "routes": []}
        self.raw: tuple[int, bytes] | None = None
        self.asked: list[str] = []

    def answering(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked.path)
        if self.raw is not None:
            return self.raw
        if asked.path.startswith("/callback"):
            return 200, json.dumps(self.answer).encode()
        return 200, json.dumps({"callback": f"{self.url}/callback?k1=a"} | self.offer).encode()

    @property
    def address(self) -> str:
        return "You@" + self.url.removeprefix("http://")


@pytest.fixture
def service() -> Iterator[Service]:
    server = Service()
    with answering(server.answering) as server.url:
        yield server


def resolve(destination: str, amount_msat: int = 5_000_000, *, local: bool = True) -> str:
    async def run() -> str:
        client = Client()
        try:
            return await Resolver(client, local=local).invoice(destination, amount_msat)
        finally:
            await client.close()

    return asyncio.run(run())


def test_an_address(service: Service) -> None:
    assert resolve(service.address) == "lnbc…"
    assert service.asked == ["/.well-known/lnurlp/you", "/callback?k1=a&amount=5000000"]


def test_an_lnurl(service: Service) -> None:
    text = bech32.encode("lnurl", bech32.words_of(f"{service.url}/pay/1".encode()))
    assert resolve(f"lightning:{text.upper()}") == "lnbc…"
    assert service.asked[0] == "/pay/1"


@pytest.mark.parametrize(
    ("offer", "answer", "says"),
    [
        ({"tag": "withdrawRequest"}, {}, "does not take payments"),
        ({"minSendable": "1"}, {}, "does not take payments"),
        ({"maxSendable": 4_999_000}, {}, "takes 1 to 4999 sat at once, not 5000"),
        ({"minSendable": 5_000_001}, {}, "takes 5001 to"),
        ({"callback": None}, {}, "no usable callback"),
        ({"callback": "ftp://x"}, {}, "over https"),
        ({"status": "ERROR", "reason": "gone\nfishing"}, {}, 'refused: "gone fishing"'),
        ({}, {"pr": None}, "gave no invoice"),
        ({}, {"status": "ERROR"}, "answered 200"),
    ],
)
def test_a_service_that_gives_none(service: Service, offer: dict[str, Any], answer: dict[str, Any], says: str) -> None:
    service.offer |= offer
    service.answer |= answer
    with pytest.raises(Unusable, match=says):
        resolve(service.address)


@pytest.mark.parametrize("raw", [(200, b"<html>"), (404, b"{}"), (200, b"[]"), (200, b"x" * 100_000), (302, b"{}")])
def test_an_answer_that_is_none(service: Service, raw: tuple[int, bytes]) -> None:
    service.raw = raw
    with pytest.raises(Unusable):
        resolve(service.address)


@pytest.mark.parametrize("text", ["", "@", "me@", "lnurl1xyz", "me@host/path", "me@host@host", "me", "me@ho st", "é@x"])
def test_what_is_no_destination(text: str) -> None:
    with pytest.raises(Unusable, match=r"neither|does not answer"):
        resolve(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "localhost", "192.168.1.1:8443"])
def test_private_addresses_are_never_asked(host: str) -> None:
    with pytest.raises(Unusable, match=r"not a public one|does not answer"):
        resolve(f"me@{host}", local=False)


def test_nor_by_a_callback(service: Service) -> None:
    """The first look may be at a public place; where it leads is guarded as well."""
    service.offer["callback"] = "https://10.0.0.1/pay"
    with pytest.raises(Unusable, match="not a public one"):
        resolve(service.address)
