"""Other gateways before the same upstream, where they are installed: Portkey (npm) and TensorZero (PyPI).

Neither bills: their columns say what routing and translating alone take. Looked for in one folder, never
installed from here: `npm install --prefix FOLDER @portkey-ai/gateway`, and a virtual environment FOLDER/tensorzero
with the `tensorzero` package.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import bodies
from bench.load import Address
from bench.processes import BenchError, free_ports, start, stop, tail
from bench.subjects import Subject

NAMES = ("portkey", "tensorzero")
_READY_S = 60
_PORTKEY = Path("node_modules/@portkey-ai/gateway/build/start-server.js")
_TENSORZERO_MODEL = """\
[models."{model}"]
routing = ["scripted"]
[models."{model}".providers.scripted]
type = "openai"
model_name = "{model}"
api_base = "http://{upstream.host}:{upstream.port}/v1/"
api_key_location = "none"
"""
# The wheel holds the gateway and starts it in the interpreter that asks; this one then only sleeps.
_TENSORZERO_RUN = """\
import sys, time, tensorzero
held = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(held.base_url, flush=True)
time.sleep(1_000_000)
"""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    program: Path


def find(name: str, folder: Path) -> Peer | None:
    """The peer's program, if it is installed in the folder."""
    program = folder / _PORTKEY if name == "portkey" else folder / "tensorzero" / "bin" / "python"
    return Peer(name, program.absolute()) if program.exists() else None


def _await_answer(process: subprocess.Popen[str], subject: Subject, log: Path) -> None:
    """Waits until a plain request is answered with 200."""
    url = f"http://{subject.plain.host}:{subject.plain.port}{subject.path}"
    headers = {"content-type": "application/json", "authorization": "Bearer none", **dict(subject.headers)}
    body = bodies.ask(stream=False, model=subject.model_prefix + bodies.MODEL)
    deadline, last = time.monotonic() + _READY_S, ""
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as response:
                response.read()
                return
        except urllib.error.HTTPError as error:
            last = error.read().decode("utf-8", "replace")[:300]
        except OSError as error:
            last = str(error)
        time.sleep(0.2)
    raise BenchError(f"{subject.name} does not answer: {last}\n{tail(log)}")


@contextmanager
def _portkey(peer: Peer, upstream: Address, core: int, folder: Path) -> Iterator[Subject]:
    node = shutil.which("node")
    if not node:
        raise BenchError("portkey needs node")
    (port,) = free_ports(1)
    log = folder / "output.log"
    process = start([node, str(peer.program), "--headless", f"--port={port}"], core, log=log)
    here = Address("127.0.0.1", port)
    host = f"http://{upstream.host}:{upstream.port}/v1"
    headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", host))
    subject = Subject("portkey", process.pid, plain=here, stream=here, headers=headers)
    try:
        _await_answer(process, subject, log)
        yield subject
    finally:
        stop(process)


@contextmanager
def _tensorzero(peer: Peer, upstream: Address, core: int, folder: Path) -> Iterator[Subject]:
    config, log = folder / "tensorzero.toml", folder / "output.log"
    models = (bodies.MODEL, bodies.GAP_MODEL)
    config.write_text("".join(_TENSORZERO_MODEL.format(model=model, upstream=upstream) for model in models))
    command = [str(peer.program), "-c", _TENSORZERO_RUN, str(config)]
    process = start(command, core, log=log, read_output=True)
    try:
        assert process.stdout is not None
        told = next((line for line in process.stdout if line.startswith("http")), "").strip()  # its log comes first
        port = told.rpartition(":")[2].partition("/")[0]
        if not port.isdigit():
            raise BenchError(f"tensorzero did not start:\n{tail(log)}")
        here = Address("127.0.0.1", int(port))
        subject = Subject(
            "tensorzero",
            process.pid,
            plain=here,
            stream=here,
            path="/openai" + bodies.PATH,
            model_prefix="tensorzero::model_name::",
        )
        _await_answer(process, subject, log)
        yield subject
    finally:
        stop(process)


@contextmanager
def serving(peer: Peer, upstream: Address, core: int, folder: Path) -> Iterator[Subject]:
    """The peer on one core. Raises BenchError where it does not start."""
    folder.mkdir(parents=True)
    kind = _portkey if peer.name == "portkey" else _tensorzero
    with kind(peer, upstream, core, folder) as subject:
        yield subject
