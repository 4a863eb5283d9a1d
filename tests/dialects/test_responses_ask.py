"""Chat form as OpenAI Responses: what is carried, what is left out, and there and back again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects import responses_in
from perquery.dialects.responses_ask import ask
from perquery.dialects.thoughts import ANTHROPIC, RESPONSES
from perquery.errors import BadRequest

USER = {"role": "user", "content": "Hi"}
SAID = {"type": "message", "role": "user", "content": "Hi"}


def told(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return ask({"model": "m", "messages": list(messages) or [USER], **fields})[0]


def items(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(*messages)["input"]
    return found


def test_a_plain_body_is_kept_nowhere() -> None:
    body = told(max_tokens=90, max_completion_tokens=80, stream=True, user="u", metadata={"a": "b"})
    assert body == {
        "model": "m",
        "input": [SAID],
        "store": False,
        "stream": True,
        "max_output_tokens": 80,
        "safety_identifier": "u",
        "metadata": {"a": "b"},
    }


def test_what_it_cannot_be_told_is_named() -> None:
    _, dropped = ask({"model": "m", "messages": [USER], "stop": "x", "seed": 1, "logit_bias": {}, "top_k": 5})
    assert sorted(dropped) == ["seed", "stop", "top_k"]


def test_several_choices_are_refused() -> None:
    with pytest.raises(BadRequest, match="`n` must be 1"):
        told(n=2)


def test_parts() -> None:
    parts = [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "new"},
    ]
    (message,) = items({"role": "user", "content": parts})
    assert message["content"] == [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": "https://x/a.png", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]


def test_a_turn_in_its_order_and_the_results_of_its_calls() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "Hm", "format": RESPONSES, "id": "rs_1"},
        {"type": "reasoning.encrypted", "data": "sealed", "format": RESPONSES, "id": "rs_1"},
        {"type": "reasoning.text", "text": "of another", "signature": "s", "format": ANTHROPIC},
        {"type": "reasoning.summary", "summary": "without a seal", "format": RESPONSES, "id": "rs_2"},
    ]
    calls = [
        {"id": "a", "type": "function", "function": {"name": "sh", "arguments": ""}},
        {"id": "b", "type": "custom", "custom": {"name": "patch", "input": "*** x"}},
    ]
    turn = {"role": "assistant", "content": "So", "reasoning_details": details, "tool_calls": calls}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}}
    results: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": "a", "content": [image]},
        {"role": "tool", "tool_call_id": "b", "content": "ok"},
    ]
    assert items(turn, *results) == [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
         "encrypted_content": "sealed"},
        {"type": "message", "role": "assistant", "content": "So"},
        {"type": "function_call", "call_id": "a", "name": "sh", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "*** x"},
        {"type": "function_call_output", "call_id": "a",
         "output": [{"type": "input_image", "image_url": image["image_url"]["url"], "detail": "low"}]},  # type: ignore[index]
        {"type": "custom_tool_call_output", "call_id": "b", "output": "ok"},
    ]  # fmt: skip


def test_a_refusal_stays_one() -> None:
    (message,) = items({"role": "assistant", "content": "Well.", "refusal": "No."})
    assert message["content"] == [
        {"type": "output_text", "text": "Well.", "annotations": []},
        {"type": "refusal", "refusal": "No."},
    ]


@pytest.mark.parametrize(
    "fields, reasoning",
    [
        ({}, None),
        ({"reasoning_effort": "low"}, {"effort": "low"}),
        ({"reasoning": {"effort": "high"}}, {"effort": "high", "summary": "auto"}),
        ({"reasoning": {"effort": "high", "exclude": True}}, {"effort": "high"}),
        ({"reasoning": {"enabled": False}}, {"effort": "none"}),
        ({"reasoning": {"enabled": True}}, {"summary": "auto"}),
        ({"reasoning": {"max_tokens": 2_048}}, {"effort": "low", "summary": "auto"}),
        ({"reasoning": {"max_tokens": 30_000, "summary": "detailed"}}, {"effort": "high", "summary": "detailed"}),
    ],
)
def test_thinking(fields: dict[str, Any], reasoning: dict[str, Any] | None) -> None:
    assert told(**fields).get("reasoning") == reasoning


SEALED = ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    "model, fields, included",
    [
        ("gpt-5.4-mini", {}, SEALED),
        ("openai/o4-mini", {}, SEALED),
        ("gpt-5-chat-latest", {}, None),
        ("gpt-4o", {}, None),
        ("grok-4", {"reasoning_effort": "high"}, SEALED),
        ("gpt-4o", {"logprobs": True, "top_logprobs": 3}, ["message.output_text.logprobs"]),
    ],
)
def test_seals_are_asked_of_models_that_think(model: str, fields: dict[str, Any], included: Any) -> None:
    assert ask({"model": model, "messages": [USER], **fields})[0].get("include") == included


def test_formats_and_tools() -> None:
    schema = {"type": "object"}
    body = told(
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
        verbosity="low",
        tools=[
            {"type": "function", "function": {"name": "sh", "parameters": schema}},
            {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}},
        ],
        tool_choice={"type": "function", "function": {"name": "sh"}},
        parallel_tool_calls=False,
    )
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True},
        "verbosity": "low",
    }
    assert body["tools"] == [
        {"type": "function", "name": "sh", "parameters": schema, "strict": False},
        {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark"}},
    ]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ({"type": "function", "name": "sh"}, False)


def test_some_tools_of_several() -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "sh"}}]}
    tools = [{"type": "function", "function": {"name": "sh"}}]
    body = told(tools=tools, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    chosen = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "sh"}]}
    assert body["tool_choice"] == chosen


TEXT = st.text(min_size=1, max_size=20)
NAME = st.text("abcdef_", min_size=1, max_size=8)
PARTS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "input_text", "text": text}, TEXT),
        st.builds(
            lambda detail: {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": detail},
            st.sampled_from(["low", "high", "auto"]),
        ),
        st.just({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}),
    ),
    min_size=2,
    max_size=4,
)
CALL = st.builds(
    lambda id, name: {"type": "function_call", "call_id": id, "name": name, "arguments": '{"x": 1}'}, NAME, NAME
)
THOUGHT = st.builds(
    lambda id, sealed, texts: {
        "type": "reasoning",
        "id": id,
        "summary": [{"type": "summary_text", "text": text} for text in texts],
        "encrypted_content": sealed,
    },
    NAME,
    NAME,
    st.lists(TEXT, max_size=2),
)
ITEMS = st.lists(
    st.one_of(
        st.builds(lambda parts: [{"type": "message", "role": "user", "content": parts}], PARTS),
        st.builds(lambda text: [{"type": "message", "role": "developer", "content": text}], TEXT),
        st.builds(
            lambda thought, text, calls: [
                thought,
                {"type": "message", "role": "assistant", "content": text},
                *calls,
                *[{"type": "function_call_output", "call_id": one["call_id"], "output": "ok"} for one in calls],
                {"type": "message", "role": "user", "content": "Go on"},
            ],
            THOUGHT,
            TEXT,
            st.lists(CALL, max_size=2),
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(ITEMS)
def test_there_and_back_loses_nothing(turns: list[list[dict[str, Any]]]) -> None:
    given_items = [item for turn in turns for item in turn]
    given_items.append({"type": "message", "role": "user", "content": "Hi"})
    options = {
        "tools": [
            {"type": "function", "name": "sh", "parameters": {"type": "object"}, "strict": True},
            {"type": "custom", "name": "p", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        ],
        "tool_choice": "required",
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        "max_output_tokens": 90,
        "temperature": 1.5,
        "prompt_cache_key": "k",
    }
    call = responses_in.parse(orjson.dumps({"model": "m", "input": given_items, **options}))
    made, dropped = ask(call.body)
    assert dropped == []
    assert made["input"] == given_items
    assert {name: made[name] for name in options} == options
