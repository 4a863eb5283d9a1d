"""The machine, the versions, and what the disk takes for an fsync: what a figure means nothing without."""

from __future__ import annotations

import os
import platform
import time
from array import array
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import nginx
from bench.load import quantile

_PACKAGES = ("perquery", "uvicorn", "uvloop", "httptools", "starlette", "pyreqwest", "orjson", "sqlalchemy")
_BLOCK = b"\0" * 4_096
_WRITES = 200


def fsync_us(folder: Path) -> tuple[float, float]:
    """(p50, p99) in microseconds of appending 4 KiB to a file of the folder and syncing it, 200 times."""
    path = folder / "fsync.probe"
    times: array[int] = array("q")
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(_WRITES):
            started = time.monotonic_ns()
            os.write(handle, _BLOCK)
            os.fsync(handle)
            times.append(time.monotonic_ns() - started)
    finally:
        os.close(handle)
        path.unlink()
    ordered = array("q", sorted(times))
    return quantile(ordered, 0.50) / 1_000, quantile(ordered, 0.99) / 1_000


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def describe() -> dict[str, str]:
    """What the table is headed with."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores, {len(os.sched_getaffinity(0))} usable",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "packages": packages,
        "nginx": nginx.version() or "none",
        "load average before": load,
    }
