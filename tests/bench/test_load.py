"""The load generator against the benchmark's own upstream, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Iterator

import pytest

from bench import bodies, load, processes


@pytest.fixture(scope="module")
def upstream() -> Iterator[load.Address]:
    command = [sys.executable, "-m", "bench.upstream"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield load.Address("127.0.0.1", int(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(10) == 0


def _request(*, stream: bool = False, model: str = bodies.MODEL) -> bytes:
    return bodies.request(host="h", path=bodies.PATH, key="k", body=bodies.ask(stream=stream, model=model))


def test_closed_loop_sends_the_count_and_times_every_answer(upstream: load.Address) -> None:
    outcome = load.run(load.Plan(upstream, _request(), connections=4, count=50))
    assert (outcome.completed, outcome.statuses, outcome.errors) == (50, {200: 50}, {})
    assert outcome.latencies_ns[0] > 0


def test_open_loop_sends_what_its_rate_says(upstream: load.Address) -> None:
    outcome = load.run(load.Plan(upstream, _request(), connections=4, seconds=0.2, rate=500))
    assert (outcome.completed, outcome.statuses) == (100, {200: 100})


def test_a_stream_is_read_to_its_end(upstream: load.Address) -> None:
    outcome = load.run(load.Plan(upstream, _request(stream=True), connections=2, count=4))
    assert (outcome.completed, outcome.statuses, outcome.errors) == (4, {200: 4}, {})
    assert outcome.pieces > 4


def test_a_paced_stream_gives_the_delay_of_every_stamped_event(upstream: load.Address) -> None:
    request = _request(stream=True, model=bodies.GAP_MODEL)
    outcome = load.run(load.Plan(upstream, request, connections=1, count=1, stamped=True))
    assert len(outcome.event_delays_ns) == bodies.CHUNKS
    assert outcome.event_delays_ns[0] > 0
    assert outcome.latencies_ns[0] >= bodies.CHUNKS * bodies.GAP_MS * 1_000_000


def test_an_answer_without_a_cost_is_an_error_where_costs_are_asked_for(upstream: load.Address) -> None:
    outcome = load.run(load.Plan(upstream, _request(), connections=1, count=1, verify_cost=True))
    assert (outcome.costs_checked, outcome.errors) == (1, {"no cost in the answer": 1})


def test_nobody_there_is_said_plainly() -> None:
    with pytest.raises(processes.BenchError, match="cannot reach"):
        load.run(load.Plan(load.Address("127.0.0.1", 1), _request(), connections=1, count=1))


@pytest.mark.parametrize(("part", "expected"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.99, 4), (1.0, 4)])
def test_quantile_is_the_nearest_rank(part: float, expected: int) -> None:
    assert load.quantile(array("q", [1, 2, 3, 4]), part) == expected


def test_quantile_of_nothing_is_zero() -> None:
    assert load.quantile(array("q"), 0.5) == 0
