"""How long a WebM (Matroska) file plays: its Opus packets, else the times of its blocks. Pure.

Browsers record without a duration and without sizes, so the tree is walked flat: an element that holds others is
stepped into, any other is stepped over, and no size above is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from perquery.media import opus
from perquery.media.damage import PARTS_MAX, Damaged, TooManyParts

_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP, _INFO = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xA0, 0x1549A966
_HOLDS: Final = frozenset({_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _GROUP, _INFO})
_SCALE, _NUMBER, _TYPE, _CODEC, _TIME, _BLOCK, _SIMPLE = 0x2AD7B1, 0xD7, 0x83, 0x86, 0xE7, 0xA1, 0xA3
_AUDIO: Final = 2
_SCALE_NS: Final = 1_000_000
_LAST_BLOCK_MS: Final = 120  # what the last block of a track adds at most


class _Element(NamedTuple):
    id: int
    body: memoryview


@dataclass(slots=True)
class _Track:
    number: int = 0
    type: int = 0
    codec: bytes = b""
    samples: int = 0
    first: int | None = None
    last: int = 0

    def block(self, time: int, frames: memoryview, count: int) -> None:
        if self.codec == b"A_OPUS":
            self.samples += count * opus.samples(frames)
        self.first = time if self.first is None else min(self.first, time)
        self.last = max(self.last, time)

    def milliseconds(self, scale_ns: int) -> Fraction:
        if self.codec == b"A_OPUS":
            return Fraction(self.samples * 1_000, opus.RATE)
        if self.first is None:
            return Fraction(0)
        return Fraction((self.last - self.first) * scale_ns, 1_000_000) + _LAST_BLOCK_MS


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged."""
    tracks: list[_Track] = []
    by_number: dict[int, _Track] = {}
    scale_ns, cluster = _SCALE_NS, 0
    for id, body in _elements(view):
        if id == _TRACK:
            tracks.append(_Track())
        elif id == _SCALE:
            scale_ns = int.from_bytes(body[:8], "big") or _SCALE_NS
        elif id == _TIME:
            cluster = int.from_bytes(body[:8], "big")
        elif id in (_BLOCK, _SIMPLE):
            _block(body, cluster, by_number)
        elif tracks and id == _NUMBER:
            tracks[-1].number = int.from_bytes(body[:8], "big")
            by_number[tracks[-1].number] = tracks[-1]
        elif tracks and id == _TYPE:
            tracks[-1].type = int.from_bytes(body[:8], "big")
        elif tracks and id == _CODEC:
            tracks[-1].codec = bytes(body[:32]).rstrip(b"\0")
    heard = [track for track in tracks if track.type == _AUDIO]
    if not heard:
        raise Damaged("the WebM file has no audio track")
    return max(track.milliseconds(scale_ns) for track in heard)


def _elements(view: memoryview) -> Iterator[_Element]:
    """Every element in order; of one that holds others, only that it begins."""
    at = parts = 0
    while at < len(view):
        parts += 1
        if parts > PARTS_MAX:
            raise TooManyParts("WebM")
        id, id_bytes = _number(view, at, keep_mark=True)
        size, size_bytes = _number(view, at + id_bytes, keep_mark=False)
        if not id_bytes or not size_bytes:
            return  # what follows is no element: a file that was cut off or overwritten
        at += id_bytes + size_bytes
        if id in _HOLDS:
            yield _Element(id, view[at:at])
            continue
        yield _Element(id, view[at : at + size])
        at += size


def _number(view: memoryview, at: int, *, keep_mark: bool) -> tuple[int, int]:
    """(a number of variable length, its length in bytes); the length is 0 where it is none."""
    first = view[at] if at < len(view) else 0
    if first & 0x80:
        return first if keep_mark else first & 0x7F, 1
    length = 9 - first.bit_length()
    if not first or at + length > len(view) or (keep_mark and length > 4):
        return 0, 0
    value = int.from_bytes(view[at : at + length], "big")
    return value if keep_mark else value & (1 << 7 * length) - 1, length


def _block(body: memoryview, cluster: int, tracks: dict[int, _Track]) -> None:
    number, length = _number(body, 0, keep_mark=False)
    track = tracks.get(number)
    if track is None or not length or len(body) < length + 3:
        return
    time = cluster + int.from_bytes(body[length : length + 2], "big", signed=True)
    lacing, frames, count = body[length + 2] >> 1 & 3, body[length + 3 :], 1
    if lacing and frames:
        # Sizes of the frames follow; all of a block's frames play equally long, so the first one will do.
        count, frames = frames[0] + 1, _first_laced(lacing, frames[1:], frames[0] + 1)
    track.block(time, frames, count)


def _first_laced(lacing: int, rest: memoryview, count: int) -> memoryview:
    """What follows the sizes: the first frame, and all that follows it."""
    if lacing == 2:  # all of a size
        return rest
    at = 0
    for _ in range(count - 1):
        if lacing == 3:
            at += max(1, _number(rest, at, keep_mark=False)[1])
        else:
            while at < len(rest) and rest[at] == 255:
                at += 1
            at += 1
    return rest[at:]
