"""Addresses from public keys: those of the published vectors, for every kind; and nothing that could spend."""

from __future__ import annotations

import pytest
from embit.bip32 import HDKey
from embit.bip39 import mnemonic_to_seed
from embit.networks import NETWORKS
from embit.script import address_to_scriptpubkey

from perquery.rails.coins import BITCOIN, LITECOIN
from perquery.rails.descriptors import Addresses, script_of

# BIP 84's test vectors: the mnemonic "abandon … about".
ROOT = HDKey.from_seed(mnemonic_to_seed("abandon " * 11 + "about"))
MAIN = NETWORKS["main"]
BTC, LTC = BITCOIN.networks["bc"], LITECOIN.networks["bc"]


def public(path: str, version: str = "xpub") -> str:
    return str(ROOT.derive(path).to_public().to_base58(MAIN[version]))


VECTORS = [
    (public("m/84h/0h/0h", "zpub"), "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),  # BIP 84
    (public("m/84h/0h/0h"), "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
    (public("m/49h/0h/0h", "ypub"), "37VucYSaXLCAsxYyAPfbSi9eh4iEcbShgf"),  # BIP 49's path
    (f"pkh({public('m/44h/0h/0h')}/0/*)", "1LqBGSKuX5yYUonjxT5qGfpUsXKYYWeabA"),
    # BIP 86.
    (f"tr({public('m/86h/0h/0h')}/0/*)", "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr"),
]


@pytest.mark.parametrize(("text", "first"), VECTORS)
def test_the_first_address(text: str, first: str) -> None:
    addresses = Addresses(text, BTC)
    assert addresses.at(0) == first and addresses.at(1) != first
    assert script_of(first, BTC) == address_to_scriptpubkey(first).data


def test_litecoins_look_otherwise_and_pay_the_same_key() -> None:
    text = public("m/84h/2h/0h", "zpub")
    address = Addresses(text, LTC).at(0)
    assert address == "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh"
    assert script_of(address, LTC) == script_of(Addresses(text, BTC).at(0), BTC)
    for text in (f"pkh({public('m/44h/2h/0h')}/0/*)", public("m/49h/2h/0h", "ypub")):
        assert Addresses(text, LTC).at(7)[0] in "LM"
        assert script_of(Addresses(text, LTC).at(7), LTC) == script_of(Addresses(text, BTC).at(7), BTC)


WRONG = [
    ("", "neither"),
    ("hello", "neither"),
    (public("m/84h/0h/0h")[:-1], "neither"),
    (f"wpkh({public('m/84h/0h/0h')}/0/1)", "must end in"),
    (f"wpkh({public('m/84h/0h/0h')}/<0;1>/*)", "must end in"),
    (f"wpkh({public('m/84h/0h/0h')}/0/*)#abcdefgh", "checksum is wrong"),
    (f"wpkh({public('m/84h/0h/0h')}/0h/*)", "neither"),
    (str(ROOT.to_base58()), "private key"),
    (f"wpkh({ROOT.to_base58()}/0/*)", "private key"),
    ("wpkh(KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn)", "private key"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_is_no_public_key_is_refused_without_repeating_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        Addresses(text, BTC)
    assert len(text) < 20 or text[8:30] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "bc1qw", "ltc1qjmxnz78nmc8nq77wuxh25n2es7rzm5c2rkk4wh", "2" * 34, "1" * 30])
def test_what_is_no_address_of_the_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an address|checksum|bech32"):
        script_of(text, BTC)


@pytest.mark.parametrize("number", [-1, 2**31])
def test_there_are_so_many_addresses(number: int) -> None:
    with pytest.raises(ValueError, match="there is no address"):
        Addresses(VECTORS[0][0], BTC).at(number)
