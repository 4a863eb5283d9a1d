"""Speech, the caller's side: what is taken and refused, and what is held for."""

from __future__ import annotations

from typing import Any

import pytest

from perquery.calls import Price, Route, Work
from perquery.dialects.forms import Form
from perquery.dialects.speech import TYPES, parse
from perquery.errors import BadRequest

ROUTE = Route("a", "m", Price(((0, {"character": 100}),)))


def parsed(**fields: Any) -> Work:
    return parse(Form({"input": "Héllo"} | fields, (), b""))


def test_defaults_are_ppqs() -> None:
    work = parsed()
    assert (work.kind, work.model, work.streamed, work.retried) == ("tts", "deepgram_aura_2", True, False)
    assert (work.body, work.media_type) == ({"input": "Héllo", "response_format": "mp3"}, "audio/mpeg")


def test_what_is_held_covers_whoever_counts_bytes() -> None:
    assert parsed().most(ROUTE) == {"character": 6, "input": 1_006, "audio_output": 1_024, "output": 1_024}
    assert parsed().likely == {"character": 5, "input": 2, "audio_output": 21}


@pytest.mark.parametrize("format", TYPES)
def test_formats(format: str) -> None:
    assert parsed(response_format=format).media_type == TYPES[format]


def test_fields_that_go_along() -> None:
    work = parsed(voice={"id": "v"}, speed=1.5, instructions="Kindly.", model="tts-1", seed=5, stream=True)
    assert work.body == {
        "input": "Héllo",
        "response_format": "mp3",
        "voice": "v",
        "speed": 1.5,
        "instructions": "Kindly.",
    }
    assert (work.model, work.dropped) == ("tts-1", ["seed"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": "x" * 5_001}, "input"),
        ({"voice": 5}, "voice"),
        ({"voice": {"id": 5}}, "voice"),
        ({"response_format": "midi"}, "response_format"),
        ({"response_format": ["mp3"]}, "response_format"),
        ({"speed": 5}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"speed": True}, "speed"),
        ({"stream_format": "sse"}, "stream_format"),
        ({"model": 5}, "model"),
    ],
)
def test_fields_that_are_wrong(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(**fields)
    assert caught.value.param == param
