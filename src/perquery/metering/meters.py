"""What Prometheus sees: a few series, bound once, recorded once a request at its settlement."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from perquery.metering.settlement import Bill

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Meters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Counter(
            "perquery_calls", "Calls that were settled, by the rule that decided who pays", ["rule"], registry=registry
        )
        self._charged = Counter("perquery_charged_nano_usd", "What callers paid", registry=registry)
        self._upstream = Counter("perquery_upstream_nano_usd", "What upstreams take", ["provider"], registry=registry)
        self._unpriced = Counter(
            "perquery_unpriced", "Billable figures that no price names", ["unit"], registry=registry
        )
        self._failed = Counter("perquery_failures", "Calls that were refused or failed", ["code"], registry=registry)
        self._seconds = Histogram("perquery_call_seconds", "Whole calls", buckets=_SECONDS, registry=registry)
        self.in_flight = Gauge("perquery_in_flight", "Calls in flight", registry=registry, multiprocess_mode="livesum")
        self._rule = lru_cache(maxsize=64)(self._calls.labels)
        self._provider = lru_cache(maxsize=256)(self._upstream.labels)

    def called(self, model: str, provider: str, paid: Bill, total_ms: int) -> None:
        self._rule(paid.rule).inc()
        self._charged.inc(paid.charge)
        self._provider(provider).inc(paid.upstream)
        self._seconds.observe(total_ms / 1000)
        for unit in paid.unpriced:
            self._unpriced.labels(unit).inc()

    def failed(self, code: str) -> None:
        self._failed.labels(code).inc()


def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=False)
