"""Addresses from an account's public key, one for each number: watch-only. A key that can spend is refused here, so
that none is ever in the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from embit import base58, bech32
from embit.base import EmbitError
from embit.bip32 import HDKey
from embit.descriptor import Descriptor
from embit.descriptor.checksum import checksum as descriptor_checksum

from perquery.rails.coins import Network
from perquery.rails.spending import ADVICE, could_spend

# SLIP-132: how an extended public key says which addresses are meant. A plain xpub is taken for native segwit, as
# wallets have exported it since.
_KINDS: Final[Mapping[str, str]] = {
    "xpub": "wpkh({})",
    "tpub": "wpkh({})",
    "zpub": "wpkh({})",
    "vpub": "wpkh({})",
    "ypub": "sh(wpkh({}))",
    "upub": "sh(wpkh({}))",
    "Ltub": "pkh({})",
    "Mtub": "sh(wpkh({}))",
}
_XPUB: Final = bytes.fromhex("0488b21e")
_NUMBER_MAX: Final = 2**31


class Addresses:
    """text: an extended public key, of which the receiving addresses (…/0/NUMBER) are taken, or a descriptor that
    ends in a `*`. Raises ValueError, in words that never repeat a key.
    """

    def __init__(self, text: str, network: Network) -> None:
        self._network = network
        self._names: dict[str, Any] = {
            "name": "",
            "bech32": network.hrp,
            "p2pkh": network.p2pkh,
            "p2sh": network.p2sh,
        }
        self._descriptor = _descriptor(text.strip())

    def at(self, number: int) -> str:
        """The address of a number from 0 on."""
        if not 0 <= number < _NUMBER_MAX:
            raise ValueError(f"there is no address {number}")
        return str(self._descriptor.derive(number).address(self._names))


def script_of(address: str, network: Network) -> bytes:
    """The output script that pays the address. Raises ValueError where it is not one of that network."""
    hrp, mark, _ = address.rpartition("1")
    if mark and hrp == network.hrp:
        version, program = bech32.decode(hrp, address)
        if version is None:
            raise ValueError("not an address")
        return bytes([version + 0x50 if version else 0, len(program)]) + bytes(program)
    try:
        data = bytes(base58.decode_check(address))
    except (EmbitError, ValueError, KeyError, IndexError) as error:
        raise ValueError("not an address") from error
    prefix, payload = data[:1], data[1:]
    if len(payload) != 20 or prefix not in (network.p2pkh, network.p2sh):
        raise ValueError("not an address of this network")
    return b"\x76\xa9\x14" + payload + b"\x88\xac" if prefix == network.p2pkh else b"\xa9\x14" + payload + b"\x87"


def _descriptor(text: str) -> Descriptor:
    if could_spend(text):
        raise ValueError(ADVICE)
    body, mark, given = text.partition("#")
    if mark and descriptor_checksum(body) != given:
        raise ValueError("its checksum is wrong: a letter is missing or mistyped")
    found = _parsed(body)
    if any(key.is_private for key in found.keys):
        raise ValueError(ADVICE)
    if not found.is_wildcard or found.num_branches != 1:
        raise ValueError("the descriptor must end in /* and name one chain of addresses, such as wpkh(xpub…/0/*)")
    return found


def _parsed(text: str) -> Descriptor:
    kind = _KINDS.get(text[:4])
    try:
        if kind is None:
            return Descriptor.from_string(text)
        # Whatever coin's letters it begins with: the key is the same.
        key = HDKey.from_string(text)
        key.version = _XPUB
        return Descriptor.from_string(kind.format(f"{key.to_base58(_XPUB)}/0/*"))
    except (EmbitError, ValueError, KeyError, IndexError, AssertionError) as error:
        raise ValueError("neither an extended public key (xpub, ypub, zpub) nor a descriptor") from error
