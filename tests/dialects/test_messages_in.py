"""Anthropic Messages at the caller's side: what each field becomes in the internal form, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Call
from perquery.dialects.messages_in import count, parse
from perquery.dialects.thoughts import ANTHROPIC
from perquery.errors import BadRequest

MARK = {"type": "ephemeral"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = PNG | {"media_type": "application/pdf"}


def asked(*messages: dict[str, Any], **fields: Any) -> Call:
    body = {"model": "m", "max_tokens": 9, "messages": list(messages) or [{"role": "user", "content": "Hi"}]}
    return parse(orjson.dumps(body | fields))


def said(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def test_a_plain_body() -> None:
    call = asked(stream=True, temperature=0.5, top_k=3, stop_sequences=["x"], metadata={"user_id": "u"}, new_field={})
    assert call.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
        "temperature": 0.5,
        "top_k": 3,
        "stop": ["x"],
        "metadata": {"user_id": "u"},
    }
    assert (call.dialect, call.cap_tokens, call.stream, call.wants_usage) == ("anthropic", 9, True, True)
    assert call.native is not None and call.native["new_field"] == {}


def test_caching_off_is_ours_alone() -> None:
    call = asked(prompt_caching=False)
    assert call.caching is False
    assert "prompt_caching" not in {**call.body, **(call.native or {})}
    assert asked().caching is True


def test_systems_keep_their_markers_and_places() -> None:
    system = [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    late = {"role": "system", "content": "Now be long."}
    messages = asked({"role": "user", "content": "Hi"}, late, system=system).body["messages"]
    assert messages[0] == {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": MARK}]}
    assert messages[2] == {"role": "system", "content": "Now be long."}
    assert asked(system="Be brief.").body["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_turn_with_thought_and_tools() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "r"}
    use = {"type": "tool_use", "id": "t1", "name": "sh", "input": {"a": 1}}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "is_error": True,
        "content": [{"type": "text", "text": "no"}, {"type": "image", "source": PNG}],
    }
    turn = said("assistant", thought, hidden, {"type": "text", "text": "So"}, use)
    messages = asked(turn, said("user", {"type": "text", "text": "and?"}, result)).body["messages"]
    assistant, tool, user = messages
    assert assistant["content"] == "So" and assistant["reasoning_content"] == "Hm"
    assert assistant["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm", "format": ANTHROPIC, "signature": "s"},
        {"type": "reasoning.encrypted", "data": "r", "format": ANTHROPIC},
    ]
    assert assistant["tool_calls"] == [
        {"id": "t1", "type": "function", "function": {"name": "sh", "arguments": '{"a":1}'}}
    ]
    assert (tool["role"], tool["tool_call_id"], tool["is_error"]) == ("tool", "t1", True)
    assert tool["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert user == {"role": "user", "content": [{"type": "text", "text": "and?"}]}


def test_sizes_leave_inline_data_out() -> None:
    data = "A" * 5_000
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}
    call = asked(said("user", {"type": "image", "source": PNG | {"data": data}}, document))
    assert call.images >= 2 and call.text_bytes < 1_000


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"type": "url", "url": "https://x/a.pdf"}, {"filename": "document.pdf", "file_url": "https://x/a.pdf"}),
        (PDF, {"filename": "document.pdf", "file_data": "data:application/pdf;base64,aGk="}),
    ],
)
def test_documents(source: dict[str, Any], part: dict[str, Any]) -> None:
    (message,) = asked(said("user", {"type": "document", "source": source})).body["messages"]
    assert message["content"] == [{"type": "file", "file": part}]


def test_a_document_of_plain_text_is_text() -> None:
    block = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    (message,) = asked(said("user", block)).body["messages"]
    assert message["content"] == [{"type": "text", "text": "words"}]


@pytest.mark.parametrize(
    "block",
    [
        {
            "type": "document",
            "title": "Notes",
            "source": {"type": "content", "content": [{"type": "text", "text": "a"}]},
        },
        {"type": "document", "title": "Notes", "source": {"type": "content", "content": "a"}},
        {"type": "search_result", "title": "Notes", "source": "", "content": [{"type": "text", "text": "a"}]},
    ],
)
def test_what_was_read_elsewhere_is_text(block: dict[str, Any]) -> None:
    (message,) = asked(said("user", block)).body["messages"]
    assert message["content"] == [{"type": "text", "text": "Notes\na"}]


def test_own_tools_pass_and_hosted_ones_are_left_out() -> None:
    own = {"name": "sh", "description": "d", "input_schema": {"type": "object"}, "strict": True, "defer_loading": True}
    call = asked(tools=[own, {"type": "code_execution_20250825", "name": "code_execution"}])
    function = {"name": "sh", "parameters": {"type": "object"}, "description": "d", "strict": True}
    assert call.body["tools"] == [{"type": "function", "function": function}]
    assert call.dropped == ["code_execution"]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "sh"}, {"tool_choice": {"type": "function", "function": {"name": "sh"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_tool_choice(given: dict[str, Any], made: dict[str, Any]) -> None:
    body = asked(tools=[{"name": "sh", "input_schema": {}}], tool_choice=given).body
    assert {name: body[name] for name in ("tool_choice", "parallel_tool_calls") if name in body} == made


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"max_tokens": 2048}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, {"enabled": True, "effort": "low"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, {"enabled": False}),
        ({"output_config": {"effort": "high"}}, {"effort": "high"}),
        ({}, None),
    ],
)
def test_thinking(fields: dict[str, Any], reasoning: dict[str, Any] | None) -> None:
    assert asked(**fields).body.get("reasoning") == reasoning


@pytest.mark.parametrize("where", ["output_format", "output_config"])
def test_a_schema_for_the_answer(where: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    call = asked(**{where: wanted if where == "output_format" else {"format": wanted}})
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert call.body["response_format"] == {"type": "json_schema", "json_schema": schema}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": 5}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"system": 5}, "system"),
        ({"container": "c1"}, "container"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"tools": ["sh"]}, "tools"),
        ({"messages": [said("user", {"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "source.file_id"),
    ],
)
def test_what_is_refused_names_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**fields)
    assert refused.value.param == param


def test_counting_needs_no_cap() -> None:
    assert count(b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}').body["messages"][0]["content"] == "Hi"
