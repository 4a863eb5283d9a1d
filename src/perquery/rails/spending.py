"""Finding what could spend in what should only receive: extended private keys, single ones, words of a wallet.

Settings are searched before a rail is opened, so that no such key is ever at work here. What is found is never
repeated: this module must never say more of a secret than that there is one.
"""

from __future__ import annotations

import re
from typing import Final

from embit import base58
from embit.base import EmbitError
from embit.wordlists.bip39 import WORDLIST

ADVICE: Final = "it holds a private key, which could spend: give the public one"
_EXTENDED: Final = re.compile(r"([A-Za-z]prv|[LM]tpv)[1-9A-HJ-NP-Za-km-z]{40}")  # SLIP-132
_WIF: Final = re.compile(r"(?<![1-9A-HJ-NP-Za-km-z])[5KLTc69][1-9A-HJ-NP-Za-km-z]{50,51}(?![1-9A-HJ-NP-Za-km-z])")
_BARE: Final = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_WORDS: Final = frozenset(WORDLIST)
_WORDS_LEAST: Final = 12


def could_spend(text: str) -> bool:
    """Whether the text holds a private key of a coin's wallet, or the words that it is made from."""
    if _EXTENDED.search(text):
        return True
    words = text.lower().split()
    if len(words) >= _WORDS_LEAST and _WORDS.issuperset(words):
        return True
    return any(_is_wif(found.group()) for found in _WIF.finditer(text))


def is_bare_key(text: str) -> bool:
    """Whether the text is 32 bytes, as a single private key is written, where a public one should stand."""
    return _BARE.fullmatch(text.strip()) is not None


def _is_wif(text: str) -> bool:
    try:
        payload = base58.decode_check(text)
    except (EmbitError, ValueError, KeyError, IndexError):
        return False
    return len(payload) in (33, 34)
