"""Legacy completions over chat: what is taken, what is refused, how answers read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.dialects.completions import CompletionsWriter, parse
from perquery.errors import BadRequest, UpstreamUnavailable
from perquery.metering.ids import new_id

FIGURES = Figures({"input": 3, "output": 4}, None, {"cost": money.number(5)}, "perquery {}")


def asked(**fields: Any) -> Call:
    return parse(orjson.dumps({"model": "m", "prompt": "Once", **fields}))


@pytest.mark.parametrize("prompt", ["Once", ["Once"]])
def test_a_prompt_is_a_message(prompt: Any) -> None:
    call = asked(prompt=prompt, max_tokens=9, stop="x", n=2, best_of=2, stream=True)
    assert call.body["messages"] == [{"role": "user", "content": "Once"}]
    assert (call.cap_tokens, call.choices, call.stream, call.body["stop"]) == (9, 2, True, "x")
    assert "prompt" not in call.body and call.dialect == "openai-completions"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
    ],
)
def test_what_chat_cannot_do_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)
    assert refused.value.param == param


def test_log_probabilities_are_dropped_and_reported() -> None:
    assert asked(logprobs=5).dropped == ["logprobs"]


def said(written: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in written.split(b"\n\n") if line.startswith(b"data: {")]
    return [orjson.loads(line) for line in lines]


def test_a_stream() -> None:
    writer = CompletionsWriter(asked(stream=True, stream_options={"include_usage": True}), new_id(5_000)[0])
    writer.begin(native=False)
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    text = {"choices": [{"index": 0, "delta": {"content": "upon"}, "finish_reason": None}]}
    end: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    assert writer.event(Event(orjson.dumps(role), parsed=role)) == b""
    (chunk,) = said(writer.event(Event(orjson.dumps(text), 4)))
    assert (chunk["object"], chunk["created"], chunk["choices"][0]["text"]) == ("text_completion", 5, "upon")
    assert said(writer.event(Event(b"", parsed=end)))[0]["choices"][0]["finish_reason"] == "stop"
    tail = writer.tail(FIGURES, cut=False)
    assert said(tail)[0]["usage"]["cost"] == 5e-09 and tail.endswith(b"data: [DONE]\n\n")
    assert said(writer.tail(FIGURES, cut=True))[0]["choices"][0]["finish_reason"] == "length"
    assert said(writer.broken(UpstreamUnavailable("Later.")))[0]["error"]["message"] == "Later."


def test_a_whole_answer() -> None:
    message = {"role": "assistant", "content": "upon a time"}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    body = orjson.loads(CompletionsWriter(asked(), new_id(5_000)[0]).whole(answer, FIGURES, cut=False))
    assert body["choices"] == [{"index": 0, "text": "upon a time", "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": 5e-09}
