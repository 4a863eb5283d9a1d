"""Chat completions: what is parsed, refused, passed on, and how answers are written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.dialects import chat
from perquery.errors import BadRequest

HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def parse(**fields: Any) -> Any:
    return chat.parse(orjson.dumps(HELLO | fields))


def test_a_plain_request() -> None:
    call = parse()
    assert (call.model, call.stream, call.cap_tokens, call.choices, call.images) == ("m", False, None, 1, 0)
    assert call.text_bytes == len(call.raw)


def test_the_model_may_be_an_object() -> None:
    assert parse(model={"id": "m2"}).model == "m2"


def test_the_smaller_of_two_caps_counts() -> None:
    assert parse(max_tokens=100, max_completion_tokens=50).cap_tokens == 50


def test_null_is_as_good_as_absent() -> None:
    assert parse(max_tokens=None, stream=None, n=None, tools=None, stop=None).cap_tokens is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 10**18}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools"),
        ({"temperature": "hot"}, "temperature"),
        ({"plugins": "web"}, "plugins"),
    ],
)
def test_wrong_types_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"model": NaN}', b"[" * 5000])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        chat.parse(raw)


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "priority"},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"background": True},
        {"tools": [{"type": "code_interpreter"}]},
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"container": "c"},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
    ],
)
def test_price_fields_and_upstream_state_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.code == "unsupported_parameter"


def test_inline_images_do_not_count_as_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    call = parse(messages=[{"role": "user", "content": [image, {"type": "text", "text": "what?"}]}])
    assert call.images == 1
    assert call.text_bytes < 500


def test_everything_else_passes_untouched() -> None:
    extra = {"temperature": 0.1, "future_field": {"x": [1]}, "tools": [{"type": "function", "function": {"name": "f"}}]}
    body = chat.upstream_body(parse(**extra, credit_id="c", plugins=[]), "up/m", cap_tokens=None, stream=False)
    assert body == {**HELLO, **extra, "model": "up/m", "stream": False}


def test_upstreams_are_always_asked_for_usage() -> None:
    body = chat.upstream_body(parse(stream=True), "m", cap_tokens=None, stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_lowered_cap_keeps_its_name(name: str) -> None:
    body = chat.upstream_body(parse(**{name: 32_000}), "m", cap_tokens=4_100, stream=False)
    assert {key: body[key] for key in chat.CAPS if key in body} == {name: 4_100}


def test_caching_is_on_unless_it_is_off() -> None:
    assert (parse().caching, parse(prompt_caching=True).caching, parse(prompt_caching=None).caching) == (True,) * 3
    call = parse(prompt_caching=False)
    assert call.caching is False
    assert "prompt_caching" not in chat.upstream_body(call, "m", cap_tokens=None, stream=False)
    with pytest.raises(BadRequest):
        parse(prompt_caching="no")
