"""WebSockets: the handshake, whole messages, ends of every kind, and a caller's URL that leads where it may not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from perquery.outbound import OutboundError, WebSocket
from perquery.outbound.target import parse
from perquery.outbound.websocket import BEAT_S, MESSAGE_BYTES_MAX
from tests.outbound.bed import Cranked, Notebook
from tests.outbound.conftest import Run
from tests.outbound.proxies import connect_proxy, socks_proxy
from tests.outbound.test_dial_guard import Names
from tests.outbound.wire import HANG_S, Link, asking, serving

Serve = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A WebSocket server by another hand; its port."""
    async with serve(talk, "127.0.0.1", 0, ssl=tls) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


async def hang_up(_link: Link) -> None:
    """Closes as soon as it has accepted."""


async def refused(url: str, *, proxy: str | None = None) -> OutboundError:
    async with asking(proxy=proxy) as client:
        with pytest.raises(OutboundError) as caught:
            await client.websocket(url, guard=True)
    return caught.value


def test_messages_there_and_back(run: Run) -> None:
    async def main() -> None:
        async with listening(echo) as port, asking() as client:
            socket = await client.websocket(f"ws://127.0.0.1:{port}/v1?a=b")
            for text in ("hello", "", "grüße", "x" * 100_000):
                socket.send(text)
                assert await socket.receive() == text
            socket.close()
            socket.close()
            socket.send("nobody hears")
            with pytest.raises(OutboundError, match="closed here"):
                await socket.receive()

    run(main())


def test_tls_by_the_name_of_the_url(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async with listening(echo, server_tls) as port:
            async with asking(trust=trust) as client:
                socket = await client.websocket(f"wss://localhost:{port}")
                socket.send("hello")
                assert await socket.receive() == "hello"
                socket.close()
            async with asking() as client:  # trusts nobody
                with pytest.raises(OutboundError, match="no connection") as caught:
                    await client.websocket(f"wss://localhost:{port}")
            assert caught.value.kind == "connect"

    run(main())


def test_a_message_in_parts_and_a_ping_between(run: Run) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.send(["in ", "three ", "parts"])
        await (await socket.ping())  # answered
        await socket.send(b"bytes are for nobody")
        await socket.send("the end")

    async def main() -> None:
        async with listening(talk) as port, asking() as client:
            socket = await client.websocket(f"ws://127.0.0.1:{port}")
            assert [await socket.receive(), await socket.receive()] == ["in three parts", "the end"]
            with pytest.raises(OutboundError, match="ended the WebSocket") as caught:
                await socket.receive()
            assert caught.value.kind == "broken"

    run(main())


@pytest.mark.parametrize("parts", [1, 3])
def test_a_message_that_is_too_long_is_the_end(run: Run, parts: int) -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.send(["x" * (MESSAGE_BYTES_MAX // parts + 1)] * parts if parts > 1 else "x" * (2**18 + 1))
        await socket.wait_closed()

    async def main() -> None:
        async with listening(talk) as port, asking() as client:
            socket = await client.websocket(f"ws://127.0.0.1:{port}")
            with pytest.raises(OutboundError):
                await socket.receive()

    run(main())


def test_a_flood_is_not_read_faster_than_it_is_taken(run: Run) -> None:
    count = 200

    async def talk(socket: ServerConnection) -> None:
        for number in range(count):
            await socket.send(f"{number}:" + "x" * 50_000)

    async def main() -> None:
        async with listening(talk) as port, asking() as client:
            socket = await client.websocket(f"ws://127.0.0.1:{port}")
            for number in range(count):
                assert (await socket.receive()).startswith(f"{number}:")

    run(main())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: ws://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP 200"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "no WebSocket"),
        (b"SSH-2.0-OpenSSH\r\n", "no WebSocket"),
        (b"", "no WebSocket"),
    ],
)
def test_what_is_no_websocket(run: Run, answer: bytes, says: str) -> None:
    async def talk(link: Link) -> None:
        await link.request()
        await link.send(answer)

    async def main() -> None:
        async with serving(talk) as server, asking() as client:
            with pytest.raises(OutboundError, match=says) as caught:
                await client.websocket(f"ws://127.0.0.1:{server.port}")
            assert (caught.value.kind, caught.value.sent) == ("protocol", False)

    run(main())


def test_a_server_that_never_agrees(run: Run) -> None:
    async def main() -> None:
        async with serving(Link.gone) as server, asking(connect_timeout_s=0.05) as client:
            with pytest.raises(OutboundError, match=r"no connection within 0\.05 s") as caught:
                await client.websocket(f"ws://127.0.0.1:{server.port}")
            assert caught.value.kind == "connect"

    run(main())


def test_a_connection_that_is_cut(run: Run) -> None:
    async def talk(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def main() -> None:
        async with listening(talk) as port, asking() as client:
            socket = await client.websocket(f"ws://127.0.0.1:{port}")
            async with asyncio.timeout(HANG_S):
                with pytest.raises(OutboundError) as caught:
                    await socket.receive()
            assert caught.value.kind == "broken"

    run(main())


def test_a_closed_client_opens_none(run: Run) -> None:
    async def main() -> None:
        async with asking() as client:
            await client.close()
            with pytest.raises(OutboundError, match="closed"):
                await client.websocket("wss://relay.example")

    run(main())


def test_silence_is_asked_about_and_then_the_end() -> None:
    async def main() -> None:
        loop, transport = asyncio.get_running_loop(), Notebook()
        assert isinstance(loop, Cranked)
        socket = WebSocket(parse("https://relay.example/"))
        socket.connection_made(transport)
        key = next(line for line in transport.written[0].split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        socket.data_received(_agreed(key.partition(b": ")[2]))
        await socket.opened()
        for _ in range(3):
            await loop.pass_time(BEAT_S)
            assert transport.written[-1][0] == 0x80 | Opcode.PING
            socket.data_received(Frame(Opcode.PONG, b"").serialize(mask=False))
        await loop.pass_time(BEAT_S)
        assert not transport.closed
        await loop.pass_time(BEAT_S)
        assert transport.closed
        with pytest.raises(OutboundError, match="nothing was heard") as caught:
            await socket.receive()
        assert caught.value.kind == "idle"

    with asyncio.Runner(loop_factory=Cranked) as runner:
        runner.run(main())


def _agreed(key: bytes) -> bytes:
    accept = accept_key(key.decode()).encode()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "ws://93.184.216.34/",
        "wss://127.0.0.1/",
        "wss://10.0.0.1/",
        "wss://169.254.169.254/latest",
        "wss://[::1]/",
        "wss://[::ffff:127.0.0.1]/",
        "wss://[64:ff9b::a00:1]/",
        "wss://2130706433/",
        "wss://0x7f.1/",
        "wss://localhost/",
        "wss://93.184.216.34:6379/",
        "wss://user:password@93.184.216.34/",
        "https://93.184.216.34/",
        "file:///etc/passwd",
        "93.184.216.34",
    ],
)
def test_guard_refuses(run: Run, url: str) -> None:
    async def main() -> None:
        error = await refused(url)
        assert (error.kind, error.sent) == ("refused", False)
        assert "password" not in error.message.replace("a user or password", "")

    run(main())


def test_guard_refuses_a_name_with_one_private_address(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        Names(monkeypatch, ["93.184.216.34", "192.168.1.1"])
        assert (await refused("wss://given.example/")).kind == "refused"

    run(main())


def test_guard_connects_to_the_address_that_it_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has another address by the next look-up; there is none."""

    async def main() -> None:
        names = Names(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        seen: list[bytes] = []
        async with serving(hang_up) as server, serving(socks_proxy(server.port, seen)) as proxy:
            error = await refused("wss://given.example/", proxy=f"socks5://127.0.0.1:{proxy.port}")
        assert error.kind == "connect"
        assert seen == [b"\x05\x01\x00\x01" + bytes([93, 184, 216, 34]) + b"\x01\xbb"]
        assert len(names.answers) == 1

    run(main())


def test_through_a_proxy_it_is_a_tunnel_with_tls_to_the_name(
    run: Run, monkeypatch: pytest.MonkeyPatch, server_tls: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with (
            listening(echo, server_tls) as port,
            serving(connect_proxy(port, seen)) as proxy,
            asking(proxy=f"http://127.0.0.1:{proxy.port}", trust=trust) as client,
        ):
            socket = await client.websocket("wss://localhost/")
            socket.send("hello")
            assert await socket.receive() == "hello"
            socket.close()
        assert seen[0].startswith(b"CONNECT localhost:443 HTTP/1.1\r\n")

    run(main())
