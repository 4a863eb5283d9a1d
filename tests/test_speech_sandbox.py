"""Speech in the sandbox as people call it: OpenAI's SDK, a local voice, local ears, and the books afterwards.

What is said is heard again by other software: sentences → eSpeak NG → Whisper tiny.en. The word error is what was
measured with these sentences and voices, and may not grow.
"""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Iterator
from typing import Any, Final

import openai
import pytest
import srt
import webvtt
from openai import OpenAI

from tests.serving import Gateway, serving

SENTENCES: Final = (
    "The quick brown fox jumps over the lazy dog.",
    "She bought three apples and a loaf of bread at the market.",
    "The weather in London is cold and wet in November.",
    "Please close the window before you leave the house.",
    "My brother plays the piano and my sister writes music.",
    "We walked along the river until the sun went down.",
    "Every morning the old man reads the newspaper in the garden.",
    "The children were happy because the school was closed.",
)
VOICE: Final = "en-us"
# Of 80 words. Measured were 2 to 4 for eSpeak NG's, 0 for the neural one; both vary a little.
ERRORS_MAX: Final = {VOICE: 8, "joe": 3}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("speech")) as gateway:
        yield gateway
        assert gateway.command("ledger", "verify")["ok"]


@pytest.fixture(scope="module")
def account(gateway: Gateway) -> str:
    return gateway.account("5")[1]


# Each base URL of OpenAI's SDK: OpenAI's own, and PPQ's for speech.
@pytest.fixture(params=["/v1", "/api/v1"])
def client(request: pytest.FixtureRequest, gateway: Gateway, account: str) -> Iterator[OpenAI]:
    with OpenAI(api_key=account, base_url=gateway.base_url + request.param, max_retries=0) as client:
        yield client


def spoken(client: OpenAI, text: str, **fields: Any) -> bytes:
    given: dict[str, Any] = {"model": "espeak-ng", "voice": VOICE} | fields
    return client.audio.speech.create(input=text, **given).read()


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z ]", "", text.lower().replace("-", " ")).split()


def errors(said: str, heard: str) -> int:
    """The fewest words to change, to leave out and to add."""
    row = list(range(len(words(heard)) + 1))
    for number, word in enumerate(words(said), 1):
        before, row[0] = row[0], number
        for at, other in enumerate(words(heard), 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != other))
    return row[-1]


@pytest.mark.parametrize("client", ["/v1"], indirect=True)
@pytest.mark.parametrize(("voice", "most"), ERRORS_MAX.items())
def test_what_is_said_is_heard(client: OpenAI, voice: str, most: int) -> None:
    wrong = 0
    for sentence in SENTENCES:
        sound = spoken(client, sentence, voice=voice, response_format="flac")
        wrong += errors(sentence, client.audio.transcriptions.create(model="whisper-tiny.en", file=sound).text)
    total = sum(len(words(sentence)) for sentence in SENTENCES)
    print(f"{wrong} of {total} words wrong")
    assert wrong <= most


def test_every_form_of_an_answer(client: OpenAI) -> None:
    sound = ("audio.mp3", spoken(client, " ".join(SENTENCES[:3])))
    ask = client.audio.transcriptions.create
    plain = ask(model="nova-3", file=sound, language="en").text
    assert ask(model="nova-3", file=sound, response_format="text") == f"{plain}\n"
    verbose = ask(
        model="nova-3", file=sound, response_format="verbose_json", timestamp_granularities=["segment", "word"]
    )
    assert verbose.segments and verbose.words and 5 < float(verbose.duration) < 20
    cues = list(srt.parse(ask(model="nova-3", file=sound, response_format="srt")))
    assert " ".join(cue.content.replace("\n", " ") for cue in cues) == plain
    read = webvtt.from_buffer(io.StringIO(ask(model="nova-3", file=sound, response_format="vtt"))).captions
    assert [each.start_in_seconds for each in read] == [int(cue.start.total_seconds()) for cue in cues]
    with pytest.deprecated_call():
        assert client.audio.translations.create(model="whisper-1", file=sound).text == plain
    *_, done = ask(model="gpt-4o-transcribe", file=sound, stream=True)
    assert done.type == "transcript.text.done" and done.text == plain


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_every_format_of_sound(client: OpenAI, format: str) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="deepgram_aura_2",
        voice="aura-2-arcas-en",
        input=SENTENCES[0],
        response_format=format,  # type: ignore[arg-type]
    ) as answer:
        assert sum(len(piece) for piece in answer.iter_bytes()) > 5_000
        assert answer.headers["x-perquery-sandbox"] == "1"
        assert float(answer.headers["x-perquery-cost"]) > 0


def test_silence_is_no_text(client: OpenAI) -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(96_000))
    forms: tuple[tuple[Any, str], ...] = (("srt", ""), ("vtt", "WEBVTT\n\n"), ("text", "\n"))
    for format, empty in forms:
        silent = ("silence.wav", file.getvalue())
        assert client.audio.transcriptions.create(model="nova-3", file=silent, response_format=format) == empty


def test_errors_reach_the_sdk(client: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="a voice of openai/tts-1"):
        spoken(client, "x", model="deepgram_aura_2", voice="alloy")
    with pytest.raises(openai.BadRequestError, match="at most 2000 characters"):
        spoken(client, "x" * 2_001)
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(model="nova-3", file=("a.wav", bytes(26 * 2**20)))
    assert caught.value.status_code == 413


@pytest.mark.parametrize("client", ["/api/v1"], indirect=True)
def test_captions_can_be_read(client: OpenAI) -> None:
    """Two lines of 42 characters and seven seconds at most, read by other people's parsers."""
    sound = spoken(client, " ".join(SENTENCES * 2))
    text = client.audio.transcriptions.create(model="nova-3", file=("a.mp3", sound), response_format="srt")
    for cue in srt.parse(text):
        lines = cue.content.split("\n")
        assert len(lines) <= 2 and max(map(len, lines)) <= 42
        assert 0 < (cue.end - cue.start).total_seconds() <= 7
