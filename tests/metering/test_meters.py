"""Metrics: nothing is lost between a call and the flush, nothing counted twice."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from perquery.calls import Usage
from perquery.metering.live import Live
from perquery.metering.meters import Meters
from perquery.metering.settlement import Bill


def test_calls_are_seen_once_flushed() -> None:
    registry = CollectorRegistry()
    meters = Meters(registry)
    for _ in range(3):
        meters.called("up", Bill("complete", Usage({}), (), 1_000, 900, ("search",)), 20)
    meters.failed("upstream_down")
    assert registry.get_sample_value("perquery_calls_total", {"rule": "complete"}) is None
    for _ in range(2):
        meters.flush(7, Live())
    assert registry.get_sample_value("perquery_calls_total", {"rule": "complete"}) == 3
    assert registry.get_sample_value("perquery_charged_nano_usd_total") == 3_000
    assert registry.get_sample_value("perquery_upstream_nano_usd_total", {"provider": "up"}) == 2_700
    assert registry.get_sample_value("perquery_failures_total", {"code": "upstream_down"}) == 1
    assert registry.get_sample_value("perquery_unpriced_total", {"unit": "search"}) == 3
    assert registry.get_sample_value("perquery_call_seconds_count") == 3
    assert registry.get_sample_value("perquery_in_flight") == 7
