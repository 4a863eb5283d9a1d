"""Following invoices over HTTP: a real gateway on a real socket, callers that leave, a gateway that stops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perquery import money
from perquery.rails import sandbox
from perquery.store.drivers import wall_ms
from perquery.topups.feed import STREAMS_MAX
from tests.fire.bed import Account, Bed, lit, turns

SETTINGS: Mapping[str, Any] = {"mode": "sandbox"}


class Stream:
    """GET /topup/events as a plain client reads it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""

    async def line(self, start: str) -> str:
        """The rest of the next line that begins so."""
        async with asyncio.timeout(30):
            while line := await self.reader.readline():
                if line.decode().startswith(start):
                    return line.decode().removeprefix(start).strip()
        raise AssertionError(f"the stream ended before {start!r}")

    async def end(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.reader.read()


async def follow(bed: Bed, account: Account, query: str = "", last: str | None = None) -> Stream:
    stream = Stream(*await asyncio.open_connection("127.0.0.1", bed.port))
    resumed = f"last-event-id: {last}\r\n" if last is not None else ""
    head = f"GET /topup/events{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key}\r\n{resumed}\r\n"
    stream.writer.write(head.encode())
    async with asyncio.timeout(30):
        stream.head = (await stream.reader.readuntil(b"\r\n\r\n")).decode()
    return stream


async def created(bed: Bed, account: Account, key: str = "once") -> tuple[str, bytes]:
    """The status and the body of a creation."""
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
    body = b'{"amount": 1}'
    head = f"POST /topup/create/btc-lightning HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {account.key}\r\n"
    head += f"idempotency-key: {key}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answered, _, content = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    return answered.decode().split(" ")[1], content


def test_a_payment_is_told_and_ends_the_stream_of_its_invoice(tmp_path: Path) -> None:
    async def scene() -> None:
        async with lit(tmp_path, **SETTINGS) as bed:
            account = await bed.account("0.01")
            status, content = await created(bed, account)
            assert (status, content) == await created(bed, account)
            invoice = money.from_json(content)
            stream = await follow(bed, account, f"?invoice_id={invoice['invoice_id']}")
            assert " 200 " in stream.head and "text/event-stream" in stream.head
            first = await stream.line("id: ")
            assert money.from_json(await stream.line("data: "))["status"] == "New"
            sandbox.pay(tmp_path, invoice["lightning_invoice"], wall_ms)
            while money.from_json(await stream.line("data: "))["status"] != "Settled":
                pass
            assert (await stream.end()).endswith(b"0\r\n\r\n")
            again = await follow(bed, account, f"?invoice_id={invoice['invoice_id']}", last=first)
            resumed = await again.end()
            assert b'"Settled"' in resumed
            last = resumed.decode().rpartition("id: ")[2].split("\n")[0]
            over = await follow(bed, account, f"?invoice_id={invoice['invoice_id']}", last=last)
            assert " 204 " in over.head
            for each in (stream, again, over):
                each.writer.close()

    asyncio.run(scene())


def test_streams_are_bounded_and_a_caller_who_leaves_makes_room(tmp_path: Path) -> None:
    async def scene() -> None:
        async with lit(tmp_path, **SETTINGS) as bed:
            account = await bed.account("0.01")
            streams = [await follow(bed, account) for _ in range(STREAMS_MAX)]
            refused = await follow(bed, account)
            assert " 429 " in refused.head
            for stream in (*streams, refused):
                await stream.line("id: ") if stream is not refused else None
                stream.writer.close()
            await bed.noticed()
            async with asyncio.timeout(30):
                while " 200 " not in (stream := await follow(bed, account)).head:
                    stream.writer.close()
                    await turns(10)
            stream.writer.close()

    asyncio.run(scene())


def test_a_stop_ends_streams_at_once(tmp_path: Path) -> None:
    async def scene() -> None:
        async with lit(tmp_path, **SETTINGS) as bed:
            stream = await follow(bed, await bed.account("0.01"))
            await stream.line("id: ")
            bed.server.should_exit = True
            assert (await stream.end()).endswith(b"0\r\n\r\n")
            stream.writer.close()
            async with asyncio.timeout(10):
                await asyncio.shield(bed.serving)

    asyncio.run(scene())


def test_what_is_no_id_of_an_event_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with lit(tmp_path, **SETTINGS) as bed:
            account = await bed.account("0.01")
            for query, last, status in (("", "x", " 400 "), ("?invoice_id=unknown", None, " 404 ")):
                stream = await follow(bed, account, query, last)
                assert status in stream.head
                stream.writer.close()

    asyncio.run(scene())
