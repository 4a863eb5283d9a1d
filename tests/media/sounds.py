"""Sound files: a tone, written by FFmpeg's own muxers and encoders into every container that is read."""

from __future__ import annotations

import io
import math
import struct
from array import array
from functools import lru_cache
from typing import Final

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

RATE: Final = 48_000
_BLOCK: Final = 960


def tone(seconds: float, rate: int = RATE) -> bytes:
    """Samples of 16 bits, one channel."""
    return array("h", (round(8_000 * math.sin(at / 20)) for at in range(round(seconds * rate)))).tobytes()


def wav(seconds: float = 1, rate: int = 8_000, samples: bytes | None = None) -> bytes:
    data = tone(seconds, rate) if samples is None else samples
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@lru_cache
def encoded(container: str, codec: str, seconds: float = 3, rate: int = RATE, **options: str) -> bytes:
    """The tone as FFmpeg writes it."""
    file = io.BytesIO()
    samples = tone(seconds, rate)
    with av.open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        fitting = AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        for at in range(0, len(samples), 2 * _BLOCK):
            block = samples[at : at + 2 * _BLOCK]
            frame = AudioFrame(format="s16", layout="mono", samples=len(block) // 2)
            frame.planes[0].update(block.ljust(frame.planes[0].buffer_size, b"\0"))
            frame.sample_rate, frame.pts = rate, at // 2
            for fitted in fitting.resample(frame):
                for packet in stream.encode(fitted):
                    output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return file.getvalue()
