"""The weighing of process trees, on this very process."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import processes


def _burn_us(least_us: int) -> None:
    before = os.times()
    while (os.times().user + os.times().system - before.user - before.system) * 1e6 < least_us:
        sum(range(10_000))


def test_cpu_counts_this_process() -> None:
    before = processes.cpu_us(os.getpid())
    _burn_us(50_000)
    assert processes.cpu_us(os.getpid()) - before >= 30_000


def test_cpu_counts_a_child_that_has_ended() -> None:
    before = processes.cpu_us(os.getpid())
    subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
    assert processes.cpu_us(os.getpid()) - before >= 20_000


def test_the_tree_holds_a_living_child() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = processes.tree(os.getpid())
        child.communicate(b"\n")
    assert {os.getpid(), child.pid} <= set(found)


def test_a_tree_weighs_at_least_its_root() -> None:
    assert processes.tree_resident_bytes(os.getpid()) >= 2**20


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with processes.pinned(min(before)):
        within = os.sched_getaffinity(0)
    assert (within, os.sched_getaffinity(0)) == ({min(before)}, before)
