"""Every answer and every question that we write is what the vendors' own SDKs say that it is, in all shapes.

What callers get: events and whole answers of the three writers, made of chat chunks, and of each vendor's answers.
What upstreams get: the bodies made of calls in each shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParams
from google.genai import types as google
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming._deltas import accumulate_delta
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParams
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParams

from perquery import money
from perquery.calls import Event, Figures, Unit, Writer
from perquery.dialects import anthropic_ask, anthropic_read, gemini_ask, gemini_read, responses_ask, responses_read
from perquery.dialects.assemble import Assembly
from perquery.dialects.customs import as_functions
from perquery.dialects.shapes import CHAT, MESSAGES, RESPONSES, Shape
from perquery.dialects.thoughts import ANTHROPIC, GEMINI, joined
from perquery.dialects.thoughts import RESPONSES as OPENAI
from perquery.errors import UpstreamUnavailable
from perquery.providers.hosts import HOSTS
from perquery.providers.request import prepare
from tests.dialects.vendor import holds
from tests.scenes import SCENES, TOLD, gemini_whole

COUNTS: Final[Mapping[Unit, int]] = {
    "input": 5, "cache_read": 7, "cache_write_5m": 1, "cache_write_1h": 2, "output": 3, "reasoning": 4, "search": 1,
}  # fmt: skip
FIGURES: Final = Figures(COUNTS, None, {"cost": money.number(5)}, 'perquery {"cost": 0.1}')


# -- what callers get -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A shape at the caller's side, a body that asks in it, and its vendor's types of an answer."""

    shape: Shape
    asked: Mapping[str, Any]
    event: Any
    whole: Any


_ASKED: Final = {"model": "m", "stream": True}
_HI: Final = [{"role": "user", "content": "Hi"}]
SIDES: Final[Mapping[str, Side]] = {
    "chat": Side(
        CHAT,
        {**_ASKED, "messages": _HI, "stream_options": {"include_usage": True}},
        ChatCompletionChunk,
        ChatCompletion,
    ),
    "messages": Side(MESSAGES, {**_ASKED, "messages": _HI, "max_tokens": 9}, RawMessageStreamEvent, Message),
    "responses": Side(RESPONSES, {**_ASKED, "input": "Hi"}, ResponseStreamEvent, Response),
}


def _call(number: int, id: str | None = None, name: str | None = None, arguments: str = "") -> dict[str, Any]:
    function = ({"name": name} if name else {}) | {"arguments": arguments}
    return {"index": number, "function": function} | ({"id": id, "type": "function"} if id else {})


def _thought(kind: str, format: str, **fields: Any) -> dict[str, Any]:
    return {"reasoning_details": [{"type": f"reasoning.{kind}", "format": format, **fields}]}


_CITED: Final = {"url": "https://x.test", "title": "X", "start_index": 0, "end_index": 2}
DELTAS: Final[Mapping[str, dict[str, Any]]] = {
    "role": {"role": "assistant", "content": ""},
    "text": {"content": "So, ö."},
    "refusal": {"refusal": "No."},
    "call": {"tool_calls": [_call(0, "call_0", "weather", "")]},
    "arguments": {"tool_calls": [_call(0, arguments='{"in": "Paris"}')]},
    "second call": {"tool_calls": [_call(1, "call_1", "time", '{"in":')]},
    "second arguments": {"tool_calls": [_call(1, arguments=' "Rome"}')]},
    "thought": {"reasoning_content": "Hm."},
    "anthropic": {"reasoning_content": "Hm."} | _thought("text", ANTHROPIC, text="Hm."),
    "signature": _thought("text", ANTHROPIC, text="", signature="c2ln"),
    "redacted": _thought("encrypted", ANTHROPIC, data="cmVk"),
    "google": _thought("encrypted", GEMINI, data="c2ln"),
    "openai": _thought("encrypted", OPENAI, data="c2ln", id="rs_1"),
    "citation": {"annotations": [{"type": "url_citation", "url_citation": _CITED}]},
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    head = {"id": "chatcmpl-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    return head | {"choices": [choice]}


def payloads(written: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in written.split(b"\n") if line.startswith(b"data: ")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def writer(side: Side, *, native: bool = False) -> Writer:
    made = side.shape.writer(side.shape.parse(orjson.dumps(side.asked)), "gen-0192f0c1a2b37c4d8e5f")
    made.begin(native=native)
    return made


def check_stream(side: Side, events: list[Event], *, cut: bool = False) -> None:
    out = writer(side)
    written = b"".join(out.event(event) for event in events) + out.tail(FIGURES, cut=cut)
    for payload in payloads(written):
        holds(side.event, payload)


def check_whole(side: Side, answer: dict[str, Any], *, cut: bool = False) -> None:
    holds(side.whole, orjson.loads(writer(side).whole(answer, FIGURES, cut=cut)))


def _events(*names: str, finish: str = "stop") -> list[Event]:
    chunks = [*(chunk(DELTAS[name]) for name in names), chunk({}, finish)]
    return [Event(orjson.dumps(one), parsed=one) for one in chunks]


CASES: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "text": (("role", "text", "text"), "stop"),
    "length": (("role", "text"), "length"),
    "nothing": ((), "stop"),
    "refusal": (("role", "refusal"), "content_filter"),
    "tool": (("role", "text", "call", "arguments"), "tool_calls"),
    "interleaved tools": (("call", "second call", "arguments", "second arguments"), "tool_calls"),
    "unsigned thought": (("thought", "text"), "stop"),
    "signed thought": (("role", "anthropic", "signature", "text"), "stop"),
    "redacted thought": (("redacted", "anthropic", "signature", "call", "arguments"), "tool_calls"),
    "google's thought": (("google", "call", "arguments"), "tool_calls"),
    "openai's thought": (("thought", "openai", "text"), "stop"),
    "citation": (("text", "citation"), "stop"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("side", SIDES)
def test_answers(side: str, case: str) -> None:
    names, finish = CASES[case]
    events = _events(*names, finish=finish)
    assembly = Assembly()
    for event in events:
        assert event.parsed is not None
        assembly.add(event.parsed)
    for cut in (False, True):
        check_stream(SIDES[side], events, cut=cut)
        check_whole(SIDES[side], assembly.completion(), cut=cut)


@given(names=st.lists(st.sampled_from(sorted(DELTAS)), max_size=8), finish=st.sampled_from(["stop", "tool_calls"]))
@pytest.mark.parametrize("side", ["messages", "responses"])
def test_answers_in_any_order(side: str, names: list[str], finish: str) -> None:
    check_stream(SIDES[side], _events(*names, finish=finish))


@pytest.mark.parametrize("side", ["messages", "responses"])
def test_broken_streams(side: str) -> None:
    """Messages' SDK has no type for an error within a stream: it raises it."""
    out = writer(SIDES[side])
    written = b"".join(out.event(event) for event in _events("role", "text")[:-1])
    failed = payloads(written + out.broken(UpstreamUnavailable("It broke off.")))
    for payload in failed[:-1] if side == "messages" else failed:
        holds(SIDES[side].event, payload)


# -- what vendors say, as callers get it ------------------------------------------------------------------------


_VENDORS: Final = {
    "openai-chat": (ChatCompletion, ChatCompletionChunk),
    "anthropic": (Message, RawMessageStreamEvent),
    "gemini": (google.GenerateContentResponse, google.GenerateContentResponse),
    "openai-responses": (Response, ResponseStreamEvent),
}
_TOLD: Final = [name for name, scene in SCENES.items() if scene.status == 200 and not scene.breaks and not scene.fails]


def read(dialect: str, found: list[Any]) -> Iterator[Event]:
    """A vendor's events in chat form."""
    messages, items = anthropic_read.Reader(native=False), responses_read.Reader(native=False)
    candidates = gemini_read.Reader()
    for payload in found:
        data = orjson.dumps(payload)
        match dialect:
            case "anthropic":
                yield from messages.feed(data, payload)
            case "gemini":
                yield from candidates.feed(payload, data)
            case "openai-responses":
                yield from items.feed(data, payload)
            case _:
                yield Event(data, parsed=payload)


def read_whole(dialect: str, found: dict[str, Any]) -> dict[str, Any]:
    data = orjson.dumps(found)
    match dialect:
        case "anthropic":
            event = anthropic_read.completion(data, found, native=False)
        case "gemini":
            event = gemini_read.Reader().whole(found, data)
        case "openai-responses":
            event = responses_read.completion(data, found, native=False)
        case _:
            return found
    assert event.parsed is not None
    return event.parsed


def streamed(dialect: str, scene: str) -> list[Any]:
    """The payloads of a vendor's stream; of a ping its SDK has no type."""
    found = [payload for _, payload in TOLD[dialect][1](SCENES[scene])]
    return [one for one in found if isinstance(one, dict) and one.get("type") != "ping"]


@pytest.mark.parametrize("scene", _TOLD)
@pytest.mark.parametrize("dialect", TOLD)
def test_the_scripted_vendors_are_true_to_type(dialect: str, scene: str) -> None:
    whole, event = _VENDORS[dialect]
    holds(whole, TOLD[dialect][0](SCENES[scene]))
    for payload in streamed(dialect, scene):
        holds(event, payload)


@pytest.mark.parametrize("scene", _TOLD)
@pytest.mark.parametrize("dialect", TOLD)
@pytest.mark.parametrize("side", SIDES)
def test_a_vendors_answers(side: str, dialect: str, scene: str) -> None:
    events = list(read(dialect, streamed(dialect, scene)))
    check_stream(SIDES[side], events)
    check_whole(SIDES[side], read_whole(dialect, TOLD[dialect][0](SCENES[scene])))


@pytest.mark.parametrize("scene", _TOLD)
@pytest.mark.parametrize("dialect", TOLD)
def test_a_stream_can_be_put_together(dialect: str, scene: str) -> None:
    """By OpenAI's own SDK, which is strict about the entries of lists."""
    put_together: dict[object, object] = {}
    for event in read(dialect, streamed(dialect, scene)):
        for choice in (event.parsed or orjson.loads(event.data))["choices"]:
            put_together = accumulate_delta(put_together, choice["delta"])
    whole = read_whole(dialect, TOLD[dialect][0](SCENES[scene]))["choices"][0]["message"]
    details = cast(list[dict[str, Any]], put_together.get("reasoning_details") or [])
    formats = {one["format"] for one in whole.get("reasoning_details") or ()}
    assert {one["format"] for one in details} == formats
    for format in formats:
        assert _bare(joined(details, format)) == _bare(joined(whole["reasoning_details"], format))


def _bare(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "index" and value} for one in details]


@pytest.mark.parametrize("side", SIDES)
def test_a_source_that_nothing_rests_on(side: str) -> None:
    found = gemini_whole(SCENES["search"])
    del found["candidates"][0]["groundingMetadata"]["groundingSupports"]
    whole = read_whole("gemini", found)
    assert whole["choices"][0]["message"]["annotations"]
    check_whole(SIDES[side], whole)


# -- what upstreams get -----------------------------------------------------------------------------------------


_PNG: Final = "data:image/png;base64,iVBORw0KGgo="
_PDF: Final = "data:application/pdf;base64,JVBERi0="
_SCHEMA: Final = {
    "type": "object",
    "properties": {"in": {"type": "string"}},
    "required": ["in"],
    "additionalProperties": False,
}
_FUNCTION: Final = {"name": "weather", "description": "Says it.", "parameters": _SCHEMA}
_TOOLS: Final = [{"type": "function", "function": _FUNCTION}]


def _said(*calls: tuple[str, str], **fields: Any) -> dict[str, Any]:
    made = [
        {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for id, arguments in calls
    ]
    return {"role": "assistant", "content": None, **fields} | ({"tool_calls": made} if made else {})


def _talk(*more: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [*_HI, *more], **fields}


_RESULT: Final = {"role": "tool", "tool_call_id": "a", "content": "rain"}
_DETAILS: Final = [
    {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": ANTHROPIC},
    {"type": "reasoning.encrypted", "data": "cmVk", "format": ANTHROPIC},
    {"type": "reasoning.encrypted", "data": "c2ln", "format": GEMINI},
    {"type": "reasoning.summary", "summary": "Hm.", "format": OPENAI, "id": "rs_1"},
    {"type": "reasoning.encrypted", "data": "c2ln", "format": OPENAI, "id": "rs_1"},
]
_PARTS: Final[list[dict[str, Any]]] = [
    {"type": "text", "text": "Look."},
    {"type": "image_url", "image_url": {"url": _PNG, "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": _PDF}},
]
_JSON: Final = {"name": "answer", "schema": _SCHEMA, "strict": True}
TALKS: Final[Mapping[str, dict[str, Any]]] = {
    "text": _talk(max_tokens=9, temperature=0.5, top_p=0.9, stop=["x", "y"], user="u"),
    "system": {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Now."}, *_HI]
    },
    "tools": _talk(tools=_TOOLS, tool_choice="auto", parallel_tool_calls=False),
    "a named tool": _talk(tools=_TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}}),
    "a required tool": _talk(tools=_TOOLS, tool_choice="required"),
    "no tool now": _talk(tools=_TOOLS, tool_choice="none"),
    "a call": _talk(_said(("a", '{"in": "Paris"}')), _RESULT, tools=_TOOLS),
    "parallel calls": _talk(
        _said(("a", '{"in": "Paris"}'), ("b", "{}"), content="Both."),
        _RESULT,
        _RESULT | {"tool_call_id": "b", "content": [{"type": "text", "text": "sun"}]},
        tools=_TOOLS,
    ),
    "arguments that are none": _talk(_said(("a", "[")), _RESULT, tools=_TOOLS),
    "images and documents": _talk({"role": "user", "content": _PARTS}),
    "thoughts": _talk(_said(("a", "{}"), reasoning_details=_DETAILS, reasoning_content="Hm."), _RESULT, tools=_TOOLS),
    "effort": _talk(reasoning_effort="high", max_completion_tokens=20_000),
    "a budget": _talk(reasoning={"max_tokens": 3_000}, max_tokens=20_000),
    "no thinking": _talk(reasoning={"enabled": False}),
    "a schema": _talk(response_format={"type": "json_schema", "json_schema": _JSON}),
    "any json": _talk(response_format={"type": "json_object"}),
    "a refusal": _talk(_said(content=None, refusal="No."), {"role": "user", "content": "Why?"}),
    "samplers": _talk(seed=1, top_k=4, frequency_penalty=0.5, presence_penalty=0.5, logprobs=True, top_logprobs=2),
}
_MARKED: Final = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
MESSAGES_TALKS: Final[Mapping[str, dict[str, Any]]] = {
    "everything": {
        "model": "m",
        "max_tokens": 4_000,
        "system": [{"type": "text", "text": "Be brief.", **_MARKED}],
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "tools": [{"name": "weather", "input_schema": _SCHEMA, **_MARKED}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "Look.", **_MARKED},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "source": {
                    "type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "a.pdf"},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "cmVk"},
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"in": "Paris"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {"in": "Rome"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "rain", "is_error": True},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "sun"}], **_MARKED},
            ]},
        ],
    },
    "a schema": {
        "model": "m",
        "max_tokens": 4_000,
        "messages": _HI,
        "output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}, "effort": "low"},
    },
}  # fmt: skip
RESPONSES_TALKS: Final[Mapping[str, dict[str, Any]]] = {
    "everything": {
        "model": "m",
        "instructions": "Be brief.",
        "max_output_tokens": 4_000,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", **_JSON}, "verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "tools": [
            {"type": "function", **_FUNCTION, "strict": True},
            {"type": "custom", "name": "patch", "description": "Any text."},
        ],
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "Look."},
                {"type": "input_image", "image_url": _PNG, "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": _PDF},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2ln"},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "Both.", "annotations": []}, {"type": "refusal", "refusal": "No."}]},
            {"type": "function_call", "call_id": "a", "name": "weather", "arguments": '{"in": "Paris"}'},
            {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "*** x"},
            {"type": "function_call_output", "call_id": "a", "output": "rain"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "done"},
        ],
    },
}  # fmt: skip
MODELS: Final = (
    "claude-3-7-sonnet",
    "claude-sonnet-4-5",
    "claude-opus-4-8",
    "gemini-2.5-flash",
    "gemini-3-pro",
    "gpt-5",
)


def identified(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A body for Responses with ids for the assistant's messages: the SDK's type wants them, but a message that was
    never stored has none, and the server asks for none.
    """
    own = {"id": "msg_1", "status": "completed"}
    items = [
        own | item if item.get("role") == "assistant" and isinstance(item["content"], list) else item
        for item in asked["input"]
    ]
    return {**asked, "input": items}


def check_anthropic(body: dict[str, Any]) -> None:
    """The newest SDK knows no sampling any more; the models before still take it."""
    made, _ = anthropic_ask.ask(as_functions(body), output_tokens_max=8_000)
    holds(MessageCreateParams, {name: made[name] for name in made.keys() - {"temperature", "top_p", "top_k"}})


def check_responses(body: dict[str, Any]) -> None:
    made, _ = responses_ask.ask(body)
    holds(ResponseCreateParams, identified(made))


def check_chat(body: dict[str, Any]) -> None:
    holds(CompletionCreateParams, prepare(HOSTS["openai"], "openai-chat", body)[0])


_GOOGLES: Final[Mapping[str, Any]] = {
    "contents": list[google.Content],
    "systemInstruction": google.Content,
    "tools": list[google.Tool],
    "toolConfig": google.ToolConfig,
    "generationConfig": google.GenerationConfig,
}


def check_gemini(body: dict[str, Any]) -> None:
    """The SDK has no type for a whole body, as its own differs from the wire; it has one for each part."""
    made, _ = gemini_ask.ask(as_functions(body))
    for name, value in made.items():
        holds(_GOOGLES[name], value)


CHECKS: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "anthropic": check_anthropic,
    "gemini": check_gemini,
    "openai-responses": check_responses,
    "openai-chat": check_chat,
}


def bodies(shape: Shape, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """In the internal form, for a model of each generation, plain and streamed."""
    for name in MODELS:
        for stream in (False, True):
            raw = orjson.dumps({"model": name, **asked} | {"model": name, "stream": stream})
            yield shape.parse(raw).body


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("upstream", CHECKS)
def test_asked_in_chat(upstream: str, talk: str) -> None:
    for body in bodies(CHAT, TALKS[talk]):
        CHECKS[upstream](body)


@pytest.mark.parametrize("talk", MESSAGES_TALKS)
@pytest.mark.parametrize("upstream", CHECKS)
def test_asked_in_messages(upstream: str, talk: str) -> None:
    holds(MessageCreateParams, MESSAGES_TALKS[talk])
    for body in bodies(MESSAGES, MESSAGES_TALKS[talk]):
        CHECKS[upstream](body)


@pytest.mark.parametrize("talk", RESPONSES_TALKS)
@pytest.mark.parametrize("upstream", CHECKS)
def test_asked_in_responses(upstream: str, talk: str) -> None:
    holds(ResponseCreateParams, identified(RESPONSES_TALKS[talk]))
    for body in bodies(RESPONSES, RESPONSES_TALKS[talk]):
        CHECKS[upstream](body)
