"""Whole exchanges over loopback sockets, on both event loops."""

from __future__ import annotations

import asyncio

import pytest

from perquery.outbound import OutboundError
from tests.outbound.conftest import Run
from tests.outbound.wire import HANG_S, OK, STREAM, Link, answer_all, asking, fetch, get, serving


def test_request_arrives_as_written(run: Run) -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def script(link: Link) -> None:
            seen.append(await link.request())
            await link.send(OK)
            await link.gone()

        async with serving(script) as server, asking() as client:
            response = await client.request(
                "POST", server.url("/v1?x=1"), headers={"x-a": "b"}, body=[b"hel", b"lo"], timeout_s=5, idle_timeout_s=5
            )
            async with response:
                assert (response.status, await response.read(10)) == (200, b"ok")
            await client.close()
        head, body = seen[0]
        assert head.startswith(
            b"POST /v1?x=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept-encoding: identity" % server.port
        )
        assert b"\r\nx-a: b\r\n" in head
        assert body == b"hello"

    run(main())


def test_connection_is_reused(run: Run) -> None:
    async def main() -> None:
        async with serving(answer_all) as server, asking() as client:
            for _ in range(5):
                assert await fetch(client, server.url()) == (200, b"ok")
            assert len(server.links) == 1
            await client.close()

    run(main())


def test_concurrent_requests_have_a_connection_each(run: Run) -> None:
    async def main() -> None:
        async with serving(answer_all) as server, asking() as client:
            answers = await asyncio.gather(*(fetch(client, server.url(), method="POST") for _ in range(20)))
            assert answers == [(200, b"ok")] * 20
            assert len(server.links) <= 20
            await client.close()

    run(main())


def test_connection_that_the_server_closed_is_not_used_again(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(OK)
            link.writer.close()
            await link.gone()

        async with serving(script) as server, asking() as client:
            for number in range(3):
                assert await fetch(client, server.url(), method="POST") == (200, b"ok")
                await asyncio.wait(server.tasks)
                await server.links[number].writer.wait_closed()
            assert len(server.links) == 3

    run(main())


def test_a_connection_that_was_to_be_closed_is_not_used_again(run: Run) -> None:
    """The other side may close it a moment later, and need not say so before."""

    async def main() -> None:
        async with serving(answer_all) as server, asking() as client:
            for number in range(2):
                assert await fetch(client, server.url(), method="POST", keep=False) == (200, b"ok")
                assert len(server.links) == number + 1
            await client.close()

    run(main())


async def stale(link: Link) -> None:
    """The first connection dies of its second request; later ones answer all."""
    if link.number == 0:
        await link.request()
        await link.send(OK)
        await link.request()
    else:
        await answer_all(link)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_stale_connection_is_replaced_once_for_an_idempotent_method(run: Run, method: str) -> None:
    async def main() -> None:
        async with serving(stale) as server, asking() as client:
            await fetch(client, server.url())
            assert await fetch(client, server.url(), method=method) == (200, b"ok")
            assert len(server.links) == 2
            await client.close()

    run(main())


def test_other_idle_connections_are_dropped_with_a_stale_one(run: Run) -> None:
    async def main() -> None:
        both = asyncio.Barrier(2)

        async def script(link: Link) -> None:
            if link.number < 2:
                await link.request()
                await both.wait()
                await link.send(OK)
                await link.reader.read(1)  # either dies of its second request, or is dropped
            else:
                await answer_all(link)

        async with serving(script) as server, asking() as client:
            await asyncio.gather(fetch(client, server.url()), fetch(client, server.url()))
            assert await fetch(client, server.url()) == (200, b"ok")
            assert len(server.links) == 3
            await client.close()

    run(main())


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_post_is_never_sent_twice(run: Run, method: str) -> None:
    async def main() -> None:
        async with serving(stale) as server, asking() as client:
            await fetch(client, server.url())
            with pytest.raises(OutboundError) as caught:
                await fetch(client, server.url(), method=method, body=b"pay")
            assert (caught.value.kind, caught.value.sent) == ("broken", True)
            assert len(server.links) == 1

    run(main())


def test_post_that_had_not_left_goes_out_on_another_connection(run: Run) -> None:
    """The server's farewell is read in the very round in which the request would have been written."""

    async def main() -> None:
        async with serving(answer_all) as server, asking() as client:
            await fetch(client, server.url())
            posting = asyncio.create_task(fetch(client, server.url(), method="POST", body=b"pay"))
            await asyncio.sleep(0)
            (pool,) = client._pools.values()
            (connection,) = pool._busy
            connection.eof_received()
            assert await posting == (200, b"ok")
            assert len(server.links) == 2
            await client.close()

    run(main())


def test_fresh_connection_that_breaks_is_not_tried_again(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()

        async with serving(script) as server, asking() as client:
            with pytest.raises(OutboundError) as caught:
                await fetch(client, server.url())
            assert (caught.value.kind, len(server.links)) == ("broken", 1)

    run(main())


def test_broken_after_the_first_byte_is_not_tried_again(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(OK)
            await link.request()
            await link.send(b"H")

        async with serving(script) as server, asking() as client:
            await fetch(client, server.url())
            with pytest.raises(OutboundError) as caught:
                await fetch(client, server.url())
            assert (caught.value.kind, len(server.links)) == ("broken", 1)

    run(main())


def test_redirect_is_not_followed(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(b"HTTP/1.1 307 Temporary\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
            await link.gone()

        async with serving(script) as server, asking() as client:
            async with await get(client, server.url(), method="POST", body=b"x") as response:
                assert (response.status, response.headers["location"]) == (307, "/elsewhere")
            await client.close()
            assert len(server.links) == 1

    run(main())


def test_chunk_is_delivered_before_the_next_is_written(run: Run) -> None:
    async def main() -> None:
        asked: asyncio.Queue[bytes] = asyncio.Queue()

        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM)
            for _ in range(3):
                await link.send(await asked.get())
            await link.send(b"0\r\n\r\n")
            await link.gone()

        async with serving(script) as server, asking() as client:
            async with asyncio.timeout(HANG_S), await get(client, server.url()) as response:
                for letter in (b"a", b"b", b"c"):
                    asked.put_nowait(b"1\r\n" + letter + b"\r\n")
                    assert await anext(response) == letter
                assert await response.read(1) == b""
            await client.close()

    run(main())


def test_leaving_a_response_unread_closes_it(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM + b"1\r\na\r\n")
            await link.gone()

        async with serving(script) as server, asking() as client:
            async with await get(client, server.url()) as response:
                assert response.status == 200
            await asyncio.wait(server.tasks, timeout=HANG_S)
            assert all(task.done() for task in server.tasks)

    run(main())


def test_slow_reader_holds_the_server_back(run: Run) -> None:
    """What is sent while nobody reads is bounded by the client's buffer and the sockets' own."""

    async def main() -> None:
        full = asyncio.Event()
        total = 64 << 20
        sent = 0

        async def script(link: Link) -> None:
            nonlocal sent
            await link.request()
            link.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
            while sent < total:
                link.writer.write(bytes(1 << 16))
                sent += 1 << 16
                try:
                    async with asyncio.timeout(None if full.is_set() else 0.2):
                        await link.writer.drain()
                except TimeoutError:
                    full.set()
                    await link.writer.drain()
            await link.gone()

        async with serving(script) as server, asking() as client:
            async with await get(client, server.url()) as response:
                await full.wait()
                assert sent < total // 2
                received = 0
                async for chunk in response:
                    received += len(chunk)
                assert received == total
            await client.close()

    run(main())


def test_large_request_body_arrives_whole(run: Run) -> None:
    async def main() -> None:
        got: list[bytes] = []

        async def script(link: Link) -> None:
            got.append((await link.request())[1])
            await link.send(OK)
            await link.gone()

        body = bytes(range(256)) * 20_000
        async with serving(script) as server, asking() as client:
            assert await fetch(client, server.url(), method="POST", body=body) == (200, b"ok")
            await client.close()
        assert got == [body]

    run(main())


def test_answer_before_the_request_is_whole_is_read_and_not_kept(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.reader.readuntil(b"\r\n\r\n")
            await link.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            await link.gone()

        async with serving(script) as server, asking() as client:
            assert await fetch(client, server.url(), method="POST", body=bytes(30 << 20)) == (413, b"big")

    run(main())


def test_no_more_connections_than_allowed_and_the_rest_waits(run: Run) -> None:
    async def main() -> None:
        async with serving(answer_all) as server, asking(max_per_origin=2) as client:
            answers = await asyncio.gather(*(fetch(client, server.url()) for _ in range(20)))
            assert answers == [(200, b"ok")] * 20
            assert len(server.links) <= 2
            await client.close()

    run(main())


def test_wait_for_a_connection_is_bounded_and_unsent(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM)
            await link.gone()

        async with serving(script) as server, asking(max_per_origin=1, connect_timeout_s=0.05) as client:
            async with await get(client, server.url()):
                with pytest.raises(OutboundError) as caught:
                    await get(client, server.url())
                assert (caught.value.kind, caught.value.sent) == ("connect", False)
            async with await get(client, server.url()) as response:
                assert response.status == 200

    run(main())


def test_close_ends_what_runs_and_refuses_what_comes(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM)
            await link.gone()

        async with serving(script) as server, asking() as client:
            response = await get(client, server.url())
            await client.close()
            with pytest.raises(OutboundError) as caught:
                await response.read(1)
            assert caught.value.kind == "broken"
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url())
            assert (caught.value.kind, caught.value.sent) == ("refused", False)

    run(main())


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://localhost/", "https://[::1]/", "http://2130706433/", "http://0x7f.1:443/"]
)
def test_guard_refuses_what_is_not_public(run: Run, url: str) -> None:
    async def main() -> None:
        async with asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, url, guard=True)
            assert (caught.value.kind, caught.value.sent) == ("refused", False)

    run(main())


def test_guard_refuses_a_loopback_port_that_would_answer(run: Run) -> None:
    async def main() -> None:
        async with serving(answer_all) as server, asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url(), guard=True)
            assert caught.value.kind == "refused"
            assert not server.links

    run(main())
