"""How long a FLAC file plays: its frames, each found by its mark and held against its check sum. Pure.

The count in the file's head is not asked: it may be left out, and it may lie.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import reduce
from typing import Final, NamedTuple

from perquery.media import mp3
from perquery.media.damage import PARTS_MAX, Damaged, TooManyParts

_MARK: Final = re.compile(rb"\xff[\xf8\xf9]", re.DOTALL)
_RATES: Final = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_BLOCKS_MAX: Final = 1_000
_CRC8: Final = tuple(
    reduce(lambda crc, _: (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF, range(8), byte) for byte in range(256)
)


class Frame(NamedTuple):
    """rate: 0 where the head of the file says it."""

    samples: int
    rate: int


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged."""
    at = mp3.after_tags(view) + 4
    head_rate = _rate_in(view, at + 4)
    for _ in range(_BLOCKS_MAX):
        if at + 4 > len(view):
            raise Damaged("the FLAC file ends within its head")
        kind = view[at]
        at += 4 + int.from_bytes(view[at + 1 : at + 4], "big")
        if kind & 0x80:
            break
    samples: dict[int, int] = {}
    for number, found in enumerate(_MARK.finditer(view, at)):
        frame = frame_in(view[found.start() : found.start() + 16])
        if frame is not None:
            rate = frame.rate or head_rate
            samples[rate] = samples.get(rate, 0) + frame.samples
        if number > PARTS_MAX:
            raise TooManyParts("FLAC")
    return sum((Fraction(count * 1_000, rate) for rate, count in samples.items()), Fraction(0))


def _rate_in(view: memoryview, at: int) -> int:
    """The sample rate in the first block of the head."""
    rate = int.from_bytes(view[at + 10 : at + 13], "big") >> 4
    if not rate:
        raise Damaged("the FLAC file says no sample rate")
    return rate


def frame_in(head: memoryview) -> Frame | None:
    """The frame whose header begins these bytes, None where they are none: reserved values, or a wrong check sum."""
    if len(head) < 6 or head[0] != 0xFF or head[1] not in (0xF8, 0xF9):
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if not size_code or rate_code == 15 or head[3] >> 4 > 10 or head[3] & 1:
        return None
    at = 4 + _number_bytes(head[4])
    more = {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at == 4 or at + more >= len(head) or _crc8(head[: at + more]) != head[at + more]:
        return None
    if size_code in (6, 7):
        samples = 1 + int.from_bytes(head[at : at + size_code - 5], "big")
        at += size_code - 5
    else:
        samples = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    if rate_code < 12:
        return Frame(samples, _RATES[rate_code])
    said = int.from_bytes(head[at : at + (1 if rate_code == 12 else 2)], "big")
    return Frame(samples, said * {12: 1_000, 13: 1, 14: 10}[rate_code])


def _number_bytes(first: int) -> int:
    """How long the frame's number is, written as UTF-8 writes characters; 0 where it is none."""
    if first < 0x80:
        return 1
    ones = 8 - (first ^ 0xFF).bit_length()
    return ones if 2 <= ones <= 7 else 0


def _crc8(data: memoryview) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc
