"""ElevenLabs: transcriptions by Scribe and speech, each translated from OpenAI's shape. It must never decide money."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from perquery.calls import Ask, Event, Reply, Usage, Work
from perquery.dialects.transcripts import seconds_in, transcript, whole_seconds
from perquery.errors import BadRequest
from perquery.providers.deepgram import characters
from perquery.providers.failures import within
from perquery.providers.openai_audio import form
from perquery.providers.replies import Whole, parsed
from perquery.providers.sound import Sound
from perquery.providers.trade import Trade, garbage, written

SPEEDS: Final = (0.7, 1.2)
_FORMATS: Final[Mapping[str, str]] = {
    "mp3": "mp3_44100_128",
    "opus": "opus_48000_128",
    "wav": "wav_24000",
    "pcm": "pcm_24000",
}


class ElevenLabsListen(Trade):
    """POST /speech-to-text."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        body = work.body
        if body["task"] == "translate":
            raise BadRequest(f"{work.model} does not translate; use whisper-1.", param="model")
        fields = [("model_id", ask.model), ("timestamps_granularity", "word"), ("tag_audio_events", "false")]
        if body.get("language", "multi") != "multi":
            fields.append(("language_code", body["language"]))
        if "temperature" in body:
            fields.append(("temperature", str(body["temperature"])))
        if "prompt" in body:
            work.dropped.append("prompt")
        boundary = secrets.token_hex(16)
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/speech-to-text",
            lambda key: _headers(key, f"multipart/form-data; boundary={boundary}"),
            form(fields, work.files, boundary),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Whole(response, lambda data: _heard(data, work))


def _heard(data: bytes, work: Work) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if not isinstance(found.get("text"), str):
        return Event(data, error=within(found))
    try:
        answer = _verbose(found)
    except (KeyError, TypeError, AttributeError):
        return Event(data, error=garbage("holds no transcript"))
    seconds = whole_seconds(found.get("audio_duration_secs"))
    usage = Usage(work.likely, estimated=True) if seconds is None else Usage({"second": seconds})
    return Event(data, parsed=answer, usage=usage, finish="stop", whole=True)


def _verbose(found: Mapping[str, Any]) -> dict[str, Any]:
    words = [
        {"word": str(word["text"]).strip(), "start": seconds_in(word["start"]), "end": seconds_in(word["end"])}
        for word in found.get("words") or ()
        if word.get("type") == "word"
    ]
    last_s = seconds_in(words[-1]["end"]) if words else 0.0
    duration_s = seconds_in(found.get("audio_duration_secs")) or last_s
    language = str(found.get("language_code") or "")
    made = transcript(str(found["text"]), language=language, duration_s=duration_s, words=words)
    return made | {"id": str(found.get("transcription_id") or "")}


class ElevenLabsSpeak(Trade):
    """POST /text-to-speech/{voice}/stream."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        body = work.body
        format = _FORMATS.get(body["response_format"])
        if format is None:
            known = ", ".join(_FORMATS)
            raise BadRequest(f"{work.model} speaks {known}, not {body['response_format']}.", param="response_format")
        spoken: dict[str, Any] = {"text": body["input"], "model_id": ask.model}
        if body.get("speed", 1) != 1:
            spoken["voice_settings"] = {"speed": min(SPEEDS[1], max(SPEEDS[0], body["speed"]))}
        work.dropped += [name for name in ("instructions",) if name in body]
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/text-to-speech/{quote(body['voice'], safe='')}/stream?output_format={format}",
            lambda key: _headers(key, "application/json"),
            written(spoken),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Sound(response, characters(response.headers.get("x-character-count"), body["input"]))


def _headers(key: str, type: str) -> dict[str, str]:
    return {"content-type": type} | ({"xi-api-key": key} if key else {})
