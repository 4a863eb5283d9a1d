"""A scripted node of a chain of Ethereum's kind over a scripted chain: JSON-RPC over a socket, in the shapes of geth.

Payments show once they are in a block. range_max: the most blocks that it looks through at once; skips: whether it
leaves out all logs, as a node does whose index lags; strays: logs of other contracts, by block.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from embit.bip32 import HDKey
from embit.bip39 import mnemonic_to_seed

from tests.answering import Asked, answering
from tests.rails.chains import SECOND_MS, Block, Paid, ScriptedChain, Server

CHAIN_ID: Final = 31_337
CONTRACT: Final = "0x" + "5fbdb2315678afecb367f032d93f642f64180aa3"
TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
REFUSED: Final = -32_000


def account(number: int, *, private: bool = False) -> str:
    """The key of m/44'/60'/NUMBER' of the published mnemonic "abandon … about"."""
    key = HDKey.from_seed(mnemonic_to_seed("abandon " * 11 + "about")).derive(f"m/44h/60h/{number}h")
    return str((key if private else key.to_public()).to_base58())


XPUB: Final = account(0)


class EvmChain(ScriptedChain):
    """Amounts are in nano-tokens, as the rail has them."""

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self._names: dict[int, tuple[Block, str]] = {}  # the block is kept, so that no other gets its id

    def pay(self, *outputs: tuple[str, int]) -> Paid:
        paid = Paid(outputs, "", "0x" + secrets.token_hex(32))
        self.pool.append(paid)
        return paid

    def hash(self, height: int) -> str:
        block = self.blocks[height]
        named = (block, "0x" + hashlib.sha256(secrets.token_bytes(32)).hexdigest())
        return self._names.setdefault(id(block), named)[1]


class Evm(Server):
    def __init__(self, chain: EvmChain, decimals: int, final_depth: int) -> None:
        super().__init__(chain)
        self.names = chain
        self.decimals = decimals
        self.final_depth = final_depth
        self.chain_id = CHAIN_ID
        self.range_max = 10_000
        self.skips = False
        self.shouts = False  # as some do with hexadecimal letters
        self.strays: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []

    def answer(self, method: str, params: list[Any]) -> Any:
        """The result, or an error as (code, words)."""
        self.asked.append((method, params))
        found = getattr(self, f"_{method}", None)
        return found(*params) if found is not None else (-32_601, f"the method {method} does not exist")

    def _eth_chainId(self) -> Any:
        return hex(self.chain_id)

    def _web3_clientVersion(self) -> Any:
        return "Geth/v1.16.4/linux-amd64"

    def _eth_call(self, call: dict[str, str], _block: str) -> Any:
        if call["data"].startswith("0x70a08231"):  # balanceOf(address)
            to = "0x" + "0" * 24 + call["data"][-40:]
            return f"0x{sum(int(log['data'], 16) for log in self.logs() if log['topics'][2] == to):064x}"
        assert call["data"] == "0x313ce567"  # decimals()
        return f"0x{self.decimals:064x}" if call["to"] == CONTRACT else "0x"

    def _eth_getBlockByNumber(self, which: str, whole: bool) -> Any:
        assert not whole
        named = {"latest": self.height, "finalized": max(0, self.height - self.final_depth)}
        number = named[which] if which in named else int(which, 16)
        if number > self.height:
            return None
        at_s = self.chain.blocks[number].at_ms // SECOND_MS
        return {"number": hex(number), "hash": self.names.hash(number), "timestamp": hex(at_s), "transactions": []}

    def _eth_getLogs(self, asked: dict[str, Any]) -> Any:
        first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        if last - first >= self.range_max:
            return REFUSED, f"query exceeds max block range {self.range_max}"
        topic, _, payees = asked["topics"]
        assert topic == TRANSFER and 0 < len(payees) <= 1_000
        logs = [] if self.skips else [*self.logs(), *self.strays]
        return [
            self._cased(log)
            for log in logs
            if first <= int(log["blockNumber"], 16) <= last
            and log["topics"][2] in payees
            and asked.get("address", log["address"]) == log["address"]
        ]

    def logs(self) -> Iterator[dict[str, Any]]:
        """The token's own, of all blocks that the node has."""
        for paid, height in self.known():
            for index, (address, units) in enumerate(paid.outputs):
                if height:
                    yield self.log(height, paid.id, index, CONTRACT, address, units * 10**self.decimals // 10**9)

    def log(self, height: int, txid: str, index: int, contract: str, address: str, units: int) -> dict[str, Any]:
        return {
            "address": contract,
            "topics": [TRANSFER, "0x" + "0" * 24 + "ab" * 20, "0x" + "0" * 24 + address[2:].lower()],
            "data": f"0x{units:064x}",
            "blockNumber": hex(height),
            "blockHash": self.names.hash(height),
            "transactionHash": txid,
            "transactionIndex": "0x0",
            "logIndex": hex(index),
            "removed": False,
        }

    def _cased(self, log: dict[str, Any]) -> dict[str, Any]:
        if not self.shouts:
            return log
        capital = {name: "0x" + log[name][2:].upper() for name in ("address", "transactionHash", "blockHash")}
        return log | capital | {"topics": ["0x" + topic[2:].upper() for topic in log["topics"]]}


@contextmanager
def running(chain: EvmChain, *, decimals: int = 6, final_depth: int = 10) -> Iterator[Evm]:
    node = Evm(chain, decimals, final_depth)

    def answer(asked: Asked) -> tuple[int, bytes]:
        if node.spoil is not None:
            status, said = node.spoil
            return status, said if isinstance(said, bytes) else json.dumps(said).encode()
        body = json.loads(asked.body)
        found = node.answer(body["method"], body["params"])
        error = isinstance(found, tuple)
        said = {"error": {"code": found[0], "message": found[1]}} if error else {"result": found}
        return 200, json.dumps({"jsonrpc": "2.0", "id": body["id"]} | said).encode()

    with answering(answer) as node.url:
        yield node


def chain_setting(nodes: Sequence[Evm], final: int | str = "finalized") -> dict[str, Any]:
    """A row of the settings for a chain that these nodes serve."""
    return {
        "urls": [node.url for node in nodes],
        "chain_id": nodes[0].chain_id,
        "contract": CONTRACT,
        "decimals": nodes[0].decimals,
        "final": final,
    }
