"""The outputs of a raw transaction, and its id: so that who hands it to us cannot lie about what it pays.

It reads what Bitcoin and Litecoin have in common, and passes over witnesses and Litecoin's extension blocks (MWEB,
LIP-3), which no id covers. Pure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

_OUTPOINT_BYTES: Final = 36
_SEQUENCE_BYTES: Final = 4
_LOCKTIME_BYTES: Final = 4
_VALUE_MAX: Final = 84 * 10**6 * 10**8  # Litecoin's; Bitcoin has fewer


@dataclass(frozen=True, slots=True)
class Transaction:
    """outputs: in their order, (smallest units, script)."""

    id: str
    outputs: tuple[tuple[int, bytes], ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self.at : self.at + count]
        if len(piece) != count:
            raise ValueError("a transaction that is cut short")
        self.at += count
        return piece

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def size(self) -> int:
        """A "compact size"."""
        first = self.number(1)
        return first if first < 0xFD else self.number({0xFD: 2, 0xFE: 4, 0xFF: 8}[first])


def parse(data: bytes) -> Transaction:
    """Raises ValueError where it is none."""
    reader = _Reader(data)
    version = reader.take(4)
    if data[4:5] == b"\0":  # no inputs: the marker of the extended form, and its flags
        reader.take(2)
    start = reader.at
    for _ in range(reader.size()):
        reader.take(_OUTPOINT_BYTES)
        reader.take(reader.size())
        reader.take(_SEQUENCE_BYTES)
    outputs = []
    for _ in range(reader.size()):
        value = reader.number(8)
        if value > _VALUE_MAX:
            raise ValueError("an output of more than there is")
        outputs.append((value, reader.take(reader.size())))
    plain = version + data[start : reader.at] + data[-_LOCKTIME_BYTES:]
    return Transaction(_hash(plain)[::-1].hex(), tuple(outputs))


def header_time_s(header: bytes) -> int:
    """When a block was made, by its header of 80 bytes. Raises ValueError."""
    if len(header) != 80:
        raise ValueError("a block header that is none")
    return int.from_bytes(header[68:72], "little")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
