"""A scripted chain of blocks with a pool, and the three kinds of server that tell of it, over sockets: an Electrum
server, an Esplora, a full node with its watching wallet.

It pays, mines, forgets and reorganises as the test says; transactions are real ones, of another library's making.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from embit.script import Script, address_to_scriptpubkey
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from tests.answering import Asked, answering

GENESIS: Final = "00" * 32
SECOND_MS: Final = 1_000


@dataclass(eq=False)
class Paid:
    """A transaction: what it pays, in order. raw: as it is on the network."""

    outputs: Sequence[tuple[str, int]]
    raw: str
    id: str


@dataclass
class Block:
    at_ms: int
    paid: list[Paid] = field(default_factory=list)


class ScriptedChain:
    """clock: milliseconds; a block is made then."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.blocks = [Block(clock()) for _ in range(101)]
        self.pool: list[Paid] = []

    @property
    def height(self) -> int:
        return len(self.blocks) - 1

    def pay(self, *outputs: tuple[str, int]) -> Paid:
        """Into the pool: addresses and units; one to a stranger is added."""
        stranger = TransactionOutput(5_000, Script(b"\0\x14" + secrets.token_bytes(20)))
        ours = [TransactionOutput(amount, address_to_scriptpubkey(address)) for address, amount in outputs]
        made = Transaction(2, [TransactionInput(secrets.token_bytes(32), 0)], [*ours, stranger], 0)
        paid = Paid(outputs, made.serialize().hex(), made.txid().hex())
        self.pool.append(paid)
        return paid

    def mine(self, blocks: int = 1) -> None:
        """The pool goes into the first of them."""
        for _ in range(blocks):
            self.blocks.append(Block(self._clock(), self.pool))
            self.pool = []

    def forget(self, paid: Paid) -> None:
        """It leaves the pool, as what was replaced does."""
        self.pool.remove(paid)

    def reorganise(self, depth: int, *, forgetting: Sequence[Paid] = ()) -> None:
        """Other blocks in place of the last ones, and one more; what was in them waits again, or never was."""
        undone = [paid for block in self.blocks[-depth:] for paid in block.paid]
        del self.blocks[-depth:]
        self.blocks += [Block(self._clock()) for _ in range(depth + 1)]
        self.pool += [paid for paid in undone if paid not in forgetting]

    def all(self) -> list[tuple[Paid, int]]:
        """Every transaction with the height of its block, 0 for the pool."""
        mined = [(paid, height) for height, block in enumerate(self.blocks) for paid in block.paid]
        return [*((paid, 0) for paid in self.pool), *reversed(mined)]


class Server:
    """What every kind has: `spoil` answers everything in place of the chain; `blind` are transactions that it hides;
    `behind` is how many blocks it lags.
    """

    def __init__(self, chain: ScriptedChain) -> None:
        self.chain = chain
        self.url = ""
        self.spoil: Any = None
        self.blind: set[str] = set()
        self.behind = 0

    @property
    def height(self) -> int:
        return self.chain.height - self.behind

    def known(self) -> list[tuple[Paid, int]]:
        return [(p, height) for p, height in self.chain.all() if p.id not in self.blind and height <= self.height]


class Electrum(Server):
    """Protocol 1.4. instead: raw transactions in place of the true ones, by id."""

    def __init__(self, chain: ScriptedChain) -> None:
        super().__init__(chain)
        self.genesis = GENESIS
        self.instead: dict[str, str] = {}
        self.noise: list[Any] = []

    def answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        if self.spoil is not None:
            return {"error": self.spoil}
        if method == "server.version":
            return {"result": ["ElectrumX 1.16.0", "1.4"]}
        if method == "server.features":
            return {"result": {"genesis_hash": self.genesis, "hash_function": "sha256"}}
        if method == "blockchain.headers.subscribe":
            return {"result": {"height": self.height, "hex": self._header(self.height)}}
        if method == "blockchain.block.header":
            return {"result": self._header(params[0])}
        if method == "blockchain.transaction.get":
            known = {paid.id: paid.raw for paid, _ in self.chain.all()}
            missing = {"code": 2, "message": "daemon error: No such mempool or blockchain transaction."}
            raw = self.instead.get(params[0], known.get(params[0]))
            return {"result": raw} if raw is not None else {"error": missing}
        if method == "blockchain.scripthash.get_history":
            return {"result": self._history(params[0])}
        return {"error": {"code": -32601, "message": f'unknown method "{method}"'}}

    def _header(self, height: int) -> str:
        at_s = self.chain.blocks[height].at_ms // SECOND_MS
        return (bytes(68) + at_s.to_bytes(4, "little") + bytes(8)).hex()

    def _history(self, scripthash: str) -> list[dict[str, Any]]:
        return [
            {"tx_hash": paid.id, "height": height} | ({} if height else {"fee": 200})
            for paid, height in reversed(self.known())
            if any(_scripthash(address) == scripthash for address, _ in paid.outputs)
        ]


def _scripthash(address: str) -> str:
    return hashlib.sha256(address_to_scriptpubkey(address).data).digest()[::-1].hex()


@contextmanager
def electrum(chain: ScriptedChain) -> Iterator[Electrum]:
    serves = Electrum(chain)

    class Talk(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                asked = json.loads(line)
                for noise in serves.noise:
                    self.wfile.write(noise if isinstance(noise, bytes) else json.dumps(noise).encode() + b"\n")
                answer = serves.answer(asked["method"], asked["params"])
                self.wfile.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | answer).encode() + b"\n")

    with _listening(Talk) as port:
        serves.url = f"tcp://127.0.0.1:{port}"
        yield serves


@contextmanager
def _listening(talk: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), talk) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


class Esplora(Server):
    def answer(self, path: str) -> tuple[int, Any]:
        if self.spoil is not None:
            status, said = self.spoil
            return status, said
        if path == "/blocks/tip/height":
            return 200, self.height
        _, _, address, _, *after = path.split("/")
        found = [self._shown(paid, height) for paid, height in self.known() if address in dict(paid.outputs)]
        if after:
            place = [tx["txid"] for tx in found].index(after[-1])
            return 200, found[place + 1 :][:25]
        pool = [tx for tx in found if not tx["status"]["confirmed"]]
        return 200, [*pool, *[tx for tx in found if tx["status"]["confirmed"]][:25]]

    def _shown(self, paid: Paid, height: int) -> dict[str, Any]:
        at_s = self.chain.blocks[height].at_ms // SECOND_MS
        status = {"confirmed": True, "block_height": height, "block_time": at_s} if height else {"confirmed": False}
        outputs = [{"scriptpubkey_address": address, "value": units} for address, units in paid.outputs]
        return {"txid": paid.id, "vout": [*outputs, {"scriptpubkey_type": "op_return", "value": 0}], "status": status}


@contextmanager
def esplora(chain: ScriptedChain) -> Iterator[Esplora]:
    serves = Esplora(chain)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = serves.answer(asked.path)
        return status, said if isinstance(said, bytes) else json.dumps(said).encode()

    with answering(answer) as serves.url:
        yield serves


class Core(Server):
    """legacy: a node without descriptor wallets. wallet: None (there is none), "unloaded" or "loaded"."""

    def __init__(self, chain: ScriptedChain) -> None:
        super().__init__(chain)
        self.legacy = False
        self.wallet: str | None = None
        self.keys = False
        self.catching_up = False
        self.watching: dict[str, Any] = {}
        self.ever: list[Paid] = []

    def answer(self, path: str, method: str, params: list[Any]) -> Any:
        """The result, or an error as (code, words)."""
        if path.startswith("/wallet/") and self.wallet != "loaded":
            return -18, "Requested wallet does not exist or is not loaded"
        found = getattr(self, f"_{method}", None)
        return found(*params) if found is not None else (-32601, "Method not found")

    def _getblockchaininfo(self) -> Any:
        ahead = self.height + 9 * self.catching_up
        about = {"chain": "regtest", "blocks": self.height, "headers": ahead}
        best = f"{id(self.chain.blocks[self.height]):064x}"
        return about | {"bestblockhash": best, "initialblockdownload": self.catching_up}

    def _getblockhash(self, _height: int) -> Any:
        return GENESIS

    def _getnetworkinfo(self) -> Any:
        return {"version": 280000, "subversion": "/Satoshi:28.0.0/"}

    def _loadwallet(self, _name: str) -> Any:
        if self.wallet is None:
            return -18, "Wallet file verification failed. Path does not exist."
        self.wallet = "loaded"
        return {"name": "perquery", "warning": ""}

    def _createwallet(self, name: str, no_keys: bool, blank: bool) -> Any:
        assert no_keys and blank
        self.wallet = "loaded"
        return {"name": name, "warning": ""}

    def _getwalletinfo(self) -> Any:
        about = {"walletname": "perquery", "private_keys_enabled": self.keys}
        return about if self.legacy else about | {"descriptors": True}

    def _getaddressinfo(self, address: str) -> Any:
        return {"address": address, "ismine": address in self.watching and not self.legacy, "iswatchonly": False}

    def _importdescriptors(self, requests: list[dict[str, Any]]) -> Any:
        if self.legacy:
            return -4, "importdescriptors is not available for non-descriptor wallets"
        self.watching |= {each["desc"].partition("(")[2].partition(")")[0]: each["timestamp"] for each in requests}
        return [{"success": True} for _ in requests]

    def _importmulti(self, requests: list[dict[str, Any]]) -> Any:
        if not self.legacy:
            return -4, "Only legacy wallets are supported by this command"
        assert all(each["watchonly"] for each in requests)
        self.watching |= {each["scriptPubKey"]["address"]: each["timestamp"] for each in requests}
        return [{"success": True} for _ in requests]

    def _listsinceblock(self, since: str, _target: int, watchonly: bool) -> Any:
        """A wallet lists what it has ever seen; what is neither mined nor waiting has no confirmations."""
        assert since == "" and watchonly
        there = dict(self.known())
        self.ever += [paid for paid in there if paid not in self.ever]
        listed = [self._entry(paid, i, there.get(paid)) for paid in self.ever for i in range(len(paid.outputs))]
        return {"transactions": [entry for entry in listed if entry["address"] in self.watching], "removed": []}

    def _entry(self, paid: Paid, index: int, height: int | None) -> dict[str, Any]:
        address, units = paid.outputs[index]
        entry = {"category": "receive", "address": address, "txid": paid.id, "vout": index, "confirmations": 0}
        entry["amount"] = units / 10**8
        if height:
            mined = {"confirmations": self.height - height + 1}
            entry |= mined | {"blocktime": self.chain.blocks[height].at_ms // SECOND_MS}
        return entry

    def _getmempoolentry(self, txid: str) -> Any:
        waiting = any(paid.id == txid for paid in self.chain.pool)
        return {"vsize": 141} if waiting else (-5, "Transaction not in mempool")


@contextmanager
def core(chain: ScriptedChain) -> Iterator[Core]:
    node = Core(chain)

    def answer(asked: Asked) -> tuple[int, bytes]:
        if node.spoil is not None:
            status, said = node.spoil
            return status, said if isinstance(said, bytes) else json.dumps(said).encode()
        body = json.loads(asked.body)
        found = node.answer(asked.path, body["method"], body["params"])
        if isinstance(found, tuple):
            error = {"code": found[0], "message": found[1]}
            return 500, json.dumps({"result": None, "error": error, "id": body["id"]}).encode()
        return 200, json.dumps({"result": found, "error": None, "id": body["id"]}).encode()

    with answering(answer) as node.url:
        yield node
