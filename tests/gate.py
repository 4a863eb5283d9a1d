"""A gateway under attack, and the attacker: raw bytes, a look at every answer, and the damage afterwards.

No answer may ever be a 500 or tell anything of the inside. When the attack is over the gateway lives, holds nothing,
has written no secret into its log and has not grown.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.serving import Answer, Gateway, scripted_config, serving
from tests.upstream import upstream_process

PATIENCE_S: Final = 20
MEMORY_KB_MAX: Final = 250 * 1024
HOUSE_KEY: Final = "secret-of-the-house"
MIB: Final = 2**20
CHAT: Final = "/v1/chat/completions"
KEYS: Final = "/keys"
TOPUP: Final = "/topup/create/btc-lightning"
HELLO: Final = [{"role": "user", "content": "hello"}]
GOOD: Final = {"model": "stub-model", "messages": HELLO}


@dataclass(frozen=True)
class Gate:
    """A gateway with its upstream, and an account with credit there. secrets: what nobody else may ever read."""

    gateway: Gateway
    key: str
    credit_id: str

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.key, self.credit_id, HOUSE_KEY)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Answer:
        """As the account's owner. A body that is not bytes is sent as JSON."""
        answer = self.gateway.call("POST", path, body, headers={"x-credit-id": self.credit_id} | (headers or {}))
        return self.innocent(answer)

    def chat(self, **fields: Any) -> Answer:
        return self.post(CHAT, GOOD | fields)

    def raw(self, *pieces: bytes) -> Answer | None:
        """What these bytes on a connection of their own are answered; None where it was closed without a word."""
        with connected(self.gateway) as connection:
            answer = said(connection, pieces)
        return answer and self.innocent(answer)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """A request's head with the account's key; the connection ends with the answer."""
        fixed = (f"{method} {path} HTTP/1.1", "Host: gateway.test", f"Authorization: Bearer {self.key}")
        return "\r\n".join([*fixed, "Connection: close", *lines, "", ""]).encode("latin-1")

    def innocent(self, answer: Answer) -> Answer:
        """The answer, which tells nothing of the inside; an error is in our shape."""
        text = answer.body.decode("utf-8")
        for secret in (*self.secrets, "Traceback", "site-packages", ".py", str(self.gateway.data)):
            assert secret not in text
        assert answer.status < 500, text
        if answer.status >= 400 and text:
            body = answer.json()
            assert (body["status"], body["statusCode"], body["message"]) == (
                "error",
                answer.status,
                body["error"]["message"],
            )
            assert body["error"]["type"]
            assert body["error"]["code"]
        return answer

    def memory_kb(self) -> int:
        """The most that the process ever had in memory."""
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def settled(self) -> None:
        """Wait until nothing is held: what was broken off may still be drained."""
        deadline = time.monotonic() + PATIENCE_S
        while self.gateway.call("POST", "/credits/balance", key=self.key).json()["held"]:
            assert time.monotonic() < deadline, "a hold is stranded"


def connected(gateway: Gateway) -> socket.socket:
    address = urlsplit(gateway.base_url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=PATIENCE_S)


def said(connection: socket.socket, pieces: Iterable[bytes]) -> Answer | None:
    """Send, and read one answer; None where it does not come whole. Who hangs up early may have said why."""
    try:
        for piece in pieces:
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    except (http.client.BadStatusLine, http.client.IncompleteRead, ConnectionResetError):
        return None
    finally:
        response.close()


@contextmanager
def attacked(folder: Path) -> Iterator[Gate]:
    """A gateway to attack; the damage is looked at in the end."""
    limits = "[limits]\nopen_invoices_per_account = 1000\n"
    with upstream_process() as upstream, serving(folder / "data", scripted_config(folder, upstream, limits)) as gateway:
        credit_id, key = gateway.account("10")
        gate = Gate(gateway, key, credit_id)
        yield gate
        gate.settled()
        assert gateway.call("GET", "/health").status == 200
        books = gateway.command("ledger", "verify")
        assert (books["ok"], books["figures"]["held"], books["figures"]["open_holds"]) == (True, 0, 0)
        log = (gateway.data / "gateway.log").read_text()
        assert not [word for word in (*gate.secrets, "Traceback", '"error"') if word in log]
        assert gate.memory_kb() < MEMORY_KB_MAX
