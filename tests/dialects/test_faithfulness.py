"""Every wish that a caller can have, in each shape, as each vendor is told it: word for word, or named as left out.

What is expected is written from the vendors' published references, never taken from the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import pytest

from perquery.calls import Dialect, Draft
from perquery.dialects import chat
from perquery.dialects.shapes import CHAT, MESSAGES, RESPONSES, Shape
from perquery.errors import BadRequest
from perquery.providers.hosts import HOSTS
from perquery.providers.table import prepared

SHAPES: Final[Mapping[str, Shape]] = {"chat": CHAT, "messages": MESSAGES, "responses": RESPONSES}
HOST_OF: Final[Mapping[Dialect, tuple[str, str]]] = {
    "openai-chat": ("openai", "gpt-5.4-mini"),
    "openai-responses": ("openai", "gpt-5.4-mini"),
    "anthropic": ("anthropic", "claude-sonnet-4-5"),
    "gemini": ("google", "gemini-3.5-flash"),
}
PNG: Final = "iVBORw0KGgo="
PNG_URL: Final = f"data:image/png;base64,{PNG}"
PDF: Final = "JVBERi0="
PDF_URL: Final = f"data:application/pdf;base64,{PDF}"
SCHEMA: Final = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
MARK: Final = {"cache_control": {"type": "ephemeral"}}


@dataclass(frozen=True)
class Wish:
    """asked: by shape, what its body has besides the model. told: by dialect, values in the body by their dotted paths.
    left_out: by dialect, what the caller is told was not said.
    """

    asked: Mapping[str, dict[str, Any]]
    told: Mapping[Dialect, Mapping[str, Any]]
    left_out: Mapping[Dialect, list[str]] = field(default_factory=dict)


def said(shape: str, *turns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A body of a shape with these turns; behind nothing, a greeting."""
    made: dict[str, Any] = {"input" if shape == "responses" else "messages": list(turns) or [user("Hi")], **fields}
    return {"max_tokens": 20_000, **made} if shape == "messages" else made


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def body(shape: str, dialect: Dialect, fields: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a vendor is told, and what is left out of it. Raises BadRequest."""
    host, model = HOST_OF[dialect]
    call = SHAPES[shape].parse(orjson.dumps({"model": model, **fields}))
    inner = chat.upstream_body(call, model, cap_tokens=None, stream=False)
    draft = Draft(inner, dialect, native=False, caching=False, text_bytes=call.text_bytes, safety_id=None)
    made, dropped = prepared(HOSTS[host], draft, frozenset(), 64_000)
    assert call.dropped == []
    return made, dropped


def at(holder: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for step in path.split("."):
        if isinstance(holder, list):
            holder = holder[int(step)] if int(step) < len(holder) else None
        else:
            holder = holder.get(step) if isinstance(holder, dict) else None
    return holder


def _calls(shape: str) -> dict[str, Any]:
    """Two calls side by side, and what they found: the second a picture."""
    if shape == "chat":
        made = [
            {"id": id, "type": "function", "function": {"name": "look", "arguments": '{"at":"x"}'}} for id in ("a", "b")
        ]
        seen = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
        found: list[dict[str, Any]] = [{"role": "tool", "tool_call_id": "a", "content": "dark"}]
        found.append({"role": "tool", "tool_call_id": "b", "content": seen})
        return said(shape, user("Hi"), {"role": "assistant", "content": "Both.", "tool_calls": made}, *found)
    if shape == "messages":
        blocks: list[dict[str, Any]] = [{"type": "text", "text": "Both."}]
        blocks += [{"type": "tool_use", "id": id, "name": "look", "input": {"at": "x"}} for id in ("a", "b")]
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        shown = [{"type": "text", "text": "see"}, {"type": "image", "source": source}]
        results: list[dict[str, Any]] = [{"type": "tool_result", "tool_use_id": "a", "content": "dark"}]
        results.append({"type": "tool_result", "tool_use_id": "b", "content": shown})
        return said(shape, user("Hi"), {"role": "assistant", "content": blocks}, user(results))
    calls = [{"type": "function_call", "call_id": id, "name": "look", "arguments": '{"at":"x"}'} for id in ("a", "b")]
    output = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}]
    told: list[dict[str, Any]] = [{"type": "function_call_output", "call_id": "a", "output": "dark"}]
    told.append({"type": "function_call_output", "call_id": "b", "output": output})
    return said(shape, user("Hi"), {"role": "assistant", "content": "Both."}, *calls, *told)


def _tools(shape: str, choice: Any, **fields: Any) -> dict[str, Any]:
    if shape == "chat":
        function = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
        return said(shape, tools=[{"type": "function", "function": function}], tool_choice=choice, **fields)
    own: dict[str, Any] = {"name": "look", "description": "Looks."}
    own |= {"input_schema": SCHEMA} if shape == "messages" else {"type": "function", "parameters": SCHEMA}
    return said(shape, tools=[own], tool_choice=choice, **fields)


_NAMED: Final = {"name": "answer", "schema": SCHEMA, "strict": True}
_ANTHROPIC_PNG: Final = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
_GEMINI_PNG: Final = {"inlineData": {"mimeType": "image/png", "data": PNG}}
_SYSTEMS: Final = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]

WISHES: Final[Mapping[str, Wish]] = {
    "system and developer": Wish(
        {
            "chat": said("chat", {"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, user("Hi")),
            "responses": said("responses", {"role": "developer", "content": "B"}, user("Hi"), instructions="A"),
        },
        {
            "openai-chat": {"messages.0": {"role": "system", "content": "A"}, "messages.1.role": "developer"},
            "openai-responses": {"input.0.role": "system", "input.1.role": "developer", "input.1.content": "B"},
            "anthropic": {"system": _SYSTEMS, "messages.0.role": "user"},
            "gemini": {"systemInstruction.parts": [{"text": "A"}, {"text": "B"}], "contents.0.role": "user"},
        },
    ),
    "a system message in the middle": Wish(
        {
            shape: said(shape, user("Hi"), {"role": "system", "content": "C"}, user("So?"))
            for shape in ("chat", "messages", "responses")
        },
        {
            "openai-chat": {"messages.1": {"role": "system", "content": "C"}, "messages.2.content": "So?"},
            "openai-responses": {"input.1.role": "system", "input.1.content": "C"},
            "anthropic": {"system": [{"type": "text", "text": "C"}]},
            "gemini": {"systemInstruction.parts": [{"text": "C"}]},
        },
    ),
    "calls side by side, a picture found": Wish(
        {shape: _calls(shape) for shape in SHAPES},
        {
            "openai-chat": {
                "messages.1.content": "Both.",
                "messages.1.tool_calls.1.id": "b",
                "messages.1.tool_calls.1.function.arguments": '{"at":"x"}',
                "messages.2": {"role": "tool", "tool_call_id": "a", "content": "dark"},
                "messages.3.content.1.image_url.url": PNG_URL,
            },
            "openai-responses": {
                "input.1.content": "Both.",
                "input.3.call_id": "b",
                "input.3.arguments": '{"at":"x"}',
                "input.4.output": "dark",
                "input.5.output.1": {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
            },
            "anthropic": {
                "messages.1.content.0.text": "Both.",
                "messages.1.content.2": {"type": "tool_use", "id": "b", "name": "look", "input": {"at": "x"}},
                "messages.2.content.0": {"type": "tool_result", "tool_use_id": "a", "content": "dark"},
                "messages.2.content.1.content.1": _ANTHROPIC_PNG,
            },
            "gemini": {
                "contents.1.parts.0.text": "Both.",
                "contents.1.parts.2.functionCall": {"name": "look", "args": {"at": "x"}, "id": "b"},
                "contents.2.parts.0.functionResponse": {"name": "look", "response": {"output": "dark"}, "id": "a"},
                "contents.2.parts.1.functionResponse.parts": [_GEMINI_PNG],
            },
        },
    ),
    "a tool that must be called": Wish(
        {
            "chat": _tools("chat", {"type": "function", "function": {"name": "look"}}),
            "messages": _tools("messages", {"type": "tool", "name": "look"}),
            "responses": _tools("responses", {"type": "function", "name": "look"}),
        },
        {
            "openai-chat": {
                "tools.0.function.parameters": SCHEMA,
                "tool_choice": {"type": "function", "function": {"name": "look"}},
            },
            "openai-responses": {"tools.0.parameters": SCHEMA, "tool_choice": {"type": "function", "name": "look"}},
            "anthropic": {"tools.0.input_schema": SCHEMA, "tool_choice": {"type": "tool", "name": "look"}},
            "gemini": {
                "tools.0.functionDeclarations.0.parametersJsonSchema": SCHEMA,
                "toolConfig.functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]},
            },
        },
    ),
    "no tool now": Wish(
        {
            "chat": _tools("chat", "none"),
            "messages": _tools("messages", {"type": "none"}),
            "responses": _tools("responses", "none"),
        },
        {
            "openai-chat": {"tool_choice": "none", "tools.0.function.name": "look"},
            "openai-responses": {"tool_choice": "none", "tools.0.name": "look"},
            "anthropic": {"tool_choice": {"type": "none"}, "tools.0.name": "look"},
            "gemini": {"toolConfig.functionCallingConfig": {"mode": "NONE"}},
        },
    ),
    "one tool at a time": Wish(
        {
            "chat": _tools("chat", "auto", parallel_tool_calls=False),
            "messages": _tools("messages", {"type": "auto", "disable_parallel_tool_use": True}),
            "responses": _tools("responses", "auto", parallel_tool_calls=False),
        },
        {
            "openai-chat": {"parallel_tool_calls": False},
            "openai-responses": {"parallel_tool_calls": False},
            "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            "gemini": {"toolConfig.functionCallingConfig": {"mode": "AUTO"}},
        },
        {"gemini": ["parallel_tool_calls"]},
    ),
    "an answer by a schema": Wish(
        {
            "chat": said("chat", response_format={"type": "json_schema", "json_schema": _NAMED}),
            "messages": said("messages", output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
            "responses": said("responses", text={"format": {"type": "json_schema", **_NAMED}}),
        },
        {
            "openai-chat": {"response_format": {"type": "json_schema", "json_schema": _NAMED}},
            "openai-responses": {"text.format": {"type": "json_schema", **_NAMED}},
            "anthropic": {"output_config.format": {"type": "json_schema", "schema": SCHEMA}},
            "gemini": {
                "generationConfig.responseMimeType": "application/json",
                "generationConfig.responseJsonSchema": SCHEMA,
            },
        },
    ),
    "a picture by its data": Wish(
        {
            "chat": said("chat", user([{"type": "image_url", "image_url": {"url": PNG_URL}}])),
            "messages": said("messages", user([_ANTHROPIC_PNG])),
            "responses": said("responses", user([{"type": "input_image", "image_url": PNG_URL}])),
        },
        {
            "openai-chat": {"messages.0.content.0": {"type": "image_url", "image_url": {"url": PNG_URL}}},
            "openai-responses": {
                "input.0.content.0": {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}
            },
            "anthropic": {"messages.0.content.0": _ANTHROPIC_PNG},
            "gemini": {"contents.0.parts.0": _GEMINI_PNG},
        },
    ),
    "a picture by its address": Wish(
        {
            "chat": said("chat", user([{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}])),
            "messages": said(
                "messages", user([{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}])
            ),
            "responses": said("responses", user([{"type": "input_image", "image_url": "https://x.test/a.png"}])),
        },
        {
            "openai-chat": {"messages.0.content.0.image_url.url": "https://x.test/a.png"},
            "openai-responses": {"input.0.content.0.image_url": "https://x.test/a.png"},
            "anthropic": {"messages.0.content.0.source": {"type": "url", "url": "https://x.test/a.png"}},
            "gemini": {
                "contents.0.parts.0.fileData": {"fileUri": "https://x.test/a.png", "mimeType": "image/png"}
            },
        },
    ),
    "a document": Wish(
        {
            "chat": said("chat", user([{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URL}}])),
            "messages": said("messages", user([{
                "type": "document", "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            }])),
            "responses": said(
                "responses", user([{"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL}])
            ),
        },
        {
            "openai-chat": {"messages.0.content.0.file": {"filename": "a.pdf", "file_data": PDF_URL}},
            "openai-responses": {
                "input.0.content.0": {"type": "input_file", "filename": "a.pdf", "file_data": PDF_URL}
            },
            "anthropic": {
                "messages.0.content.0.source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                "messages.0.content.0.title": "a.pdf",
            },
            "gemini": {"contents.0.parts.0.inlineData": {"mimeType": "application/pdf", "data": PDF}},
        },
    ),
    "speech": Wish(
        {
            "chat": said("chat", user([{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}])),
            "responses": said(
                "responses", user([{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}])
            ),
        },
        {
            "openai-chat": {"messages.0.content.0.input_audio": {"data": "UklG", "format": "wav"}},
            "openai-responses": {"input.0.content.0.input_audio": {"data": "UklG", "format": "wav"}},
            "gemini": {"contents.0.parts.0.inlineData": {"mimeType": "audio/wav", "data": "UklG"}},
            "anthropic": {},
        },
        {"anthropic": ["input_audio"]},
    ),
    "words to stop at": Wish(
        {"chat": said("chat", stop=["x", "y"]), "messages": said("messages", stop_sequences=["x", "y"])},
        {
            "openai-chat": {"stop": ["x", "y"]},
            "openai-responses": {},
            "anthropic": {"stop_sequences": ["x", "y"]},
            "gemini": {"generationConfig.stopSequences": ["x", "y"]},
        },
        {"openai-responses": ["stop"]},
    ),
    "log probabilities": Wish(
        {"chat": said("chat", logprobs=True, top_logprobs=2), "responses": said("responses", top_logprobs=2)},
        {
            "openai-chat": {"logprobs": True, "top_logprobs": 2},
            "openai-responses": {"top_logprobs": 2, "include.1": "message.output_text.logprobs"},
            "anthropic": {},
            "gemini": {"generationConfig.responseLogprobs": True, "generationConfig.logprobs": 2},
        },
        {"anthropic": ["logprobs", "top_logprobs"]},
    ),
    "seed and penalties": Wish(
        {"chat": said("chat", seed=7, frequency_penalty=0.5, presence_penalty=0.5)},
        {
            "openai-chat": {"seed": 7, "frequency_penalty": 0.5, "presence_penalty": 0.5},
            "openai-responses": {},
            "anthropic": {},
            "gemini": {"generationConfig.seed": 7},
        },
        {
            "openai-responses": ["seed", "frequency_penalty", "presence_penalty"],
            "anthropic": ["seed", "frequency_penalty", "presence_penalty"],
            "gemini": ["frequency_penalty", "presence_penalty"],
        },
    ),
    "a prediction": Wish(
        {"chat": said("chat", prediction={"type": "content", "content": "x"})},
        {
            "openai-chat": {"prediction": {"type": "content", "content": "x"}},
            "openai-responses": {},
            "anthropic": {},
            "gemini": {},
        },
        {"openai-responses": ["prediction"], "anthropic": ["prediction"], "gemini": ["prediction"]},
    ),
    "few words": Wish(
        {"chat": said("chat", verbosity="low"), "responses": said("responses", text={"verbosity": "low"})},
        {
            "openai-chat": {"verbosity": "low"},
            "openai-responses": {"text.verbosity": "low"},
            "anthropic": {},
            "gemini": {},
        },
        {"anthropic": ["verbosity"], "gemini": ["verbosity"]},
    ),
    "an effort": Wish(
        {
            "chat": said("chat", reasoning_effort="high", max_completion_tokens=20_000),
            "messages": said("messages", output_config={"effort": "high"}),
            "responses": said("responses", reasoning={"effort": "high"}, max_output_tokens=20_000),
        },
        {
            "openai-chat": {"reasoning_effort": "high", "reasoning": None, "max_completion_tokens": 20_000},
            "openai-responses": {"reasoning.effort": "high", "max_output_tokens": 20_000},
            "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 16_384}, "max_tokens": 20_000},
            "gemini": {
                "generationConfig.thinkingConfig.thinkingLevel": "HIGH",
                "generationConfig.maxOutputTokens": 20_000,
            },
        },
    ),
    "more effort than there is": Wish(
        {
            "chat": said("chat", reasoning={"effort": "max"}),
            "messages": said("messages", output_config={"effort": "max"}),
        },
        {
            "openai-chat": {"reasoning_effort": "xhigh"},
            "openai-responses": {"reasoning.effort": "xhigh"},
            "anthropic": {"thinking.type": "enabled"},
            "gemini": {"generationConfig.thinkingConfig.thinkingLevel": "HIGH"},
        },
    ),
    "a budget": Wish(
        {
            "chat": said("chat", reasoning={"max_tokens": 3_000}),
            "messages": said("messages", thinking={"type": "enabled", "budget_tokens": 3_000}),
        },
        {
            "openai-chat": {"reasoning_effort": "medium"},
            "openai-responses": {"reasoning.effort": "medium"},
            "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 3_000}},
            "gemini": {"generationConfig.thinkingConfig": {"includeThoughts": True, "thinkingLevel": "MEDIUM"}},
        },
    ),
    "no thought": Wish(
        {
            "chat": said("chat", reasoning_effort="none"),
            "messages": said("messages", thinking={"type": "disabled"}),
            "responses": said("responses", reasoning={"effort": "none"}),
        },
        {
            "openai-chat": {"reasoning_effort": "none"},
            "openai-responses": {"reasoning": {"effort": "none"}},
            "anthropic": {"thinking": {"type": "disabled"}},
            "gemini": {"generationConfig.thinkingConfig": {"thinkingLevel": "MINIMAL"}},
        },
    ),
    "a marker for the cache": Wish(
        {
            "chat": said("chat", {"role": "system", "content": [{"type": "text", "text": "A"} | MARK]}, user("Hi")),
            "messages": said("messages", system=[{"type": "text", "text": "A"} | MARK]),
        },
        {
            "openai-chat": {"messages.0.content": [{"type": "text", "text": "A"}]},
            "openai-responses": {"input.0.content": [{"type": "input_text", "text": "A"}]},
            "anthropic": {"system": [{"type": "text", "text": "A"} | MARK]},
            "gemini": {"systemInstruction.parts": [{"text": "A"}]},
        },
    ),
    "a refusal of before": Wish(
        {
            "chat": said("chat", user("Hi"), {"role": "assistant", "content": None, "refusal": "No."}, user("Why?")),
            "responses": said(
                "responses",
                user("Hi"),
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
                user("Why?"),
            ),
        },
        {
            "openai-responses": {"input.1.content": [{"type": "refusal", "refusal": "No."}]},
            "anthropic": {"messages.1": {"role": "assistant", "content": [{"type": "text", "text": "No."}]}},
            "gemini": {"contents.1": {"role": "model", "parts": [{"text": "No."}]}},
        },
    ),
    "samplers": Wish(
        {
            "chat": said("chat", temperature=0.5, top_k=4),
            "messages": said("messages", temperature=0.5, top_k=4),
        },
        {
            "openai-chat": {"temperature": 0.5},
            "openai-responses": {"temperature": 0.5},
            "anthropic": {"temperature": 0.5, "top_k": 4},
            "gemini": {"generationConfig.temperature": 0.5, "generationConfig.topK": 4},
        },
        {"openai-chat": ["top_k"], "openai-responses": ["top_k"]},
    ),
}  # fmt: skip
CELLS: Final = [
    pytest.param(wish, shape, dialect, id=f"{name}-{shape}-{dialect}")
    for name, wish in WISHES.items()
    for shape in wish.asked
    for dialect in wish.told
]


@pytest.mark.parametrize(("wish", "shape", "dialect"), CELLS)
def test_a_wish(wish: Wish, shape: str, dialect: Dialect) -> None:
    made, dropped = body(shape, dialect, wish.asked[shape])
    assert {path: at(made, path) for path in wish.told[dialect]} == wish.told[dialect]
    assert sorted(dropped) == sorted(wish.left_out.get(dialect, []))


@pytest.mark.parametrize("dialect", HOST_OF)
def test_several_answers(dialect: Dialect) -> None:
    fields = said("chat", n=2)
    if dialect in ("anthropic", "openai-responses"):
        with pytest.raises(BadRequest, match="`n` must be 1"):
            body("chat", dialect, fields)
        return
    made, dropped = body("chat", dialect, fields)
    assert (made.get("n") or made["generationConfig"]["candidateCount"], dropped) == (2, [])
