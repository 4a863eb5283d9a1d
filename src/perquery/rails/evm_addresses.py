"""Addresses of Ethereum's kind from an account's public key, one for each number: watch-only.

The same address is good on every such chain. A key that can spend is refused here, so that none is ever in the process.
"""

from __future__ import annotations

from typing import Final

from embit.base import EmbitError
from embit.bip32 import HDKey

from perquery.rails.keccak import keccak256
from perquery.rails.spending import ADVICE, could_spend, is_bare_key

_NUMBER_MAX: Final = 2**31
_ACCOUNT_DEPTH: Final = 3
_HARDENED: Final = 2**31
_NOT_ONE: Final = "not an extended public key (xpub…) of an account, m/44'/60'/0'"


class EvmAddresses:
    """text: the extended public key of an account (BIP 44: m/44'/60'/ACCOUNT'), of which the receiving addresses
    (…/0/NUMBER) are taken. Raises ValueError, in words that never repeat a key.
    """

    def __init__(self, text: str) -> None:
        text = text.strip()
        if could_spend(text) or is_bare_key(text):
            raise ValueError(ADVICE)
        try:
            account = HDKey.from_string(text)
            self._branch = account.derive([0])
        except (EmbitError, ValueError, KeyError, IndexError, AssertionError) as error:
            raise ValueError(_NOT_ONE) from error
        if account.is_private:
            raise ValueError(ADVICE)
        if account.depth != _ACCOUNT_DEPTH:
            raise ValueError(_NOT_ONE)
        self._account = account.child_number & ~_HARDENED

    def path(self, number: int) -> str:
        """Where a wallet has the key of that number."""
        return f"m/44'/60'/{self._account}'/0/{number}"

    def at(self, number: int) -> str:
        """The address of a number from 0 on, with its checksum (EIP-55)."""
        if not 0 <= number < _NUMBER_MAX:
            raise ValueError(f"there is no address {number}")
        key = self._branch.derive([number]).key
        key.compressed = False
        return checksummed("0x" + keccak256(key.sec()[1:])[12:].hex())


def checksummed(address: str) -> str:
    """The address, 0x and 40 hexadecimal digits, with the capitals that EIP-55 gives it."""
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) > 7 else digit for digit, mark in zip(digits, marks, strict=False)
    )
