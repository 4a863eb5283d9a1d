"""A real Monero chain in regtest mode: monerod, a payer's wallet that mines, and a till's wallet that can only view.

All listens on loopback alone. Use `network(folder)`. The till asks for a password by Digest, as it would in earnest.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.networks.channel import Daemon, Refused, free_port, until

MONEROD: Final = Path("/usr/bin/monerod")
WALLET_RPC: Final = Path("/usr/bin/monero-wallet-rpc")
PICO: Final = 10**12
MATURE: Final = 80  # blocks until the first coins can be spent, and the rings be filled
_ALONE: Final = ("--rpc-bind-ip", "127.0.0.1", "--non-interactive", "--log-level", "0")


def missing() -> str | None:
    if MONEROD.exists() and WALLET_RPC.exists():
        return None
    return "monerod and monero-wallet-rpc are not installed: make test-slow does that"


def ask(port: int, method: str, params: Any, path: str = "/json_rpc") -> Any:
    """JSON-RPC without a password; a path of its own takes the parameters alone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    whole = {"jsonrpc": "2.0", "id": "0", "method": method, "params": params} if path == "/json_rpc" else params
    try:
        connection.request("POST", path, json.dumps(whole), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    if path != "/json_rpc":
        return answer
    if "error" in answer:
        raise Refused(f"{method}: {answer['error']}")
    return answer["result"]


@dataclass
class Network:
    """till: the view-only wallet's process, whose files survive it."""

    node_port: int
    payer_port: int
    till: Daemon
    till_port: int
    miner: str

    def mine(self, blocks: int) -> None:
        ask(self.node_port, "generateblocks", {"amount_of_blocks": blocks, "wallet_address": self.miner})

    def undo(self, blocks: int, *, forgetting: bool = False) -> None:
        """Take the last blocks off the chain; forgetting: and what then waits for a block."""
        ask(self.node_port, "", {"nblocks": blocks}, "/pop_blocks")
        if forgetting:
            ask(self.node_port, "flush_txpool", {})

    def pay(self, *outputs: tuple[str, int], unlock_time: int = 0) -> str:
        """Addresses and piconero, in one transaction."""
        ask(self.payer_port, "refresh", {})
        destinations = [{"address": address, "amount": amount} for address, amount in outputs]
        asked = {"destinations": destinations, "priority": 1, "unlock_time": unlock_time}
        return str(ask(self.payer_port, "transfer", asked)["tx_hash"])

    def start_till(self) -> None:
        """Until it listens. What was killed may keep its port for a while, and who comes too early ends."""

        def listens() -> bool:
            if self.till.process is None or self.till.process.poll() is not None:
                self.till.start()
            with socket.create_connection(("127.0.0.1", self.till_port), timeout=5):
                return True

        until(listens, "a till that listens")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.till_port}"


def _wallet(folder: Path, node_port: int, port: int, *words: str) -> Daemon:
    folder.mkdir(parents=True, exist_ok=True)
    there = ("--daemon-address", f"127.0.0.1:{node_port}", "--trusted-daemon")
    given = [str(WALLET_RPC), *_ALONE, *there, "--rpc-bind-port", str(port), "--log-file", str(folder / "rpc.log")]
    return Daemon(folder, [*given, *words], {})


def _keys(folder: Path, node_port: int) -> tuple[str, str]:
    """A new wallet's address and the key that views it; nobody keeps the other."""
    port = free_port()
    daemon = _wallet(folder, node_port, port, "--disable-rpc-login", "--wallet-dir", str(folder))
    try:
        daemon.start()
        until(lambda: ask(port, "get_version", {}), "a wallet that answers")
        ask(port, "create_wallet", {"filename": "merchant", "password": "", "language": "English"})
        address = ask(port, "get_address", {})["address"]
        return str(address), str(ask(port, "query_key", {"key_type": "view_key"})["key"])
    finally:
        daemon.stop()


def _view_only(folder: Path, node_port: int) -> None:
    """Write the wallet's file."""
    address, key = _keys(folder / "merchant", node_port)
    port = free_port()
    daemon = _wallet(folder, node_port, port, "--disable-rpc-login", "--wallet-dir", str(folder))
    try:
        daemon.start()
        until(lambda: ask(port, "get_version", {}), "a wallet that answers")
        asked = {"filename": "till", "address": address, "viewkey": key, "password": "", "restore_height": 0}
        ask(port, "generate_from_keys", asked)
        ask(port, "close_wallet", {})
    finally:
        daemon.stop()


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    node_port, p2p_port, payer_port, till_port = (free_port() for _ in range(4))
    (folder / "node").mkdir(parents=True)
    alone = ("--regtest", "--offline", "--fixed-difficulty", "1", "--no-zmq", "--data-dir", str(folder / "node"))
    ports = ("--rpc-bind-port", str(node_port), "--p2p-bind-ip", "127.0.0.1", "--p2p-bind-port", str(p2p_port))
    node = Daemon(folder / "node", [str(MONEROD), *_ALONE, *alone, *ports], {})
    payer_folder, till_folder = folder / "payer", folder / "till"
    payer = _wallet(payer_folder, node_port, payer_port, "--disable-rpc-login", "--wallet-dir", str(payer_folder))
    words = ("--rpc-login", "u:p", "--wallet-file", str(till_folder / "till"), "--password", "")
    till = _wallet(till_folder, node_port, till_port, *words)
    try:
        node.start()
        until(lambda: ask(node_port, "get_info", {}), "a node that answers")
        payer.start()
        until(lambda: ask(payer_port, "get_version", {}), "a wallet that answers")
        ask(payer_port, "create_wallet", {"filename": "payer", "password": "", "language": "English"})
        miner = ask(payer_port, "get_address", {})["address"]
        made = Network(node_port, payer_port, till, till_port, miner)
        made.mine(MATURE)
        _view_only(till_folder, node_port)
        made.start_till()
        yield made
    finally:
        for daemon in (till, payer, node):
            daemon.stop()
