"""TLS and proxies, with tiny proxies of our own on loopback."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from perquery.outbound import OutboundError
from tests.outbound.conftest import Run
from tests.outbound.proxies import connect_proxy, socks_proxy
from tests.outbound.wire import OK, Link, answer_all, asking, fetch, get, serving


def test_tls_with_a_trusted_certificate(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        protocols: list[str | None] = []

        async def script(link: Link) -> None:
            protocols.append(link.writer.get_extra_info("ssl_object").selected_alpn_protocol())
            await answer_all(link)

        async with serving(script, tls=server_tls) as server, asking(trust=trust) as client:
            for _ in range(3):
                assert await fetch(client, server.url(host="localhost"), method="POST", body=b"x" * 100_000) == (
                    200,
                    b"ok",
                )
            assert protocols == ["http/1.1"]
            await client.close()

    run(main())


def test_tls_to_an_address_literal(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(answer_all, tls=server_tls) as server, asking(trust=trust) as client:
            assert await fetch(client, server.url()) == (200, b"ok")
            await client.close()

    run(main())


def test_tls_abort_is_seen_by_the_server(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            await link.gone()

        async with serving(script, tls=server_tls) as server, asking(trust=trust) as client:
            (await get(client, server.url())).abort()

    run(main())


def test_tls_body_until_close(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000)
            link.writer.close()

        async with serving(script, tls=server_tls) as server, asking(trust=trust) as client:
            assert await fetch(client, server.url()) == (200, b"x" * 3_000_000)

    run(main())


def test_tls_slow_reader_gets_everything(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 9_000_000)
            await link.gone()

        async with serving(script, tls=server_tls) as server, asking(trust=trust) as client:
            async with await get(client, server.url()) as response:
                received = 0
                async for chunk in response:
                    received += len(chunk)
                    for _ in range(5):
                        await asyncio.sleep(0)
                assert received == 9_000_000
            await client.close()

    run(main())


def test_tls_with_an_unknown_certificate_is_unsent(run: Run, server_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with (
            serving(Link.gone, tls=server_tls) as server,
            asking(trust=ssl.create_default_context()) as client,
        ):
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url())
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_tls_with_the_wrong_name_is_unsent(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(Link.gone, tls=server_tls) as server, asking(trust=trust) as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url(host="127.0.0.2").replace("127.0.0.2", "127.1"))
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_tls_to_a_server_that_speaks_none_is_unsent(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await link.gone()

        async with serving(script) as server, asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url().replace("http:", "https:"))
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_http_through_a_proxy_is_in_absolute_form(run: Run) -> None:
    async def main() -> None:
        seen: list[bytes] = []

        async def script(link: Link) -> None:
            for _ in range(2):
                seen.append((await link.request())[0])
                await link.send(OK)
            await link.gone()

        async with serving(script) as proxy:
            async with asking(proxy=f"http://u:p@127.0.0.1:{proxy.port}") as client:
                for _ in range(2):
                    assert await fetch(client, "http://nowhere.invalid/x") == (200, b"ok")
            assert len(proxy.links) == 1
        assert seen[0].startswith(b"GET http://nowhere.invalid/x HTTP/1.1\r\nhost: nowhere.invalid\r\n")
        assert b"\r\nproxy-authorization: Basic dTpw\r\n" in seen[1]

    run(main())


def test_https_through_a_proxy_is_a_tunnel(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        heads: list[bytes] = []

        async def script(link: Link) -> None:
            heads.append((await link.request())[0])
            await link.send(OK)
            await link.gone()

        async with (
            serving(script, tls=server_tls) as server,
            serving(connect_proxy(server.port, seen)) as proxy,
            asking(proxy=f"http://u:p@127.0.0.1:{proxy.port}", trust=trust) as client,
        ):
            assert await fetch(client, server.url(host="localhost")) == (200, b"ok")
        assert seen[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
        assert b"proxy-authorization: Basic dTpw\r\n" in seen[0]
        assert heads[0].startswith(b"GET / HTTP/1.1\r\n")
        assert b"proxy-authorization" not in heads[0]

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"x" * 20_000,
    ],
)
def test_tunnel_that_the_proxy_refuses_is_unsent(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with (
            serving(connect_proxy(0, [], answer)) as proxy,
            asking(proxy=f"http://127.0.0.1:{proxy.port}") as client,
        ):
            with pytest.raises(OutboundError) as caught:
                await get(client, "https://nowhere.invalid/")
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_bytes_behind_the_answer_to_connect_are_refused(run: Run) -> None:
    async def main() -> None:
        answer = b"HTTP/1.1 299 OK\r\n\r\nsmuggled"
        async with (
            serving(connect_proxy(0, [], answer)) as proxy,
            asking(proxy=f"http://127.0.0.1:{proxy.port}") as client,
        ):
            with pytest.raises(OutboundError, match="behind its answer"):
                await get(client, "https://nowhere.invalid/")

    run(main())


def test_socks_resolves_names_at_the_proxy(run: Run) -> None:
    async def main() -> None:
        seen: list[bytes] = []
        async with serving(answer_all) as server, serving(socks_proxy(server.port, seen)) as proxy:
            async with asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
                for _ in range(2):
                    assert await fetch(client, "http://nowhere.invalid:81/") == (200, b"ok")
            assert len(proxy.links) == 1
        assert seen == [b"\x05\x01\x00\x03\x0fnowhere.invalid\x00\x51"]

    run(main())


def test_socks_carries_tls(run: Run, server_tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async def main() -> None:
        async with (
            serving(answer_all, tls=server_tls) as server,
            serving(socks_proxy(server.port, [])) as proxy,
            asking(proxy=f"socks5://127.0.0.1:{proxy.port}", trust=trust) as client,
        ):
            assert await fetch(client, server.url(host="localhost")) == (200, b"ok")

    run(main())


def test_socks_with_a_login(run: Run) -> None:
    async def main() -> None:
        script_login = b"\x01\x01u\x02pw"
        async with (
            serving(answer_all) as server,
            serving(socks_proxy(server.port, [], login=script_login)) as proxy,
            asking(proxy=f"socks5://u:pw@127.0.0.1:{proxy.port}") as client,
        ):
            assert await fetch(client, server.url()) == (200, b"ok")

    run(main())


@pytest.mark.parametrize(
    ("login", "who", "reply"), [(b"\x01\x01u\x01p", "u:x@", 0), (b"\x01\x01u\x01p", "", 0), (b"", "", 2)]
)
def test_socks_refusal_is_unsent(run: Run, login: bytes, who: str, reply: int) -> None:
    async def main() -> None:
        async with (
            serving(socks_proxy(0, [], login=login, reply=reply)) as proxy,
            asking(proxy=f"socks5://{who}127.0.0.1:{proxy.port}") as client,
        ):
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://nowhere.invalid/")
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_socks_proxy_that_closes_is_unsent(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.reader.readexactly(3)

        async with serving(script) as proxy, asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://nowhere.invalid/")
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_cancel_while_the_proxy_thinks_closes(run: Run) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def script(link: Link) -> None:
            await link.reader.readexactly(3)
            asked.set()
            await link.gone()

        async with serving(script) as proxy, asking(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
            task = asyncio.get_running_loop().create_task(get(client, "http://nowhere.invalid/"))
            await asked.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())
