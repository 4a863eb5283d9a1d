"""BERT's tokens (WordPiece, uncased): what small embedding models read. Pure.

A text is cleaned, parted at spaces and punctuation, and each word taken apart greedily, longest piece first.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

WORD_MAX: Final = 100  # characters; a longer word is one unknown token
_IDEOGRAPHS: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_ASCII_PUNCTUATION: Final = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class WordPiece:
    """vocabulary: piece → id; pieces within a word begin with ##."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self._ids = vocabulary
        self._begin, self._end, self._unknown = (vocabulary[name] for name in ("[CLS]", "[SEP]", "[UNK]"))

    def encode(self, text: str, tokens_max: int) -> list[int]:
        """Ids, with the marks of the beginning and the end, at most so many."""
        ids = [self._begin]
        for word in _words(text):
            ids += self._pieces(word)
            if len(ids) >= tokens_max:
                break
        return [*ids[: tokens_max - 1], self._end]

    def _pieces(self, word: str) -> list[int]:
        if len(word) > WORD_MAX:
            return [self._unknown]
        ids: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                found = self._ids.get(("##" if start else "") + word[start:end])
                if found is not None:
                    ids.append(found)
                    start = end
                    break
            else:
                return [self._unknown]
        return ids


def _words(text: str) -> Iterator[str]:
    """Words and marks of punctuation, in lower case and without accents."""
    word: list[str] = []
    for each in unicodedata.normalize("NFD", "".join(map(_cleaned, text)).lower()):
        if unicodedata.category(each) == "Mn":
            continue
        if each.isspace() or _is_punctuation(each):
            if word:
                yield "".join(word)
                word.clear()
            if not each.isspace():
                yield each
        else:
            word.append(each)
    if word:
        yield "".join(word)


def _cleaned(each: str) -> str:
    """Without control characters; ideographs stand alone."""
    if each in "\t\n\r" or unicodedata.category(each) == "Zs":
        return " "
    if each in "\0\ufffd" or unicodedata.category(each) in ("Cc", "Cf", "Cn", "Co"):
        return ""
    number = ord(each)
    return f" {each} " if any(first <= number <= last for first, last in _IDEOGRAPHS) else each


def _is_punctuation(each: str) -> bool:
    return each in _ASCII_PUNCTUATION or unicodedata.category(each).startswith("P")
