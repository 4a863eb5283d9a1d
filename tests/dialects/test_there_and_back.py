"""Translated to another shape and back, nothing is lost that both can say: requests, whole answers, streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.calls import Call, Event, Figures
from perquery.dialects import anthropic_ask, anthropic_read, messages_in, responses_ask, responses_in, responses_read
from perquery.dialects.assemble import Assembly
from perquery.dialects.messages_out import MessagesWriter
from perquery.dialects.responses_out import ResponsesWriter
from perquery.dialects.thoughts import ANTHROPIC, RESPONSES
from perquery.metering.ids import new_id
from tests.dialects.frames import payloads

MODEL: Final = "claude-sonnet-4-5"
CAP: Final = 40_000
SCHEMA: Final = {"type": "object", "properties": {"at": {"type": "string"}}}
FIGURES: Final = Figures({"input": 5, "output": 3}, None, {}, "")

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
names = st.text("abc_", min_size=1, max_size=6)
arguments = st.dictionaries(
    names, st.one_of(texts, st.integers(-9, 9), st.lists(st.booleans(), max_size=2)), max_size=2
)
parts = st.one_of(
    texts.map(lambda text: {"type": "text", "text": text}),
    st.sampled_from(
        [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        ]
    ),
)


@st.composite
def exchanges(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A question, what the model said and called, what the calls found."""
    asked = draw(st.lists(parts, min_size=2, max_size=3))
    calls = draw(st.lists(st.tuples(names, arguments), max_size=3))
    said: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
    if calls:
        said["tool_calls"] = [_call(number, name, given) for number, (name, given) in enumerate(calls)]
    found = [
        {"role": "tool", "tool_call_id": f"c{number}", "content": draw(texts), **draw(st.sampled_from([{}, _FAILED]))}
        for number in range(len(calls))
    ]
    return [{"role": "user", "content": asked}, said, *found]


_FAILED: Final = {"is_error": True}


def _call(number: int, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": orjson.dumps(given).decode()}
    return {"id": f"c{number}", "type": "function", "function": function}


options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.25, 1]),
        "tool_choice": st.sampled_from(
            ["auto", "none", "required", {"type": "function", "function": {"name": "look"}}]
        ),
        "parallel_tool_calls": st.just(False),
        "response_format": st.just(
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        ),
    },
)
systems = st.lists(texts.map(lambda text: {"role": "system", "content": [{"type": "text", "text": text}]}), max_size=1)


def by_messages(body: dict[str, Any]) -> dict[str, Any]:
    made, dropped = anthropic_ask.ask(body, output_tokens_max=CAP)
    assert dropped == []
    back: dict[str, Any] = messages_in.parse(orjson.dumps(made)).body
    back["max_completion_tokens"] = back.pop("max_tokens")
    return back


def by_responses(body: dict[str, Any]) -> dict[str, Any]:
    made, dropped = responses_ask.ask(body)
    assert dropped == []
    return responses_in.parse(orjson.dumps(made)).body


WAYS: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "messages": by_messages,
    "responses": by_responses,
}


def alike(body: Mapping[str, Any], way: str) -> dict[str, Any]:
    """A body in the words that the way has: Responses knows no failed call and has a detail for every picture; in
    Messages `none` needs no word on parallel calls, nor has a choice that is given a word for that being the usual.
    """
    made: dict[str, Any] = orjson.loads(orjson.dumps(body))
    for message in made["messages"]:
        if way == "responses":
            message.pop("is_error", None)
        for part in message["content"] if isinstance(message["content"], list) else ():
            if "image_url" in part:
                part["image_url"].pop("detail", None)
        if isinstance(message["content"], list) and [part["type"] for part in message["content"]] == ["text"]:
            message["content"] = message["content"][0]["text"]
    if way == "messages" and made.get("tool_choice") == "none":
        made.pop("parallel_tool_calls", None)
    if made.get("parallel_tool_calls") is False:
        made.setdefault("tool_choice", "auto")
    return made


@pytest.mark.parametrize("way", WAYS)
@given(system=systems, turns=st.lists(exchanges(), min_size=1, max_size=2), more=options)
def test_a_request(
    way: str, system: list[dict[str, Any]], turns: list[list[dict[str, Any]]], more: dict[str, Any]
) -> None:
    messages = orjson.loads(orjson.dumps([*system, *(message for turn in turns for message in turn)]))
    for kind in ("call", "result"):  # ids of their own, as every vendor's calls have
        for number, holder in enumerate(_identified(messages, kind)):
            holder["id" if kind == "call" else "tool_call_id"] = f"c{number}"
    messages.append({"role": "user", "content": "Go on."})
    tools = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA, "strict": False}}]
    body = {"model": MODEL, "stream": False, "max_completion_tokens": 900, "messages": messages, "tools": tools} | more
    assert alike(WAYS[way](body), way) == alike(body, way)


def _identified(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    if kind == "result":
        return [message for message in messages if message["role"] == "tool"]
    return [call for message in messages for call in message.get("tool_calls") or ()]


# -- answers ------------------------------------------------------------------------------------------------------


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, dict[str, Any], str]:
    """(Whose thought it is, a message, its finish reason)."""
    way = draw(st.sampled_from(["messages", "responses"]))
    message: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
    if draw(st.booleans()):
        thought = draw(texts)
        message["reasoning_content"] = thought
        if way == "messages":
            detail = {"type": "reasoning.text", "text": thought, "format": ANTHROPIC, "signature": draw(names)}
            message["reasoning_details"] = [detail]
        else:
            named = {"format": RESPONSES, "id": "rs_1"}
            summary = {"type": "reasoning.summary", "summary": thought, **named}
            sealed = {"type": "reasoning.encrypted", "data": draw(names), **named}
            message["reasoning_details"] = [summary, sealed]
    calls = draw(st.lists(st.tuples(names, arguments), max_size=2))
    if calls:
        message["tool_calls"] = [_call(number, name, given) for number, (name, given) in enumerate(calls)]
        return way, message, "tool_calls"
    return way, message, draw(st.sampled_from(["stop", "length"]))


def writer(way: str) -> MessagesWriter | ResponsesWriter:
    made = (MessagesWriter if way == "messages" else ResponsesWriter)(
        Call("anthropic", MODEL, {}, b"", stream=True, native={}), new_id(5_000)[0]
    )
    made.begin(native=False)
    return made


def kept(choice: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(What a message says, why it ended)."""
    message = {name: value for name, value in choice["message"].items() if value}
    for call in message.get("tool_calls") or ():
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    return message, choice["finish_reason"]


@given(answers())
def test_a_whole_answer(given_answer: tuple[str, dict[str, Any], str]) -> None:
    way, message, finish = given_answer
    choice = {"index": 0, "message": message, "finish_reason": finish}
    data = writer(way).whole({"choices": [choice]}, FIGURES, cut=False)
    read = anthropic_read.completion if way == "messages" else responses_read.completion
    back = read(data, orjson.loads(data), native=False).parsed
    assert back is not None
    assert kept(back["choices"][0]) == kept(orjson.loads(orjson.dumps(choice)))


@given(answers(), st.integers(1, 4))
def test_a_stream(given_answer: tuple[str, dict[str, Any], str], size: int) -> None:
    way, message, finish = given_answer
    out = writer(way)
    written = b""
    for delta in deltas(message, size):
        written += out.event(_event(delta, None))
    written += out.event(_event({}, finish)) + out.tail(FIGURES, cut=False)
    reader = anthropic_read.Reader(native=False) if way == "messages" else responses_read.Reader(native=False)
    assembly = Assembly()
    for payload in payloads(written):
        for event in reader.feed(orjson.dumps(payload), payload):
            assembly.add(event.parsed or {})
    (choice,) = assembly.completion()["choices"]
    choice["message"]["reasoning_details"] = _joined(choice["message"].get("reasoning_details") or [])
    expected = {"message": {**message, "reasoning_details": message.get("reasoning_details")}, "finish_reason": finish}
    assert kept(choice) == kept(orjson.loads(orjson.dumps(expected)))


def _event(delta: dict[str, Any], finish: str | None) -> Event:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return Event(orjson.dumps(chunk), parsed=chunk)


def deltas(message: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The message in pieces of so many characters, the thought first and its seal right behind it: Anthropic's with
    the pieces of its text, of OpenAI's the whole.
    """
    found: list[dict[str, Any]] = []
    details = message.get("reasoning_details") or []
    signed = [one for one in details if one.get("signature")]
    for piece in _torn(message.get("reasoning_content"), size):
        own = [{"type": "reasoning.text", "text": piece, "format": ANTHROPIC}] if signed else []
        found.append({"reasoning_content": piece, "reasoning_details": own})
    seals = [{name: value for name, value in one.items() if name != "text"} for one in signed]
    if details:
        found.append({"reasoning_details": seals or details})
    found += [{"content": piece} for piece in _torn(message["content"], size)]
    for number, call in enumerate(message.get("tool_calls") or ()):
        begun = {"index": number, **call, "function": {**call["function"], "arguments": ""}}
        found.append({"tool_calls": [begun]})
        for piece in _torn(call["function"]["arguments"], size):
            found.append({"tool_calls": [{"index": number, "function": {"arguments": piece}}]})
    return found


def _torn(text: str | None, size: int) -> list[str]:
    return [(text or "")[start : start + size] for start in range(0, len(text or ""), size)]


def _joined(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pieces of a thought as one."""
    made: list[dict[str, Any]] = []
    for detail in details:
        if made and made[-1]["type"] == detail["type"] == "reasoning.text":
            made[-1]["text"] = made[-1].get("text", "") + detail.get("text", "")
            made[-1] |= {name: detail[name] for name in ("signature",) if name in detail}
        else:
            made.append(detail)
    return made
