"""Caller-given URLs: one look-up, checked, and connected to as checked, also through a proxy."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from perquery.outbound import OutboundError
from tests.outbound.conftest import Run
from tests.outbound.proxies import connect_proxy, socks_proxy
from tests.outbound.wire import Link, answer_all, asking, get, serving

Found = list[tuple[Any, ...]]


class Names:
    """The system's resolver with one more name, which has another answer each time that it is asked."""

    def __init__(self, patch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.system = asyncio.get_running_loop().getaddrinfo
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.find)

    async def find(self, host: str, port: int, **wanted: int) -> Found:
        if host != "given.example":
            return await self.system(host, port, **wanted)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self.answers.pop(0)]


def test_guard_refuses_a_name_with_one_address_that_is_not_public(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        Names(monkeypatch, ["93.184.216.34", "10.0.0.1"])
        async with asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://given.example/", guard=True)
        assert (caught.value.kind, caught.value.sent) == ("refused", False)

    run(main())


def test_guard_connects_to_the_address_that_it_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        names = Names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        reached: list[object] = []

        async def connect(sock: socket.socket, address: object) -> None:
            reached.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
        async with asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://given.example/", guard=True)
        assert caught.value.kind == "connect"
        assert (reached, len(names.answers)) == ([("93.184.216.34", 80)], 1)

    run(main())


def test_guard_hands_the_proxy_the_address_of_a_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        names = Names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        seen: list[bytes] = []
        async with (
            serving(answer_all) as server,
            serving(socks_proxy(server.port, seen)) as proxy,
            asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client,
            await get(client, "http://given.example/", guard=True) as response,
        ):
            assert await response.read(10) == b"ok"
        assert seen == [b"\x05\x01\x00\x01" + bytes([93, 184, 216, 34]) + b"\x00\x50"]
        assert len(names.answers) == 1

    run(main())


def test_guard_refuses_a_port(run: Run) -> None:
    async def main() -> None:
        async with serving(Link.gone) as proxy, asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://93.184.216.34:8080/", guard=True)
            assert caught.value.kind == "refused"
            assert not proxy.links

    run(main())


def test_guard_hands_the_proxy_the_address_that_it_checked(run: Run) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with serving(answer_all) as server, serving(socks_proxy(server.port, seen)) as proxy:
            async with asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
                for _ in range(2):
                    async with await get(client, "http://93.184.216.34/", guard=True) as response:
                        assert await response.read(10) == b"ok"
            assert len(proxy.links) == 2  # never kept
        assert seen[0] == b"\x05\x01\x00\x01" + bytes([93, 184, 216, 34]) + b"\x00\x50"

    run(main())


def test_guard_refuses_before_the_proxy_hears_of_it(run: Run) -> None:
    async def main() -> None:
        async with serving(Link.gone) as proxy, asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://169.254.169.254/", guard=True)
            assert caught.value.kind == "refused"
            assert not proxy.links

    run(main())


def test_guarded_http_through_an_http_proxy_is_a_tunnel_to_the_checked_address(run: Run) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with (
            serving(answer_all) as server,
            serving(connect_proxy(server.port, seen)) as proxy,
            asking(proxy=f"http://127.0.0.1:{proxy.port}") as client,
            await get(client, "http://93.184.216.34/", guard=True) as response,
        ):
            assert await response.read(10) == b"ok"
        assert seen[0].startswith(b"CONNECT 93.184.216.34:80 HTTP/1.1\r\n")

    run(main())
