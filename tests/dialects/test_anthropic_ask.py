"""Chat form as Anthropic Messages: what is carried, what is left out, and there and back again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects import messages_in
from perquery.dialects.anthropic_ask import ask, version
from perquery.dialects.thoughts import ANTHROPIC
from perquery.errors import BadRequest

USER = {"role": "user", "content": "Hi"}
THOUGHT = {"type": "enabled"}
OLD, MID, NEW = "claude-sonnet-4-5-20250929", "claude-opus-4-6", "claude-opus-4-7"
ADAPTIVE = {"type": "adaptive"}
SHOWN = ADAPTIVE | {"display": "summarized"}
TOOL = {"type": "function", "function": {"name": "sh", "parameters": {"type": "object"}}}


def told(*messages: dict[str, Any], model: str = OLD, **fields: Any) -> dict[str, Any]:
    return ask({"model": model, "messages": list(messages) or [USER], **fields}, output_tokens_max=64_000)[0]


def dropped(model: str = OLD, **fields: Any) -> list[str]:
    return ask({"model": model, "messages": [USER], **fields}, output_tokens_max=64_000)[1]


def test_a_plain_body() -> None:
    body = told(stop="x", stream=True, max_completion_tokens=9)
    assert body == {
        "model": OLD,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
        "max_tokens": 9,
        "stop_sequences": ["x"],
    }


def test_a_cap_is_always_told() -> None:
    assert told()["max_tokens"] == 64_000


def test_systems_go_first_and_turns_alternate() -> None:
    late = {"role": "developer", "content": "Late.", "cache_control": {"type": "ephemeral"}}
    body = told({"role": "system", "content": "Brief."}, USER, late, USER)
    assert [block["text"] for block in body["system"]] == ["Brief.", "Late."]
    assert body["system"][1]["cache_control"] == {"type": "ephemeral"}
    assert [(turn["role"], len(turn["content"])) for turn in body["messages"]] == [("user", 2)]


def test_results_come_before_words() -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "sh", "arguments": ""}}]
    assistant = {"role": "assistant", "content": None, "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "a", "content": "ok", "is_error": True}
    turns = told(USER, assistant, {"role": "user", "content": "and?"}, result)["messages"]
    assert turns[1]["content"] == [{"type": "tool_use", "id": "a", "name": "sh", "input": {}}]
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "text"]
    assert turns[2]["content"][0]["is_error"] is True


def test_thoughts_go_back_signed_and_first() -> None:
    details = [
        {"type": "reasoning.text", "text": "H", "format": ANTHROPIC},
        {"type": "reasoning.text", "text": "m", "format": ANTHROPIC},
        {"type": "reasoning.text", "signature": "s", "format": ANTHROPIC},
        {"type": "reasoning.encrypted", "data": "r", "format": ANTHROPIC},
        {"type": "reasoning.encrypted", "data": "o", "format": "openai-responses-v1"},
        {"type": "reasoning.text", "text": "unsigned", "format": ANTHROPIC},
    ]
    turns = told(USER, {"role": "assistant", "content": "So", "reasoning_details": details})["messages"]
    assert turns[1]["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "So"},
    ]


def test_images_and_documents() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]
    one, two, three = told({"role": "user", "content": parts})["messages"][0]["content"]
    assert one["source"] == {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert two["source"] == {"type": "url", "url": "https://x/a.png"}
    assert (three["type"], three["title"], three["source"]["media_type"]) == ("document", "a.pdf", "application/pdf")


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": {"type": "function", "function": {"name": "sh"}}}, {"type": "tool", "name": "sh"}),
        ({}, None),
    ],
)
def test_tools(fields: dict[str, Any], choice: Any) -> None:
    function = {"name": "sh", "description": "d", "parameters": {"type": "object"}, "strict": True}
    body = told(tools=[{"type": "function", "function": function}], **fields)
    assert body["tools"] == [{"name": "sh", "input_schema": {"type": "object"}, "description": "d", "strict": True}]
    assert body.get("tool_choice") == choice


@pytest.mark.parametrize(
    ("model", "fields", "made"),
    [
        (OLD, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        (OLD, {"reasoning": {"max_tokens": 5_000}}, {"thinking": {"type": "enabled", "budget_tokens": 5_000}}),
        (OLD, {"reasoning_effort": "max", "max_tokens": 3_000}, {"thinking": THOUGHT | {"budget_tokens": 2_999}}),
        (OLD, {"reasoning_effort": "high", "max_tokens": 500}, {}),
        (OLD, {"reasoning_effort": "low", "tool_choice": "required", "tools": [TOOL]}, {}),
        (OLD, {"reasoning_effort": "low", "tool_choice": "auto", "tools": [TOOL]},
         {"thinking": THOUGHT | {"budget_tokens": 2_048}}),
        (OLD, {"reasoning": {"enabled": False}}, {"thinking": {"type": "disabled"}}),
        (OLD, {"thinking": {"type": "enabled", "budget_tokens": 5_000}},
         {"thinking": THOUGHT | {"budget_tokens": 5_000}}),
        (OLD, {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        (MID, {"reasoning_effort": "minimal"}, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        (MID, {"reasoning_effort": "xhigh"}, {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}),
        (NEW, {"reasoning_effort": "xhigh"}, {"thinking": SHOWN, "output_config": {"effort": "xhigh"}}),
        (NEW, {"reasoning": {"enabled": True}}, {"thinking": SHOWN}),
        (NEW, {"reasoning": {"effort": "max", "exclude": True}},
         {"thinking": ADAPTIVE, "output_config": {"effort": "max"}}),
        (NEW, {"reasoning_effort": "low", "tool_choice": "required", "tools": [TOOL]},
         {"output_config": {"effort": "low"}}),
        (NEW, {"reasoning": {"enabled": True}, "tool_choice": "required", "tools": [TOOL]}, {}),
        (NEW, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (NEW, {}, {}),
    ],
)  # fmt: skip
def test_thinking_by_generation(model: str, fields: dict[str, Any], made: dict[str, Any]) -> None:
    body = told(model=model, **fields)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == made


@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        (OLD, {"reasoning_effort": "high", "max_tokens": 500}, ["reasoning_effort"]),
        (OLD, {"reasoning": {"enabled": True}, "tool_choice": "required", "tools": [TOOL]}, ["reasoning"]),
        (NEW, {"reasoning": {"enabled": True}, "tool_choice": "required", "tools": [TOOL]}, ["reasoning"]),
        (NEW, {"reasoning": {"effort": "low"}, "tool_choice": "required", "tools": [TOOL]}, []),
    ],
)
def test_thinking_that_would_be_an_error_is_named(model: str, fields: dict[str, Any], names: list[str]) -> None:
    assert dropped(model, **fields) == names


@pytest.mark.parametrize(("model", "thinks"), [(OLD, False), (NEW, True)])
def test_a_call_that_came_back_without_its_thought(model: str, thinks: bool) -> None:
    """Most tools that speak chat send no thought back; the older models then refuse the whole request."""
    call = {"id": "t1", "type": "function", "function": {"name": "sh", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "t1", "content": "ok"}
    fields = {"model": model, "reasoning_effort": "high", "tools": [TOOL]}
    body, names = ask({"max_tokens": 30_000, "messages": [USER, said, result], **fields}, output_tokens_max=30_000)
    assert ("thinking" in body, names) == (thinks, [] if thinks else ["reasoning_effort"])
    detail = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": ANTHROPIC}
    whole = said | {"reasoning_details": [detail]}
    body, names = ask({"max_tokens": 30_000, "messages": [USER, whole, result], **fields}, output_tokens_max=30_000)
    assert ("thinking" in body, names) == (True, [])
    later = [USER, said, result, {"role": "assistant", "content": "So."}, USER]
    body, names = ask({"max_tokens": 30_000, "messages": later, **fields}, output_tokens_max=30_000)
    assert ("thinking" in body, names) == (True, [])


@pytest.mark.parametrize(("mode", "choice"), [("auto", {"type": "auto"}), ("required", {"type": "any"})])
def test_some_tools_of_several(mode: str, choice: Any) -> None:
    other = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "sh"}}]}
    body = told(tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["sh"], choice)


def test_what_cannot_be_heard_is_named() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    parts = [{"type": "text", "text": "Well?"}, sound]
    body, names = ask({"model": NEW, "messages": [{"role": "user", "content": parts}]}, output_tokens_max=9)
    assert (len(body["messages"][0]["content"]), names) == (1, ["input_audio"])


def test_sampling_by_generation() -> None:
    assert told(temperature=1.7)["temperature"] == 1
    assert dropped(temperature=0.5, top_p=0.9) == ["top_p"]
    assert dropped(NEW, temperature=0.5, top_p=1) == ["temperature"]
    assert "temperature" not in told(model=NEW, temperature=1)


def test_a_schema_and_effort_share_their_place() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    body = told(model=NEW, reasoning_effort="low", response_format=wanted)
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}


def test_what_cannot_be_said() -> None:
    assert dropped(seed=1, logprobs=True, response_format={"type": "json_object"}) == [
        "logprobs",
        "seed",
        "response_format",
    ]
    with pytest.raises(BadRequest):
        told(n=2)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (OLD, (4, 5)),
        (NEW, (4, 7)),
        ("claude-3-5-haiku-20241022", (3, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-next", (99, 0)),
        ("smollm2", (0, 0)),
    ],
)
def test_versions(model: str, expected: tuple[int, int]) -> None:
    assert version(model) == expected


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=9)
marker = st.sampled_from(
    [{}, {"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral", "ttl": "1h"}}]
)
image = st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}})
text = st.builds(lambda value, mark: {"type": "text", "text": value} | mark, words, marker)
thinking = st.builds(lambda value, sign: {"type": "thinking", "thinking": value, "signature": sign}, words, words)
redacted = st.builds(lambda value: {"type": "redacted_thinking", "data": value}, words)
use = st.builds(
    lambda name, key: {"type": "tool_use", "id": f"t-{name}", "name": name, "input": {key: 1}}, words, words
)


@given(
    st.lists(st.one_of(text, image), min_size=1, max_size=3),
    st.lists(st.one_of(thinking, redacted), max_size=3),
    st.lists(text, max_size=1),
    st.lists(use, min_size=1, max_size=3),
    words,
)
def test_there_and_back_nothing_is_lost(
    first: list[Any], thoughts: list[Any], texts: list[Any], uses: list[Any], answer: str
) -> None:
    results = [{"type": "tool_result", "tool_use_id": one["id"], "content": answer} for one in uses]
    body = {
        "model": OLD,
        "max_tokens": 9,
        "stream": False,
        "system": [{"type": "text", "text": answer}],
        "messages": [
            {"role": "user", "content": first},
            {"role": "assistant", "content": [*thoughts, *texts, *uses]},
            {"role": "user", "content": results},
        ],
    }
    inner = messages_in.parse(orjson.dumps(body)).body
    assert ask(inner, output_tokens_max=9) == (body, [])
