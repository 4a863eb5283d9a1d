"""A local model's process: started by the first request for it, gone when the gateway is.

To the rest each is one more host with a base URL and a key: nothing here knows a request. The gateway's process must
never load a model or its native library, so only the child imports them.

The parent listens on a loopback port from the beginning; the first connection to it starts the child, which inherits
the socket and takes what waits there. So a request waits for its model, and many first ones start one. Where it
does not start, those that wait are answered 503, and the next one tries again; so it is after the child has died.

The two sides speak over pipes: the parent writes the key as one line on the child's standard input and keeps that pipe
open; the child answers one line of JSON on its standard output, {"error": null} or {"error": "…"}. The child ends when
its input ends, however its parent died. On Linux the kernel also kills it together with the thread that started it,
which therefore lives as long as the model is wanted.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

START_S: Final = 120
STOP_S: Final = 5
_BACKLOG: Final = 128
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_log = logging.getLogger(__name__)


class LocalModelError(Exception):
    """A local model cannot be started; the message says what would help."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model takes requests. base_url ends in /v1; the key is made anew by every `open()`."""

    base_url: str
    key: str = field(repr=False)


class Child:
    """One local model. One `open()`, one `stop()`; stopping twice, or what was never opened, does nothing.

    module: the program. packages: (module, distribution) of what it needs.
    """

    def __init__(self, module: str, packages: Sequence[tuple[str, str]]) -> None:
        self._module = module
        self._packages = packages
        self._key = f"local-{secrets.token_urlsafe(24)}"
        self._listening: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping, self._stop = -1, -1  # a pipe: readable once nothing is wanted any more
        self._keeper = threading.Thread(target=self._keep, name=module, daemon=True)

    @property
    def pid(self) -> int | None:
        """Of its process, while there is one."""
        return self._process.pid if self._process is not None else None

    def open(self) -> Address:
        """Take requests from now on. LocalModelError where a package is missing."""
        missing = [name for module, name in self._packages if importlib.util.find_spec(module) is None]
        if missing:
            raise LocalModelError(
                f"the local model needs the Python packages {' and '.join(missing)}: `make install` installs them"
            )
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._stopping, self._stop = os.pipe()
        self._keeper.start()
        return Address(f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1", self._key)

    def stop(self) -> None:
        """End the child; it holds nothing that is worth saving."""
        if self._listening is None:
            return
        os.close(self._stop)
        self._keeper.join()
        os.close(self._stopping)
        self._listening.close()
        self._listening = None

    def _keep(self) -> None:
        """A process for whoever asks, until the end."""
        assert self._listening is not None
        while self._until(self._listening.fileno()):
            try:
                with self._started(self._listening.fileno()) as out:
                    self._until(out)  # it writes no more: this is its end, or ours
            except LocalModelError as error:
                _log.error("%s: %s", self._module, error)
                _refuse_all(self._listening, str(error))

    def _until(self, file: int, timeout_s: float | None = None) -> bool:
        """Wait until there is something to read; False where the end comes first, or the time is over."""
        ready, _, _ = select.select([file, self._stopping], [], [], timeout_s)
        return ready == [file]

    def _stopped(self) -> bool:
        return bool(select.select([self._stopping], [], [], 0)[0])

    @contextlib.contextmanager
    def _started(self, listening: int) -> Iterator[int]:
        """The process, taking requests: the file descriptor of what it says. It is ended at the end."""
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", self._module, str(listening)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(listening,),
            start_new_session=True,  # the terminal's Ctrl-C must not end it while the gateway still settles
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it has died; what it said, if anything, is read
                process.stdin.write(self._key.encode() + b"\n")
                process.stdin.flush()
            self._handshake(process, process.stdout.fileno())
            yield process.stdout.fileno()
        finally:
            self._process = None
            _end(process)

    def _handshake(self, process: subprocess.Popen[bytes], out: int) -> None:
        """Wait until it takes requests. The pipe's other end closes when the child dies, so this never hangs."""
        deadline, line = time.monotonic() + START_S, b""
        while not line.endswith(b"\n"):
            if not self._until(out, max(0, deadline - time.monotonic())):
                if self._stopped():
                    return
                raise LocalModelError("the local model did not start in time")
            chunk = os.read(out, 4096)
            if not chunk:
                raise LocalModelError(f"the local model's process ended at once (exit status {process.wait(STOP_S)})")
            line += chunk
        if error := json.loads(line)["error"]:
            raise LocalModelError(f"the local model does not start: {error}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _refuse_all(listening: socket.socket, why: str) -> None:
    """Tell all who wait that there is no model. What they still send is read: they would not hear us before."""
    error = {"message": why, "type": "server_error", "code": "local_model_unavailable", "param": None}
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nconnection: close\r\n"
    answer = b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)
    waiting: list[socket.socket] = []  # whoever comes after an answer is given begins a new attempt
    while select.select([listening], [], [], 0)[0]:
        waiting.append(listening.accept()[0])
    for connection in waiting:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(STOP_S)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


def die_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def serve(opened: Callable[[socket.socket, str], Any]) -> int:
    """The child: serve until the input ends. opened: from the listening socket and the key to the server, which takes
    requests as long as it is held."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    key = sys.stdin.readline().strip()
    if not key:
        return 1
    out = os.dup(1)  # open until this process ends, which is how the parent learns of it
    os.dup2(2, 1)  # what a native library prints must not reach the parent's line
    answer: dict[str, str | None] = {"error": None}
    try:
        server = opened(socket.socket(fileno=int(sys.argv[1])), key)
    except (LocalModelError, ImportError, OSError, RuntimeError, ValueError) as error:
        answer, server = {"error": str(error)}, None
    os.write(out, json.dumps(answer).encode() + b"\n")
    if server is None:
        return 1
    sys.stdin.read()
    os._exit(0)  # the server's own threads are in the middle of work: nothing to wait for
