"""The local voices and ears, each in a process of its own: OpenAI's shapes, every format, no word from silence."""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import av
import pytest

from perquery.calls import Upload
from perquery.media import audio
from perquery.providers import neural_voice
from perquery.providers.child import Address, Child
from perquery.providers.local_espeak import FORMATS, LocalEspeak
from perquery.providers.local_whisper import LocalWhisper
from perquery.providers.openai_audio import form
from tests.media.sounds import wav

TEXT = "The weather in London is cold. It is wet."


def started(child: Child) -> Iterator[Address]:
    try:
        yield child.open()
    finally:
        child.stop()


@pytest.fixture(scope="module")
def voice() -> Iterator[Address]:
    yield from started(LocalEspeak())


@pytest.fixture(scope="module")
def ears() -> Iterator[Address]:
    yield from started(LocalWhisper())


def post(running: Address, path: str, body: bytes, kind: str, key: str = "") -> tuple[str, bytes]:
    """(content type, body)"""
    headers = {"authorization": f"Bearer {key or running.key}", "content-type": kind}
    request = urllib.request.Request(running.base_url + path, body, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.headers["content-type"], answer.read()


def refusal(running: Address, path: str, body: bytes, kind: str, key: str = "") -> tuple[int, str]:
    with pytest.raises(HTTPError) as caught:
        post(running, path, body, kind, key)
    with caught.value as answer:
        return answer.code, str(json.load(answer)["error"]["message"])


def speak(running: Address, **fields: Any) -> tuple[str, bytes]:
    return post(running, "/audio/speech", json.dumps({"input": TEXT} | fields).encode(), "application/json")


def hear(running: Address, sound: bytes, **fields: str) -> Any:
    body = b"".join(form(fields.items(), [Upload("file", "a", sound)], "x"))
    return json.loads(post(running, "/audio/transcriptions", body, "multipart/form-data; boundary=x")[1])


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_what_it_says(voice: Address, format: str) -> None:
    kind, data = speak(voice, response_format=format)
    assert kind == FORMATS[format][0]
    if format == "pcm":
        assert 2 < len(data) / 48_000 < 5
        return
    with av.open(io.BytesIO(data), "r") as file:
        assert file.streams.audio[0].channels == 1
        lengths = [frame.samples / frame.sample_rate for frame in file.decode(file.streams.audio[0])]
    seconds = sum(lengths)
    assert 2 < seconds < 5
    if format != "aac":
        assert audio.read(data).duration_ms == pytest.approx(seconds * 1_000, abs=100)


def test_voices_differ_and_stay_the_same(voice: Address) -> None:
    names = ("en-us", "aura-2-arcas-en", "aura-2-thalia-en", "de", "aura-2-viktoria-de", "alloy", "no such/voice?")
    lengths = {name: len(speak(voice, voice=name, response_format="pcm")[1]) for name in names}
    for name in ("en-us", "alloy"):  # the pauses vary a little
        again = len(speak(voice, voice=name, response_format="pcm")[1])
        assert again == pytest.approx(lengths[name], rel=0.03)
    assert lengths["de"] > 1.1 * lengths["en-us"] and lengths["aura-2-viktoria-de"] > 1.1 * lengths["aura-2-arcas-en"]


def test_speed(voice: Address) -> None:
    slow, fast = (len(speak(voice, speed=speed, response_format="pcm")[1]) for speed in (0.8, 2))
    assert slow > 2 * fast


@pytest.mark.parametrize("body", [b"no", b"[]", b"{}", b'{"input": "x", "response_format": "midi"}'])
def test_requests_that_are_none(voice: Address, body: bytes) -> None:
    assert refusal(voice, "/audio/speech", body, "application/json")[0] == 400


def test_silence_of_no_length(ears: Address) -> None:
    heard = hear(ears, wav(0))
    assert (heard["text"], heard["duration"], heard["segments"], heard["words"]) == ("", 0.0, [], [])
    assert heard["usage"] == {"type": "duration", "seconds": 0}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "`file` is missing"),
        (b"".join(form([], [Upload("file", "a", b"no sound")], "x")), "cannot be decoded"),
        (b"--x\r\nno end", "cannot be read"),
    ],
)
def test_files_that_are_none(ears: Address, body: bytes, message: str) -> None:
    kind = "multipart/form-data; boundary=x" if body[:2] == b"--" else "application/json"
    status, said = refusal(ears, "/audio/transcriptions", body, kind)
    assert status == 400 and message in said


@pytest.mark.slow
def test_more_than_half_an_hour_is_refused(ears: Address) -> None:
    body = b"".join(form([], [Upload("file", "a", wav(0, samples=bytes(2 * 200 * 1_801), rate=200))], "x"))
    status, said = refusal(ears, "/audio/transcriptions", body, "multipart/form-data; boundary=x")
    assert (status, "30 minutes" in said) == (400, True)


def test_other_keys_and_paths_are_refused(voice: Address) -> None:
    assert refusal(voice, "/audio/speech", b"{}", "application/json", key="another")[0] == 401
    assert refusal(voice, "/audio/nothing", b"{}", "application/json")[0] == 404


def test_the_gateways_process_never_loads_the_libraries(voice: Address, ears: Address) -> None:
    assert not {"faster_whisper", "ctranslate2", "espeakng_loader"} & sys.modules.keys()


@pytest.mark.parametrize("format", FORMATS)
def test_the_neural_voice_speaks_in_every_format(voice: Address, format: str) -> None:
    kind, sound = speak(voice, voice="joe", response_format=format, input="It is wet.")
    assert (
        kind == FORMATS[format][0]
        and sound != speak(voice, voice="en-us", response_format=format, input="It is wet.")[1]
    )


def test_the_neural_voice_is_understood(voice: Address, ears: Address) -> None:
    heard = hear(ears, speak(voice, voice="joe", response_format="wav")[1])["text"].lower()
    words = heard.replace(".", "").replace(",", "").split()
    assert len(set(words) & set(TEXT.lower().replace(".", "").split())) >= 7


def test_the_neural_voice_speaks_faster_where_it_is_told_to(voice: Address) -> None:
    """How long each sound lasts is drawn anew every time, so it is the sum that tells."""

    def lasted(speed: int) -> int:
        return sum(len(speak(voice, voice="joe", response_format="pcm", speed=speed)[1]) for _ in range(6))

    assert 0.4 < lasted(2) / lasted(1) < 0.65


@pytest.mark.parametrize("text", ["...", "?! \n", "\0", "🦊"])
def test_the_neural_voice_takes_what_cannot_be_said(voice: Address, text: str) -> None:
    assert speak(voice, voice="joe", response_format="pcm", input=text)[0] == "audio/pcm"


def test_without_its_weights_another_voice_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_voice, "PACKAGE", "no_such_module")
    assert neural_voice.files() is None


@pytest.mark.slow
def test_what_was_said_is_heard_and_silence_is_not(voice: Address, ears: Address) -> None:
    heard = hear(ears, speak(voice, response_format="wav")[1])
    words = heard["text"].lower().replace(".", "").replace(",", "").split()
    assert len(set(words) & set(TEXT.lower().replace(".", "").split())) >= 7
    assert [word["start"] for word in heard["words"]] == sorted(word["start"] for word in heard["words"])
    assert heard["segments"][0]["tokens"] and heard["segments"][0]["avg_logprob"] < 0
    assert hear(ears, wav(3, samples=bytes(48_000)))["text"] == ""
