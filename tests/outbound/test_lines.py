"""Lines: whole ones, however they come; and ends of every kind."""

from __future__ import annotations

import asyncio

import pytest

from perquery.outbound import OutboundError
from perquery.outbound.lines import LINE_BYTES_MAX, Lines
from tests.outbound.conftest import Run
from tests.outbound.wire import Link, asking, serving


async def refused(url: str) -> OutboundError:
    async with asking() as client:
        with pytest.raises(OutboundError) as caught:
            await client.lines(url)
    return caught.value


def test_lines_there_and_back(run: Run) -> None:
    async def talk(link: Link) -> None:
        heard = await link.reader.readuntil(b"two\n")
        assert heard == b"one\ntwo\n"
        for piece in (b"a", b"b\nc\n\n", b"d" * 100_000, b"\n"):
            link.writer.write(piece)
            await link.writer.drain()

    async def main() -> None:
        async with serving(talk) as server, asking() as client:
            lines = await client.lines(f"tcp://127.0.0.1:{server.port}")
            lines.send(b"one")
            lines.send(b"two")
            assert [await lines.receive() for _ in range(4)] == [b"ab", b"c", b"", b"d" * 100_000]
            with pytest.raises(OutboundError, match="closed the connection") as caught:
                await lines.receive()
            assert (caught.value.kind, caught.value.sent) == ("broken", True)
            lines.send(b"nobody hears")
            lines.close()

    run(main())


def test_a_line_without_an_end_is_cut_off(run: Run) -> None:
    async def main() -> None:
        lines = Lines()
        for _ in range(LINE_BYTES_MAX // 2**20 + 1):
            lines.data_received(bytes(2**20))
        lines.data_received(b"\n")
        with pytest.raises(OutboundError, match="longer than"):
            await lines.receive()

    run(main())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "tcp://", "tcp://127.0.0.1:99999"])
def test_where_no_lines_are(url: str) -> None:
    assert asyncio.run(refused(url)).kind == "refused"


def test_nobody_there() -> None:
    assert asyncio.run(refused("tcp://127.0.0.1:1")).kind == "connect"
