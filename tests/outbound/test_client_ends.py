"""Exchanges that are cancelled, hang or find nobody, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from perquery.outbound import OutboundError
from tests.outbound.conftest import Run
from tests.outbound.wire import HANG_S, STREAM, Link, asking, get, serving


def test_cancel_while_waiting_for_the_head_closes(run: Run) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def script(link: Link) -> None:
            await link.request()
            asked.set()
            await link.gone()

        async with serving(script) as server, asking() as client:
            task = asyncio.get_running_loop().create_task(get(client, server.url(), method="POST"))
            await asked.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


def test_cancel_in_the_body_closes(run: Run) -> None:
    async def main() -> None:
        got = asyncio.Event()

        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM + b"1\r\na\r\n")
            await link.gone()

        async def reads(url: str) -> None:
            async with asking() as other, await get(other, url) as response:
                async for _ in response:
                    got.set()

        async with serving(script) as server:
            task = asyncio.get_running_loop().create_task(reads(server.url()))
            await got.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


def test_cancel_in_the_tls_handshake_closes(run: Run) -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def script(link: Link) -> None:
            await link.reader.readexactly(1)  # the client's hello, which gets no answer
            asked.set()
            await link.gone()

        async with serving(script) as server, asking() as client:
            url = server.url().replace("http:", "https:")
            task = asyncio.get_running_loop().create_task(get(client, url))
            await asked.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(main())


def deaf() -> tuple[socket.socket, list[socket.socket]]:
    """A listening socket whose queue is full: a connection to it neither succeeds nor fails."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        waiting.append(filler)
    return listener, waiting


def test_connect_that_hangs_times_out_unsent(run: Run) -> None:
    async def main() -> None:
        listener, waiting = deaf()
        with closing(listener):
            async with asking(connect_timeout_s=0.05) as client:
                with pytest.raises(OutboundError) as caught:
                    await get(client, f"http://127.0.0.1:{listener.getsockname()[1]}/")
            assert (caught.value.kind, caught.value.sent) == ("connect", False)
        for filler in waiting:
            filler.close()

    run(main())


def test_connect_that_hangs_can_be_cancelled(run: Run) -> None:
    async def main() -> None:
        listener, waiting = deaf()
        with closing(listener):
            async with asking() as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await get(client, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        for filler in waiting:
            filler.close()

    run(main())


def test_total_time_shorter_than_the_connect_time_is_a_timeout_unsent(run: Run) -> None:
    async def main() -> None:
        listener, waiting = deaf()
        with closing(listener):
            async with asking(connect_timeout_s=5) as client:
                with pytest.raises(OutboundError) as caught:
                    await get(client, f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.05)
            assert (caught.value.kind, caught.value.sent) == ("timeout", False)
        for filler in waiting:
            filler.close()

    run(main())


def test_refused_connection_is_unsent(run: Run) -> None:
    async def main() -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            port = listener.getsockname()[1]
        async with asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, f"http://127.0.0.1:{port}/")
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_name_that_does_not_exist_is_unsent(run: Run) -> None:
    async def main() -> None:
        async with asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, "http://nowhere.invalid/")
        assert (caught.value.kind, caught.value.sent) == ("connect", False)

    run(main())


def test_slow_head_is_a_timeout_and_closes(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.gone()

        async with serving(script) as server, asking() as client:
            with pytest.raises(OutboundError) as caught:
                await get(client, server.url(), timeout_s=0.5)
            assert (caught.value.kind, caught.value.sent) == ("timeout", True)

    run(main())


def test_stalled_body_is_idle_and_closes(run: Run) -> None:
    async def main() -> None:
        async def script(link: Link) -> None:
            await link.request()
            await link.send(STREAM + b"1\r\na\r\n")
            await link.gone()

        async with serving(script) as server, asking() as client:
            response = await client.request("GET", server.url(), headers={}, timeout_s=HANG_S, idle_timeout_s=0.05)
            async with response:
                with pytest.raises(OutboundError) as caught:
                    await response.read(10)
            assert caught.value.kind == "idle"

    run(main())
