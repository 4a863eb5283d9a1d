"""What Prometheus sees. A call only adds to plain figures; `flush` carries them over, each second.

Looking up and locking a series costs microseconds, and a call would touch six of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from perquery.metering.live import Live
from perquery.metering.settlement import Bill

FLUSH_S = 1
_MODE: Final = "livemostrecent"
_ROUTE_FIGURES: Final = (
    ("latency_seconds", "From the request to the first event of a stream, lately"),
    ("tokens_per_second", "Output tokens a second of whole answers, lately"),
    ("failing_ppm", "Attempts of a million that fail, lately"),
)
_BOUNDS_MS: Final = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000)


class _Spread(Histogram):
    """A histogram that takes in a second's calls together: one at a time they would hold the event loop up."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """counts: of each bucket, the last one without a bound; total: of all that is counted."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Meters:
    """Used from one event loop. Amounts in nano-USD."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "perquery_calls", "Calls that were settled, by the rule that decided who pays", ["rule"], registry=registry
        )
        self._charged = Counter("perquery_charged_nano_usd", "What callers paid", registry=registry)
        self._upstream = Counter("perquery_upstream_nano_usd", "What upstreams take", ["provider"], registry=registry)
        self._unpriced = Counter(
            "perquery_unpriced", "Billable figures that no price names", ["unit"], registry=registry
        )
        self._drifts = Counter(
            "perquery_price_drifts",
            "Calls whose upstream took other than its listed price",
            ["provider"],
            registry=registry,
        )
        self._failed = Counter("perquery_failures", "Calls that were refused or failed", ["code"], registry=registry)
        bounds_s = [bound_ms / 1_000 for bound_ms in _BOUNDS_MS]
        self._seconds = _Spread("perquery_call_seconds", "Whole calls", buckets=bounds_s, registry=registry)
        self._in_flight = Gauge("perquery_in_flight", "Calls in flight", registry=registry, multiprocess_mode="livesum")
        self._latency, self._throughput, self._failing = (
            Gauge(f"perquery_route_{name}", said, ["provider", "model"], registry=registry, multiprocess_mode=_MODE)
            for name, said in _ROUTE_FIGURES
        )
        self._rules: Tally[str] = Tally()
        self._takings: Tally[str] = Tally()
        self._failures: Tally[str] = Tally()
        self._lasting = [0] * (len(_BOUNDS_MS) + 1)  # calls by how long they lasted
        self._lasted_ms = 0
        self._paid = 0

    def called(self, provider: str, paid: Bill, total_ms: int) -> None:
        """A call was settled."""
        self._rules[paid.rule] += 1
        self._takings[provider] += paid.upstream
        self._paid += paid.charge
        self._lasting[bisect_left(_BOUNDS_MS, total_ms)] += 1
        self._lasted_ms += total_ms
        if paid.drifted:
            self._drifts.labels(provider).inc()
        for unit in paid.unpriced:
            self._unpriced.labels(unit).inc()

    def failed(self, code: str) -> None:
        self._failures[code] += 1

    def flush(self, in_flight: int, live: Live) -> None:
        """Carry everything over to the series."""
        for series, tally in (
            (self._calls, self._rules),
            (self._upstream, self._takings),
            (self._failed, self._failures),
        ):
            for label, amount in tally.items():
                series.labels(label).inc(amount)
            tally.clear()
        self._charged.inc(self._paid)
        self._paid = 0
        lasted_s, self._lasted_ms = self._lasted_ms / 1_000, 0
        self._seconds.add(self._lasting, lasted_s)
        self._lasting = [0] * len(self._lasting)
        self._in_flight.set(in_flight)
        for provider, model, pulse in live.all():
            self._failing.labels(provider, model).set(pulse.failed)
            if pulse.latency_us is not None:
                latency_s = pulse.latency_us / 1_000_000
                self._latency.labels(provider, model).set(latency_s)
            if pulse.milli_tokens is not None:
                tokens_a_s = pulse.milli_tokens / 1_000
                self._throughput.labels(provider, model).set(tokens_a_s)
