"""`python -m bench.client`: CPU microseconds of a request in our client and in pyreqwest, before one upstream.

The upstream is a process of its own; what is counted is this process's CPU (all threads), user and system. It
must never be imported by the package, and no test waits for its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import uvloop
from pyreqwest.client import Client as Pyreqwest
from pyreqwest.client import ClientBuilder

from bench import bodies
from perquery.outbound import Client

CONCURRENT = 64
HEADERS = {"content-type": "application/json", "authorization": "Bearer none", "accept": "*/*"}
# Name, request, how often. Unpaced, events pile up in the socket and one read brings several, which our client
# delivers as one piece; paced at 20 ms, each comes alone and both clients do the same work.
MEASURED = (
    ("plain", bodies.ask(stream=False), 20_000),
    ("stream", bodies.ask(stream=True), 2_000),
    ("paced", bodies.ask(stream=True, model=bodies.GAP_MODEL), 2 * CONCURRENT),
)
# One request: (bytes of the body, pieces it came in).
Once = Callable[[bytes], Awaitable[tuple[int, int]]]


@contextmanager
def upstream() -> Iterator[int]:
    """The port of an upstream that lives as long as the block."""
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def ours(client: Client, url: str) -> Once:
    async def once(body: bytes) -> tuple[int, int]:
        size = pieces = 0
        response = await client.request("POST", url, headers=HEADERS, body=body, timeout_s=60, idle_timeout_s=60)
        async with response:
            async for chunk in response:
                size += len(chunk)
                pieces += 1
        return size, pieces

    return once


def theirs(client: Pyreqwest, url: str) -> Once:
    async def once(body: bytes) -> tuple[int, int]:
        size = pieces = 0
        request = client.post(url).headers(HEADERS).body_bytes(body).streamed_read_buffer_limit(0)
        async with request.build_streamed() as response:
            while chunk := await response.body_reader.read_chunk():
                size += len(chunk)
                pieces += 1
        return size, pieces

    return once


async def weigh(once: Once, body: bytes, requests: int) -> tuple[float, float, float, float]:
    """(CPU µs a request, requests a second, pieces a request, bytes a request) at CONCURRENT in flight."""
    left = requests
    size = pieces = 0

    async def works() -> None:
        nonlocal left, size, pieces
        while left > 0:
            left -= 1
            got = await once(body)
            size += got[0]
            pieces += got[1]

    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(works() for _ in range(CONCURRENT)))
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - started
    return cpu / requests * 1e6, requests / elapsed, pieces / requests, size / requests


async def measure(port: int, runs: int, scale: float) -> None:
    url = f"http://127.0.0.1:{port}{bodies.PATH}"
    mine = Client()
    peer = ClientBuilder().follow_redirects(False).timeout(timedelta(seconds=60)).build()
    print(f"{'':8} {'client':10} {'µs CPU':>8} {'req/s':>8} {'pieces':>7} {'bytes':>7}")
    async with peer:
        for name, body, count in MEASURED:
            requests = max(CONCURRENT, int(count * scale))
            subjects = {"outbound": ours(mine, url), "pyreqwest": theirs(peer, url)}
            for once in subjects.values():
                await weigh(once, body, max(CONCURRENT, requests // 10))
            taken: dict[str, list[tuple[float, float, float, float]]] = {subject: [] for subject in subjects}
            for _ in range(runs):  # in turn, so that the machine's moods hit both
                for subject, once in subjects.items():
                    taken[subject].append(await weigh(once, body, requests))
            for subject, figures in taken.items():
                cpu, rate, pieces, size = (statistics.median(column) for column in zip(*figures, strict=True))
                print(f"{name:8} {subject:10} {cpu:8.1f} {rate:8.0f} {pieces:7.1f} {size:7.0f}")
    await mine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Our client beside pyreqwest, before one upstream.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, of which the median is shown")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="requests, as a part of 20,000 plain and 2,000 streamed"
    )
    asked = parser.parse_args()
    with upstream() as port:
        uvloop.run(measure(port, asked.runs, asked.scale))


if __name__ == "__main__":
    main()
