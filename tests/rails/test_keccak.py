"""Keccak-256: published values, and the same lines with SHA-3's padding against hashlib's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.rails.keccak import SHA3, keccak256

# The Keccak team's own (KeccakTools, ShortMsgKAT_256), and those that everybody knows of ERC-20.
PUBLISHED = [
    (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
    (b"\xcc", "eead6dbfc7340a56caedc044696a168870549a6a7f6f56961e84a54bd9970b8a"),
    (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    (b"Transfer(address,address,uint256)", "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
]


@pytest.mark.parametrize(("data", "digest"), PUBLISHED)
def test_published_values(data: bytes, digest: str) -> None:
    assert keccak256(data).hex() == digest


@pytest.mark.parametrize("length", [0, 1, 134, 135, 136, 137, 271, 272, 273, 1_000])
def test_with_sha_3s_padding_it_is_sha_3_around_every_edge(length: int) -> None:
    data = bytes(place % 251 for place in range(length))
    assert keccak256(data, SHA3) == hashlib.sha3_256(data).digest()


@given(st.binary(max_size=300))
def test_with_sha_3s_padding_it_is_sha_3(data: bytes) -> None:
    assert keccak256(data, SHA3) == hashlib.sha3_256(data).digest()
