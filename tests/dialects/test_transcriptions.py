"""Transcriptions, the caller's side: what is taken and refused, what is held for, every form of the answer."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import orjson
import pytest
import srt
import webvtt
from openai.types.audio import Transcription, TranscriptionVerbose

from perquery import money
from perquery.calls import Figures, Price, Route, Upload, Work
from perquery.dialects.forms import Form
from perquery.dialects.transcriptions import FILE_BYTES_MAX, parse
from perquery.dialects.transcripts import seconds_in, transcript, whole_seconds
from perquery.errors import BadRequest, PerQueryError, TooLarge, UnsupportedMedia
from tests.media.sounds import wav

ROUTE = Route("a", "m", Price(((0, {"second": 100}),)))
FIGURES = Figures({"second": 3}, None, {"cost": money.number(315_000)}, "")
WORDS = [
    {"word": "Hello", "start": 0.0, "end": 0.5},
    {"word": "there.", "start": 0.5, "end": 1.0},
    {"word": "Again", "start": 3.0, "end": 3.5},
]
HEARD = transcript("Hello there. Again", language="en", duration_s=4.0, words=WORDS)


def parsed(data: bytes = wav(2.5), task: str = "transcribe", name: str = "a.mp3", **fields: Any) -> Work:
    return parse(Form(fields, (Upload("file", name, data),), b""), task)


def rendered(**fields: Any) -> bytes:
    return parsed(**fields).render(HEARD, FIGURES)


def test_defaults_are_ppqs() -> None:
    work = parsed()
    assert (work.kind, work.model, work.streamed, work.retried) == ("stt", "nova-3", False, True)
    assert work.body == {"task": "transcribe", "response_format": "json", "words": False}
    assert parsed(task="translate").model == "whisper-1"


def test_what_is_held_is_by_the_sounds_own_length() -> None:
    """Three seconds begun, and one more; in every unit that a model may count."""
    work = parsed(prompt="é")
    assert work.most(ROUTE) == {"second": 4, "audio_input": 320, "input": 202, "output": 248}
    assert work.likely["second"] == 3


def test_the_content_counts_and_not_the_name() -> None:
    assert [file.name for file in parsed(name="song.mp3").files] == ["audio.wav"]
    with pytest.raises(UnsupportedMedia, match="its content counts"):
        parsed(b"\x89PNG\r\n\x1a\n" + bytes(99), name="song.mp3")


@pytest.mark.parametrize("data", [b"", wav(1)[:20], b"OggS\0" + bytes(40)])
def test_empty_and_damaged_files(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(data)
    assert (caught.value.code, caught.value.param) == ("damaged_audio", "file")


def test_silence_of_no_length_is_a_file() -> None:
    assert parsed(wav(0)).likely["second"] == 0


def test_the_largest_file() -> None:
    head = wav(0)
    full = head + bytes(FILE_BYTES_MAX - len(head))
    assert parsed(full).model == "nova-3"
    with pytest.raises(TooLarge, match="25 MB"):
        parsed(full + b"\0")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"language": "a language"}, "language"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": "1.5"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"timestamp_granularities": ["sentence"]}, "timestamp_granularities"),
        ({"prompt": "x" * 8_001}, "prompt"),
        ({"model": ["a", "b"]}, "model"),
    ],
)
def test_fields_that_are_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(PerQueryError) as caught:
        parsed(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_no_file() -> None:
    for form in (Form({}, (), b""), Form({"file": "text"}, (), b""), Form({}, (Upload("other", "a", wav()),), b"")):
        with pytest.raises(BadRequest) as caught:
            parse(form)
        assert caught.value.code == "no_file"


def test_fields_that_nobody_takes_are_told() -> None:
    assert parsed(include=["logprobs"], chunking_strategy="auto", file="", unused="").dropped == [
        "chunking_strategy",
        "include",
    ]


def test_json() -> None:
    answer = money.from_json(rendered())
    usage = {"type": "duration", "seconds": 3, "cost": Decimal("0.000315")}
    assert answer == {"text": "Hello there. Again", "usage": usage}
    Transcription.model_validate(orjson.loads(rendered()))


def test_verbose_json() -> None:
    answer = orjson.loads(rendered(response_format="verbose_json"))
    read = TranscriptionVerbose.model_validate(answer)
    assert (read.language, read.duration, read.words) == ("en", 4.0, None)
    assert [(each.text, each.start, each.end) for each in read.segments or ()] == [
        ("Hello there.", 0.0, 1.0),
        ("Again", 3.0, 3.5),
    ]
    words = orjson.loads(rendered(response_format="verbose_json", timestamp_granularities=["word"]))
    assert "segments" not in words and [word["word"] for word in words["words"]] == ["Hello", "there.", "Again"]


def test_text_and_captions() -> None:
    assert rendered(response_format="text") == b"Hello there. Again\n"
    cues = list(srt.parse(rendered(response_format="srt").decode()))
    assert [cue.content for cue in cues] == ["Hello there.", "Again"]
    read = webvtt.from_buffer(io.StringIO(rendered(response_format="vtt").decode())).captions
    assert [(each.start, each.text) for each in read] == [("00:00:00.000", "Hello there."), ("00:00:03.000", "Again")]
    assert {format: parsed(response_format=format).media_type for format in ("srt", "vtt", "text")} == {
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "text": "text/plain; charset=utf-8",
    }


def test_captions_without_word_times() -> None:
    heard = transcript("One two", language="en", duration_s=2, segments=[("One two", 0.0, 2.0)])
    assert b"00:00:00,000 --> 00:00:02,000\nOne two" in parsed(response_format="srt").render(heard, FIGURES)
    nothing = transcript("", language="", duration_s=2)
    assert parsed(response_format="vtt").render(nothing, FIGURES) == b"WEBVTT\n\n"
    assert parsed(response_format="srt").render(nothing, FIGURES) == b""


def test_a_stream_of_events() -> None:
    work = parsed(stream="true")
    delta, done = [orjson.loads(line[6:]) for line in work.render(HEARD, FIGURES).split(b"\n\n") if line]
    assert (delta["type"], delta["delta"]) == ("transcript.text.delta", "Hello there. Again")
    assert (done["type"], done["text"], done["usage"]["cost"]) == ("transcript.text.done", delta["delta"], 0.000315)
    assert work.media_type == "text/event-stream"
    assert parsed(stream="true", response_format="srt").media_type.startswith("application/x-subrip")


@pytest.mark.parametrize(
    ("said", "seconds", "billed"),
    [
        *((2.1, 2.1, 3), (2, 2.0, 2), (0, 0.0, 0)),
        *((said, 0.0, None) for said in (-1, "2", True, None, float("inf"), float("nan"), 10**9)),
    ],
)
def test_what_upstreams_say_of_time(said: Any, seconds: float, billed: int | None) -> None:
    assert (seconds_in(said), whole_seconds(said)) == (seconds, billed)
