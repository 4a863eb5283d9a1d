"""Metrics: nothing is lost between a call and the flush, nothing counted twice."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.samples import Sample

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


def test_how_long_calls_last_is_told_as_if_each_was_observed() -> None:
    lasted_ms = (0, 20, 50, 51, 999, 1_000, 1_001, 400_000)
    registry = CollectorRegistry()
    meters = Meters(registry)
    bounds_s = [float(sample.labels["le"]) for sample in _buckets(registry)]
    plain = CollectorRegistry()
    one_by_one = Histogram("perquery_call_seconds", "Whole calls", buckets=bounds_s, registry=plain)
    for _ in range(2):
        for total_ms in lasted_ms:
            meters.called("up", Bill("complete", Usage({}), (), 1_000, 900), total_ms)
            one_by_one.observe(total_ms / 1_000)
        meters.flush(0, Live())
    told = [(sample.labels["le"], sample.value) for sample in _buckets(registry)]
    assert told == [(sample.labels["le"], sample.value) for sample in _buckets(plain)]
    for name in ("perquery_call_seconds_count", "perquery_call_seconds_sum"):
        assert registry.get_sample_value(name) == pytest.approx(plain.get_sample_value(name))


def _buckets(registry: CollectorRegistry) -> list[Sample]:
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return [sample for sample in samples if sample.name == "perquery_call_seconds_bucket"]
