"""Voices: PPQ's first, each model's own, none of another."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from perquery.calls import Work
from perquery.catalog.build import build
from perquery.catalog.voices import Voices
from perquery.config import Settings
from perquery.dialects import speech
from perquery.dialects.forms import Form
from perquery.errors import BadRequest, Unprocessable
from perquery.providers.hosts import HOSTS

AURA = "deepgram/aura-2"
VOICES = Voices()
PPQS = ["aura-2-arcas-en", "aura-2-thalia-en", "aura-2-andromeda-en", "aura-2-helena-en", "aura-2-apollo-en"]


def work(**fields: Any) -> Work:
    return speech.parse(Form({"input": "x"} | fields, (), b""))


def settled(model: str, **fields: Any) -> Any:
    made = work(**fields)
    VOICES.settle(made, model)
    return made.body.get("voice")


def test_ppqs_six_come_first_with_their_descriptions() -> None:
    shown = VOICES.listing([AURA])
    assert [voice["id"] for voice in shown[:6]] == [*PPQS, "aura-2-aries-en"]
    assert [voice["description"] for voice in shown[:2]] == ["Natural, Smooth, Clear", "Clear, Confident, Energetic"]
    assert len(shown) == 90 and len([voice for voice in shown if voice["language"] == "en"]) == 41


def test_by_language() -> None:
    assert {voice["language"] for voice in VOICES.listing([AURA, "openai/tts-1"], "de-DE")} == {"de", "multi"}
    assert VOICES.listing(["no such model"]) == []


def test_the_default_and_other_spellings() -> None:
    assert settled(AURA) == "aura-2-arcas-en"
    assert settled(AURA, voice="Thalia") == settled(AURA, voice="AURA-2-THALIA-EN") == "aura-2-thalia-en"
    assert settled("elevenlabs/eleven_v3", voice="george") == "JBFqnCBsd6RMkjVDRZzb"
    assert settled("elevenlabs/eleven_v3", voice="a" * 20) == "a" * 20  # the operator's own
    assert settled("of-the-settings", voice="anything") == "anything"


def test_a_voice_of_another_model() -> None:
    with pytest.raises(Unprocessable, match="a voice of openai/tts-1, not of deepgram/aura-2; it has aura-2-arcas-en"):
        settled(AURA, voice="alloy")
    with pytest.raises(Unprocessable, match=r"no voice of openai/tts-1"):
        settled("openai/tts-1", voice="nobody")


def test_a_voice_of_another_language() -> None:
    assert settled(AURA, voice="aura-2-viktoria-de", language="de-DE") == "aura-2-viktoria-de"
    with pytest.raises(Unprocessable, match="speaks de, not en"):
        settled(AURA, voice="aura-2-viktoria-de", language="en")
    assert settled("openai/tts-1", voice="alloy", language="fr") == "alloy"


@pytest.mark.parametrize(("model", "longest"), [(AURA, 2_000), ("elevenlabs/eleven_v3", 5_000), ("other", 2_000)])
def test_the_longest_text(model: str, longest: int) -> None:
    settled(model, input="x" * longest)
    if longest < speech.INPUT_CHARS_MAX:
        with pytest.raises(BadRequest, match=f"at most {longest} characters; there are {longest + 1}"):
            settled(model, input="x" * (longest + 1))


def test_every_model_that_speaks_has_voices() -> None:
    catalog = build(Settings(), list(HOSTS), today=date(2026, 12, 1))
    speaking = {model.id for model in catalog.models.values() if model.kind == "tts"}
    assert speaking == {voice["model"] for voice in VOICES.listing(speaking)}
    assert {"deepgram/nova-3", AURA} <= {catalog.find(name, date(2026, 12, 1), None).model.id for name in DEFAULTS}


DEFAULTS = ("nova-3", "nova-2", "deepgram_aura_2", "whisper-1", "tts-1", "scribe_v1", "eleven_v3", "espeak-ng")
