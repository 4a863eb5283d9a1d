"""Transcripts: what was heard, in OpenAI's verbose form, which is the internal one; and every form that
callers ask for.

Upstreams hand up `transcript(…)`; `rendered` writes it with its price. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Figures
from perquery.dialects import captions
from perquery.dialects.captions import Cue, Word

TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
TIMED: Final = frozenset({"verbose_json", "srt", "vtt"})
SECONDS_MAX: Final = 10**7  # of what an upstream says; more is nonsense
_PAUSE_S: Final = 1.0  # a silence between two segments, where the upstream makes none
_SEGMENT_WORDS: Final = 40
_SENTENCE_ENDS: Final = tuple(".?!。？！")


def transcript(
    text: str,
    *,
    language: str,
    duration_s: float,
    words: Sequence[Mapping[str, Any]] = (),
    segments: Iterable[tuple[str, float, float]] = (),
) -> dict[str, Any]:
    """In OpenAI's verbose form. words: with `word`, `start` and `end` in seconds. segments: (text, start, end); without
    any they are made of the words."""
    parts = list(segments) or list(_sentences(words)) or ([(text, 0.0, duration_s)] if text else [])
    return {
        "task": "transcribe",
        "language": language,
        "duration": duration_s,
        "text": text,
        "segments": [_segment(number, *part) for number, part in enumerate(parts)],
        "words": [{name: word[name] for name in ("word", "start", "end")} for word in words],
    }


def seconds_in(value: Any) -> float:
    """A time that an upstream says; 0 for what is none."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and 0 <= value <= SECONDS_MAX else 0.0


def whole_seconds(value: Any) -> int | None:
    """What is billed of a duration: whole seconds, rounded up; None where an upstream says none."""
    found = seconds_in(value)
    return -int(-found // 1) if found or value == 0 else None


def _segment(number: int, text: str, start: float, end: float) -> dict[str, Any]:
    """What no upstream but Whisper's says has the value of a sure thing."""
    return {
        "id": number,
        "seek": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }


def _sentences(words: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, float, float]]:
    """The words in sentences, each ended by its point or by a silence."""
    group: list[Mapping[str, Any]] = []
    for word in words:
        if group and (word["start"] - group[-1]["end"] > _PAUSE_S or len(group) >= _SEGMENT_WORDS):
            yield _joined(group)
            group = []
        group.append(word)
        if word["word"].endswith(_SENTENCE_ENDS):
            yield _joined(group)
            group = []
    if group:
        yield _joined(group)


def _joined(group: Sequence[Mapping[str, Any]]) -> tuple[str, float, float]:
    return " ".join(word["word"] for word in group), group[0]["start"], group[-1]["end"]


def rendered(answer: dict[str, Any], figures: Figures, form: str, granularities: frozenset[str]) -> bytes:
    """The answer in one of TYPES. granularities: what verbose JSON is to hold."""
    if form == "text":
        return f"{answer['text']}\n".encode("utf-8", "replace")
    if form == "srt":
        return captions.srt(_cues(answer)).encode("utf-8", "replace")
    if form == "vtt":
        return captions.vtt(_cues(answer)).encode("utf-8", "replace")
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        usage = {"type": "duration", "seconds": figures.counts.get("second", 0)}
    shown = {"text": answer["text"], "usage": usage | figures.cost}
    if form == "verbose_json":
        about = {name: answer[name] for name in ("task", "language", "duration")}
        shown = about | shown | {"segments": answer["segments"] if "segment" in granularities else None}
        shown |= {"words": answer["words"] if "word" in granularities else None}
    return money.json({name: value for name, value in shown.items() if value is not None})


def streamed(answer: dict[str, Any], figures: Figures) -> bytes:
    """The same as OpenAI's stream of events. What upstreams say whole is one piece."""
    whole = orjson.loads(rendered(answer, figures, "json", frozenset()))
    done = money.json({"type": "transcript.text.done", **whole, "usage": whole["usage"] | figures.cost})
    delta = orjson.dumps({"type": "transcript.text.delta", "delta": whole["text"]})
    return b"data: " + delta + b"\n\ndata: " + done + b"\n\n"


def _cues(answer: Mapping[str, Any]) -> list[Cue]:
    """By the words where they are timed, else by the segments."""
    words = [
        Word(word["word"], round(word["start"] * 1_000), round(word["end"] * 1_000)) for word in answer["words"] or ()
    ]
    for segment in () if words else answer["segments"] or ():
        words += captions.spread(segment["text"], round(segment["start"] * 1_000), round(segment["end"] * 1_000))
    return captions.cues(words)
