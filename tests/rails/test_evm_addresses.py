"""Addresses of Ethereum's kind: published ones, their checksums, and nothing that could spend."""

from __future__ import annotations

import pytest
from embit.bip32 import HDKey

from perquery.rails.evm_addresses import EvmAddresses, checksummed
from tests.rails.evm import XPUB, account

# EIP-55's own examples.
CHECKSUMS = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", CHECKSUMS)
def test_checksums(address: str) -> None:
    assert checksummed(address.lower()) == checksummed("0x" + address[2:].upper()) == address


def test_the_addresses_that_wallets_show_for_the_published_mnemonic() -> None:
    addresses = EvmAddresses(f" {XPUB}\n")
    assert addresses.at(0) == "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
    assert addresses.at(1) == "0x6Fac4D18c912343BF86fa7049364Dd4E424Ab9C0"
    assert len({EvmAddresses(account(number)).at(0) for number in range(3)}) == 3
    with pytest.raises(ValueError, match="no address -1"):
        addresses.at(-1)


DEEPER = str(HDKey.from_string(XPUB).derive([0]).to_base58())
SPENDS = [account(0, private=True), "abandon " * 11 + "about", "0x" + "5c" * 32, "5C" * 32]
WRONG = [
    ("", "not an extended"),
    ("0x9858EfFD232B4033E47d90003D41EC34EcaEda94", "not an extended"),
    (XPUB[:-1], "not an extended"),
    (DEEPER, "of an account"),
    *((key, "could spend") for key in SPENDS),
]


@pytest.mark.parametrize(
    ("text", "why"), [*WRONG, (DEEPER, "of an account"), *((key, "could spend") for key in SPENDS)]
)
def test_what_is_no_accounts_public_key_is_refused_and_not_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        EvmAddresses(text)
    assert not text or text not in str(caught.value)
