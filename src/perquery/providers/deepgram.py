"""Deepgram: transcriptions by Nova, speech by Aura, each translated from OpenAI's shape. It must never decide money."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from perquery.calls import Ask, Event, Reply, Usage, Work
from perquery.dialects.transcripts import seconds_in, transcript, whole_seconds
from perquery.errors import BadRequest
from perquery.providers.failures import within
from perquery.providers.replies import Whole, parsed
from perquery.providers.sound import Sound
from perquery.providers.trade import Trade, garbage, written

TERMS_MAX: Final = 100
SPEEDS: Final = (0.7, 1.5)
CHANNELS_MAX: Final = 64
# OpenAI's response formats → encoding, container, sample rate.
_ENCODINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "mp3": {"encoding": "mp3"},
    "opus": {"encoding": "opus", "container": "ogg"},
    "aac": {"encoding": "aac"},
    "flac": {"encoding": "flac"},
    "wav": {"encoding": "linear16", "container": "wav", "sample_rate": "24000"},
    "pcm": {"encoding": "linear16", "container": "none", "sample_rate": "24000"},
}
_TERM: Final = re.compile(r"[^.?!:;]{1,60}")


class DeepgramListen(Trade):
    """POST /listen: the file as it is, all else in the address."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        if work.body["task"] == "translate":
            raise BadRequest(f"{work.model} does not translate; use whisper-1.", param="model")
        query = [("model", ask.model), ("smart_format", "true"), ("utterances", "true")]
        query.append(("language", work.body["language"]) if "language" in work.body else ("detect_language", "true"))
        query += _terms(ask.model, work)
        if work.body.get("temperature"):
            work.dropped.append("temperature")
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/listen?{urlencode(query)}",
            lambda key: _token(key) | {"content-type": f"audio/{work.files[0].name.rpartition('.')[2]}"},
            work.files[0].data,
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Whole(response, lambda data: _heard(data, work))


def _terms(model: str, work: Work) -> Iterator[tuple[str, str]]:
    """A prompt that is a list of terms; Deepgram has no use for prose, which is reported as dropped."""
    prompt = work.body.get("prompt")
    if not prompt:
        return
    terms = [term.strip() for term in re.split(r"[,\n]", prompt) if term.strip()]
    if len(terms) > TERMS_MAX or not all(_TERM.fullmatch(term) and len(term.split()) <= 5 for term in terms):
        work.dropped.append("prompt")
        return
    name = "keywords" if model.startswith("nova-2") else "keyterm"
    yield from ((name, term) for term in terms)


def _heard(data: bytes, work: Work) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if "results" not in found:
        return Event(data, error=within(found))
    try:
        answer = _verbose(found)
    except (KeyError, IndexError, TypeError, AttributeError):
        return Event(data, error=garbage("holds no transcript"))
    return Event(data, parsed=answer, usage=_counted(found["metadata"], work), finish="stop", whole=True)


def _verbose(found: Mapping[str, Any]) -> dict[str, Any]:
    results, duration_s = found["results"], seconds_in(found["metadata"].get("duration"))
    channel = results["channels"][0]
    best = channel["alternatives"][0]
    heard = best.get("words") or []
    words = [
        {
            "word": str(word.get("punctuated_word") or word["word"]),
            "start": seconds_in(word["start"]),
            "end": seconds_in(word["end"]),
        }
        for word in heard
    ]
    segments = [
        (str(part["transcript"]), seconds_in(part["start"]), seconds_in(part["end"]))
        for part in results.get("utterances") or ()
    ]
    spoken = Counter(word["language"] for word in heard if isinstance(word.get("language"), str)).most_common(1)
    language = channel.get("detected_language") or (spoken[0][0] if spoken else "")
    made = transcript(
        str(best["transcript"]), language=str(language), duration_s=duration_s, words=words, segments=segments
    )
    return made | {"id": str(found["metadata"].get("request_id") or "")}


def _counted(metadata: Mapping[str, Any], work: Work) -> Usage:
    """The duration, once for each channel that was transcribed apart."""
    seconds, channels = whole_seconds(metadata.get("duration")), metadata.get("channels")
    if seconds is None:
        return Usage(work.likely, estimated=True)
    return Usage({"second": seconds * (channels if type(channels) is int and 1 <= channels <= CHANNELS_MAX else 1)})


class DeepgramSpeak(Trade):
    """POST /speak: the voice is the model."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        body = work.body
        query = {"model": body["voice"], **_ENCODINGS[body["response_format"]]}
        speed = body.get("speed", 1)
        if speed != 1:
            query["speed"] = str(min(SPEEDS[1], max(SPEEDS[0], speed)))
        work.dropped += [name for name in ("instructions",) if name in body]
        response = await self._line.ask(
            "POST",
            f"{self._base_url}/speak?{urlencode(query)}",
            lambda key: _token(key) | {"content-type": "application/json"},
            written({"text": body["input"]}),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )
        return Sound(response, characters(response.headers.get("dg-char-count"), body["input"]))


def characters(said: str | None, text: str) -> Usage:
    """What an upstream says that it counts, else the characters that were sent."""
    known = said is not None and said.isascii() and said.isdigit() and len(said) < 10
    return Usage({"character": int(said) if known and said is not None else len(text)}, estimated=not known)


def _token(key: str) -> dict[str, str]:
    return {"authorization": f"Token {key}"} if key else {}
