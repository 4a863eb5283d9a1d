"""A chain of Ethereum's kind: anvil, with tokens that are compiled here by Solidity's own compiler.

Blocks are made by hand. Of an epoch of one slot the last block but one is final. All listens on loopback alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from perquery.rails.keccak import keccak256
from tests.networks.channel import ROOT, Daemon, ask, free_port, until

NPM: Final = ROOT / ".agents" / "npm" / "node_modules"  # make test-slow fills it
ANVIL: Final = NPM / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
SOLC: Final = NPM / "solc" / "solc.js"
SOURCE: Final = Path(__file__).with_name("Token.sol")
_GAS: Final = hex(5_000_000)


def missing() -> str | None:
    """What is not here, so that no chain can be."""
    if not shutil.which("node"):
        return "there is no Node: on Debian, apt-get install nodejs npm"
    return None if ANVIL.exists() and SOLC.exists() else "anvil and solc are not installed: make test-slow does that"


@cache
def compiled() -> str:
    """The token's code, as its deployment begins, in hexadecimal."""
    asked = {
        "language": "Solidity",
        "sources": {"Token.sol": {"content": SOURCE.read_text("utf-8")}},
        "settings": {"evmVersion": "london", "outputSelection": {"*": {"*": ["evm.bytecode.object"]}}},
    }
    words = [shutil.which("node") or "node", str(SOLC), "--standard-json"]
    result = subprocess.run(words, input=json.dumps(asked), capture_output=True, text=True, check=True, timeout=300)
    said = json.loads(result.stdout[result.stdout.index("{") :])
    assert not [each for each in said.get("errors", []) if each["severity"] == "error"], said["errors"]
    return str(said["contracts"]["Token.sol"]["Token"]["evm"]["bytecode"]["object"])


def _number(value: int | str) -> str:
    """A number, or an address, as a word of an ABI."""
    return f"{int(value, 16) if isinstance(value, str) else value:064x}"


def _called(signature: str, *words: int | str) -> str:
    return "0x" + keccak256(signature.encode()).hex()[:8] + "".join(map(_number, words))


@dataclass
class Anvil:
    """The chain. dealer: an account of anvil's own, which has all tokens."""

    port: int
    dealer: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, *params: Any) -> Any:
        return ask(self.port, method, params)

    def mine(self, blocks: int = 1) -> None:
        self.call("anvil_mine", hex(blocks))

    def deploy(self, decimals: int, fee_percent: int = 0) -> str:
        """A new token's contract."""
        data = "0x" + compiled() + _number(decimals) + _number(fee_percent)
        txid = self.call("eth_sendTransaction", {"from": self.dealer, "data": data, "gas": _GAS})
        self.mine()
        return str(self.call("eth_getTransactionReceipt", txid)["contractAddress"])

    def pay(self, contract: str, *payments: tuple[str, int]) -> str:
        """Addresses and the contract's smallest units, all in one transaction, which waits for a block."""
        payees, units = [address for address, _ in payments], [amount for _, amount in payments]
        many = len(payments)
        words: Sequence[int | str] = (64, 32 * (3 + many), many, *payees, many, *units)
        data = _called("transferAll(address[],uint256[])", *words)
        return str(self.call("eth_sendTransaction", {"from": self.dealer, "to": contract, "data": data, "gas": _GAS}))

    def reorganise(self, depth: int, *again: str) -> None:
        """Other blocks in place of the last ones; these raw transactions are in the first of them."""
        self.call("anvil_reorg", depth, [[raw, 0] for raw in again])

    def raw(self, txid: str) -> str:
        return str(self.call("eth_getRawTransactionByHash", txid))


@contextmanager
def anvil(folder: Path, chain_id: int = 31_337) -> Iterator[Anvil]:
    port = free_port()
    words = ("--no-mining", "--slots-in-an-epoch", "1", "--silent", "--host", "127.0.0.1")
    daemon = Daemon(folder, [str(ANVIL), *words, "--port", str(port), "--chain-id", str(chain_id)], {})
    try:
        daemon.start()
        accounts = until(lambda: ask(port, "eth_accounts", []), "a chain that answers")
        yield Anvil(port, accounts[0])
    finally:
        daemon.stop()
