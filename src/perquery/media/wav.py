"""How long a WAV file plays: the bytes of sound that are there, by the rate and size of its samples. Pure.

What the header says of the length is believed only downwards: programs that stream leave it at nothing or at the most.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from perquery.media import mp3
from perquery.media.damage import Damaged, TooManyParts

CHUNKS_MAX: Final = 10_000
_PLAIN: Final = {0x0001: "PCM", 0x0003: "float", 0x0006: "A-law", 0x0007: "µ-law"}
_MP3: Final = 0x0055
_EXTENSIBLE: Final = 0xFFFE
_UNSAID: Final = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged."""
    codec = bytes_per_s = 0
    total = Fraction(0)
    found = False
    for name, start, end in _chunks(view):
        if name == b"fmt ":
            codec, bytes_per_s = _format(view[start:end])
        elif name == b"data":
            if not codec:
                raise Damaged("the WAV file's sound comes before its format")
            found = True
            if codec == _MP3:
                total += mp3.duration_ms(view[start:end])
            else:
                total += Fraction((end - start) * 1_000, bytes_per_s)
    if not found:
        raise Damaged("the WAV file ends before its sound")
    return total


def _chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk, as far as it is there."""
    at, long_size = 12, None
    for _ in range(CHUNKS_MAX):
        if at + 8 > len(view):
            return
        name, size = struct.unpack_from("<4sI", view, at)
        start = at + 8
        if name == b"ds64" and start + 16 <= len(view):
            (long_size,) = struct.unpack_from("<Q", view, start + 8)
        if name == b"data" and size in _UNSAID:
            size = long_size or len(view)
        end = min(start + size, len(view))
        yield name, start, end
        at = end + (size & 1)
    raise TooManyParts("WAV")


def _format(chunk: memoryview) -> tuple[int, int]:
    """(codec, bytes per second). The header's own figure for the latter is no help: it may say anything."""
    if len(chunk) < 16:
        raise Damaged("the WAV file's format is cut off")
    codec, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if codec == _EXTENSIBLE and len(chunk) >= 26:
        (codec,) = struct.unpack_from("<H", chunk, 24)
    if codec == _MP3:
        return codec, 0
    if codec not in _PLAIN:
        raise Damaged(f"the WAV file's codec (0x{codec:04x}) is not read here; PCM is")
    if not channels or not rate or not bits or bits > 64:
        raise Damaged("the WAV file's format says that nothing is in it")
    return codec, rate * channels * -(-bits // 8)
