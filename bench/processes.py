"""Child processes of the benchmark: started on one core, weighed (CPU, memory) by /proc, ended.

Linux only. Must never touch a process that it did not start, but to read its figures.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PROC = Path("/proc")
_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class BenchError(Exception):
    """The benchmark cannot go on; the message says what to mend."""


def cores() -> tuple[int, int]:
    """(the core of the measured, the core of load and upstream); the same one twice where there is but one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[1 if len(usable) > 1 else 0]


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Runs the block on one core; children started within stay there, threads and all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(
    command: Sequence[str], core: int, *, log: Path, hold_input: bool = False, read_output: bool = False
) -> subprocess.Popen[str]:
    """Starts a child on a core; what it prints goes to `log`, its output to us where `read_output`."""
    with pinned(core), log.open("w") as sink:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if hold_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE if read_output else sink,
            stderr=sink,
            text=True,
        )


def free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, for programs that cannot tell which one they took."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def stop(process: subprocess.Popen[str], timeout_s: float = 60) -> int:
    """SIGTERM, then SIGKILL after the time-out; the exit status."""
    if process.stdin:
        process.stdin.close()
    process.terminate()
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    if process.stdout:
        process.stdout.close()
    return status


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a child's log, for an error message."""
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-lines:]) if log.exists() else ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name (which may hold blanks): state first, then ppid."""
    text = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    return text.rpartition(")")[2].split()


def tree(pid: int) -> tuple[int, ...]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return tuple(found)


def cpu_us(pid: int) -> int:
    """CPU microseconds, user and system, that the whole tree has used, ended and reaped children included.

    The kernel counts in ticks (10 ms): measure for seconds.
    """
    ticks = 0
    for each in tree(pid):
        try:
            ticks += sum(map(int, _stat(each)[11:15]))  # utime, stime, cutime, cstime
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks * _TICK_US


def resident_bytes(pid: int) -> int:
    """The resident memory of one process."""
    return int((_PROC / str(pid) / "statm").read_text("ascii").split()[1]) * _PAGE


def tree_resident_bytes(pid: int) -> int:
    """The resident memory of the tree, shared pages counted once for every process that maps them."""
    total = 0
    for each in tree(pid):
        try:
            total += resident_bytes(each)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def wait_idle(pid: int, timeout_s: float = 60) -> None:
    """Waits until the tree uses less than 3 % of a core for half a second: start-up work is over."""
    deadline = time.monotonic() + timeout_s
    before = cpu_us(pid)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = cpu_us(pid)
        if now - before < 15_000:
            return
        before = now
    raise BenchError(f"process {pid} did not come to rest within {timeout_s:g} s")
