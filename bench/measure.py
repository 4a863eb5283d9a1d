"""The measurements: each one run of load against one subject, weighed from outside.

A measurement gives figures by name; the median over runs is taken here, the judgement in `report`.
"""

from __future__ import annotations

import statistics
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import bodies, load, machine, messages, processes
from bench.load import Outcome, Plan, quantile
from bench.subjects import Subject

Figures = dict[str, float]
CONCURRENT = 64
SATURATING = 128
OPEN_RATE = 1_000
LATE_NS = 5_000_000
# caller's shape and upstream's: (the shape, the model that such an upstream serves)
PAIRS = {
    "chat_chat": ("chat", bodies.MODEL),
    "messages_chat": ("messages", bodies.MODEL),
    "chat_messages": ("chat", messages.MODEL),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how often. Seconds are those of one run."""

    runs: int = 3
    seconds: float = 4.0
    warm_up_s: float = 1.0
    paced_s: float = 5.0
    requests: int = 100_000


@dataclass(frozen=True, slots=True)
class Bench:
    sizes: Sizes
    folder: Path  # on the disk of the gateway's database


def _ms(ascending: array[int], part: float) -> float:
    return quantile(ascending, part) / 1e6


def _resident_mib(subject: Subject) -> float:
    weigh = processes.resident_bytes if subject.one_process else processes.tree_resident_bytes
    return weigh(subject.pid) / 2**20


def _weigh(subject: Subject, plan: Plan) -> tuple[Outcome, Figures]:
    """One run, with the CPU and the memory of the subject's process tree."""
    cpu_before, before = processes.cpu_us(subject.pid), time.monotonic()
    outcome = load.run(plan)
    cpu, elapsed_s = processes.cpu_us(subject.pid) - cpu_before, time.monotonic() - before
    good = outcome.statuses.get(200, 0)
    return outcome, {
        "requests": outcome.completed,
        "failed": outcome.completed - good + sum(outcome.errors.values()),
        "cpu_us": cpu / max(1, outcome.completed),
        "busy_percent": cpu / elapsed_s / 10_000,
        "requests_per_s": outcome.requests_per_s,
        "p50_ms": _ms(outcome.latencies_ns, 0.50),
        "p99_ms": _ms(outcome.latencies_ns, 0.99),
        "resident_mib": _resident_mib(subject),
        "tree_resident_mib": processes.tree_resident_bytes(subject.pid) / 2**20,
        "costs_checked": outcome.costs_checked,
    }


def _plan(
    subject: Subject,
    *,
    stream: bool = False,
    model: str = bodies.MODEL,
    shape: str = "chat",
    connections: int = CONCURRENT,
    seconds: float | None = None,
    count: int | None = None,
    rate: float | None = None,
) -> Plan:
    address, request = subject.request(stream=stream, model=model, shape=shape)
    stamped = model == bodies.GAP_MODEL
    return Plan(
        address,
        request,
        connections=connections,
        seconds=seconds,
        count=count,
        rate=rate,
        # Callers of a paced stream start at random in life; in step they would send 64 events at one instant.
        spread_s=bodies.GAP_MS / 1_000 * 10 if stamped else 0.0,
        verify_cost=subject.pays,
        stamped=stamped,
    )


def plain(bench: Bench, subject: Subject) -> Figures:
    """Plain chat completions, 64 concurrent callers."""
    return _weigh(subject, _plan(subject, seconds=bench.sizes.seconds))[1]


def stream(bench: Bench, subject: Subject) -> Figures:
    """Streams of 100 chunks as fast as they come, 64 concurrent callers."""
    outcome, figures = _weigh(subject, _plan(subject, stream=True, seconds=bench.sizes.seconds))
    return figures | {"pieces": outcome.pieces / max(1, outcome.completed)}


def saturation(bench: Bench, subject: Subject) -> Figures:
    """Plain chat completions with more callers than one core can serve."""
    return _weigh(subject, _plan(subject, connections=SATURATING, seconds=bench.sizes.seconds))[1]


def open_loop(bench: Bench, subject: Subject) -> Figures:
    """1,000 plain requests arrive each second, whatever becomes of those before; the disk's fsync beside it."""
    fsync_p50_us, fsync_p99_us = machine.fsync_us(bench.folder)
    outcome, figures = _weigh(subject, _plan(subject, seconds=bench.sizes.seconds, rate=OPEN_RATE))
    figures["lag_p99_ms"] = _ms(outcome.lag_ns, 0.99)
    return figures | {"fsync_p50_ms": fsync_p50_us / 1_000, "fsync_p99_ms": fsync_p99_us / 1_000}


def paced(bench: Bench, subject: Subject) -> Figures:
    """Streams with 20 ms between events: how long each event takes from the upstream's send to the caller."""
    plan = _plan(subject, stream=True, model=bodies.GAP_MODEL, seconds=bench.sizes.paced_s)
    outcome, figures = _weigh(subject, plan)
    delays = outcome.event_delays_ns
    late = sum(1 for delay in delays if delay > LATE_NS)
    return figures | {
        "events": len(delays),
        "event_p50_ms": _ms(delays, 0.50),
        "event_p99_ms": _ms(delays, 0.99),
        "event_max_ms": _ms(delays, 1.0),
        "late_per_million": 1e6 * late / max(1, len(delays)),
        "pieces": outcome.pieces / max(1, outcome.completed),
    }


def memory(bench: Bench, subject: Subject) -> Figures:
    """Resident memory of the process before, half-way through and after a great many plain requests."""
    start_mib = _resident_mib(subject)
    plan = _plan(subject, count=bench.sizes.requests // 2)
    first = _weigh(subject, plan)[1]
    second = _weigh(subject, plan)[1]
    return second | {
        "requests": first["requests"] + second["requests"],
        "failed": first["failed"] + second["failed"],
        "start_mib": start_mib,
        "middle_mib": first["resident_mib"],
        "end_mib": second["resident_mib"],
        "grown_mib": second["resident_mib"] - first["resident_mib"],
    }


def translated(bench: Bench, subject: Subject) -> Figures:
    """CPU where one side speaks Messages and the other chat, in turns with chat on both, and the ratio to that."""
    figures: Figures = {"requests": 0, "failed": 0}
    for way, stream in (("plain", False), ("stream", True)):
        for pair, (shape, model) in PAIRS.items():
            plan = _plan(subject, stream=stream, shape=shape, model=model, seconds=bench.sizes.seconds / 2)
            found = _weigh(subject, plan)[1]
            figures[f"{pair}_{way}_us"] = found["cpu_us"]
            figures |= {name: figures[name] + found[name] for name in ("requests", "failed")}
        for pair in PAIRS:
            figures[f"{pair}_{way}"] = figures[f"{pair}_{way}_us"] / figures[f"chat_chat_{way}_us"]
    return figures


@dataclass(frozen=True, slots=True)
class Measurement:
    run: Callable[[Bench, Subject], Figures]
    repeated: bool = True  # the median of `runs`; False: once
    paid_only: bool = False  # of subjects that pay; the yardstick has no such figure


MEASUREMENTS: Mapping[str, Measurement] = {
    "plain": Measurement(plain),
    "stream": Measurement(stream),
    "saturation": Measurement(saturation),
    "open": Measurement(open_loop),
    "latency": Measurement(paced),
    "translated": Measurement(translated, paid_only=True),
    "memory": Measurement(memory, repeated=False, paid_only=True),
}

# measurement → subject → one entry per run
Results = dict[str, dict[str, list[Figures]]]


def warm_up(bench: Bench, subject: Subject) -> None:
    """A little of everything, so that no pool, cache or page is touched for the first time in a figure."""
    for streamed in (False, True):
        load.run(_plan(subject, stream=streamed, seconds=bench.sizes.warm_up_s))


def run_all(bench: Bench, subjects: list[Subject], names: list[str], tell: Callable[[str], None]) -> Results:
    """All measurements; the subjects take turns run by run, so that a slow moment of the machine meets both."""
    results: Results = {}
    for subject in subjects:
        warm_up(bench, subject)
    for name in names:
        measurement = MEASUREMENTS[name]
        found: dict[str, list[Figures]] = {}
        chosen = [subject for subject in subjects if subject.pays or not measurement.paid_only]
        for turn in range(bench.sizes.runs if measurement.repeated else 1):
            for subject in chosen:
                figures = measurement.run(bench, subject)
                found.setdefault(subject.name, []).append(figures)
                tell(f"{name} {subject.name} run {turn + 1}: {brief(figures)}")
        results[name] = found
    return results


def brief(figures: Figures) -> str:
    """The few figures that one wants to see go by."""
    shown = ("requests", "failed", "cpu_us", "requests_per_s", "p50_ms", "p99_ms", "busy_percent", "resident_mib")
    return ", ".join(f"{name} {figures[name]:,.4g}" for name in shown if name in figures)


def medians(runs: list[Figures]) -> Figures:
    """The median of each figure over the runs; of failures the sum."""
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return middle | {"failed": sum(run["failed"] for run in runs)}
