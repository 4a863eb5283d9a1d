"""A local model's process: started by the gateway, listening on a loopback port of its own, gone when the gateway is.

To the rest each is one more host with a base URL and a key: nothing here knows a request. The gateway's process must
never load a model or its native library, so only the child imports them.

The two sides speak over pipes: the parent writes the key as one line on the child's standard input and keeps
that pipe open; the child answers one line of JSON on its standard output, {"port": N} or {"error": "…"}. The
child ends when its input ends, however its parent died. On Linux the kernel also kills it together with the
thread that started it, so `start()` belongs on a thread that lives as long as the model is wanted.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

START_S: Final = 120
STOP_S: Final = 5
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


class LocalModelError(Exception):
    """A local model cannot be started; the message says what would help."""


@dataclass(frozen=True, slots=True)
class Running:
    """A model that takes requests. base_url ends in /v1; the key is made anew at every start."""

    base_url: str
    pid: int
    key: str = field(repr=False)


class Child:
    """The process of one local model. One `start()` (with a `spawn()` before it, or without), one
    `stop()`; stopping twice, or what never started, does nothing.

    module: the program. packages: (module, distribution) of what it needs.
    """

    def __init__(self, module: str, packages: Sequence[tuple[str, str]]) -> None:
        self._module = module
        self._packages = packages
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Let it begin, without waiting: several begin side by side. LocalModelError where a package is missing."""
        missing = [name for module, name in self._packages if importlib.util.find_spec(module) is None]
        if missing:
            raise LocalModelError(
                f"the local model needs the Python packages {' and '.join(missing)}: `make install` installs them"
            )
        # A session of its own: the terminal's Ctrl-C must not end it while the gateway still settles.
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, timeout_s: float = START_S) -> Running:
        """Start the child, unless it has begun, and wait until it takes requests. Blocks; LocalModelError."""
        if self._process is None:
            self.spawn()
        process, key = self._process, f"local-{secrets.token_urlsafe(24)}"
        assert process is not None
        try:
            port = _handshake(process, key, time.monotonic() + timeout_s)
        except BaseException:
            self.stop()
            raise
        return Running(f"http://127.0.0.1:{port}/v1", process.pid, key)

    def stop(self) -> None:
        """End the child; it holds nothing that is worth saving."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _handshake(process: subprocess.Popen[bytes], key: str, deadline: float) -> int:
    """Hand over the key, read the port. The pipe's other end closes when the child dies, so this never hangs."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(key.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has died; what it said, if anything, is read below
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise LocalModelError("the local model did not start in time")
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            raise LocalModelError(f"the local model's process ended at once (exit status {process.wait(STOP_S)})")
        line += chunk
    answer = json.loads(line)
    if "port" not in answer:
        raise LocalModelError(f"the local model does not start: {answer['error']}")
    return int(answer["port"])


def die_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def serve(opened: Callable[[str], tuple[int, Any]]) -> int:
    """The child: key in, port out, then serve until the input ends. opened: from the key to the port, and the server,
    which lives as long as it is held."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    key = sys.stdin.readline().strip()
    if not key:
        return 1
    out = os.dup(1)
    os.dup2(2, 1)  # what a native library prints must not reach the parent's line
    try:
        port, server = opened(key)
        answer: dict[str, object] = {"port": port}
    except (LocalModelError, ImportError, OSError, RuntimeError, ValueError) as error:
        answer, server = {"error": str(error)}, None
    os.write(out, json.dumps(answer).encode() + b"\n")
    os.close(out)
    if server is None:
        return 1
    sys.stdin.read()
    os._exit(0)  # the server's own threads are in the middle of work: nothing to wait for
