"""The pool's counts and turns."""

from __future__ import annotations

import asyncio
import gc
import weakref

from perquery.outbound.connection import Connection
from perquery.outbound.pool import OriginPool
from perquery.rounds import Round
from tests.outbound.bed import HEAD, Cranked, Notebook, cranked


def connected(loop: Cranked, pool: OriginPool, transport: Notebook | None = None) -> Connection:
    """A busy connection of the pool."""
    pool.opens()
    connection = Connection(loop, pool, Round(loop))
    connection.connection_made(transport or Notebook())
    pool.opened(connection)
    return connection


def finish(connection: Connection) -> None:
    """One exchange, from request to kept."""
    connection.send([b"ask"], deadline=5000, idle_s=100)
    connection._round.end()
    connection.data_received(HEAD + b"0" * 10)


def test_last_used_is_taken_first() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(10, 60)
        first, second = connected(loop, pool), connected(loop, pool)
        finish(first)
        finish(second)
        assert [pool.take(), pool.take(), pool.take()] == [second, first, None]
        pool.close()

    cranked(main)


def test_closing_connection_is_not_taken() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(10, 60)
        connection = connected(loop, pool)
        finish(connection)
        connection.close()
        assert pool.take() is None

    cranked(main)


def test_connection_whose_transport_closes_is_not_taken() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(10, 60)
        transport = Notebook()
        finish(connected(loop, pool, transport))
        transport.closed = True
        assert pool.take() is None

    cranked(main)


def test_connection_lost_while_idle_is_forgotten() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(10, 60)
        connection = connected(loop, pool)
        finish(connection)
        connection.eof_received()
        known = weakref.ref(connection)
        del connection
        gc.collect()
        assert known() is None

    cranked(main)


def test_dropping_the_idle_leaves_the_busy() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(10, 60)
        idle, busy = connected(loop, pool), connected(loop, pool)
        finish(idle)
        pool.drop_idle()
        assert (idle.usable, busy.usable) == (False, True)
        pool.close()

    cranked(main)


def test_turns_come_in_order_and_one_by_one() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(1, 60)
        order: list[int] = []

        async def wait(number: int) -> Connection:
            await pool.turn()
            order.append(number)
            return pool.take() or connected(loop, pool)

        busy = connected(loop, pool)
        waiting = [loop.create_task(wait(number)) for number in range(3)]
        await loop.pass_time(0)
        assert order == []
        finish(busy)
        await loop.pass_time(0)
        assert order == [0]
        waiting[0].result().close()
        await loop.pass_time(0)
        assert order == [0, 1]
        waiting[1].result().close()
        await loop.pass_time(0)
        assert order == [0, 1, 2]
        pool.close()

    cranked(main)


def test_turn_of_a_cancelled_waiter_goes_to_the_next() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(1, 60)
        busy = connected(loop, pool)
        first, second = loop.create_task(pool.turn()), loop.create_task(pool.turn())
        await loop.pass_time(0)
        busy.close()  # gives the turn to the first
        first.cancel()
        await asyncio.wait([first, second], timeout=None)
        assert first.cancelled()
        assert second.exception() is None

    cranked(main)


def test_failed_opening_frees_its_place() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(1, 60)
        pool.opens()
        assert pool.full
        waiting = loop.create_task(pool.turn())
        await loop.pass_time(0)
        pool.opened(None)
        await waiting
        assert not pool.full

    cranked(main)


def test_connection_made_while_the_pool_closes_is_closed() -> None:
    async def main(loop: Cranked) -> None:
        pool = OriginPool(1, 60)
        pool.close()
        assert not connected(loop, pool).usable

    cranked(main)
