"""Which upstreams are tried first."""

from __future__ import annotations

from perquery.calls import Price, Route
from perquery.errors import UpstreamError
from perquery.metering.health import HOUSE_TROUBLE_S, Health

PRICE = Price(((0, {"input": 1}),))
A, B, A2 = Route("a", "m", PRICE), Route("b", "m", PRICE), Route("a", "m2", PRICE)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_in_their_own_order_while_all_is_well() -> None:
    assert Health(Clock()).ordered((A, B)) == (A, B)


def test_a_failing_upstream_goes_last_and_comes_back() -> None:
    clock = Clock()
    health = Health(clock)
    health.failed(A, UpstreamError("down", "x"))
    assert health.ordered([A, A2, B]) == [B, A, A2]
    clock.now = 1.5
    assert health.ordered([A, A2, B]) == [A, A2, B]


def test_failures_in_a_row_bench_longer_until_a_success() -> None:
    clock = Clock()
    health = Health(clock)
    for _ in range(3):
        health.failed(A, UpstreamError("down", "x"))
    clock.now = 10.0
    assert health.ordered([A, B]) == [B, A]
    health.succeeded(A)
    assert health.ordered([A, B]) == [A, B]


def test_a_busy_model_benches_only_itself() -> None:
    health = Health(Clock())
    health.failed(A, UpstreamError("busy", "x", status=429, retry_after_s=30))
    assert health.ordered([A, A2, B]) == [A2, B, A]


def test_the_houses_troubles_bench_for_long() -> None:
    clock = Clock()
    health = Health(clock)
    health.failed(A, UpstreamError("funds", "empty"))
    clock.now = HOUSE_TROUBLE_S - 1
    assert health.ordered([A, B]) == [B, A]


def test_what_the_caller_caused_benches_nothing() -> None:
    health = Health(Clock())
    health.failed(A, UpstreamError("refused", "bad", status=400))
    assert health.ordered([A, B]) == [A, B]
