"""OpenAI Responses at the caller's side: what items and options become in the internal form, and what is refused."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest

from perquery.calls import Call
from perquery.dialects import mixed
from perquery.dialects.responses_in import parse, to_chat_body
from perquery.dialects.thoughts import PACKED, RESPONSES
from perquery.errors import BadRequest


def asked(given: Any = "Hi", **fields: Any) -> Call:
    return parse(orjson.dumps({"model": "m", "input": given} | fields))


def messages(*items: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(list(items)).body["messages"]
    return found


def said(role: str, *parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


USER = said("user", {"type": "input_text", "text": "Hi"})


def test_a_plain_body() -> None:
    call = asked(instructions="Be brief.", max_output_tokens=9, stream=True, store=True, new_field=1)
    assert call.body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (call.cap_tokens, call.stream, call.dialect) == (9, True, "openai-responses")
    assert call.native is not None and (call.native["store"], call.native["new_field"]) == (False, 1)


def test_caching_off_is_ours_alone() -> None:
    call = asked(prompt_caching=False)
    assert call.caching is False
    assert "prompt_caching" not in (call.native or {})
    assert asked().caching is True


def test_options() -> None:
    call = asked(
        reasoning={"effort": "high", "summary": "auto", "context": "x"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        parallel_tool_calls=False,
        top_logprobs=3,
        prompt_cache_key="k",
        client_metadata={},
    )
    assert call.body["reasoning"] == {"effort": "high", "summary": "auto"}
    schema = {"name": "n", "schema": {}, "strict": True}
    assert call.body["response_format"] == {"type": "json_schema", "json_schema": schema}
    kept = {name: call.body[name] for name in ("verbosity", "parallel_tool_calls", "top_logprobs", "logprobs")}
    assert kept == {"verbosity": "low", "parallel_tool_calls": False, "top_logprobs": 3, "logprobs": True}


def test_a_turn_with_reasoning_and_calls() -> None:
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "sealed",
    }
    called = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "sh", "arguments": "{}"}
    custom = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** x"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    shown = {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "high"}
    second = {"type": "custom_tool_call_output", "call_id": "c2", "output": [shown]}
    user, assistant, one, two = messages(USER, thought, called, custom, result, second)
    assert user == {"role": "user", "content": "Hi"}
    assert assistant["reasoning_details"] == [
        {"type": "reasoning.summary", "summary": "Hm", "format": RESPONSES, "id": "rs_1"},
        {"type": "reasoning.encrypted", "data": "sealed", "format": RESPONSES, "id": "rs_1"},
    ]
    assert assistant["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "sh", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "patch", "input": "*** x"}},
    ]
    assert one == {"role": "tool", "tool_call_id": "c1", "content": "ok"}
    assert two["content"] == [{"type": "image_url", "image_url": {"url": shown["image_url"], "detail": "high"}}]


def test_reasoning_text_and_call_are_one_turn() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    text = said("assistant", {"type": "output_text", "text": "So"})
    called = {"type": "function_call", "call_id": "c1", "name": "sh", "arguments": "{}"}
    _, assistant = messages(USER, thought, text, called)
    assert (assistant["content"], len(assistant["tool_calls"]), len(assistant["reasoning_details"])) == ("So", 1, 1)


def test_two_texts_are_two_turns() -> None:
    text = said("assistant", {"type": "output_text", "text": "So"})
    assert [one["role"] for one in messages(USER, text, text)] == ["user", "assistant", "assistant"]


def test_thinking_of_other_vendors_comes_out_of_its_seal() -> None:
    details = [{"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}]
    packed = PACKED + b64encode(orjson.dumps(details)).decode()
    _, assistant = messages(USER, {"type": "reasoning", "summary": [], "encrypted_content": packed})
    assert assistant["reasoning_details"] == details


@pytest.mark.parametrize("seal", ["pq1.!!!", "pq1.", "pq1.MQ=="])
def test_a_broken_seal_is_nothing(seal: str) -> None:
    _, assistant = messages(USER, {"type": "reasoning", "summary": [], "encrypted_content": seal})
    assert assistant["reasoning_details"] == []


def test_items_that_are_not_known_are_passed_over() -> None:
    assert len(messages(USER, {"type": "web_search_call", "id": "ws"}, {"type": "compaction"})) == 1


def test_files_and_refusals() -> None:
    file = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}
    user, assistant = messages(said("user", file), said("assistant", {"type": "refusal", "refusal": "No."}))
    part = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}
    assert user["content"] == [{"type": "file", "file": part}]
    assert assistant["content"] == [{"type": "refusal", "refusal": "No."}]


def test_tools() -> None:
    flat = {"type": "function", "name": "sh", "parameters": {}, "strict": True}
    grammar = {"type": "custom", "name": "patch", "format": {"type": "grammar"}}
    spaced = {"type": "namespace", "name": "web", "tools": [{"type": "function", "name": "open", "parameters": {}}]}
    call = asked(tools=[flat, grammar, spaced, {"type": "file_search"}], tool_choice={"type": "function", "name": "sh"})
    assert [tool[tool["type"]]["name"] for tool in call.body["tools"]] == ["sh", "patch", "web__open"]
    assert call.body["tools"][0]["function"]["strict"] is True
    assert call.body["tool_choice"] == {"type": "function", "function": {"name": "sh"}}
    assert call.dropped == ["file_search"]


def test_some_tools_of_several() -> None:
    flat = {"type": "function", "name": "sh", "parameters": {}}
    named = [{"type": "function", "name": "sh"}, {"type": "mcp", "server_label": "x"}]
    call = asked(tools=[flat], tool_choice={"type": "allowed_tools", "mode": "required", "tools": named})
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "sh"}}]}
    assert call.body["tool_choice"] == {"type": "allowed_tools", "allowed_tools": allowed}


def test_log_probabilities_are_asked_for_by_either_name() -> None:
    assert asked(include=["message.output_text.logprobs"]).body["logprobs"] is True
    assert asked(top_logprobs=2).body | {"logprobs": True, "top_logprobs": 2} == asked(top_logprobs=2).body
    assert "logprobs" not in asked(include=["reasoning.encrypted_content"]).body


def test_a_call_within_a_namespace_goes_back_under_its_full_name() -> None:
    called = {"type": "function_call", "call_id": "c1", "namespace": "web", "name": "open", "arguments": "{}"}
    assert messages(USER, called)[1]["tool_calls"][0]["function"]["name"] == "web__open"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"role": 5, "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [said("user", {"type": "input_file", "file_id": "f"})]}, "input[0]"),
        ({"previous_response_id": "r"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"model": None}, "model"),
    ],
)
def test_what_is_refused_names_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(**{"given": "Hi"} | fields) if "input" not in fields else asked(fields["input"])
    assert refused.value.param == param


# -- the chat path ------------------------------------------------------------------------------------------------


def test_a_responses_body_at_the_chat_path() -> None:
    body = {"model": "m", "input": [USER], "tools": [{"type": "function", "name": "sh", "parameters": {}}]}
    call = mixed.parse(orjson.dumps(body | {"stream": True, "stream_options": {"include_usage": True}}))
    assert (call.dialect, call.wants_usage, call.native) == ("openai-chat", True, None)
    assert call.body["tools"][0]["function"]["name"] == "sh"


def test_anthropics_tools_and_blocks_at_the_chat_path() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "sh", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "ok"}]}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}, said("assistant", use), said("user", result)],
        "tools": [{"name": "sh", "description": "d", "input_schema": {"type": "object"}}],
    }
    call = mixed.parse(orjson.dumps(body))
    _, assistant, tool = call.body["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "sh", "arguments": '{"a":1}'}
    assert tool == {"role": "tool", "tool_call_id": "t1", "content": "ok"}
    function = {"name": "sh", "description": "d", "parameters": {"type": "object"}}
    assert call.body["tools"] == [{"type": "function", "function": function}]


def test_tools_of_responses_beside_messages() -> None:
    tools = [
        {"type": "function", "name": "sh", "parameters": {"type": "object"}},
        {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "function", "function": {"name": "look"}},
    ]
    call = mixed.parse(orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": tools}))
    assert [tool[tool["type"]]["name"] for tool in call.body["tools"]] == ["sh", "patch", "look"]
    assert call.body["tools"][1]["custom"]["format"]["grammar"] == {"syntax": "lark", "definition": "x"}


def test_chat_is_left_as_it_is() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": '"tool_use"'}]}], "tools": [5]}
    assert to_chat_body(body) == body
