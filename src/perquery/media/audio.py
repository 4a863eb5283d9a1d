"""What an audio file is and how long it plays, by its content alone: never by its name, and not by what its header
says where the packets can be counted.

The duration is what a hold is made for, so it leans to the longer side where a file contradicts itself. Any bytes
may come: no module of this family loops, recurses or allocates beyond the size of what it is given. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from perquery.media import flac, mp3, mp4, ogg, wav, webm
from perquery.media.damage import Damaged

Container: TypeAlias = Literal["wav", "mp3", "mp4", "ogg", "webm", "flac"]
TYPES: dict[Container, str] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "ogg": "audio/ogg",
    "webm": "audio/webm",
    "flac": "audio/flac",
}


class NotAudio(Exception):
    """The bytes are of no kind of audio file that is known here."""


@dataclass(frozen=True, slots=True)
class Audio:
    """duration_ms: rounded up; 0 for a file that is whole and holds no sound."""

    container: Container
    duration_ms: int

    @property
    def type(self) -> str:
        return TYPES[self.container]


def read(data: bytes | memoryview) -> Audio:
    """Raises NotAudio, or Damaged for a file of a known kind that cannot be played. May take a second for 25 MB of
    the most awkward bytes: call it in a thread."""
    view = memoryview(data)
    container = container_of(view)
    if container is None:
        raise NotAudio("the file is not one of mp3, mp4, m4a, wav, webm, ogg, flac")
    found = _READERS[container](view)
    return Audio(container, -(-found.numerator // found.denominator))


def container_of(data: bytes | memoryview) -> Container | None:
    view = memoryview(data)
    head = bytes(view[:12])
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if head[4:8] == b"ftyp":
        return "mp4"
    start = mp3.after_tags(view)
    if bytes(view[start : start + 4]) == b"fLaC":
        return "flac"
    return "mp3" if mp3.begins_at(view, start) else None


_READERS = {
    "wav": wav.duration_ms,
    "mp3": mp3.duration_ms,
    "mp4": mp4.duration_ms,
    "ogg": ogg.duration_ms,
    "webm": webm.duration_ms,
    "flac": flac.duration_ms,
}
__all__ = ["TYPES", "Audio", "Container", "Damaged", "NotAudio", "container_of", "read"]
