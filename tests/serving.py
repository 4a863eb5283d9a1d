"""The gateway as its users start it: `perquery serve` as a process, and a plain HTTP client for it.

`serving(...)` starts it with a ready file on a free port and ends it with SIGTERM; `Gateway.kill()` is SIGKILL.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.forks import Fork

READY_S = 60.0
STOP_S = 60.0
COMMAND_S = 120.0
PERQUERY = Path(sys.executable).with_name("perquery")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Gateway:
    """A running gateway. `data` and `config` are what it was started with."""

    base_url: str
    process: subprocess.Popen[bytes] | Fork
    data: Path
    config: Path | None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Answer:
        """One request on a connection of its own; a body that is not bytes is sent as JSON."""
        address = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=timeout_s)
        sent = dict(headers or {})
        if key:
            sent["Authorization"] = f"Bearer {key}"
        if body is not None and not isinstance(body, bytes):
            body, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def command(self, *words: str) -> Any:
        """A `perquery` command on this gateway's data, its JSON answer."""
        result = run_command(*words, "--json", data=self.data, config=self.config)
        return json.loads(result.stdout)

    def account(self, usd: str | None = None) -> tuple[str, str]:
        """A new account with so much credit: (credit id, API key)."""
        made = self.call("POST", "/accounts/create").json()
        if usd is not None:
            self.command("account", "credit", made["credit_id"], usd)
        return made["credit_id"], made["api_key"]

    def balance(self, key: str) -> Any:
        return self.call("POST", "/credits/balance", key=key).json()["balance"]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


def environment() -> dict[str, str]:
    """This process's environment without anything that would activate an upstream."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(("_API_KEY", "_API_KEYS")) and not name.startswith("PERQUERY_")
    }


def run_command(
    *words: str, data: Path, config: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    options = ["--data", str(data), *(["--config", str(config)] if config else [])]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        status = Fork([*words, *options], environment(), out, err).wait(COMMAND_S)
        done = subprocess.CompletedProcess(words, status, out.read_text("utf-8"), err.read_text("utf-8"))
    if check and status:
        raise AssertionError(f"{words} ended with {status}: {done.stderr}")
    return done


def start(
    data: Path,
    config: Path | None = None,
    *words: str,
    sandbox: bool = True,
    first: Callable[[], None] | None = None,
) -> Gateway:
    """Start `perquery serve` and wait for its ready file. first: what the process does before it begins."""
    ready, log = data / "ready.json", data / "gateway.log"
    data.mkdir(parents=True, exist_ok=True)
    ready.unlink(missing_ok=True)
    options = ["serve", "--data", str(data), "--port", "0", "--ready-file", str(ready), *words]
    options += ["--config", str(config)] if config else []
    options += ["--sandbox"] if sandbox else []
    process: subprocess.Popen[bytes] | Fork
    if "--workers" in words:  # those are processes too, which what is forked here may not start
        with log.open("ab") as written:
            process = subprocess.Popen(
                [PERQUERY, *options], env=environment(), stdout=written, stderr=written, start_new_session=True
            )
    else:
        process = Fork(options, environment(), log, log, first)
    return Gateway(_base_url(process, ready, data), process, data, config)


def _base_url(process: subprocess.Popen[bytes] | Fork, ready: Path, data: Path) -> str:
    """Wait for the ready file, in steps of waiting for the process's end."""
    for _ in range(round(READY_S / 0.05)):
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            if ready.exists():
                return str(json.loads(ready.read_text())["base_url"])
            continue
        break
    process.kill()
    raise AssertionError(f"the gateway did not start: {(data / 'gateway.log').read_text()}")


@contextmanager
def serving(data: Path, config: Path | None = None, *words: str, sandbox: bool = True) -> Iterator[Gateway]:
    gateway = start(data, config, *words, sandbox=sandbox)
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.stop()


def scripted_config(folder: Path, base_url: str, extra: str = "") -> Path:
    """A settings file with the scripted upstream at `base_url` serving `stub-model` at $1 and $2 a million."""
    file = folder / "perquery.toml"
    file.write_text(
        f"""
        markup = "1.05"
        {extra}
        [[providers]]
        name = "scripted"
        dialect = "openai-chat"
        base_url = "{base_url}"
        api_keys = ["secret-of-the-house"]
        [[models]]
        id = "stub-model"
        routes = [{{ provider = "scripted", model = "stub-model" }}]
        price_usd_per_million = {{ input = "1.00", output = "2.00" }}
        context_tokens = 128000
        output_tokens_max = 8192
        """,
        "utf-8",
    )
    return file
