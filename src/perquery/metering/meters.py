"""What Prometheus sees. A call only adds to plain figures; `flush` carries them over, each second.

Looking up and locking a series costs microseconds, and a call would touch six of them.
"""

from __future__ import annotations

from collections import Counter as Tally
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
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


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
        self._seconds = Histogram("perquery_call_seconds", "Whole calls", buckets=_SECONDS, registry=registry)
        self._in_flight = Gauge("perquery_in_flight", "Calls in flight", registry=registry, multiprocess_mode="livesum")
        self._latency, self._throughput, self._failing = (
            Gauge(f"perquery_route_{name}", said, ["provider", "model"], registry=registry, multiprocess_mode=_MODE)
            for name, said in _ROUTE_FIGURES
        )
        self._rules: Tally[str] = Tally()
        self._takings: Tally[str] = Tally()
        self._failures: Tally[str] = Tally()
        self._lasted_ms: list[int] = []
        self._paid = 0

    def called(self, provider: str, paid: Bill, total_ms: int) -> None:
        """A call was settled."""
        self._rules[paid.rule] += 1
        self._takings[provider] += paid.upstream
        self._paid += paid.charge
        self._lasted_ms.append(total_ms)
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
        for lasted_ms in self._lasted_ms:
            self._seconds.observe(lasted_ms / 1000)
        self._lasted_ms.clear()
        self._in_flight.set(in_flight)
        for provider, model, pulse in live.all():
            self._failing.labels(provider, model).set(pulse.failed)
            if pulse.latency_us is not None:
                latency_s = pulse.latency_us / 1_000_000
                self._latency.labels(provider, model).set(latency_s)
            if pulse.milli_tokens is not None:
                tokens_a_s = pulse.milli_tokens / 1_000
                self._throughput.labels(provider, model).set(tokens_a_s)
