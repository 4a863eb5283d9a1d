"""How long an MP4 (M4A) file plays: the samples that its tables list and that can be there, fragments included. Pure.

The durations in the heads of the file and of its tracks are not asked.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from perquery.media.damage import PARTS_MAX, Damaged, TooManyParts

_AAC_SAMPLES: Final = 1_024


class _Box(NamedTuple):
    name: bytes
    body: memoryview


@dataclass(slots=True)
class _Track:
    """scale: units a second. rate: of the sound, where it is AAC, whose samples all play equally long."""

    id: int = 0
    sound: bool = False
    scale: int = 0
    rate: int = 0
    samples: int = 0
    units: int = 0
    each: int = 0  # a fragment's sample, where nothing else is said

    def milliseconds(self) -> Fraction:
        told = Fraction(self.units * 1_000, self.scale) if self.scale else Fraction(0)
        played = Fraction(self.samples * _AAC_SAMPLES * 1_000, self.rate) if self.rate else Fraction(0)
        return max(told, played)


def duration_ms(view: memoryview) -> Fraction:
    """Raises Damaged."""
    tracks: dict[int, _Track] = {}
    there = sum(len(box.body) for box in _boxes(view) if box.name == b"mdat")
    found = False
    for box in _boxes(view):
        if box.name == b"moov":
            found = True
            for track in _tracks(box.body, there):
                tracks.setdefault(track.id, track)
            _defaults(box.body, tracks)
        elif box.name == b"moof":
            for part in _boxes(box.body):
                if part.name == b"traf":
                    _fragment(part.body, tracks, there)
    if not found:
        raise Damaged("the MP4 file ends before its index (moov)")
    heard = [track for track in tracks.values() if track.sound]
    if not heard:
        raise Damaged("the MP4 file has no audio track")
    return max(track.milliseconds() for track in heard)


def _boxes(view: memoryview) -> Iterator[_Box]:
    """The boxes side by side, as far as they are there."""
    at = 0
    for _ in range(PARTS_MAX // 10):
        if at + 8 > len(view):
            return
        size, name = struct.unpack_from(">I4s", view, at)
        start = at + 8
        if size == 1 and start + 8 <= len(view):
            (size,) = struct.unpack_from(">Q", view, start)
            start += 8
        elif size == 0:
            size = len(view) - at
        end = at + size
        if end < start:
            return  # what follows is no box
        yield _Box(name, view[start:end])
        at = end
    raise TooManyParts("MP4")


def _within(view: memoryview, *path: bytes) -> memoryview:
    """The body of the first box at that path; empty where there is none."""
    for name in path:
        view = next((box.body for box in _boxes(view) if box.name == name), view[:0])
    return view


def _at(view: memoryview, form: str, at: int) -> int:
    """A number there; 0 where the box is too short."""
    return int(struct.unpack_from(form, view, at)[0]) if at + struct.calcsize(form) <= len(view) else 0


def _version(box: memoryview) -> int:
    """1 where the box's times have eight bytes, 0 where they have four."""
    return _at(box, ">B", 0)


def _tracks(moov: memoryview, there: int) -> Iterator[_Track]:
    for box in _boxes(moov):
        if box.name != b"trak":
            continue
        head, media = _within(box.body, b"tkhd"), _within(box.body, b"mdia")
        track = _Track(_at(head, ">I", 20 if _version(head) else 12))
        track.sound = bytes(_within(media, b"hdlr")[8:12]) == b"soun"
        times = _within(media, b"mdhd")
        track.scale = _at(times, ">I", 20 if _version(times) else 12)
        table = _within(media, b"minf", b"stbl")
        entry = _within(table, b"stsd")[8:]
        if bytes(entry[4:8]) == b"mp4a":
            track.rate = _at(entry, ">I", 32) >> 16
        sizes = _within(table, b"stsz") or _within(table, b"stz2")
        track.samples = _samples(sizes, there)
        track.units = _units(_within(table, b"stts"), track.samples)
        yield track


def _samples(sizes: memoryview, there: int) -> int:
    """How many samples are listed and can be there: together they are no longer than the media."""
    each, count = _at(sizes, ">I", 4), _at(sizes, ">I", 8)
    if each:
        return min(count, there // each)
    listed = array("I")
    if listed.itemsize != 4:
        return min(count, there)
    count = min(count, (len(sizes) - 12) // 4 if len(sizes) > 12 else 0)
    listed.frombytes(sizes[12 : 12 + 4 * count])
    listed.byteswap()
    if sum(listed) <= there:
        return count
    for number, size in enumerate(listed):
        there -= size
        if there < 0:
            return number + 1  # the one that was cut may be played in part
    return count


def _units(table: memoryview, samples: int) -> int:
    """What so many samples last, by the table of (count, duration of each)."""
    total = 0
    for at in range(8, 8 + 8 * min(_at(table, ">I", 4), len(table) // 8), 8):
        if samples <= 0 or at + 8 > len(table):
            break
        count, each = struct.unpack_from(">II", table, at)
        total += min(count, samples) * each
        samples -= count
    return total


def _defaults(moov: memoryview, tracks: dict[int, _Track]) -> None:
    """What a fragment's samples last where it does not say."""
    for box in _boxes(_within(moov, b"mvex")):
        track = tracks.get(_at(box.body, ">I", 4))
        if box.name == b"trex" and track is not None:
            track.each = _at(box.body, ">I", 12)


def _fragment(traf: memoryview, tracks: dict[int, _Track], there: int) -> None:
    head = _within(traf, b"tfhd")
    track = tracks.get(_at(head, ">I", 4))
    if track is None:
        return
    flags = _at(head, ">I", 0)
    at = 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0)
    each = _at(head, ">I", at) if flags & 0x08 else track.each
    for box in _boxes(traf):
        if box.name == b"trun":
            count, units = _run(box.body, each, there)
            track.samples += count
            track.units += units


def _run(run: memoryview, each: int, there: int) -> tuple[int, int]:
    """(samples, what they last)."""
    flags, count = _at(run, ">I", 0), min(_at(run, ">I", 4), there)
    width = 4 * (flags >> 8 & 0xF).bit_count()
    start = 8 + (4 if flags & 0x01 else 0) + (4 if flags & 0x04 else 0)
    if width:
        count = min(count, max(0, len(run) - start) // width)
    if not flags & 0x100:
        return count, count * each
    return count, sum(_at(run, ">I", start + number * width) for number in range(count))
