"""Keccak-256, by which Ethereum's chains name accounts. It is SHA-3 (FIPS 202) with the padding of before it was a
standard, so hashlib has no such function; with SHA-3's own padding the same lines must agree with hashlib's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

_RATE: Final = 136  # bytes taken in at a time
_LANES: Final = 25  # words of 64 bits, at x + 5 y
_MASK: Final = 2**64 - 1
_TURNS: Final = (0, 1, 62, 28, 27, 36, 44, 6, 55, 20, 3, 10, 43, 25, 39, 41, 45, 15, 21, 8, 18, 2, 61, 56, 14)
KECCAK: Final = 0x01
SHA3: Final = 0x06


def _round_constants() -> tuple[int, ...]:
    """By the feedback register of FIPS 202, 3.2.5."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for place in range(7):
            constant |= (register & 1) << (2**place - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


_CONSTANTS: Final = _round_constants()


def keccak256(data: bytes, padding: int = KECCAK) -> bytes:
    """32 bytes. padding: the first byte after the data."""
    filled = bytearray(data + bytes([padding]))
    filled += bytes(-len(filled) % _RATE)
    filled[-1] |= 0x80
    state = [0] * _LANES
    for start, end in pairwise(range(0, len(filled) + 1, _RATE)):
        block = filled[start:end]
        for lane in range(_RATE // 8):
            state[lane] ^= int.from_bytes(block[8 * lane : 8 * lane + 8], "little")
        state = _permuted(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])


def _permuted(state: list[int]) -> list[int]:
    """Keccak-f[1600]: θ, then ρ and π together, χ, ι."""
    for constant in _CONSTANTS:
        columns = [state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20] for x in range(5)]
        mixed = [columns[(x + 4) % 5] ^ _turned(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * _LANES
        for place, lane in enumerate(state):
            x, y = place % 5, place // 5
            moved[y + 5 * ((2 * x + 3 * y) % 5)] = _turned(lane ^ mixed[x], _TURNS[place])
        state = [
            lane ^ (~moved[5 * y + (x + 1) % 5] & moved[5 * y + (x + 2) % 5])
            for y in range(5)
            for x, lane in enumerate(moved[5 * y : 5 * y + 5])
        ]
        state[0] ^= constant
    return state


def _turned(lane: int, bits: int) -> int:
    return (lane << bits | lane >> (64 - bits)) & _MASK
