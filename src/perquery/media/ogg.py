"""How long an Ogg file plays: its packets (Opus, FLAC), or its granule positions held against its packets (Vorbis).
Pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from perquery.media import flac, opus
from perquery.media.damage import PARTS_MAX, Damaged, TooManyParts

_PAGE: Final = re.compile(rb"OggS\0", re.DOTALL)
_NONE: Final = 2**64 - 1  # no packet ends on the page
_HEADS: Final = {b"OpusHead": "opus", b"\x7fFLAC": "flac", b"\x01vorbis": "vorbis"}
_HEAD_PACKETS: Final = {"opus": 2, "flac": 1, "vorbis": 3, "": 0}
_LATE_S: Final = 10  # a first page so late is a recording's that was cut out of a longer one


class _Page(NamedTuple):
    granule: int
    serial: int
    begins: bool  # whether its first packet begins on it
    packets: list[tuple[int, int]]  # (start, end) of each packet or its part, as far as it is there


@dataclass(slots=True)
class _Stream:
    codec: str
    rate: int
    least: int = 0  # samples of a packet at least
    packets: int = 0
    samples: int = 0
    first: int | None = None
    last: int = 0

    def page(self, view: memoryview, page: _Page) -> None:
        for number, (start, end) in enumerate(page.packets):
            if number or page.begins:
                self.packets += 1
                if self.packets > _HEAD_PACKETS[self.codec]:
                    self._packet(view[start : min(end, start + 16)])
        if self.packets > _HEAD_PACKETS[self.codec] and 0 < page.granule < _NONE:
            self.first = page.granule if self.first is None else self.first
            self.last = max(self.last, page.granule)

    def _packet(self, head: memoryview) -> None:
        if self.codec == "opus":
            self.samples += opus.samples(head)
        elif self.codec == "flac":
            frame = flac.frame_in(head)
            self.samples += frame.samples if frame is not None else 0
        else:
            self.samples += self.least

    def milliseconds(self) -> Fraction:
        samples = self.samples
        if self.codec == "vorbis":
            first = self.first or 0
            samples = max(samples, self.last - (first if first > _LATE_S * self.rate else 0))
        return Fraction(samples * 1_000, self.rate)


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged. Streams that follow each other add up."""
    streams: dict[int, _Stream] = {}
    total = Fraction(0)
    for page in _pages(view):
        head = bytes(view[page.packets[0][0] : page.packets[0][0] + 64]) if page.packets else b""
        opened = _opened(head) if page.begins else None
        if opened is not None:
            if page.serial in streams:
                total += streams[page.serial].milliseconds()
            streams[page.serial] = opened
        if page.serial in streams:
            streams[page.serial].page(view, page)
    if not streams:
        raise Damaged("the Ogg file holds no Opus, Vorbis or FLAC")
    return total + sum((stream.milliseconds() for stream in streams.values()), Fraction(0))


def _opened(head: bytes) -> _Stream | None:
    """The stream that this packet opens."""
    codec = next((codec for mark, codec in _HEADS.items() if head.startswith(mark)), "")
    if codec == "opus":
        return _Stream(codec, opus.RATE)
    if codec == "vorbis" and len(head) >= 29:
        rate, least = int.from_bytes(head[12:16], "little"), 1 << (head[28] & 15) >> 1
        return _Stream(codec, rate, least) if rate else None
    if codec == "flac" and len(head) >= 30:
        rate = int.from_bytes(head[27:30], "big") >> 4  # behind the mark, the mapping's head, and the block's
        return _Stream(codec, rate) if rate else None
    return None


def _pages(view: memoryview) -> Iterator[_Page]:
    """Every page that begins, however much of it is there."""
    at = seen = 0
    while (found := _PAGE.search(view, at)) is not None:
        at = found.start()
        if at + 27 > len(view):
            return
        flags, granule, serial = struct.unpack_from("<BQI", view, at + 5)
        table = bytes(view[at + 27 : at + 27 + view[at + 26]])
        start = at + 27 + view[at + 26]
        seen += 1 + len(table)
        if seen > 2 * PARTS_MAX:
            raise TooManyParts("Ogg")
        packets, size = [], 0
        for segment in table:
            size += segment
            if segment < 255:
                if start < len(view):
                    packets.append((start, start + size))
                start, size = start + size, 0
        if size and start < len(view):
            packets.append((start, start + size))
        yield _Page(granule, serial, not flags & 1, packets)
        at = start + size
