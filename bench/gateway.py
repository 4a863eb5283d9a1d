"""The gateway under measure: started, given an account with credit, stopped, its ledger verified.

It is driven from outside only, by the command line and the HTTP API that any operator has; must never import
the package.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import bodies, messages
from bench.load import Address
from bench.processes import BenchError, start, stop, tail
from bench.subjects import Subject

_READY_S = 180  # the first start may load the local model
_COMMAND_S = 120
CREDIT_USD = "100000"  # a million requests cost some 300 dollars
_CONF = """\
[[providers]]
name = "scripted"
dialect = "openai-chat"
base_url = "http://{upstream.host}:{upstream.port}/v1"
api_keys = ["bench"]
[[providers]]
name = "scripted-messages"
dialect = "anthropic"
base_url = "http://{upstream.host}:{upstream.port}/v1"
api_keys = ["bench"]
"""
_MODEL_CONF = """
[[models]]
id = "{model}"
routes = [{{ provider = "{provider}", model = "{model}" }}]
price_usd_per_million = {{ input = "1.00", output = "2.00" }}
context_tokens = 128000
output_tokens_max = 8192
"""


def default_command() -> list[str]:
    """The `perquery` beside this interpreter."""
    return [str(Path(sys.executable).with_name("perquery"))]


@dataclass(frozen=True, slots=True)
class Gateway:
    """The command and the two options that every one of its subcommands takes."""

    command: Sequence[str]
    folder: Path

    @property
    def _where(self) -> list[str]:
        return ["--config", str(self.folder / "perquery.toml"), "--data", str(self.folder / "data")]

    def configure(self, upstream: Address) -> None:
        (self.folder / "data").mkdir(parents=True)
        served = {bodies.MODEL: "scripted", bodies.GAP_MODEL: "scripted", messages.MODEL: "scripted-messages"}
        models = "".join(_MODEL_CONF.format(model=model, provider=name) for model, name in served.items())
        (self.folder / "perquery.toml").write_text(_CONF.format(upstream=upstream) + models)

    def serve_command(self, ready: Path) -> list[str]:
        options = ["--sandbox", "--port", "0", "--ready-file", str(ready)]
        return [*self.command, "serve", *options, *self._where]

    def call(self, *words: str) -> tuple[int, str]:
        """Runs a subcommand with --json; (exit status, what it printed)."""
        command = [*self.command, *words, "--json", *self._where]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"{shlex.join(command)}: {error}") from error
        return done.returncode, (done.stdout or done.stderr).strip()


def _await_ready(process: subprocess.Popen[str], ready: Path, log: Path) -> dict[str, str | int]:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"the gateway ended with {process.returncode}:\n{tail(log)}")
        if ready.exists() and (text := ready.read_text()).strip():
            found: dict[str, str | int] = json.loads(text)
            return found
        time.sleep(0.1)
    raise BenchError(f"the gateway was not ready after {_READY_S} s:\n{tail(log)}")


def _create_account(base_url: str) -> tuple[str, str]:
    """(credit id, API key) of a new account."""
    request = urllib.request.Request(base_url + "/accounts/create", data=b"{}", method="POST")
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            account = json.load(response)
        return account["credit_id"], account["api_key"]
    except (OSError, ValueError, KeyError) as error:
        raise BenchError(f"POST /accounts/create: {error!r}") from error


@contextmanager
def serving(command: Sequence[str], upstream: Address, core: int, folder: Path) -> Iterator[Subject]:
    """The gateway on one core with a paid account; at the end SIGTERM and `ledger verify`, whose word is printed.

    Raises BenchError where it does not start, cannot be paid, does not end well or has a ledger that is wrong.
    """
    gateway = Gateway(command, folder)
    gateway.configure(upstream)
    ready, log = folder / "ready.json", folder / "gateway.log"
    try:
        process = start(gateway.serve_command(ready), core, log=log)
    except OSError as error:
        raise BenchError(f"{shlex.join(gateway.command)}: {error}") from error
    try:
        told = _await_ready(process, ready, log)
        base = urlsplit(str(told["base_url"]))
        credit_id, key = _create_account(f"{base.scheme}://{base.netloc}")
        status, said = gateway.call("account", "credit", credit_id, CREDIT_USD)
        if status:
            raise BenchError(f"account credit ended with {status}:\n{said}")
        address = Address(base.hostname or "127.0.0.1", base.port or 80)
        yield Subject("perquery", process.pid, plain=address, stream=address, key=key, pays=True, one_process=True)
    finally:
        status = stop(process)
    if status:
        raise BenchError(f"the gateway ended with {status} on SIGTERM:\n{tail(log)}")
    status, said = gateway.call("ledger", "verify")
    print(f"perquery ledger verify: exit {status}\n{said}")
    if status:
        raise BenchError("the ledger does not verify")
