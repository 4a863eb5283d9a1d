"""POST /v1/audio/transcriptions and /v1/audio/translations, the caller's side: OpenAI's form in. Pure.

The file is what its bytes are; how long it plays, counted in them, is what is held for. `parse` may take a second for
the most awkward 25 MB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from perquery.calls import Route, Unit, Upload, Work
from perquery.dialects.fields import require
from perquery.dialects.forms import Form
from perquery.dialects.transcripts import TYPES, rendered, streamed
from perquery.errors import BadRequest, TooLarge, UnsupportedMedia
from perquery.media import audio

FILE_BYTES_MAX: Final = 25 * 2**20
BODY_BYTES_MAX: Final = FILE_BYTES_MAX + 64 * 1024  # with the other fields
PROMPT_CHARS_MAX: Final = 8_000
MODEL: Final = "nova-3"  # PPQ's default
TRANSLATOR: Final = "whisper-1"
# What vendors' models count at most, where they count tokens: of a second of sound, and of what is said in it.
_TOKENS_PER_S: Final = 30
_WORDS_PER_S: Final = 12
_FRAME_TOKENS: Final = 200
_TOKENS_PER_S_LIKELY: Final = 10
_WORDS_PER_S_LIKELY: Final = 3
_GRANULARITIES: Final = frozenset({"segment", "word"})
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{2,8})*")
_KNOWN: Final = frozenset(
    ("file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities", "stream")
)


def parse(form: Form, task: str = "transcribe") -> Work:
    """Raises BadRequest, TooLarge, UnsupportedMedia."""
    fields = form.fields
    file = _file(form)
    model = _text(fields, "model") or (MODEL if task == "transcribe" else TRANSLATOR)
    format = _text(fields, "response_format") or "json"
    require(format in TYPES, "response_format", " | ".join(TYPES))
    language, prompt = _text(fields, "language"), _text(fields, "prompt")
    require(
        language is None or _LANGUAGE.fullmatch(language) is not None, "language", 'a code such as "en", or "multi"'
    )
    require(prompt is None or len(prompt) <= PROMPT_CHARS_MAX, "prompt", f"at most {PROMPT_CHARS_MAX} characters")
    granularities = _granularities(fields.get("timestamp_granularities"))
    asked = {
        "task": task,
        "response_format": format,
        "language": language,
        "prompt": prompt,
        "temperature": _temperature(_text(fields, "temperature")),
        "words": format in ("srt", "vtt") or "word" in granularities,
    }
    played = _played(file)
    stream = _text(fields, "stream") == "true" and format in ("json", "text")
    render = streamed if stream else partial(rendered, form=format, granularities=granularities)
    return Work(
        kind="stt",
        model=model,
        body={name: value for name, value in asked.items() if value is not None},
        most=partial(_most, -(-played.duration_ms // 1_000), prompt or ""),
        likely=_likely(-(-played.duration_ms // 1_000)),
        render=render,
        media_type="text/event-stream" if stream else TYPES[format],
        files=(Upload("file", f"audio.{played.container}", file.data),),
        retried=True,
        dropped=sorted(name for name in fields.keys() - _KNOWN if fields[name]),
    )


def _file(form: Form) -> Upload:
    files = [file for file in form.files if file.field == "file"]
    if not files:
        raise BadRequest(
            "`file` is missing: send a form (multipart/form-data) with the sound in it.", param="file", code="no_file"
        )
    if len(files[0].data) > FILE_BYTES_MAX:
        raise TooLarge(f"The file is larger than {FILE_BYTES_MAX // 2**20} MB.", param="file")
    return files[0]


def _played(file: Upload) -> audio.Audio:
    """What the file is, and how long it plays."""
    if not file.data:
        raise BadRequest("The file is empty.", param="file", code="damaged_audio")
    try:
        return audio.read(file.data)
    except audio.NotAudio as error:
        raise UnsupportedMedia(
            "The file is not one of mp3, mp4, mpeg, mpga, m4a, wav, webm, ogg, flac: its content counts, not its name.",
            param="file",
            code="unsupported_audio",
        ) from error
    except audio.Damaged as error:
        raise BadRequest(f"The file cannot be read: {error}.", param="file", code="damaged_audio") from error


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    """A field of the form; nothing stands for nothing."""
    value = fields.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    require(value is None or isinstance(value, str), name, "one text")
    return value or None


def _temperature(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    require(0 <= value <= 1, "temperature", "a number from 0 to 1")
    return value


def _granularities(given: Any) -> frozenset[str]:
    names = [given] if isinstance(given, str) else given or ["segment"]
    require(_GRANULARITIES.issuperset(names), "timestamp_granularities", "segment | word")
    return frozenset(names)


def _most(seconds: int, prompt: str, _route: Route) -> Mapping[Unit, int]:
    """A second more than was counted, as upstreams may round; tokens where the model counts those."""
    longest = seconds + 1
    return {
        "second": longest,
        "audio_input": longest * _TOKENS_PER_S + _FRAME_TOKENS,
        "input": len(prompt.encode("utf-8", "replace")) + _FRAME_TOKENS,
        "output": longest * _WORDS_PER_S + _FRAME_TOKENS,
    }


def _likely(seconds: int) -> Mapping[Unit, int]:
    return {
        "second": seconds,
        "audio_input": seconds * _TOKENS_PER_S_LIKELY,
        "output": seconds * _WORDS_PER_S_LIKELY,
    }
