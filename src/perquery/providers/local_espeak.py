"""Local text to speech: eSpeak NG behind OpenAI's shape of speech, run as a program (`child`).

Light and plainly a machine's voice, but for one that is neural where its weights are installed (`neural_voice`). Its
licence (GPL) is another than ours: only this process loads it. In the sandbox it speaks for every model, so it takes
any voice's name: one of its own languages as it is, for all other names a voice of the language that the name ends in,
always the same.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import json
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

from perquery.providers.child import Child, serve
from perquery.providers.local_server import Answer, Refused, opened
from perquery.providers.neural_voice import LANGUAGE, NAME, NeuralVoice, files

MODEL: Final = "espeak-ng"
PACKAGES: Final = (("espeakng_loader", "espeakng-loader"), ("av", "av"))
RATE: Final = 24_000  # what OpenAI's pcm has
WORDS_PER_MINUTE: Final = 130  # faster, and a machine hears one word in five wrongly
FORMATS: Final = {  # response format → content type, FFmpeg's container and encoder, rate
    "mp3": ("audio/mpeg", "mp3", "libmp3lame", 24_000),
    "opus": ("audio/ogg", "ogg", "libopus", 48_000),
    "aac": ("audio/aac", "adts", "aac", 24_000),
    "flac": ("audio/flac", "flac", "flac", 24_000),
    "wav": ("audio/wav", "", "", RATE),
    "pcm": ("audio/pcm", "", "", RATE),
}
_VARIANTS: Final = ("+m1", "+m3", "+m7", "+f1", "+f2", "+f5")
_SENTENCE: Final = re.compile(r".+?(?:[.?!…。？！]+\s+|\n+|$)", re.DOTALL)
_LANGUAGE: Final = re.compile(r"(?:^|-)([a-z]{2})$")
_UTF8, _RATE_PARAMETER, _SYNCHRONOUS, _IPA = 1, 1, 2, 2  # <espeak-ng/speak_lib.h>


class LocalEspeak(Child):
    """The gateway's side."""

    def __init__(self) -> None:
        super().__init__(__name__, PACKAGES)


class _Espeak:
    """The library, which has one state: one sentence at a time."""

    def __init__(self) -> None:
        loader = importlib.import_module("espeakng_loader")
        self._library = ctypes.CDLL(loader.get_library_path())
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
        if self._rate <= 0:
            raise RuntimeError("eSpeak NG does not start")
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._heard: list[bytes] = []
        self._callback = kind(self._hear)
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._lock = threading.Lock()
        self._neural: NeuralVoice | None = None

    def speak(self, body: bytes, _content_type: str) -> Answer:
        try:
            asked = json.loads(body)
            text, format = str(asked["input"]), asked.get("response_format") or "mp3"
            voice, speed = str(asked.get("voice") or ""), float(asked.get("speed") or 1)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused("Send a JSON object with `input`.") from error
        if format not in FORMATS:
            raise Refused(f"`response_format`: one of {', '.join(FORMATS)}.")
        type, container, codec, rate = FORMATS[format]
        neural = self._neural_voice() if voice.lower() == NAME else None
        sounds = self._neural_sentences(neural, text, speed) if neural else self._sentences(text, voice, speed)
        spoken_at = neural.rate if neural else self._rate
        if format == "wav":
            return Answer(type, _wav(b"".join(_resampled(sounds, spoken_at, rate))))
        if not codec:
            return Answer(type, _resampled(sounds, spoken_at, rate))
        return Answer(type, _encoded(sounds, spoken_at, container, codec, rate))

    def _neural_voice(self) -> NeuralVoice | None:
        with self._lock:
            found = files() if self._neural is None else None
            if found is not None:
                self._neural = NeuralVoice(*found, self._phonemes)
            return self._neural

    def _neural_sentences(self, neural: NeuralVoice, text: str, speed: float) -> Iterator[bytes]:
        for found in _SENTENCE.finditer(text):
            with self._lock:
                self._set(LANGUAGE)
                sound = neural.speak(found[0], speed)
            yield sound

    def _phonemes(self, clause: str) -> str:
        """As the International Phonetic Alphabet has them. The library goes on clause by clause by itself."""
        text = ctypes.create_string_buffer(_c_text(clause))
        at, heard = ctypes.c_void_p(ctypes.addressof(text)), []
        while at.value:
            heard.append((self._library.espeak_TextToPhonemes(ctypes.byref(at), _UTF8, _IPA) or b"").decode())
        return " ".join(heard)

    def _sentences(self, text: str, voice: str, speed: float) -> Iterator[bytes]:
        """The samples of each sentence, as soon as it is spoken."""
        for found in _SENTENCE.finditer(text):
            with self._lock:
                self._choose(voice)
                words = min(450, max(80, round(WORDS_PER_MINUTE * speed)))
                self._library.espeak_SetParameter(_RATE_PARAMETER, words, 0)
                sentence = _c_text(found[0])
                self._heard.clear()
                self._library.espeak_Synth(sentence, len(sentence), 0, 0, 0, _UTF8, None, None)
                self._library.espeak_Synchronize()
                sound = b"".join(self._heard)
            yield sound

    def _choose(self, voice: str) -> None:
        wanted = voice.lower()
        if re.fullmatch(r"[a-z0-9-]{2,20}", wanted) and not self._set(wanted):
            return
        language = _LANGUAGE.search(wanted)
        variant = _VARIANTS[crc32(voice.encode()) % len(_VARIANTS)] if voice else ""
        if language is None or self._set(language[1] + variant):
            self._set("en-us" + variant)

    def _set(self, name: str) -> int:
        """0 where there is such a voice."""
        return int(self._library.espeak_SetVoiceByName(name.encode()))

    def _hear(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._heard.append(ctypes.string_at(samples, count * 2))
        return 0


def _c_text(text: str) -> bytes:
    return text.encode("utf-8", "replace").replace(b"\0", b" ") + b"\0"


def _frames(sounds: Iterator[bytes], rate: int, form: Any, wanted_rate: int) -> Iterator[Any]:
    """FFmpeg's frames in the form and at the rate that an encoder wants."""
    av = importlib.import_module("av")
    resampler, at = av.AudioResampler(format=form, layout="mono", rate=wanted_rate), 0
    for sound in sounds:
        if not sound:
            continue
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(sound) // 2)
        frame.planes[0].update(sound.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts = rate, at
        at += frame.samples
        yield from resampler.resample(frame)
    if at:
        yield from resampler.resample(None)


def _resampled(sounds: Iterator[bytes], rate: int, wanted_rate: int) -> Iterator[bytes]:
    for frame in _frames(sounds, rate, "s16", wanted_rate):
        yield bytes(frame.planes[0])[: frame.samples * 2]


class _Growing(io.RawIOBase):
    """A file that is only written to, and read as it grows."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


def _encoded(sounds: Iterator[bytes], rate: int, container: str, codec: str, wanted_rate: int) -> Iterator[bytes]:
    file = _Growing()
    options = {"write_xing": "0"} if container == "mp3" else {}
    with importlib.import_module("av").open(file, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=wanted_rate)
        stream.layout = "mono"
        stream.codec_context.open()
        size = stream.codec_context.frame_size
        fifo = importlib.import_module("av").AudioFifo()
        for frame in _frames(sounds, rate, stream.codec_context.format, wanted_rate):
            fifo.write(frame)
            for block in fifo.read_many(size) if size else [fifo.read()]:
                output.mux(stream.encode(block))
            yield file.taken()
        if (rest := fifo.read()) is not None:
            output.mux(stream.encode(rest))
        output.mux(stream.encode(None))
    yield file.taken()


def _wav(samples: bytes) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data


def _opened(listening: socket.socket, key: str) -> Any:
    return opened(listening, key, {"/v1/audio/speech": _Espeak().speak})


if __name__ == "__main__":
    sys.exit(serve(_opened))
