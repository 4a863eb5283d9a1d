"""Dollar tokens on chains of Ethereum's kind, as data: which contract they are, what stands behind the point, and
when a block is final.

A row's contract is the only one whose payments count. Any further chain is a row of the settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from perquery.config import ChainSetting, RailSetting
from perquery.rails.evm_addresses import checksummed

DIGITS: Final = 9  # of the smallest unit, whatever the contract's own: a nano-dollar where a token is worth one
_CONTRACT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token on one chain. contract: in small letters; decimals: the contract's digits after the point; final: so
    many confirmations, None: what the chain calls `finalized`.
    """

    chain: str
    chain_id: int
    contract: str
    decimals: int
    final: int | None = None

    def units(self, amount: int) -> int:
        """The contract's smallest units of an amount in ours, rounded up."""
        return int(-(-amount * 10**self.decimals // 10**DIGITS))

    def amount(self, units: int) -> int:
        """Our smallest units of the contract's, rounded down."""
        return int(units * 10**DIGITS // 10**self.decimals)


# Circle's own contracts (developers.circle.com, "USDC contract addresses"). Tether's own on Ethereum (tether.to,
# "Supported protocols"); on Base it is what the chain's own bridge makes of that one.
_KNOWN: Final[Mapping[str, Mapping[str, Token]]] = {
    "usdc": {
        "ethereum": Token("ethereum", 1, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6),
        "base": Token("base", 8453, "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", 6),
    },
    "usdt": {
        "ethereum": Token("ethereum", 1, "0xdac17f958d2ee523a2206206994597c13d831ec7", 6),
        "base": Token("base", 8453, "0xfde4c96c8593536e31f229ea8f37b2ada2699bb2", 6),
    },
}


def tokens_of(rail: str, setting: RailSetting) -> tuple[Token, ...]:
    """The rail's token on the chains that the settings name, in their order. Raises ValueError, "FIELD: why"."""
    found = tuple(_token(rail, name, chain) for name, chain in setting.chains.items())
    ids = [token.chain_id for token in found]
    if twice := {each for each in ids if ids.count(each) > 1}:
        raise ValueError(f"chains: chain_id {min(twice)} stands twice")
    return found


def _token(rail: str, name: str, chain: ChainSetting) -> Token:
    where, known = f"chains.{name}", _KNOWN.get(rail, {}).get(name)
    final = None if chain.final == "finalized" else chain.final
    given = (chain.chain_id, chain.contract, chain.decimals)
    if known is not None and given == (None, None, None):
        return Token(name, known.chain_id, known.contract, known.decimals, final)
    if chain.chain_id is None or chain.contract is None or chain.decimals is None:
        there = ", ".join(_KNOWN.get(rail, {}))
        raise ValueError(f"{where}: needs chain_id, contract and decimals, all three; known without are {there}")
    return Token(name, chain.chain_id, _contract(where, chain.contract), chain.decimals, final)


def _contract(where: str, text: str) -> str:
    if not _CONTRACT.fullmatch(text):
        raise ValueError(f"{where}.contract: write 0x and 40 hexadecimal digits")
    if text not in (text.lower(), checksummed(text)):
        raise ValueError(f"{where}.contract: its capitals are not those of its checksum: a digit is mistyped")
    return text.lower()
