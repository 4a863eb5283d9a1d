"""The load generator: raw asyncio protocol and httptools, closed loop (N callers) or open loop (a rate).

It sends one request's bytes over and over and keeps every latency. It must never judge a figure, and never
wait for a slow answer in the open loop: an arrival that finds no free connection is timed from its arrival.
"""

from __future__ import annotations

import asyncio
import gc
import math
import time
from abc import ABC, abstractmethod
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvloop

from bench import bodies
from bench.processes import BenchError

_TICK_S = 0.001  # uvloop's timers have no finer grain
_STALL_S = 60
_ERRORS_MAX = 100
_SAMPLE_EVERY = 50  # of the answers, whose body is kept and looked into


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send where, and what to look for.

    seconds or count ends the run. rate: open loop, requests a second; None: closed loop of `connections`.
    spread_s: the closed loop's callers start evenly over this time. verify_cost: sampled answers must hold a
    numeric `cost`. stamped: the events' own time stamps are compared with the clock at their arrival.
    """

    address: Address
    request: bytes
    connections: int = 64
    seconds: float | None = None
    count: int | None = None
    rate: float | None = None
    spread_s: float = 0.0
    verify_cost: bool = False
    stamped: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Times in ns, ascending; `elapsed_s` and `in_time` count to the end of the sending."""

    completed: int
    in_time: int
    elapsed_s: float
    latencies_ns: array[int]
    event_delays_ns: array[int]
    pieces: int
    statuses: dict[int, int]
    errors: dict[str, int]
    costs_checked: int
    lag_ns: array[int]

    @property
    def requests_per_s(self) -> float:
        return self.in_time / self.elapsed_s if self.elapsed_s else 0.0


def quantile(ascending: array[int], part: float) -> int:
    """The nearest-rank quantile of sorted figures; 0 of none."""
    if not ascending:
        return 0
    return ascending[max(0, math.ceil(part * len(ascending)) - 1)]


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request in flight."""

    __slots__ = ("_kept", "_load", "_parser", "_received_ns", "_started_ns", "_transport", "busy")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._kept: bytearray | None = None
        self._received_ns = 0
        self._started_ns = 0
        self._transport: asyncio.Transport | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def send(self, arrived_ns: int, *, keep: bool) -> None:
        """Sends the request; its latency counts from `arrived_ns`."""
        assert self._transport is not None
        self.busy = True
        self._started_ns = arrived_ns
        self._kept = bytearray() if keep else None
        self._transport.write(self._load.plan.request)

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received_ns = time.monotonic_ns()
        self._load.pieces += 1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._load.errors["malformed"] += 1
            self.close()

    def on_body(self, body: bytes) -> None:
        if self._kept is not None:
            self._kept += body
        load = self._load
        if load.plan.stamped:
            load.event_delays.extend(self._received_ns - sent for sent in bodies.stamps(body))

    def on_message_complete(self) -> None:
        self.busy = False
        self._load.completed_one(self._parser.get_status_code(), self._received_ns - self._started_ns, self._kept)
        if self._parser.should_keep_alive():
            self._load.free(self)
        else:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self.busy:
            self._load.errors["disconnected"] += 1
        self._load.lost(self)


class Load(ABC):
    """The state of one run; how a free connection is used is the kind's."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.errors: Counter[str] = Counter()
        self.event_delays: array[int] = array("q")
        self.pieces = 0
        self._statuses: Counter[int] = Counter()
        self._latencies: array[int] = array("q")
        self._lag: array[int] = array("q")
        self._costs_checked = 0
        self._sent = 0
        self._finished = 0
        self._in_time = 0
        self._started_ns = 0
        self._ends_ns = 0
        self._over = asyncio.Event()
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._idle: deque[Connection] = deque()
        self._broken = ""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._break)

    def _break(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception in a callback ends the run: its figures would be of something else."""
        self._broken = f"{context['message']}: {context.get('exception')!r}"
        self._over.set()

    @abstractmethod
    def free(self, connection: Connection) -> None:
        """A connection has nothing to do."""

    @abstractmethod
    def begin(self) -> None:
        """All connections stand; sending may begin."""

    def completed_one(self, status: int, latency_ns: int, kept: bytearray | None) -> None:
        self._finished += 1
        self._statuses[status] += 1
        self._latencies.append(latency_ns)
        if not self._ends_ns or time.monotonic_ns() <= self._ends_ns:
            self._in_time += 1
        if kept is not None and status == 200:
            self._costs_checked += 1
            if not bodies.COST.search(kept):
                self.errors["no cost in the answer"] += 1

    def lost(self, connection: Connection) -> None:
        """Replaces a connection that the other side closed."""
        self._connections.discard(connection)
        if connection.busy:
            self._finished += 1
        elif connection in self._idle:
            self._idle.remove(connection)
        if sum(self.errors.values()) > _ERRORS_MAX:
            self._over.set()
        if not self._over.is_set():
            task = self._loop.create_task(self._replace())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _replace(self) -> None:
        try:
            self.free(await self._open())
        except OSError:
            self.errors["no connection"] += 1
            self._over.set()

    async def _open(self) -> Connection:
        address = self.plan.address
        _, connection = await self._loop.create_connection(lambda: Connection(self), address.host, address.port)
        self._connections.add(connection)
        return connection

    def _send(self, connection: Connection, arrived_ns: int) -> None:
        keep = self.plan.verify_cost and self._sent % _SAMPLE_EVERY == 0
        self._sent += 1
        connection.send(arrived_ns, keep=keep)

    async def run(self) -> Outcome:
        """Sends all and waits for all answers. Raises BenchError if they stop coming."""
        self._idle.extend([await self._open() for _ in range(self.plan.connections)])
        limit_s = (self.plan.seconds or 1_200) + _STALL_S
        self._started_ns = time.monotonic_ns()
        if self.plan.seconds:
            self._ends_ns = self._started_ns + int(self.plan.seconds * 1e9)
        self.begin()
        try:
            async with asyncio.timeout(limit_s):
                await self._over.wait()
        except TimeoutError as error:
            raise BenchError(f"no end after {limit_s:g} s: {self._finished} of {self._sent} answered") from error
        if self._broken:
            raise BenchError(f"the load generator broke: {self._broken}")
        elapsed_s = self.plan.seconds or (time.monotonic_ns() - self._started_ns) / 1e9
        for connection in tuple(self._connections):
            connection.close()
        return self._outcome(elapsed_s)

    def _outcome(self, elapsed_s: float) -> Outcome:
        return Outcome(
            completed=len(self._latencies),
            in_time=self._in_time,
            elapsed_s=elapsed_s,
            latencies_ns=array("q", sorted(self._latencies)),
            event_delays_ns=array("q", sorted(self.event_delays)),
            pieces=self.pieces,
            statuses=dict(self._statuses),
            errors=dict(self.errors),
            costs_checked=self._costs_checked,
            lag_ns=array("q", sorted(self._lag)),
        )


class ClosedLoop(Load):
    """Every connection is a caller that asks again as soon as it is answered."""

    def begin(self) -> None:
        step_s = self.plan.spread_s / len(self._idle)
        for place, connection in enumerate(self._idle):
            self._loop.call_later(place * step_s, self.free, connection)
        self._idle.clear()

    def free(self, connection: Connection) -> None:
        now = time.monotonic_ns()
        more = now < self._ends_ns if self._ends_ns else self._sent < (self.plan.count or 0)
        if more:
            self._send(connection, now)
        elif self._finished == self._sent:
            self._over.set()


class OpenLoop(Load):
    """Requests arrive at a fixed rate, whatever becomes of those before."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        rate = plan.rate or 1.0
        self._total = int(rate * (plan.seconds or 0))
        self._gap_ns = 1e9 / rate
        self._arrived = 0
        self._waiting: deque[int] = deque()

    def begin(self) -> None:
        self._tick()

    def _tick(self) -> None:
        now = time.monotonic_ns()
        # The timer's own lateness is the generator's, not the gateway's: an arrival is the tick that makes it.
        while self._arrived < self._total:
            due_ns = self._started_ns + int(self._arrived * self._gap_ns)
            if due_ns > now:
                break
            self._arrived += 1
            self._lag.append(now - due_ns)
            if self._idle:
                self._send(self._idle.popleft(), now)
            else:
                self._waiting.append(now)
        if self._arrived < self._total:
            self._loop.call_later(_TICK_S, self._tick)

    def free(self, connection: Connection) -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
            return
        self._idle.append(connection)
        if self._finished == self._total:
            self._over.set()


def run(plan: Plan) -> Outcome:
    """Runs the plan in a loop of its own, the garbage collector off. Raises BenchError."""

    async def once() -> Outcome:
        load = OpenLoop(plan) if plan.rate else ClosedLoop(plan)
        return await load.run()

    gc.collect()
    gc.disable()
    try:
        return uvloop.run(once())
    except OSError as error:
        raise BenchError(f"cannot reach {plan.address.host}:{plan.address.port}: {error}") from error
    finally:
        gc.enable()
