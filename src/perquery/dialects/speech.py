"""POST /v1/audio/speech, the caller's side: OpenAI's body in, sound out as it comes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from perquery.calls import Figures, Route, Unit, Work
from perquery.dialects.fields import check_types, is_flag, is_number, is_text, require
from perquery.dialects.forms import Form

MODEL: Final = "deepgram_aura_2"  # PPQ's default
INPUT_CHARS_MAX: Final = 5_000  # of any model; most take 2,000 (catalog/voices)
SPEEDS: Final = (0.25, 4)
TYPES: Final[Mapping[str, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",  # 24 kHz, 16 bits, one channel, little-endian
}
# What vendors' models count at most, where they count tokens.
_TOKENS_PER_CHARACTER: Final = 4
_FRAME_TOKENS: Final = 1_000
_CHARACTERS_PER_TOKEN: Final = 4
_CHARACTERS_PER_S: Final = 15
_TOKENS_PER_S: Final = 21
_KNOWN: Final = frozenset(
    ("model", "input", "voice", "response_format", "speed", "instructions", "language", "stream_format", "stream")
)


def parse(form: Form) -> Work:
    """Raises BadRequest. The voice is checked against its model later, by `catalog.voices`."""
    body = form.fields
    check_types(body, {"model": is_text, "instructions": is_text, "language": is_text, "stream": is_flag})
    text, voice = body.get("input"), body.get("voice")
    require(isinstance(text, str) and text.strip() != "", "input", "the text to speak")
    assert isinstance(text, str)
    require(len(text) <= INPUT_CHARS_MAX, "input", f"at most {INPUT_CHARS_MAX} characters; there are {len(text)}")
    if isinstance(voice, dict):  # OpenAI's way to name a voice of one's own
        voice = voice.get("id", 0)
    require(voice is None or isinstance(voice, str), "voice", "the name of a voice (GET /v1/audio/voices)")
    format = body.get("response_format") or "mp3"
    require(isinstance(format, str) and format in TYPES, "response_format", " | ".join(TYPES))
    speed = body.get("speed")
    require(speed is None or (is_number(speed) and SPEEDS[0] <= speed <= SPEEDS[1]), "speed", "a number from 0.25 to 4")
    require((body.get("stream_format") or "audio") == "audio", "stream_format", '"audio": the sound itself is streamed')
    asked: dict[str, Any] = {"input": text, "response_format": format}
    given = {"voice": voice, "speed": speed} | {name: body.get(name) for name in ("instructions", "language")}
    instructions = body.get("instructions") or ""
    return Work(
        kind="tts",
        model=body.get("model") or MODEL,
        body=asked | {name: value for name, value in given.items() if value not in (None, "")},
        most=partial(_most, text, instructions),
        likely=_likely(text, instructions),
        render=_unrendered,
        media_type=TYPES[format],
        streamed=True,
        dropped=sorted(name for name in body.keys() - _KNOWN if body[name]),
    )


def _most(text: str, instructions: str, _route: Route) -> Mapping[Unit, int]:
    """Characters as bytes, as somebody might count them; tokens where the model counts those."""
    bytes = len(text.encode("utf-8", "replace"))
    return {
        "character": bytes,
        "input": bytes + len(instructions.encode("utf-8", "replace")) + _FRAME_TOKENS,
        "audio_output": bytes * _TOKENS_PER_CHARACTER + _FRAME_TOKENS,
        "output": bytes * _TOKENS_PER_CHARACTER + _FRAME_TOKENS,
    }


def _likely(text: str, instructions: str) -> Mapping[Unit, int]:
    return {
        "character": len(text),
        "input": -(-(len(text) + len(instructions)) // _CHARACTERS_PER_TOKEN),
        "audio_output": -(-len(text) // _CHARACTERS_PER_S) * _TOKENS_PER_S,
    }


def _unrendered(_answer: dict[str, Any], _figures: Figures) -> bytes:
    raise AssertionError("sound is passed on as it comes")
