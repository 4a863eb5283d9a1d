"""`python -m bench`: starts upstream, nginx and gateway, measures them in turn, prints the table.

The measured stand on one core, this process (the load) and the upstream on another. Exit status: 0, 1 where an
answer or the ledger was wrong or a part did not start. A missed target is a finding, not a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import gateway, machine, measure, nginx, peers, report
from bench.load import Address
from bench.measure import MEASUREMENTS, Bench, Sizes
from bench.processes import BenchError, cores, start, stop, tail, wait_idle
from bench.subjects import Subject

_QUICK = Sizes(runs=1, seconds=1.5, warm_up_s=0.5, paced_s=2.5, requests=5_000)
_SOAK_REQUESTS = 1_000_000


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="PerQuery beside nginx, before one upstream.")
    parser.add_argument("--only", help=f"some of: {','.join(MEASUREMENTS)}")
    parser.add_argument("--subjects", default="nginx,perquery", help="some of: nginx,perquery,portkey,tensorzero")
    parser.add_argument("--peers", type=Path, default=Path(".data/peers"), help="where peers are installed")
    parser.add_argument("--quick", action="store_true", help="one short run of each; the figures are rough")
    parser.add_argument("--soak", action="store_true", help="memory over a million requests")
    parser.add_argument("--runs", type=int, help="runs per figure, of which the median is shown (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run's figures")
    parser.add_argument("--folder", type=Path, default=Path(".data"), help="on the disk to measure (.data)")
    parser.add_argument("--perquery", help="the gateway's command, instead of the one beside this Python")
    return parser.parse_args()


def _sizes(asked: argparse.Namespace) -> Sizes:
    base = _QUICK if asked.quick else Sizes()
    return Sizes(
        runs=asked.runs or base.runs,
        seconds=base.seconds,
        warm_up_s=base.warm_up_s,
        paced_s=base.paced_s,
        requests=_SOAK_REQUESTS if asked.soak else base.requests,
    )


def _chosen(text: str | None, known: list[str]) -> list[str]:
    names = text.split(",") if text else known
    if unknown := [name for name in names if name not in known]:
        raise BenchError(f"unknown: {', '.join(unknown)}; known are {', '.join(known)}")
    return names


@contextmanager
def _upstream(core: int, folder: Path) -> Iterator[Address]:
    log = folder / "upstream.log"
    command = [sys.executable, "-m", "bench.upstream"]
    process = start(command, core, log=log, hold_input=True, read_output=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise BenchError(f"the upstream did not start:\n{tail(log)}")
        yield Address("127.0.0.1", int(line))
    finally:
        stop(process)


def _subjects(stack: ExitStack, names: list[str], asked: argparse.Namespace, folder: Path) -> list[Subject]:
    """Starts the subjects; those that are not installed are left out with a printed line."""
    measured, other = cores()
    upstream = stack.enter_context(_upstream(other, folder))
    found: list[Subject] = []
    for name in names:
        if name == "nginx":
            found.append(stack.enter_context(nginx.serving(upstream, measured, folder / "nginx")))
        elif name == "perquery":
            command = shlex.split(asked.perquery) if asked.perquery else gateway.default_command()
            found.append(stack.enter_context(gateway.serving(command, upstream, measured, folder / "gateway")))
        elif peer := peers.find(name, asked.peers):
            found.append(stack.enter_context(peers.serving(peer, upstream, measured, folder / name)))
        else:
            print(f"{name}: not installed, left out")
    for subject in found:
        wait_idle(subject.pid)
    return found


def _measure(asked: argparse.Namespace, folder: Path) -> int:
    started = time.monotonic()
    described = machine.describe()
    names = _chosen(asked.only, list(MEASUREMENTS))
    wanted = _chosen(asked.subjects, ["nginx", "perquery", *peers.NAMES])
    with ExitStack() as stack:
        subjects = _subjects(stack, wanted, asked, folder)
        os.sched_setaffinity(0, {cores()[1]})
        bench = Bench(_sizes(asked), folder)
        results = measure.run_all(bench, subjects, names, lambda line: print(line, file=sys.stderr, flush=True))
    summary = report.summarise(results)
    print(report.heading(described), end="\n\n")
    print(report.table(summary, [subject.name for subject in subjects]), end="\n\n")
    print(f"Medians of {bench.sizes.runs}; {time.monotonic() - started:.0f} s in all.")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": described, "runs": results}, indent=1) + "\n")
    failed = report.failures(summary)
    for who, line in failed:
        print(f"{who}: {line}")
    return 1 if any(who in (report.YARDSTICK, report.JUDGED) for who, _ in failed) else 0


def main() -> int:
    asked = _parse()
    asked.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=asked.folder)).resolve()
    try:
        return _measure(asked, folder)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
