"""Chat form as Gemini's generateContent: what is carried, what is left out, and there and back again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.dialects.gemini_ask import UNSIGNED, ask, version
from perquery.dialects.gemini_read import Reader
from perquery.dialects.thoughts import GEMINI

USER = {"role": "user", "content": "Hi"}
OLD, NEW, PRO, PLAIN = "gemini-2.5-flash", "gemini-3.5-flash", "gemini-3-pro-preview", "gemini-2.0-flash"
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer", "exclusiveMinimum": 0}}}
TOOL = {"type": "function", "function": {"name": "sh", "description": "Run.", "parameters": SCHEMA}}
TURN = {"role": "user", "parts": [{"text": "Hi"}]}


def told(*messages: dict[str, Any], model: str = NEW, **fields: Any) -> dict[str, Any]:
    return ask({"model": model, "messages": list(messages) or [USER], **fields})[0]


def config(model: str = NEW, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = told(model=model, **fields).get("generationConfig", {})
    return made


def dropped(model: str = NEW, **fields: Any) -> list[str]:
    return ask({"model": model, "messages": [USER], **fields})[1]


def calling(*ids: str, details: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    calls = [{"id": id, "type": "function", "function": {"name": f"do_{id}", "arguments": ""}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_details": details, **fields}


def answering(id: str, content: Any = "ok", **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content, **fields}


def signature(data: str, id: str | None = None, format: str = GEMINI) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "data": data, "format": format} | ({"id": id} if id else {})


def test_a_plain_body() -> None:
    fields = {"stop": "x", "user": "u", "stream": True, "max_tokens": 9, "max_completion_tokens": 8, "n": 1}
    assert ask({"model": NEW, "messages": [USER], **fields}) == (
        {"contents": [TURN], "generationConfig": {"maxOutputTokens": 8, "stopSequences": ["x"]}},
        [],
    )


def test_nothing_said_is_nothing_told() -> None:
    assert told() == {"contents": [TURN]}


def test_versions() -> None:
    assert [version(name) for name in (OLD, PRO, "models/gemini-3.1-pro", "gemini-flash-latest")] == [
        (2, 5),
        (3, 0),
        (3, 1),
        (99, 0),
    ]


def test_systems_go_first() -> None:
    late = {"role": "developer", "content": [{"type": "text", "text": "Late.", "cache_control": {"type": "ephemeral"}}]}
    body = told({"role": "system", "content": "Brief."}, USER, late, USER)
    assert body == {"systemInstruction": {"parts": [{"text": "Brief."}, {"text": "Late."}]}, "contents": [TURN, TURN]}


def test_nothing_but_instructions_is_something_to_answer() -> None:
    assert told({"role": "system", "content": "Hi"}) == {"contents": [TURN]}


def test_results_come_right_behind_their_calls_in_one_turn() -> None:
    messages = (USER, calling("a", "b"), USER, answering("b", is_error=True), answering("a"))
    _, calls, results, user = told(*messages, model=OLD)["contents"]
    assert calls == {
        "role": "model",
        "parts": [{"functionCall": {"id": id, "name": f"do_{id}", "args": {}}} for id in ("a", "b")],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "b", "name": "do_b", "response": {"error": "ok"}}},
            {"functionResponse": {"id": "a", "name": "do_a", "response": {"output": "ok"}}},
        ],
    }
    assert user == TURN


def test_a_result_without_its_call_keeps_its_place() -> None:
    contents = told(USER, answering("lost"), USER)["contents"]
    assert contents[1]["parts"][0]["functionResponse"]["name"] == "lost"


@pytest.mark.parametrize(("model", "places"), [(NEW, (1, 1)), (OLD, (0, 2))])
def test_images_in_results(model: str, places: tuple[int, int]) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    far = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    content = [{"type": "text", "text": "one"}, image, {"type": "text", "text": "two"}, far]
    parts = told(USER, calling("a"), answering("a", content), model=model)["contents"][2]["parts"]
    response = parts[0]["functionResponse"]
    assert response["response"] == {"output": "one\ntwo"}
    assert (len(response.get("parts", [])), len(parts) - 1) == places


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": ""}, None),
        ({"type": "refusal", "refusal": "No."}, {"text": "No."}),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        ),
        (
            {"type": "image_url", "image_url": "https://x/y.jpg?z=1"},
            {"fileData": {"fileUri": "https://x/y.jpg?z=1", "mimeType": "image/jpeg"}},
        ),
        ({"type": "image_url", "image_url": {"url": "https://x/y"}}, {"fileData": {"fileUri": "https://x/y"}}),
        ({"type": "image_url", "image_url": {"url": "https://[x"}}, {"fileData": {"fileUri": "https://[x"}}),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            {"inlineData": {"mimeType": "audio/mp3", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"filename": "a.csv", "file_data": "aGk="}},
            {"inlineData": {"mimeType": "text/csv", "data": "aGk="}},
        ),
        (
            {"type": "file", "file": {"file_url": "https://x/a.pdf"}},
            {"fileData": {"fileUri": "https://x/a.pdf", "mimeType": "application/pdf"}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:,h%69"}},
            {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
        ),
        ({"type": "image_url"}, None),
        ({"type": "something_new"}, None),
    ],
)
def test_parts(part: dict[str, Any], expected: dict[str, Any] | None) -> None:
    contents = told({"role": "user", "content": ["Hi", part]})["contents"]
    assert contents == [{"role": "user", "parts": [{"text": "Hi"}] + ([expected] if expected else [])}]


def test_signatures_go_back_on_the_parts_that_they_came_with() -> None:
    details = [
        signature("t"),
        signature("later"),
        signature("A", "a"),
        signature("i", "image_0"),
        signature("no", "a", "anthropic-claude-v1"),
        {"type": "reasoning.text", "text": "Hm", "format": GEMINI},
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    _, turn = told(USER, calling("a", "b", details=details, content="So", images=[image]))["contents"]
    assert turn["parts"] == [
        {"text": "So", "thoughtSignature": "t"},
        {"text": "", "thoughtSignature": "later"},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thoughtSignature": "i"},
        {"functionCall": {"id": "a", "name": "do_a", "args": {}}, "thoughtSignature": "A"},
        {"functionCall": {"id": "b", "name": "do_b", "args": {}}},
    ]


@pytest.mark.parametrize(("model", "expected"), [(NEW, [UNSIGNED, None]), (OLD, [None, None])])
def test_another_models_calls(model: str, expected: list[str | None]) -> None:
    turn = told(USER, calling("a", "b"), model=model)["contents"][1]
    assert [part.get("thoughtSignature") for part in turn["parts"]] == expected


def test_arguments_that_are_no_object_are_kept_under_a_name() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "patch", "arguments": "*** Begin"}}
    turn = told(USER, {"role": "assistant", "tool_calls": [call]}, model=OLD)["contents"][1]
    assert turn["parts"][0]["functionCall"] == {"id": "a", "name": "patch", "args": {"arguments": "*** Begin"}}


def test_tools() -> None:
    bare = {"type": "function", "function": {"name": "now"}}
    body, left_out = ask({"model": NEW, "messages": [USER], "tools": [TOOL, bare, {"type": "custom", "custom": {}}]})
    declared = [{"name": "sh", "description": "Run.", "parametersJsonSchema": SCHEMA}, {"name": "now"}]
    assert body == {"contents": [TURN], "tools": [{"functionDeclarations": declared}]}
    assert left_out == ["tools"]


@pytest.mark.parametrize(
    ("choice", "strict", "expected"),
    [
        (None, False, None),
        ("auto", False, {"mode": "AUTO"}),
        ("none", True, {"mode": "NONE"}),
        ("required", True, {"mode": "ANY"}),
        (None, True, {"mode": "VALIDATED"}),
        ({"type": "function", "function": {"name": "sh"}}, False, {"mode": "ANY", "allowedFunctionNames": ["sh"]}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}},
            False,
            {"mode": "VALIDATED", "allowedFunctionNames": ["sh"]},
        ),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}},
            False,
            {"mode": "ANY", "allowedFunctionNames": ["sh"]},
        ),
        ({"type": "custom"}, False, None),
        ("something_new", False, None),
    ],
)
def test_choices_of_tools(choice: Any, strict: bool, expected: dict[str, Any] | None) -> None:
    tool = {"type": "function", "function": {"name": "sh", "strict": strict}}
    body = told(tools=[tool], tool_choice=choice)
    assert body.get("toolConfig") == ({"functionCallingConfig": expected} if expected else None)
    assert "toolConfig" not in told(tool_choice=choice)


def test_sampling() -> None:
    fields: dict[str, Any] = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 40,
        "n": 2,
        "seed": 2**31 + 7,
        "stop": ["a", "", "b"],
    }
    assert config(**fields) == {
        "temperature": 0,
        "topP": 0.5,
        "topK": 40,
        "candidateCount": 2,
        "seed": 7,
        "stopSequences": ["a", "b"],
    }
    assert config(top_k=0, frequency_penalty=0) == {}


def test_penalties_are_for_the_older_models() -> None:
    assert config(PLAIN, frequency_penalty=1, presence_penalty=0.5) == {
        "frequencyPenalty": 1,
        "presencePenalty": 0.5,
    }
    assert config(OLD, frequency_penalty=1) == {} and dropped(OLD, frequency_penalty=1) == ["frequency_penalty"]


def test_other_outputs() -> None:
    assert config(logprobs=True, top_logprobs=50) == {"responseLogprobs": True, "logprobs": 20}
    assert config(modalities=["text"], audio={"voice": "Kore"}) == {}
    assert config(modalities=["text", "image"]) == {"responseModalities": ["TEXT", "IMAGE"]}
    spoken = config(modalities=["audio"], audio={"voice": "Kore"})
    assert spoken["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"] == {"voiceName": "Kore"}


def test_formats() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert config(response_format=schema) == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config(response_format={"type": "text"}) == {}


def test_the_older_models_take_no_format_beside_tools() -> None:
    fields = {"response_format": {"type": "json_object"}, "tools": [TOOL]}
    assert config(OLD, **fields) == {} and dropped(OLD, **fields) == ["response_format"]
    assert config(NEW, **fields) == {"responseMimeType": "application/json"} and not dropped(NEW, **fields)


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        (OLD, {"reasoning_effort": "low"}, {"thinkingBudget": 1_024, "includeThoughts": True}),
        (OLD, {"reasoning_effort": "max"}, {"thinkingBudget": 24_576, "includeThoughts": True}),
        (OLD, {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        (OLD, {"reasoning": {"enabled": True}}, {"thinkingBudget": -1, "includeThoughts": True}),
        (OLD, {"reasoning": {"enabled": False}}, {"thinkingBudget": 0}),
        (OLD, {"reasoning": {"max_tokens": 99_999, "exclude": True}}, {"thinkingBudget": 24_576}),
        (OLD, {"reasoning": {"exclude": True}}, None),
        (
            OLD,
            {"thinking": {"type": "enabled", "budget_tokens": 500}},
            {"thinkingBudget": 500, "includeThoughts": True},
        ),
        ("gemini-2.5-pro", {"reasoning_effort": "none"}, {"thinkingBudget": 128}),
        ("gemini-2.5-flash-lite", {"reasoning": {"max_tokens": 9}}, {"thinkingBudget": 512, "includeThoughts": True}),
        (NEW, {"reasoning_effort": "minimal"}, {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        (NEW, {"reasoning_effort": "none"}, {"thinkingLevel": "MINIMAL"}),
        (NEW, {"reasoning_effort": "xhigh"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEW, {"reasoning": {"max_tokens": 8_000}}, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (NEW, {"reasoning": {"max_tokens": 31_999}}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (NEW, {"reasoning": {"enabled": True}}, {"includeThoughts": True}),
        (NEW, {"reasoning_effort": "something_new"}, {"includeThoughts": True}),
        (PRO, {"reasoning_effort": "none"}, {"thinkingLevel": "LOW"}),
        (PRO, {"reasoning_effort": "medium"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3.1-pro", {"reasoning_effort": "medium"}, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        (PLAIN, {"reasoning_effort": "none"}, None),
        (NEW, {}, None),
    ],
)
def test_thinking(model: str, fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert config(model, **fields).get("thinkingConfig") == expected
    assert dropped(model, **fields) == []


def test_a_model_that_does_not_think() -> None:
    assert dropped(PLAIN, reasoning_effort="high") == ["reasoning_effort"]
    assert dropped(PLAIN, reasoning={"enabled": True}) == ["reasoning"]


def test_what_cannot_be_told_is_named() -> None:
    fields: dict[str, Any] = {
        "logit_bias": {"1": 1},
        "verbosity": "low",
        "min_p": 0.1,
        "parallel_tool_calls": False,
        "tools": [TOOL],
    }
    assert sorted(dropped(**fields)) == ["logit_bias", "min_p", "parallel_tool_calls", "verbosity"]
    assert dropped(parallel_tool_calls=False, prompt_cache_key="k", unknown=1) == []


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)
SIGNATURES = st.none() | st.text("abcXYZ09+/=", min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.none() | st.tuples(TEXTS, SIGNATURES),
    st.lists(st.tuples(TEXTS, st.dictionaries(TEXTS, JSON, max_size=3), SIGNATURES), max_size=3),
)
def test_an_answer_comes_back_as_it_was(
    text: tuple[str, str | None] | None, calls: list[tuple[str, dict[str, Any], str | None]]
) -> None:
    parts = [{"text": text[0]} | ({"thoughtSignature": text[1]} if text[1] else {})] if text else []
    for number, (name, args, signed) in enumerate(calls):
        call: dict[str, Any] = {"functionCall": {"id": f"c{number}", "name": name, "args": args}}
        parts.append(call | ({"thoughtSignature": signed} if signed else {}))
    payload = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    event = Reader().whole(payload, orjson.dumps(payload))
    message = event.parsed["choices"][0]["message"] if event.parsed else {}
    turns = told(USER, message, model=OLD)["contents"][1:]
    assert turns == ([{"role": "model", "parts": parts}] if parts else [])


@given(
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["user", "assistant", "tool", "system"])},
            optional={
                "content": st.none()
                | TEXTS
                | st.lists(
                    st.fixed_dictionaries(
                        {"type": st.sampled_from(["text", "image_url", "file", "input_audio"])},
                        optional={"text": JSON, "image_url": JSON, "file": JSON, "input_audio": JSON},
                    )
                    | JSON
                ),
                "tool_calls": JSON
                | st.lists(
                    st.fixed_dictionaries({"id": JSON, "function": JSON | st.fixed_dictionaries({"arguments": JSON})})
                ),
                "reasoning_details": JSON,
                "images": JSON,
                "tool_call_id": JSON,
                "name": JSON,
            },
        ),
        max_size=4,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "tool_choice": TEXTS | st.dictionaries(st.sampled_from(["function", "allowed_tools"]), JSON),
            "reasoning": st.dictionaries(st.sampled_from(["effort", "max_tokens", "enabled", "exclude"]), JSON),
            "response_format": st.dictionaries(st.sampled_from(["type", "json_schema"]), JSON),
            "audio": st.dictionaries(st.just("voice"), JSON),
            "modalities": st.lists(JSON, max_size=3),
        },
    ),
)
def test_whatever_a_parser_let_through_is_translated(messages: list[Any], fields: dict[str, Any]) -> None:
    orjson.dumps(ask({"model": NEW, "messages": messages, "tools": [TOOL], **fields})[0])
