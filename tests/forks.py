"""`perquery` as a process of its own that has its imports already: forked off one that does nothing else.

A command takes two seconds to import, and hundreds are run. What is forked is the whole program all the same, in a
session of its own; who wants the installed command itself starts that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Final

from perquery.cli import main

PRELOADED: Final = [f"perquery.cli.{name}" for name in ("serve", "accounts", "ledger", "wallet", "trace", "webhooks")]


class Fork:
    """A running command, as `subprocess.Popen` has it. out, err: files that get what it writes; first: what the process
    does before it begins.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        err: Path,
        first: Callable[[], None] | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *PRELOADED])
        given = (words, dict(environment), str(Path.cwd()), str(out), str(err), first)
        self._process = context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        self._looking = threading.Lock()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        with self._looking:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("perquery", timeout or 0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(
    words: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    out: str,
    err: str,
    first: Callable[[], None] | None,
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = [str(Path(sys.executable).with_name("perquery")), *words]
    if first is not None:
        first()
    main()
