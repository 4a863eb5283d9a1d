"""Reading what a node of a chain of Ethereum's kind answers: quantities, hashes, and logs of a token's Transfers.

Everything is brought into one form, small letters and no leading zeros, so that nothing has two names. What is not in
the form of the JSON-RPC specification is no answer: ValueError. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from perquery.rails.keccak import keccak256

TRANSFER: Final = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
_WORD: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Block:
    number: int
    hash: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """A log. id: TXID:INDEX, by the log's index in its block; units: the contract's smallest ones, or, where `fungible`
    is False, the number of the one thing that changed hands.
    """

    id: str
    contract: str
    payee: str
    units: int
    fungible: bool
    block: int
    block_hash: str


def quantity(found: Any) -> int:
    return int(_matching(_QUANTITY, found), 16)


def word(found: Any) -> int:
    """32 bytes as a number."""
    return int(_matching(_WORD, found), 16)


def padded(address: str) -> str:
    """An address as a topic."""
    return "0x" + "0" * 24 + address[2:].lower()


def block(found: Any) -> Block:
    number, seconds = (quantity(_field(found, name)) for name in ("number", "timestamp"))
    return Block(number, _matching(_WORD, _field(found, "hash")), seconds * 1_000)


def transfer(log: Any) -> Transfer | None:
    """None for a log that a later block has undone."""
    if _field(log, "removed", False):
        return None
    topics = _field(log, "topics")
    if not isinstance(topics, list) or len(topics) not in (3, 4) or _matching(_WORD, topics[0]) != TRANSFER:
        raise ValueError("a log of something else than a Transfer")
    payee = _matching(_WORD, topics[2])
    fungible = len(topics) == 3
    index = quantity(_field(log, "logIndex"))
    return Transfer(
        id=f"{_matching(_WORD, _field(log, 'transactionHash'))}:{index}",
        contract=_matching(_ADDRESS, _field(log, "address")),
        payee="0x" + payee[26:],
        units=word(_field(log, "data") if fungible else topics[3]),
        fungible=fungible,
        block=quantity(_field(log, "blockNumber")),
        block_hash=_matching(_WORD, _field(log, "blockHash")),
    )


def _field(found: Any, name: str, default: Any = None) -> Any:
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found.get(name, default)


def _matching(form: re.Pattern[str], found: Any) -> str:
    if not isinstance(found, str) or not form.fullmatch(found):
        raise ValueError(f"not as it should be: {str(found)[:80]!r}")
    return found.lower()
