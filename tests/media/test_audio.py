"""Sound files by their content: what they are and how long they play, whatever their heads say."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.media import audio
from perquery.media.audio import Audio, Damaged, NotAudio
from tests.media.sounds import encoded, tone, wav

MIB = 2**20
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
# (container, codec, FFmpeg's options) → what it is read as, and how much longer than three seconds it may play: what
# the codec adds at its begin and its end.
FILES = {
    "wav": ("wav", "pcm_s16le", {}, "wav", 0),
    "wav-alaw": ("wav", "pcm_alaw", {}, "wav", 0),
    "wav-float": ("wav", "pcm_f32le", {}, "wav", 0),
    "wav-mp3": ("wav", "libmp3lame", {}, "wav", 75),
    "wav64": ("wav", "pcm_s16le", {"rf64": "always"}, "wav", 0),
    "mp3": ("mp3", "libmp3lame", {}, "mp3", 75),
    "mp3-without-xing": ("mp3", "libmp3lame", {"write_xing": "0"}, "mp3", 75),
    "mp2": ("mp2", "mp2", {}, "mp3", 25),
    "m4a": ("ipod", "aac", {}, "mp4", 50),
    "mp4": ("mp4", "aac", {}, "mp4", 50),
    "mp4-fragments": ("mp4", "aac", FRAGMENTS, "mp4", 50),
    "ogg-opus": ("ogg", "libopus", {}, "ogg", 25),
    "ogg-flac": ("ogg", "flac", {}, "ogg", 0),
    "webm": ("webm", "libopus", {}, "webm", 25),
    "webm-live": ("webm", "libopus", {"live": "1"}, "webm", 25),
    "matroska-aac": ("matroska", "aac", {}, "webm", 150),
    "flac": ("flac", "flac", {}, "flac", 0),
}
every_file = pytest.mark.parametrize("name", FILES)


def made(name: str, seconds: float = 3) -> bytes:
    container, codec, options, _, _ = FILES[name]
    return encoded(container, codec, seconds, **options)


@every_file
def test_duration(name: str) -> None:
    *_, container, more_ms = FILES[name]
    found = audio.read(made(name))
    assert found.container == container
    assert 3_000 <= found.duration_ms <= 3_000 + more_ms


@every_file
def test_a_file_that_is_cut_off(name: str) -> None:
    """It plays as far as it goes, or is refused; never does it count for longer than the whole."""
    whole = made(name)
    for part in (4, 12, 40, 64, 100, len(whole) // 2, len(whole) - 1):
        try:
            found = audio.read(whole[:part])
        except (Damaged, NotAudio):
            continue
        assert 0 <= found.duration_ms <= 3_000 + FILES[name][4]


@pytest.mark.parametrize("name", ["wav", "mp3", "mp2", "ogg-opus", "ogg-flac", "webm", "flac", "mp4-fragments"])
def test_half_a_file_plays_half_as_long(name: str) -> None:
    whole = made(name, 8)
    assert audio.read(whole[: len(whole) // 2]).duration_ms == pytest.approx(4_000, abs=500)


def test_an_index_in_front_of_what_was_cut_off() -> None:
    """The samples that can be there count, not those that are listed."""
    whole = made("m4a")
    mdat, moov = whole.index(b"mdat") - 4, whole.index(b"moov") - 4
    size = moov - mdat
    front = whole[:mdat] + whole[moov:]
    half = struct.pack(">I", size // 2) + whole[mdat + 4 : mdat + size // 2]
    assert audio.read(front + whole[mdat:moov]) == audio.read(whole)
    assert audio.read(front + half).duration_ms == pytest.approx(1_500, abs=150)
    with pytest.raises(Damaged, match="moov"):
        audio.read(whole[:moov])


def test_heads_that_lie() -> None:
    file = wav(2)
    size = file.index(b"data") + 4
    for said in (0, 0x7FFFFFFF, 0xFFFFFFFF, 10**6):
        assert audio.read(file[:size] + struct.pack("<I", said) + file[size + 4 :]).duration_ms == 2_000
    slow = file[:28] + struct.pack("<I", 10**9) + file[32:]  # so many bytes a second, it says
    assert audio.read(slow).duration_ms == 2_000
    flac = bytearray(made("flac"))
    flac[8 + 14 : 8 + 18] = bytes(4)  # so many samples
    assert audio.read(bytes(flac)).duration_ms == 3_000
    mp4 = made("m4a")
    for head in (b"mvhd", b"tkhd", b"mdhd"):
        at = mp4.index(head)
        length = at + (24 if head == b"tkhd" else 20)
        mp4 = mp4[:length] + struct.pack(">I", 1) + mp4[length + 4 :]
    stts = mp4.index(b"stts") + 16  # what each sample lasts: nothing, it says
    lying = mp4[:stts] + bytes(4) + mp4[stts + 4 :]
    assert audio.read(lying).duration_ms == pytest.approx(3_000, abs=50)


def test_opus_is_counted_by_its_packets() -> None:
    """A recording that was cut out of a longer one keeps the longer one's positions."""
    file = bytearray(made("ogg-opus"))
    at = 0
    while (at := file.find(b"OggS\0", at)) >= 0:
        file[at + 6 : at + 14] = struct.pack("<Q", 2**40)
        at += 27
    assert audio.read(bytes(file)) == audio.read(made("ogg-opus"))


def test_streams_that_follow_each_other_add_up() -> None:
    once = audio.read(made("ogg-opus")).duration_ms
    assert audio.read(made("ogg-opus") * 2).duration_ms == 2 * once


def test_tags_are_passed_over() -> None:
    tag = b"ID3\4\0\0" + bytes((0, 0, 2, 0)) + b"\xff\xfb" * 128
    for name in ("mp3-without-xing", "flac"):
        assert audio.read(tag + made(name)) == audio.read(made(name))
    mp3 = encoded("mp3", "libmp3lame", 3, write_xing="0", id3v2_version="0")
    assert audio.read(mp3 + b"TAG" + bytes(125)) == audio.read(bytes(300) + mp3) == audio.read(mp3)


def test_garbage_between_frames_counts_for_nothing() -> None:
    mp3 = made("mp3-without-xing")
    assert audio.read(mp3 + b"\xff\xfb\x90" + b"garbage" * 100 + mp3).duration_ms == pytest.approx(6_100, abs=150)


def test_nothing_and_what_is_no_sound() -> None:
    assert audio.read(wav(0)) == Audio("wav", 0)
    for data in (b"", b"RIFF", b"\x89PNG\r\n\x1a\n" + bytes(200), b"<html>", b"%PDF-1.7", b"PK\3\4" + bytes(99)):
        with pytest.raises(NotAudio):
            audio.read(data)
    for data in (b"fLaC", b"OggS\0" + bytes(40), b"\x1a\x45\xdf\xa3\x80", b"\0\0\0\x0cftypisom", wav()[:20]):
        with pytest.raises(Damaged):
            audio.read(data)


def test_a_codec_that_is_not_read() -> None:
    adpcm = wav()[:20] + struct.pack("<H", 0x11) + wav()[22:]
    with pytest.raises(Damaged, match="0x0011"):
        audio.read(adpcm)


def test_a_video_is_as_long_as_its_sound() -> None:
    assert audio.read(made("mp4")).type == "audio/mp4"


def test_a_view_is_read_where_it_lies() -> None:
    assert audio.read(memoryview(b"head" + wav(2) + b"tail")[4:-4]).duration_ms == 2_000


def _ebml(count: int) -> bytes:
    return b"\x1a\x45\xdf\xa3\x80" + b"\xa3\x80" * count


HOSTILE = {
    "ones": b"\xff" * MIB,
    "frames without end": b"\xff\xfb\x90\0" + b"\xff\xfb" * (MIB // 2),
    "empty packets": (b"OggS\0" + bytes(21) + b"\xff" + bytes(255)) * (MIB // 282),
    "marks": b"fLaC\x80\0\0\x22" + bytes(10) + b"\x0a\xc4\x42" + b"\xff\xf8" * (MIB // 2),
    "empty chunks": b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * (MIB // 8),
    "empty boxes": b"\0\0\0\x0cftypxxxx" + b"\0\0\0\x08free" * (MIB // 8),
    "boxes of no size": b"\0\0\0\x0cftypxxxx" + b"\0\0\0\1moov" + bytes(8) * 1000,
    "empty blocks": _ebml(MIB // 2),
    "the smallest frames": (b"\xff\xe3\x18\xc4" + bytes(68)) * (MIB // 72),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_awkward_bytes_take_no_longer_than_they_are_long(name: str) -> None:
    began = time.process_time()
    try:
        audio.read(HOSTILE[name])
    except (Damaged, NotAudio):
        pass
    assert time.process_time() - began < 5


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9)), max_size=9))
def test_any_bytes_are_read_or_refused(name: str, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(made(name, 0.2))
    for place, change in changes:
        at = int(place * len(data))
        data[at : at + len(change)] = change
    try:
        assert audio.read(bytes(data)).duration_ms >= 0
    except (Damaged, NotAudio):
        pass


@given(
    st.sampled_from([b"", b"RIFF    WAVEfmt ", b"OggS\0", b"\x1a\x45\xdf\xa3", b"    ftyp", b"fLaC", b"ID3"]),
    st.binary(),
)
def test_any_head_is_read_or_refused(head: bytes, rest: bytes) -> None:
    try:
        audio.read(head + rest)
    except (Damaged, NotAudio):
        pass


def test_the_tone() -> None:
    assert len(tone(1)) == 96_000
