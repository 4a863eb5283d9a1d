"""The table: figures side by side, the targets next to them, and whether each was reached. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bench.measure import Figures, Results, medians

Medians = Mapping[str, Mapping[str, Figures]]  # measurement → subject → figures
YARDSTICK = "nginx"
JUDGED = "perquery"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. compare: times the yardstick or what is added to it; reached: on that, or the figure."""

    measurement: str
    figure: str
    title: str
    compare: Literal["ratio", "added"] | None = None
    target: str = ""
    reached: Callable[[float], bool] | None = None
    paid_only: bool = False


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


ROWS: tuple[Row, ...] = (
    Row("plain", "cpu_us", "plain, 64 callers: CPU µs a request", "ratio", "≤ 12 ×", _at_most(12)),
    Row("plain", "requests_per_s", "— requests/s"),
    Row("plain", "p50_ms", "— p50, ms"),
    Row("plain", "p99_ms", "— p99, ms"),
    Row("plain", "busy_percent", "— its core busy, %"),
    Row("plain", "resident_mib", "— resident memory, MiB"),
    Row("stream", "cpu_us", "stream of 100 chunks, 64 callers: CPU µs a request", "ratio", "≤ 2.5 ×", _at_most(2.5)),
    Row("stream", "requests_per_s", "— requests/s"),
    Row("stream", "p50_ms", "— p50, ms"),
    Row("stream", "p99_ms", "— p99, ms"),
    Row("stream", "busy_percent", "— its core busy, %"),
    Row("stream", "pieces", "— reads in which a stream arrives"),
    Row("stream", "resident_mib", "— resident memory, MiB"),
    Row(
        "latency",
        "cpu_us",
        "stream, 20 ms between events, 64 callers: CPU µs a request",
        "ratio",
        "≤ 2.5 ×",
        _at_most(2.5),
    ),
    Row("latency", "event_p50_ms", "— an event's way, p50, ms"),
    Row("latency", "event_p99_ms", "— an event's way, p99, ms"),
    Row("latency", "event_max_ms", "— an event's way, longest, ms", None, "≤ 5 ms", _at_most(5)),
    Row("latency", "late_per_million", "— events later than 5 ms, of a million"),
    Row(
        "saturation",
        "requests_per_s",
        "saturation, 128 callers: requests/s on one core",
        None,
        "≥ 3,000",
        _at_least(3_000),
    ),
    Row("saturation", "busy_percent", "— its core busy, %"),
    Row("open", "p50_ms", "open loop, 1,000 requests/s: p50, ms", "added"),
    Row("open", "p99_ms", "— p99, ms", "added", "≤ 10 ms more", _at_most(10)),
    Row("open", "cpu_us", "— CPU µs a request"),
    Row("open", "lag_p99_ms", "— the generator's own lateness, p99, ms"),
    Row("open", "fsync_p50_ms", "— the disk's fsync of 4 KiB, p50, ms", paid_only=True),
    Row("open", "fsync_p99_ms", "— the disk's fsync of 4 KiB, p99, ms", paid_only=True),
    Row("translated", "chat_chat_plain_us", "plain, chat to chat: CPU µs a request"),
    Row("translated", "messages_chat_plain", "— Messages to chat, times that", None, "≤ 1.5 ×", _at_most(1.5)),
    Row("translated", "chat_messages_plain", "— chat to Messages, times that", None, "≤ 1.5 ×", _at_most(1.5)),
    Row("translated", "chat_chat_stream_us", "stream of 100 chunks, chat to chat: CPU µs a request"),
    Row("translated", "messages_chat_stream", "— Messages to chat, times that", None, "≤ 1.5 ×", _at_most(1.5)),
    Row("translated", "chat_messages_stream", "— chat to Messages, times that", None, "≤ 1.5 ×", _at_most(1.5)),
    Row("memory", "requests", "memory: after this many requests"),
    Row("memory", "start_mib", "— resident at the start, MiB"),
    Row("memory", "middle_mib", "— resident half-way, MiB"),
    Row("memory", "end_mib", "— resident at the end, MiB", None, "≤ 150", _at_most(150)),
    Row("memory", "grown_mib", "— growth in the second half, MiB", None, "≤ 3 (flat)", _at_most(3)),
)


def summarise(results: Results) -> dict[str, dict[str, Figures]]:
    """The medians of all runs."""
    return {name: {who: medians(runs) for who, runs in found.items()} for name, found in results.items()}


def number(value: float) -> str:
    """Three figures that matter, thousands set apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _compared(row: Row, own: float, yardstick: float | None) -> float | None:
    """The figure that the target is about; None where there is nothing to compare with."""
    if row.compare is None:
        return own
    if yardstick is None or (row.compare == "ratio" and not yardstick):
        return None
    return own / yardstick if row.compare == "ratio" else own - yardstick


def verdict(row: Row, figures: Mapping[str, Figures]) -> tuple[str, str]:
    """(the comparison's text, "yes" | "no" | "" where there is no target or no figure)."""
    if any(figures[who]["failed"] for who in (YARDSTICK, JUDGED) if who in figures):
        return "", "no" if row.reached else ""
    if JUDGED not in figures:
        return "", ""
    yardstick = figures[YARDSTICK][row.figure] if YARDSTICK in figures else None
    value = _compared(row, figures[JUDGED][row.figure], yardstick)
    if value is None:
        return "", ""
    said = {"ratio": f"{number(value)} ×", "added": f"{value:+.2f}", None: ""}[row.compare]
    return said, ("yes" if row.reached(value) else "no") if row.reached else ""


def _cell(row: Row, who: str, figures: Mapping[str, Figures]) -> str:
    if who not in figures or (row.paid_only and who != JUDGED):
        return ""
    # A figure of wrong answers is a figure of nothing.
    return "failed" if figures[who]["failed"] else number(figures[who][row.figure])


def table(summary: Medians, subjects: list[str]) -> str:
    """The table in Markdown."""
    lines = [
        "| figure | " + " | ".join(subjects) + " | perquery to nginx | target | reached |",
        "|---|" + "---:|" * len(subjects) + "---:|---|---|",
    ]
    for row in ROWS:
        figures = summary.get(row.measurement)
        if not figures:
            continue
        cells = [_cell(row, who, figures) for who in subjects]
        said, reached = verdict(row, figures)
        lines.append("| " + " | ".join([row.title, *cells, said, row.target, reached]) + " |")
    return "\n".join(lines)


def failures(summary: Medians) -> list[tuple[str, str]]:
    """(subject, what went wrong) for each measurement in which an answer was not a good one."""
    return [
        (who, f"{figures['failed']:,.0f} bad answers in {name}")
        for name, found in summary.items()
        for who, figures in found.items()
        if figures["failed"]
    ]


def heading(machine: Mapping[str, str]) -> str:
    """Machine and versions as a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in machine.items())
