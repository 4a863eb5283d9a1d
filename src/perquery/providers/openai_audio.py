"""Speech as OpenAI and those who follow it speak it: transcriptions, translations, and speech.

Models whose name begins with "gpt-" count tokens: they say no times, and say what speech cost only in their stream of
events. It must never decide money.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from perquery.calls import Ask, Event, Reply, Unit, Upload, Usage, Work
from perquery.dialects.transcripts import TIMED, seconds_in, transcript, whole_seconds
from perquery.errors import BadRequest
from perquery.providers.failures import within
from perquery.providers.replies import Stream, Whole, parsed
from perquery.providers.sound import Sound, SoundEvents
from perquery.providers.trade import Trade, count_in, garbage, written

_TOKENS: Final = "gpt-"


class OpenAITranscriptions(Trade):
    """POST /audio/transcriptions and /audio/translations."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        boundary = secrets.token_hex(16)
        path = "translations" if work.body["task"] == "translate" else "transcriptions"
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/audio/{path}",
            lambda key: _bearer(key) | {"content-type": f"multipart/form-data; boundary={boundary}"},
            form(_fields(ask.model, work), work.files, boundary),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Whole(response, lambda data: _heard(data, work))


def _fields(model: str, work: Work) -> list[tuple[str, str]]:
    """The form's fields. Raises BadRequest where the model has no times to give."""
    body = work.body
    fields = [("model", model)]
    if model.startswith(_TOKENS):
        if body["response_format"] in TIMED:
            raise BadRequest(
                f"{work.model} gives no times: `response_format` must be json or text.", param="response_format"
            )
        fields.append(("response_format", "json"))
    else:
        fields.append(("response_format", "verbose_json"))
        if body["task"] == "transcribe":
            fields += [("timestamp_granularities[]", name) for name in ("segment", "word")[: 1 + bool(body["words"])]]
    if body["task"] == "transcribe" and body.get("language", "multi") != "multi":
        fields.append(("language", body["language"]))
    return fields + [(name, str(body[name])) for name in ("prompt", "temperature") if name in body]


def form(fields: Iterable[tuple[str, str]], files: Sequence[Upload], boundary: str) -> list[bytes]:
    """A body as multipart/form-data; the files' bytes are not copied."""
    head = "".join(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ).encode("utf-8", "replace")
    pieces = [head]
    for file in files:
        about = f'content-disposition: form-data; name="{file.field}"; filename="{file.name}"'
        pieces += [f"--{boundary}\r\n{about}\r\ncontent-type: application/octet-stream\r\n\r\n".encode(), file.data]
        pieces.append(b"\r\n")
    return [*pieces, f"--{boundary}--\r\n".encode()]


def _heard(data: bytes, work: Work) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if found.get("error"):
        return Event(data, error=within(found["error"]))
    if not isinstance(found.get("text"), str):
        return Event(data, error=garbage("holds no text"))
    try:
        answer = _verbose(found, work)
    except (KeyError, TypeError, AttributeError):
        return Event(data, error=garbage("holds malformed times"))
    usage = _counted(found, work)
    return Event(data, parsed=answer, usage=usage, finish="stop", whole=True)


def _verbose(found: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """The answer in the whole of its verbose form, its segments as the upstream says them."""
    words = [
        {"word": str(word["word"]), "start": seconds_in(word["start"]), "end": seconds_in(word["end"])}
        for word in found.get("words") or ()
    ]
    segments = [
        (str(part["text"]), seconds_in(part["start"]), seconds_in(part["end"])) for part in found.get("segments") or ()
    ]
    answer = transcript(
        found["text"],
        language=str(found.get("language") or work.body.get("language") or ""),
        duration_s=seconds_in(found.get("duration")),
        words=words,
        segments=segments,
    )
    answer["task"] = work.body["task"]
    for mine, theirs in zip(answer["segments"], found.get("segments") or (), strict=False):
        mine |= {name: theirs[name] for name in mine if name in theirs and name not in ("start", "end", "text")}
    if isinstance(found.get("usage"), dict):
        answer["usage"] = {name: value for name, value in found["usage"].items() if name != "cost"}
    return answer


def _counted(found: Mapping[str, Any], work: Work) -> Usage:
    """Tokens or seconds, as the upstream says; else the seconds that it heard; else those that we counted."""
    usage = found.get("usage")
    given, made = count_in(usage, "input_tokens"), count_in(usage, "output_tokens")
    if given is not None and made is not None and isinstance(usage, dict):
        heard = min(given, count_in(usage.get("input_token_details"), "audio_tokens") or 0)
        return Usage({"input": given - heard, "audio_input": heard, "output": made})
    said = usage.get("seconds") if isinstance(usage, dict) else found.get("duration")
    seconds = whole_seconds(said)
    return Usage(work.likely, estimated=True) if seconds is None else Usage({"second": seconds})


class OpenAISpeech(Trade):
    """POST /audio/speech."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        body = work.body | {"model": ask.model, "speed": work.body.get("speed", 1)}
        body.pop("language", None)
        counted = ask.model.startswith(_TOKENS)
        if counted:
            body |= {"stream_format": "sse"}
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/audio/speech",
            lambda key: _bearer(key) | {"content-type": "application/json"},
            written(body),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
            keep=not self._host.closes_after_stream,
        )
        if counted:
            return Stream(response, SoundEvents(_tokens(work)))
        return Sound(response, Usage({"character": len(work.body["input"])}))


def _tokens(work: Work) -> Mapping[Unit, int]:
    """What is probably counted of a text, should nobody hear the end."""
    return {unit: count for unit, count in work.likely.items() if unit != "character"}


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
