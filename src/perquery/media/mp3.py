"""How long an MP3 file plays: its frames, one by one. Pure.

Neither a bit rate nor the count in a Xing header is asked: files of a variable rate often have none, and both may
lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from perquery.media.damage import Damaged

# Four bytes that can be a frame's header: version, layer, bit rate and sample rate are none of the reserved ones.
_HEADER: Final = re.compile(
    rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][" + b"".join(b"\\x%x0-\\x%xb" % (high, high) for high in range(1, 15)) + rb"]",
    re.DOTALL,
)
_KBITS: Final = {  # (MPEG-1, layer) → by the header's number
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SAMPLES: Final = {
    (True, 1): 384,
    (True, 2): 1_152,
    (True, 3): 1_152,
    (False, 1): 384,
    (False, 2): 1_152,
    (False, 3): 576,
}
_PADDING_MAX: Final = 64 * 1024


class _Frame(NamedTuple):
    bytes: int
    samples: int
    rate: int


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged where no frame is in it."""
    samples: dict[int, int] = {}
    for frame in _frames(view):
        samples[frame.rate] = samples.get(frame.rate, 0) + frame.samples
    if not samples:
        raise Damaged("the MP3 file has no frame of sound")
    return sum((Fraction(count * 1_000, rate) for rate, count in samples.items()), Fraction(0))


def _frames(view: memoryview) -> Iterator[_Frame]:
    """The frames in order. After a gap, only one that another follows is believed."""
    at, in_step = after_tags(view), False
    while (found := _HEADER.search(view, at)) is not None:
        in_step = in_step and found.start() == at
        at = found.start()
        frame = _frame(view[at + 1], view[at + 2])
        if in_step or _follows(view, at + frame.bytes):
            yield frame
            at, in_step = at + frame.bytes, True
        else:
            at += 1


def begins_at(view: memoryview, at: int) -> bool:
    """Whether an MP3's frames begin there: one that another follows, or the only one."""
    frame = _frame_at(view, at)
    return frame is not None and _follows(view, at + frame.bytes)


def after_tags(view: memoryview) -> int:
    """Where the sound begins: behind ID3v2 tags and what pads them."""
    at = 0
    while bytes(view[at : at + 3]) == b"ID3" and at + 10 <= len(view):
        size = 0
        for byte in view[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if view[at + 5] & 0x10 else 0)
    if at < len(view) and view[at] == 0:
        padded = bytes(view[at : at + _PADDING_MAX])
        at += len(padded) - len(padded.lstrip(b"\0"))
    return min(at, len(view))


def _follows(view: memoryview, at: int) -> bool:
    """Whether a frame is there, or the end, or a tag behind the last frame."""
    return at + 4 > len(view) or _frame_at(view, at) is not None or bytes(view[at : at + 3]) in (b"TAG", b"APE", b"ID3")


def _frame_at(view: memoryview, at: int) -> _Frame | None:
    head = bytes(view[at : at + 4])
    return _frame(head[1], head[2]) if len(head) == 4 and _HEADER.match(head) else None


@lru_cache(maxsize=1024)
def _frame(second: int, third: int) -> _Frame:
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    first = version == 3
    kbits, rate = _KBITS[first, layer][third >> 4], _RATES[version][third >> 2 & 3]
    samples, padding = _SAMPLES[first, layer], third >> 1 & 1
    size = (12_000 * kbits // rate + padding) * 4 if layer == 1 else samples // 8 * 1_000 * kbits // rate + padding
    return _Frame(size, samples, rate)
