"""A scripted monero-wallet-rpc over a scripted chain: view-only, behind Digest, in the shapes of 0.18.

locks: unlock times of transactions, by id; suspects: those that are seen spent twice. spends: it holds the whole key.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.rails.chains import SECOND_MS, Paid, ScriptedChain, Server

USER, PASSWORD, REALM = "u", "p", "monero-rpc"


class MoneroChain(ScriptedChain):
    def pay(self, *outputs: tuple[str, int]) -> Paid:
        paid = Paid(outputs, "", secrets.token_hex(32))
        self.pool.append(paid)
        return paid


class Wallet(Server):
    """refuse: an error, (code, words), by method. login: whether it asks for the password."""

    def __init__(self, chain: MoneroChain) -> None:
        super().__init__(chain)
        self.made: list[str] = []
        self.stored: list[str] = []
        self.letters = "48"  # of a first address, and of a subaddress
        self.locks: dict[str, int] = {}
        self.suspects: set[str] = set()
        self.refuse: dict[str, tuple[int, str]] = {}
        self.spends = False
        self.login = True
        self.nonce = ""  # comes before that of each connection

    def answer(self, method: str, params: dict[str, Any]) -> Any:
        if method in self.refuse:
            return self.refuse[method]
        if method == "query_key" and not self.spends:
            return -29, "The wallet is watch-only. Cannot retrieve spend key."
        found = getattr(self, f"_{method}", None)
        return found(**params) if found is not None else (-32601, "Method not found")

    def _get_version(self) -> Any:
        return {"version": (1 << 16) + 25, "release": True}

    def _query_key(self, key_type: str) -> Any:
        return {"key": "ab" * 32}

    def _refresh(self) -> Any:
        return {"blocks_fetched": 0, "received_money": False}

    def _get_height(self) -> Any:
        return {"height": self.height + 1}

    def _create_address(self, account_index: int, label: str, count: int) -> Any:
        assert (account_index, label) == (0, "PerQuery") and 1 <= count <= 64
        before = len(self.made)
        self.made += [self.letters[1] + secrets.token_hex(47) for _ in range(count)]
        minors = list(range(before + 1, len(self.made) + 1))
        made = self.made[before:]
        return {"address": made[0], "address_index": minors[0], "addresses": made, "address_indices": minors}

    def _store(self) -> Any:
        self.stored = list(self.made)
        return {}

    def _get_address(self, account_index: int, address_index: Sequence[int] = ()) -> Any:
        there = [self.letters[0] + "a" * 94, *self.made]
        if any(index >= len(there) for index in address_index):
            return -15, "address index is out of bound"
        asked = address_index or range(len(there))
        listed = [{"address": there[at], "address_index": at, "label": "", "used": False} for at in asked]
        return {"address": there[0], "addresses": listed}

    def _get_transfers(self, **asked: Any) -> Any:
        minors = asked.pop("subaddr_indices")
        assert asked == {"in": True, "pool": True, "account_index": 0} and minors
        parts = [part for each in self.known() for part in self._parts(*each)]
        entries = [self._entry(*part) for part in parts if self.made.index(part[2]) + 1 in minors]
        found = {"in": [each for each in entries if each["height"]], "pool": [e for e in entries if not e["height"]]}
        return {name: listed for name, listed in found.items() if listed}  # as the wallet does

    def crash(self) -> None:
        """What was not stored is lost."""
        self.made = list(self.stored)

    def _parts(self, paid: Paid, height: int) -> list[tuple[Paid, int, str, int]]:
        """One for each address, as the wallet adds up what a transaction pays to it."""
        sums: dict[str, int] = {}
        for address, amount in paid.outputs:
            sums[address] = sums.get(address, 0) + amount
        return [(paid, height, address, amount) for address, amount in sums.items() if address in self.made]

    def _entry(self, paid: Paid, height: int, address: str, amount: int) -> dict[str, Any]:
        mined = {"confirmations": self.height - height + 1, "locked": self.height - height < 10} if height else {}
        at_ms = self.chain.blocks[height].at_ms if height else 0
        return mined | {
            "address": address,
            "amount": amount,
            "amounts": [amount],
            "double_spend_seen": paid.id in self.suspects,
            "fee": 30_000_000,
            "height": height,
            "subaddr_index": {"major": 0, "minor": self.made.index(address) + 1},
            "suggested_confirmations_threshold": 1,
            "timestamp": at_ms // SECOND_MS,
            "txid": paid.id,
            "type": "in" if height else "pool",
            "unlock_time": self.locks.get(paid.id, 0),
        }

    def admits(self, given: str | None, nonce: str) -> bool:
        """RFC 7616, written down once more from the server's side."""
        if not self.login:
            return True
        fields = dict(re.findall(r'(\w+)="?([^",]+)"?', (given or "").partition(" ")[2]))
        if fields.get("nonce") != nonce or fields.get("username") != USER:
            return False
        login, asked = (_md5(text) for text in (f"{USER}:{REALM}:{PASSWORD}", f"POST:{fields['uri']}"))
        proof = f"{login}:{nonce}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}:{asked}"
        return bool(fields["response"] == _md5(proof))

    @staticmethod
    def challenges(nonce: str) -> list[str]:
        rest = f'qop="auth",realm="{REALM}",nonce="{nonce}",stale=false'
        return [f"Digest algorithm=MD5-sess,{rest}", f"Digest algorithm=MD5,{rest}"]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


@contextmanager
def running(chain: MoneroChain) -> Iterator[Wallet]:
    wallet = Wallet(chain)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # a connection serves again, and has a nonce of its own
        wbufsize = -1  # head and body in one piece

        def setup(self) -> None:
            super().setup()
            self.own = secrets.token_hex(16)

        def do_POST(self) -> None:
            nonce = wallet.nonce + self.own
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if wallet.spoil is not None:
                self._say(*wallet.spoil)
            elif not wallet.admits(self.headers["authorization"], nonce):
                self._say(401, b"<html>Unauthorized Access</html>", wallet.challenges(nonce))
            else:
                found = wallet.answer(body["method"], body["params"])
                error = isinstance(found, tuple)
                said = {"error": {"code": found[0], "message": found[1]}} if error else {"result": found}
                self._say(200, json.dumps({"id": body["id"], "jsonrpc": "2.0"} | said).encode())

        def _say(self, status: int, body: bytes, challenges: list[str] | None = None) -> None:
            self.send_response(status)
            for challenge in challenges or ():
                self.send_header("WWW-authenticate", challenge)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        wallet.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield wallet
        finally:
            server.shutdown()
            thread.join()
