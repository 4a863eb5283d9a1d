"""Live figures: the first is taken as it is, each later one moves them a part of the way."""

from __future__ import annotations

from perquery.calls import Price, Route
from perquery.metering.live import Live

A = Route("a", "m", Price(((0, {"input": 1}),)))


def test_nothing_is_known_before_anything_was_asked() -> None:
    pulse = Live().of(A)
    assert (pulse.latency_us, pulse.milli_tokens, pulse.uptime_ppm) == (None, None, None)


def test_an_eighth_of_the_way() -> None:
    live = Live()
    live.spoke(A, 0.8)
    live.ended(A, 100, 2.0)
    assert (live.of(A).latency_us, live.of(A).milli_tokens) == (800_000, 50_000)
    live.spoke(A, 1.6)
    live.ended(A, 100, 1.0)
    assert (live.of(A).latency_us, live.of(A).milli_tokens) == (900_000, 56_250)


def test_short_answers_say_nothing_of_throughput_but_that_it_works() -> None:
    live = Live()
    live.failed(A)
    live.ended(A, 15, 1.0)
    assert live.of(A).milli_tokens is None
    assert live.of(A).uptime_ppm == 1_000_000 - (31_250 - 976)


def test_an_answer_in_no_time_is_no_division_by_zero() -> None:
    live = Live()
    live.ended(A, 16, 0.0)
    assert live.of(A).milli_tokens == 16 * 10**9


def test_what_always_fails_goes_towards_none() -> None:
    live = Live()
    for _ in range(500):
        live.failed(A)
    assert 0 <= (live.of(A).uptime_ppm or 0) < 100
