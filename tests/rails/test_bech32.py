"""Bech32, against the examples of BIP-173."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.rails import bech32


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
    ],
)
def test_valid_text_survives_a_round_trip(text: str) -> None:
    assert bech32.encode(*bech32.decode(text)) == text.lower()


@pytest.mark.parametrize(
    "text",
    ["", "pzry9x0s0muk", "1pzry9x0s0muk", "x1b4n0q5v", "li1dgmt3", "de1lg7wt\xff", "A1G7SGD8", "10a06t8", "a12UEL5L"],
)
def test_malformed_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        bech32.decode(text)


@given(st.binary(max_size=70))
def test_bytes_survive_as_words(data: bytes) -> None:
    assert bech32.bytes_of(bech32.words_of(data)) == data


@given(st.integers(0, 2**64))
def test_numbers_survive_as_words(number: int) -> None:
    assert bech32.words_number(bech32.number_words(number)) == number
