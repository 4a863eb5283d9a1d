"""Bech32 (BIP-173) without its limit of 90 characters: a readable part and 5-bit words under a checksum.

It knows nothing of what the words mean; malformed text is a ValueError and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_WORDS = 6


def _polymod(words: Iterable[int]) -> int:
    checksum = 1
    for word in words:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def _expanded(readable: str) -> list[int]:
    return [ord(letter) >> 5 for letter in readable] + [0] + [ord(letter) & 31 for letter in readable]


def letters(words: Iterable[int]) -> str:
    """The words as they are written."""
    return "".join(_ALPHABET[word] for word in words)


def encode(readable: str, words: Sequence[int]) -> str:
    """The lower-case text of `readable`, the separator, the 5-bit `words` and their checksum."""
    residue = _polymod([*_expanded(readable), *words, *[0] * _CHECKSUM_WORDS]) ^ 1
    checksum = [residue >> 5 * (_CHECKSUM_WORDS - 1 - place) & 31 for place in range(_CHECKSUM_WORDS)]
    return f"{readable}1" + letters((*words, *checksum))


def decode(text: str) -> tuple[str, list[int]]:
    """The readable part (lower case) and the 5-bit words without the checksum. ValueError if malformed."""
    if text not in (text.lower(), text.upper()):
        raise ValueError("it mixes upper and lower case")
    readable, separator, data = text.lower().rpartition("1")
    if not separator or not readable or len(data) < _CHECKSUM_WORDS:
        raise ValueError("it is not bech32")
    if not all("!" <= letter <= "~" for letter in readable):
        raise ValueError("it holds characters that bech32 does not have")
    try:
        words = [_VALUES[letter] for letter in data]
    except KeyError as error:
        raise ValueError("it holds characters that bech32 does not have") from error
    if _polymod([*_expanded(readable), *words]) != 1:
        raise ValueError("its checksum is wrong")
    return readable, words[:-_CHECKSUM_WORDS]


def words_of(data: bytes) -> list[int]:
    """Bytes as 5-bit words, padded with zero bits."""
    count = -(-len(data) * 8 // 5)
    return number_words(int.from_bytes(data, "big") << count * 5 - len(data) * 8, count)


def bytes_of(words: Sequence[int], *, pad: bool = False) -> bytes:
    """5-bit words as bytes; an incomplete last byte is filled with zero bits (`pad`) or dropped."""
    bits = len(words) * 5
    count = -(-bits // 8) if pad else bits // 8
    value = words_number(words)
    shift = count * 8 - bits
    return (value << shift if shift >= 0 else value >> -shift).to_bytes(count, "big")


def number_words(number: int, count: int = 0) -> list[int]:
    """A number ≥ 0 as big-endian 5-bit words: exactly `count`, or as few as it takes."""
    count = count or -(-number.bit_length() // 5)
    return [number >> 5 * place & 31 for place in range(count - 1, -1, -1)]


def words_number(words: Sequence[int]) -> int:
    number = 0
    for word in words:
        number = number << 5 | word
    return number
