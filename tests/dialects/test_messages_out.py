"""Anthropic Messages at the caller's side: well-formed events whatever comes, and whole messages."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery import money
from perquery.calls import Call, Event, Figures, Unit
from perquery.dialects.messages_out import MessagesWriter, usage
from perquery.dialects.thoughts import ANTHROPIC, unpacked
from perquery.errors import UpstreamUnavailable
from tests.dialects.frames import payloads as events

COUNTS: dict[Unit, int] = {
    "input": 5, "cache_read": 7, "cache_write_5m": 1, "cache_write_1h": 2, "output": 3, "reasoning": 4, "search": 1,
}  # fmt: skip
FIGURES = Figures(COUNTS, None, {"cost": money.number(5)}, "perquery {}")
SEARCHED = {"url": "https://x", "title": "X"}


def writer(*, native: bool = False) -> MessagesWriter:
    made = MessagesWriter(Call("anthropic", "m", {}, b"", stream=True), "gen-1")
    made.begin(native=native)
    return made


def spoken(*deltas: dict[str, Any], finish: str | None = None, cut: bool = False) -> list[dict[str, Any]]:
    """All events of a stream of these deltas."""
    out, written = writer(), b""
    for delta in [*deltas, {}]:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else finish}
        written += out.event(Event(orjson.dumps({"choices": [choice]})))
    return events(written + out.tail(FIGURES, cut=cut))


def blocks(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The message's blocks, put together as a client does; fails where two are open at once."""
    made: list[dict[str, Any]] = []
    is_open = False
    for event in found:
        match event["type"]:
            case "content_block_start":
                assert not is_open and event["index"] == len(made)
                made.append(dict(event["content_block"]) | {"json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open and event["index"] == len(made) - 1
                _extend(made[-1], event["delta"])
            case "content_block_stop":
                assert is_open and event["index"] == len(made) - 1
                is_open = False
    assert not is_open
    return made


def _extend(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*block.get("citations", ()), delta["citation"]]


def call(number: int, arguments: str, **start: str) -> dict[str, Any]:
    name = {"name": start.pop("name")} if "name" in start else {}
    return {"tool_calls": [{"index": number, **start, "function": name | {"arguments": arguments}}]}


def test_text() -> None:
    found = spoken({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"}, finish="stop")
    assert [event["type"] for event in found][:2] == ["message_start", "content_block_start"]
    assert [event["type"] for event in found][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert blocks(found)[0]["text"] == "Hello"
    assert found[-2]["delta"]["stop_reason"] == "end_turn"
    assert found[-2]["usage"]["cost"] == 5e-09


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_keeps_its_signature(name: str) -> None:
    signed = {"reasoning_details": [{"type": "reasoning.text", "signature": "s", "format": ANTHROPIC}]}
    hidden = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "r", "format": ANTHROPIC}]}
    foreign = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "o", "format": "openai-responses-v1"}]}
    found = blocks(spoken({name: "Hm"}, {name: "m"}, signed, hidden, foreign, {"content": "So"}))
    assert [block["type"] for block in found] == ["thinking", "redacted_thinking", "redacted_thinking", "text"]
    assert unpacked(found[2]["data"]) == foreign["reasoning_details"]
    assert (found[0]["thinking"], found[0]["signature"], found[1]["data"]) == ("Hmm", "s", "r")


def test_the_same_thought_under_two_names_is_told_once() -> None:
    detail = {"type": "reasoning.text", "text": "Hm", "format": ANTHROPIC}
    (block,) = blocks(spoken({"reasoning_content": "Hm", "reasoning": "Hm", "reasoning_details": [detail]}))
    assert block["thinking"] == "Hm"


def test_parallel_calls_that_interleave_are_told_one_after_the_other() -> None:
    found = spoken(
        call(0, "", id="a", name="sh"),
        call(1, "", id="b", name="ls"),
        call(0, '{"x":'),
        call(1, '{"y":2'),
        call(0, "1}"),
        call(1, "}"),
        finish="tool_calls",
    )
    assert [(one["id"], one["name"], one["json"]) for one in blocks(found)] == [
        ("a", "sh", '{"x":1}'),
        ("b", "ls", '{"y":2}'),
    ]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_citation_belongs_to_its_text() -> None:
    (block,) = blocks(spoken({"content": "So"}, {"annotations": [{"type": "url_citation", "url_citation": SEARCHED}]}))
    assert block["citations"][0]["url"] == "https://x"


def test_an_answer_cut_at_the_balance() -> None:
    assert spoken({"content": "So"}, cut=True)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_nothing_at_all_is_still_a_message() -> None:
    assert [event["type"] for event in events(writer().tail(FIGURES, cut=False))] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_usage_in_anthropics_buckets() -> None:
    found = usage(FIGURES)
    assert (found["input_tokens"], found["cache_read_input_tokens"], found["output_tokens"]) == (5, 7, 7)
    assert found["cache_creation"] == {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}
    assert found["cache_creation_input_tokens"] == 3
    assert found["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}


def test_a_whole_message() -> None:
    message = {
        "content": "So",
        "reasoning_content": "Hm",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "H", "format": ANTHROPIC},
            {"type": "reasoning.text", "text": "m", "signature": "s", "format": ANTHROPIC},
        ],
        "tool_calls": [{"id": "a", "function": {"name": "sh", "arguments": '{"x":1}'}}],
    }
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    body = orjson.loads(writer().whole(answer, FIGURES, cut=False))
    thought, text, use = body["content"]
    assert (thought["thinking"], thought["signature"], text["text"], use["input"]) == ("Hm", "s", "So", {"x": 1})
    assert (body["stop_reason"], body["usage"]["cost"]) == ("tool_use", 5e-09)


@pytest.mark.parametrize("arguments", ["not json", "[1]"])
def test_arguments_that_are_no_object_are_kept(arguments: str) -> None:
    message = {"tool_calls": [{"id": "a", "function": {"name": "sh", "arguments": arguments}}]}
    body = orjson.loads(writer().whole({"choices": [{"message": message}]}, FIGURES, cut=False))
    assert body["content"][0]["input"] == {"arguments": arguments}


def test_native_events_pass_and_usage_waits() -> None:
    out = writer(native=True)
    start = b'{"type":"message_start","message":{"id":"m1","model":"%b"}}'
    asked = b"event: message_start\ndata: " + start % b"m" + b"\n\n"
    assert out.event(Event(start % b"m-20260101")) == asked, "Claude Code drops the thoughts of another model"
    delta = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence"}, "usage": {"output_tokens": 9}}
    assert out.event(Event(b"", parsed=delta)) == out.event(Event(b'{"type":"message_stop"}')) == b""
    end, stop = events(out.tail(FIGURES, cut=False))
    assert end["delta"] == {"stop_reason": "stop_sequence"}
    assert (end["usage"]["output_tokens"], end["usage"]["cost"], stop["type"]) == (9, 5e-09, "message_stop")


def test_a_native_answer_that_is_cut_closes_its_block() -> None:
    out = writer(native=True)
    out.event(Event(b'{"type":"message_start","message":{}}'))
    out.event(Event(b'{"type":"content_block_start","index":3,"content_block":{}}'))
    stop, end, _ = events(out.tail(FIGURES, cut=True))
    assert (stop["index"], end["delta"]["stop_reason"]) == (3, "max_tokens")


def test_a_native_message_keeps_its_fields() -> None:
    body = orjson.loads(writer(native=True).whole({"id": "m1", "usage": {"input_tokens": 1}}, FIGURES, cut=False))
    assert (body["id"], body["model"]) == ("m1", "m")
    assert (body["usage"]["input_tokens"], body["usage"]["cost"]) == (1, 5e-09)


def test_an_error_within_the_stream() -> None:
    (error,) = events(writer().broken(UpstreamUnavailable("Later.")))
    assert (error["type"], error["error"]["message"]) == ("error", "Later.")
