"""Upstreams for speech over a socket: what each is asked, what is understood of its published shapes, how it fails."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from perquery.calls import Work
from perquery.dialects.forms import form_in
from perquery.errors import BadRequest
from perquery.providers.failures import answered
from tests.providers.goldens import encoded, golden
from tests.providers.speech import KEY, SAID, SOUND, done, heard, last, spoken
from tests.workshop import Made, Order

LISTENERS = ("deepgram", "elevenlabs", "openai", "local-whisper")
SPEAKERS = ("deepgram", "elevenlabs", "openai", "local-espeak")
HEARD = [(name, number) for name in LISTENERS[:3] for number in range(len(golden(name, "listen")))]
ERRORS = [(name, number) for name in LISTENERS[:2] for number in range(len(golden(name, "error")))]
KINDS = [(name, heard) for name in LISTENERS] + [(name, spoken) for name in SPEAKERS]
every_kind = pytest.mark.parametrize(("name", "work"), KINDS, ids=lambda one: one if isinstance(one, str) else None)
Making = Callable[..., Work]


def answers(name: str, work: Making) -> Made:
    """What a host answers where all is well."""
    if work is heard:
        return Made(golden("openai" if name.startswith("local") else name, "listen")[0]["body"])
    return Made([b"sound", b" and more"], kind="audio/mpeg")


def always(made: Made) -> Callable[[Order], Made]:
    return lambda _: made


def query(order: Order) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field, value in parse_qsl(urlsplit(order.path).query):
        found.setdefault(field, []).append(value)
    return found


@pytest.mark.parametrize(("name", "number"), HEARD)
def test_what_was_heard(name: str, number: int) -> None:
    kept = golden(name, "listen")[number]
    result, _ = done(name, heard(), lambda _: Made(kept["body"]), kept.get("model", "m"))
    event = last(result)
    answer = event.parsed
    assert answer is not None and event.usage is not None and (event.finish, event.whole) == ("stop", True)
    assert kept["expect"] == {
        "text": answer["text"],
        "language": answer["language"],
        "duration": answer["duration"],
        "words": len(answer["words"]),
        "segments": len(answer["segments"]),
        "counts": dict(event.usage.counts),
    }


@pytest.mark.parametrize(("name", "number"), ERRORS)
def test_errors(name: str, number: int) -> None:
    kept = golden(name, "error")[number]
    error = answered(kept["status"], kept["headers"], encoded(kept["body"]))
    assert error.kind == kept["kind"]
    assert error.message != f"the upstream answered {kept['status']}"


# ---------------------------------------------------------------- the suite: every host × plain and every fault


@every_kind
def test_plain(name: str, work: Making) -> None:
    result, (order,) = done(name, work(), lambda _: answers(name, work))
    assert last(result).finish == "stop" and order.method == "POST"
    assert KEY in "".join(order.headers.values()) and KEY not in order.path


@every_kind
@pytest.mark.parametrize(("status", "kind"), [(500, "down"), (429, "busy"), (401, "auth"), (400, "refused")])
def test_error(name: str, work: Making, status: int, kind: str) -> None:
    result, orders = done(name, work(), lambda _: Made({"message": "no", "detail": "no"}, status))
    assert result.error is not None and (result.error.kind, result.error.status, len(orders)) == (kind, status, 1)


@every_kind
def test_timeout(name: str, work: Making) -> None:
    result, _ = done(name, work(), lambda _: Made(fault="head"), timeout_s=0.2)
    assert result.error is not None and (result.error.kind, result.error.sent) == ("timeout", True)


@every_kind
def test_silence_within_the_answer(name: str, work: Making) -> None:
    made = answers(name, work)
    result, _ = done(name, work(), lambda _: Made(made.body, kind=made.kind, fault="hang"), timeout_s=0.2)
    assert result.error is not None and result.error.kind == "timeout"


@every_kind
def test_disconnect(name: str, work: Making) -> None:
    made = answers(name, work)
    result, _ = done(name, work(), lambda _: Made(made.body, kind=made.kind, fault="break"))
    assert result.error is not None and result.error.kind == "down"
    assert not any(event.finish for event in result.events)


@every_kind
@pytest.mark.parametrize("body", [b"]no[", b"[]", b'{"text": 5, "results": 5}', b"{}", b'"text"'])
def test_nonsense(name: str, work: Making, body: bytes) -> None:
    result, _ = done(name, work(), lambda _: Made(body))
    error = result.error or result.events[-1].error
    assert error is not None and not any(event.finish for event in result.events)


@pytest.mark.parametrize("name", LISTENERS[:3])
@pytest.mark.parametrize("times", [{"start": "x", "end": None}, {"start": -5, "end": float("1e300")}, 7, None])
def test_times_that_are_none(name: str, times: Any) -> None:
    """What an upstream says of times is never more than nonsense in an answer: no crash, no infinite caption."""
    words = [{"word": "a", "text": "a", "type": "word", **times} if isinstance(times, dict) else times]
    alternative = {"transcript": "a", "words": words}
    body = {
        "text": "a",
        "words": words,
        "duration": -1,
        "audio_duration_secs": "soon",
        "metadata": {"duration": True},
        "results": {"channels": [{"alternatives": [alternative]}]},
    }
    result, _ = done(name, heard(), lambda _: Made(body))
    event = result.events[-1]
    if event.error is None:
        assert event.parsed is not None and event.usage is not None and event.usage.estimated
        assert all(0 <= word["start"] <= 10**7 for word in event.parsed["words"])


# ---------------------------------------------------------------- what is asked


def test_deepgram_listens() -> None:
    _, (order,) = done("deepgram", heard(language="en"), lambda _: answers("deepgram", heard), "nova-3")
    assert urlsplit(order.path).path == "/v1/listen"
    assert query(order) == {
        "model": ["nova-3"],
        "smart_format": ["true"],
        "utterances": ["true"],
        "language": ["en"],
    }
    assert (order.data, order.headers["content-type"]) == (SOUND, "audio/wav")
    assert order.headers["authorization"] == f"Token {KEY}"


@pytest.mark.parametrize(
    ("model", "prompt", "field", "terms"),
    [
        ("nova-3", "PerQuery, Lightning invoice\nsats", "keyterm", ["PerQuery", "Lightning invoice", "sats"]),
        ("nova-2", "PerQuery", "keywords", ["PerQuery"]),
        ("nova-3", "This is a talk about bitcoin, held in Prague by some of us.", "keyterm", None),
    ],
)
def test_deepgram_takes_terms(model: str, prompt: str, field: str, terms: list[str] | None) -> None:
    work = heard(prompt=prompt, temperature="0.5")
    _, (order,) = done("deepgram", work, lambda _: answers("deepgram", heard), model)
    assert query(order).get(field) == terms
    assert query(order)["detect_language"] == ["true"]
    assert work.dropped == (["temperature"] if terms else ["prompt", "temperature"])


@pytest.mark.parametrize(
    ("format", "encoding"),
    [
        ("mp3", {"encoding": ["mp3"]}),
        ("opus", {"encoding": ["opus"], "container": ["ogg"]}),
        ("aac", {"encoding": ["aac"]}),
        ("flac", {"encoding": ["flac"]}),
        ("wav", {"encoding": ["linear16"], "container": ["wav"], "sample_rate": ["24000"]}),
        ("pcm", {"encoding": ["linear16"], "container": ["none"], "sample_rate": ["24000"]}),
    ],
)
def test_deepgram_speaks(format: str, encoding: dict[str, list[str]]) -> None:
    work = spoken(voice="aura-2-arcas-en", response_format=format, instructions="kindly")
    result, (order,) = done("deepgram", work, lambda _: answers("deepgram", spoken))
    assert urlsplit(order.path).path == "/v1/speak"
    assert query(order) == {"model": ["aura-2-arcas-en"], **encoding}
    assert order.body == {"text": SAID} and work.dropped == ["instructions"]
    assert b"".join(event.data for event in result.events) == b"sound and more"


@pytest.mark.parametrize(("speed", "said"), [(0.25, ["0.7"]), (1, None), (1.2, ["1.2"]), (4, ["1.5"])])
def test_deepgram_speaks_as_fast_as_it_can(speed: float, said: list[str] | None) -> None:
    _, (order,) = done("deepgram", spoken(speed=speed), lambda _: answers("deepgram", spoken))
    assert query(order).get("speed") == said


@pytest.mark.parametrize(
    ("name", "header"), [("deepgram", "dg-char-count"), ("elevenlabs", "x-character-count"), ("openai", "none")]
)
def test_what_speech_is_billed_by(name: str, header: str) -> None:
    """The upstream's own count, from the first piece of sound on; without one, the characters that were sent."""
    for value, counted in (("17", 17), ("", len(SAID)), ("-3", len(SAID)), ("many", len(SAID))):
        made = Made([b"sound"], kind="audio/mpeg", headers={header: value})
        result, _ = done(name, spoken(), always(made))
        usages = [event.usage for event in result.events]
        assert all(usage is not None for usage in usages)
        assert usages[0] is not None and usages[0].counts == {"character": len(SAID) if name == "openai" else counted}


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize(
    "made", [Made([], kind="audio/mpeg"), Made(b"<html>", kind="text/html"), Made({"detail": "x"}), Made(b"")]
)
def test_what_is_no_sound_is_no_answer(name: str, made: Made) -> None:
    result, _ = done(name, spoken(), lambda _: made)
    assert result.error is not None and result.error.kind == "garbage" and result.events == []


def test_elevenlabs_listens() -> None:
    work = heard(language="de", temperature="0.2", prompt="terms")
    _, (order,) = done("elevenlabs", work, lambda _: answers("elevenlabs", heard), "scribe_v1")
    form = form_in(order.data, order.headers["content-type"])
    assert (order.path, order.headers["xi-api-key"]) == ("/v1/speech-to-text", KEY)
    assert form.fields == {
        "model_id": "scribe_v1",
        "timestamps_granularity": "word",
        "tag_audio_events": "false",
        "language_code": "de",
        "temperature": "0.2",
    }
    assert (form.files[0].data, work.dropped) == (SOUND, ["prompt"])


def test_elevenlabs_speaks() -> None:
    work = spoken(voice="a/b", response_format="wav", speed=4)
    _, (order,) = done("elevenlabs", work, lambda _: answers("elevenlabs", spoken), "eleven_v3")
    assert order.path == "/v1/text-to-speech/a%2Fb/stream?output_format=wav_24000"
    assert order.body == {"text": SAID, "model_id": "eleven_v3", "voice_settings": {"speed": 1.2}}


@pytest.mark.parametrize("name", ["deepgram", "elevenlabs"])
def test_who_does_not_translate_says_so(name: str) -> None:
    with pytest.raises(BadRequest, match="does not translate"):
        done(name, heard(task="translate"), lambda _: Made())


@pytest.mark.parametrize("format", ["aac", "flac"])
def test_what_elevenlabs_does_not_speak(format: str) -> None:
    with pytest.raises(BadRequest, match="mp3, opus, wav, pcm"):
        done("elevenlabs", spoken(response_format=format), lambda _: Made())


def asked_of_openai(work: Work, model: str) -> tuple[str, dict[str, Any]]:
    _, (order,) = done("openai", work, lambda _: answers("openai", heard), model)
    form = form_in(order.data, order.headers["content-type"])
    assert (form.files[0].data, form.files[0].name) == (SOUND, "audio.wav")
    assert order.headers["authorization"] == f"Bearer {KEY}"
    return order.path, form.fields


def test_openai_listens() -> None:
    work = heard(language="en", prompt="p", temperature="0.1", response_format="srt")
    assert asked_of_openai(work, "whisper-1") == (
        "/v1/audio/transcriptions",
        {
            "model": "whisper-1",
            "response_format": "verbose_json",
            "timestamp_granularities": ["segment", "word"],
            "language": "en",
            "prompt": "p",
            "temperature": "0.1",
        },
    )
    assert asked_of_openai(heard(language="multi"), "whisper-1")[1]["timestamp_granularities"] == ["segment"]
    path, fields = asked_of_openai(heard(task="translate", language="de"), "whisper-1")
    assert (path, set(fields)) == ("/v1/audio/translations", {"model", "response_format"})
    assert asked_of_openai(heard(), "gpt-4o-transcribe")[1] == {"model": "gpt-4o-transcribe", "response_format": "json"}


@pytest.mark.parametrize("format", ["srt", "vtt", "verbose_json"])
def test_a_model_without_times(format: str) -> None:
    with pytest.raises(BadRequest, match="gives no times"):
        done("openai", heard(response_format=format), lambda _: Made(), "gpt-4o-transcribe")


def test_openai_speaks() -> None:
    _, (order,) = done("openai", spoken(speed=1.5), lambda _: answers("openai", spoken), "tts-1")
    assert order.path == "/v1/audio/speech"
    assert order.body == {
        "input": SAID,
        "voice": "a-voice",
        "model": "tts-1",
        "response_format": "mp3",
        "speed": 1.5,
    }


def events(*each: dict[str, Any]) -> Made:
    return Made([f"data: {json.dumps(one)}\n\n".encode() for one in each], kind="text/event-stream")


def delta(sound: bytes) -> dict[str, Any]:
    return {"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}


DONE = {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}}


def test_a_model_that_counts_tokens_tells_them_in_events() -> None:
    result, (order,) = done("openai", spoken(), lambda _: events(delta(b"one"), delta(b"two"), DONE), "gpt-4o-mini-tts")
    assert order.body["stream_format"] == "sse"
    assert b"".join(event.data for event in result.events) == b"onetwo"
    assert result.events[0].given == {"input": 3, "audio_output": 21}
    usage = last(result).usage
    assert usage is not None and usage.counts == {"input": 14, "audio_output": 101}


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (events(delta(b"one")), "down"),
        (events({"type": "speech.audio.delta", "audio": "*"}), "garbage"),
        (events({"type": "speech.audio.delta"}), "garbage"),
        (events({"type": "error", "error": {"message": "no", "code": "rate_limit_exceeded"}}), "busy"),
    ],
)
def test_events_that_go_wrong(made: Made, kind: str) -> None:
    result, _ = done("openai", spoken(), lambda _: made, "gpt-4o-mini-tts")
    error = result.error or result.events[-1].error
    assert error is not None and error.kind == kind
