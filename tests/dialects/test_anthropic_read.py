"""Anthropic's answers: events as chunks or as they are, figures in buckets, never summed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Call, Event, Figures
from perquery.dialects.anthropic_read import Reader, completion, usage_of
from perquery.dialects.assemble import Assembly
from perquery.dialects.messages_out import MessagesWriter
from perquery.dialects.reading import chat_usage
from perquery.dialects.thoughts import ANTHROPIC
from tests.dialects.frames import payloads as payloads_in
from tests.dialects.test_messages_out import blocks

START = {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 3, "output_tokens": 1}
STREAM: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "content": [], "usage": START}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Sö"}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "a", "name": "sh"}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"x":1}'}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"},
     "usage": {"output_tokens": 9, "input_tokens": None}},
    {"type": "message_stop"},
]  # fmt: skip
COUNTS = {"input": 5, "output": 9, "cache_read": 7, "cache_write_5m": 3}


def read(*payloads: dict[str, Any], native: bool = False) -> list[Event]:
    reader = Reader(native=native)
    return [event for one in payloads for event in reader.feed(orjson.dumps(one), one)]


def test_a_stream_as_chunks() -> None:
    found = read(*STREAM)
    assembly = Assembly()
    for event in found:
        assembly.add(event.parsed or {})
    (choice,) = assembly.completion()["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"], choice["finish_reason"]) == ("Sö", "Hm", "tool_calls")
    assert message["tool_calls"][0]["function"] == {"name": "sh", "arguments": '{"x":1}'}
    assert [detail.get("signature") for detail in message["reasoning_details"]] == [None, "s"]
    usage = found[-1].usage
    assert usage is not None and usage.counts == COUNTS
    assert sum(event.text_bytes for event in found) == len("HmSösh{'x':1}".encode())


def test_the_same_stream_natively_is_metered_alike() -> None:
    chunks, natives = read(*STREAM), read(*STREAM, native=True)
    assert [orjson.loads(event.data) for event in natives] == STREAM
    assert sum(event.text_bytes for event in natives) == sum(event.text_bytes for event in chunks)
    assert [event.usage for event in natives if event.usage] == [event.usage for event in chunks if event.usage]
    assert [event.finish for event in natives if event.finish] == ["tool_calls"]


def test_chunks_become_the_same_blocks_again() -> None:
    writer = MessagesWriter(Call("anthropic", "m", {}, b"", stream=True), "gen-1")
    writer.begin(native=False)
    written = b"".join(writer.event(event) for event in read(*STREAM))
    thought, text, use = blocks(payloads_in(written + writer.tail(Figures(COUNTS, None, {}, ""), cut=False)))  # type: ignore[arg-type]
    assert (thought["thinking"], thought["signature"], text["text"]) == ("Hm", "s", "Sö")
    assert (use["id"], use["name"], use["json"]) == ("a", "sh", '{"x":1}')


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("refusal", "content_filter"), ("something_new", "stop")],
)
def test_reasons(reason: str, finish: str) -> None:
    (event,) = read({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}})
    assert event.finish == finish


def test_what_is_not_known_is_passed_over() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}
    assert read(block, delta, {"type": "new_event"}) == []


def test_a_whole_message() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "So", "citations": [{"url": "https://x", "title": "X", "cited_text": "c"}]},
        {"type": "tool_use", "id": "a", "name": "sh", "input": {"x": 1}},
    ]
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "content": content, "stop_reason": "tool_use"}
    message |= {"usage": START | {"output_tokens": 9}}
    event = completion(b"raw", message, native=False)
    made = event.parsed["choices"][0]["message"] if event.parsed else {}
    assert (made["content"], made["reasoning_content"]) == ("So", "Hm")
    assert [one["format"] for one in made["reasoning_details"]] == [ANTHROPIC] * 2
    assert made["annotations"][0]["url_citation"]["url"] == "https://x"
    assert event.usage is not None and event.usage.counts == COUNTS
    native = completion(b"raw", message, native=True)
    assert (native.data, native.parsed, native.usage, native.text_bytes) == (
        b"raw",
        message,
        event.usage,
        event.text_bytes,
    )


def test_all_buckets_are_apart() -> None:
    usage = usage_of(
        {
            "input_tokens": 5,
            "cache_creation_input_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 4},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 8},
            "server_tool_use": {"web_search_requests": 2},
        }
    )
    assert usage is not None
    assert usage.counts == {
        "input": 5,
        "output": 1,
        "cache_write_5m": 6,
        "cache_write_1h": 4,
        "reasoning": 8,
        "search": 2,
    }
    assert chat_usage(usage)["prompt_tokens"] == 15 and chat_usage(usage)["completion_tokens"] == 9


@pytest.mark.parametrize("found", [{}, {"input_tokens": 5}, {"output_tokens": True}, {"output_tokens": -1}])
def test_no_figures(found: dict[str, Any]) -> None:
    assert usage_of(found) is None


def test_a_citation_says_which_text_rests_on_it() -> None:
    blocks = [{"type": "text", "text": "Well, "}, {"type": "text", "text": "so.", "citations": [{"url": "https://x"}]}]
    event = completion(b"", {"content": blocks}, native=False)
    (whole,) = (event.parsed or {})["choices"][0]["message"]["annotations"]
    (streamed,) = [
        found
        for event in read(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Well, "}},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "so."}},
            {
                "type": "content_block_delta",
                "index": 1,
                "delta": {"type": "citations_delta", "citation": {"url": "https://x"}},
            },
        )
        for found in (event.parsed or {})["choices"][0]["delta"].get("annotations") or ()
    ]
    expected = {"url": "https://x", "title": "", "content": "", "start_index": 6, "end_index": 9}
    assert (whole["url_citation"], streamed["url_citation"], streamed["index"]) == (expected, expected, 0)
