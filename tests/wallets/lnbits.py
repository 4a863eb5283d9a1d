"""A real LNbits in a process of its own, its money moved by its own fake funding source between two of its wallets.

Wallet `till` is PerQuery's, wallet `payer` somebody else's. It must never reach beyond this machine.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / ".agents" / "lnbits"  # make test-slow fills it
PROGRAM: Final = HOME / "bin" / "lnbits"
READY_S: Final = 120.0
_SETTINGS: Final = {
    "LNBITS_BACKEND_WALLET_CLASS": "FakeWallet",
    "FAKE_WALLET_SECRET": "test",
    "LNBITS_ADMIN_UI": "true",
    "AUTH_ALLOWED_METHODS": '["user-id-only","username-password"]',
    "LNBITS_RATE_LIMIT_NO": "100000",
    # Nobody outside is asked for anything.
    "LNBITS_EXTENSIONS_MANIFESTS": "[]",
    "LNBITS_WASM_EXTENSIONS_MANIFESTS": "[]",
    "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
    "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
    "PYTHONWARNINGS": "ignore",
}


@dataclass
class Lnbits:
    """till, payer: wallets, as LNbits describes them (`inkey`, `adminkey`, `id`)."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    till: dict[str, Any] = field(default_factory=dict)
    payer: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Until it answers. What it knows is in its folder and survives `kill`."""
        site = next((HOME / "lib").glob("python*/site-packages"))  # it looks for its pages where it runs
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **_SETTINGS}
        environment["LNBITS_DATA_FOLDER"] = str(self.folder)
        with (self.folder / "lnbits.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--port", str(self.port), "--host", "127.0.0.1"],
                cwd=site,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + READY_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self.folder / "lnbits.log").read_text()[-2_000:])
            select_nothing()

    def open_wallets(self) -> None:
        """A fresh LNbits: two wallets, the payer's filled."""
        admin = {"username": "admin1", "password": "secret1234", "password_repeat": "secret1234"}
        token = self.call("PUT", "/api/v1/auth/first_install", admin)[1]["access_token"]
        self.till = self.call("POST", "/api/v1/account", {"name": "till"})[1]
        self.payer = self.call("POST", "/api/v1/account", {"name": "payer"})[1]
        filled = {"id": self.payer["id"], "amount": 500_000}
        status, said = self.call("PUT", "/users/api/v1/balance", filled, bearer=token)
        assert status == 200, said

    def pay(self, invoice: str, by: dict[str, Any] | None = None) -> int:
        """By the payer's wallet, or another; the status of LNbits' answer."""
        body = {"out": True, "bolt11": invoice}
        return self.call("POST", "/api/v1/payments", body, key=(by or self.payer)["adminkey"])[0]

    def received_msat(self) -> int:
        """What the till holds."""
        return int(self.call("GET", "/api/v1/wallet", key=self.till["inkey"])[1]["balance"])

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        if self.process is not None and self.is_running:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", bearer: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"content-type": "application/json"}
        headers |= {"x-api-key": key} if key else {}
        headers |= {"authorization": f"Bearer {bearer}"} if bearer else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/api/v1/health")[0] in (200, 307)  # 307: it waits for its first installation
        except (OSError, http.client.HTTPException, ValueError):
            return False


def select_nothing() -> None:
    """A moment between two looks at a process that starts."""
    with socket.socket() as nobody:
        nobody.settimeout(0.1)
        nobody.bind(("127.0.0.1", 0))
        nobody.listen()
        try:
            nobody.accept()
        except TimeoutError:
            return


def missing() -> str | None:
    """Why there is no LNbits here; None where there is one."""
    if PROGRAM.exists():
        return None
    if sys.version_info >= (3, 13):
        return "LNbits 1.6 needs Python 3.12 or older"
    return "LNbits is not installed; `make test-slow` does it"


def installed(folder: Path) -> Iterator[Lnbits]:
    """The body of a fixture: it runs with its two wallets, or the test is skipped."""
    if reason := missing():
        pytest.skip(reason)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Lnbits(folder, port)
    try:
        running.start()
        running.open_wallets()
        yield running
    finally:
        running.kill()
