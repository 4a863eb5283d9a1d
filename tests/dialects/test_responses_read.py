"""OpenAI Responses' answers: events as chunks or as they are, figures in buckets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Call, Event, Figures
from perquery.dialects.assemble import Assembly
from perquery.dialects.responses_out import ResponsesWriter
from perquery.dialects.responses_read import Reader, completion, usage_of
from perquery.dialects.thoughts import RESPONSES
from tests.dialects.frames import payloads

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
COUNTS = {"input": 10, "cache_read": 7, "cache_write_5m": 3, "output": 5, "reasoning": 4}
CITED = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Hm"}, {"type": "summary_text", "text": "So"}],
    "encrypted_content": "sealed",
}
PART = {"type": "output_text", "text": "Sö", "annotations": [CITED], "logprobs": []}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [PART]}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "a", "name": "sh", "arguments": '{"x":1}'}
CUSTOM = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "b", "name": "patch", "input": "***"}
OUTPUT = [THOUGHT, MESSAGE, CALL, CUSTOM]
WHOLE: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "gpt", "status": "completed"}
WHOLE |= {"output": OUTPUT, "usage": USAGE, "error": None}


def said(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": number, **fields}


def pieces(kind: str, place: int, *texts: str, **fields: Any) -> list[dict[str, Any]]:
    return [said(0, f"{kind}.delta", output_index=place, delta=text, **fields) for text in texts]


STREAM: list[dict[str, Any]] = [
    said(0, "created", response={"id": "resp_1", "model": "gpt", "status": "in_progress", "error": None}),
    said(0, "output_item.added", output_index=0, item={"id": "rs_1", "type": "reasoning", "summary": []}),
    said(0, "reasoning_summary_part.added", output_index=0, summary_index=0, part={}),
    *pieces("reasoning_summary_text", 0, "Hm", summary_index=0),
    said(0, "reasoning_summary_part.added", output_index=0, summary_index=1, part={}),
    *pieces("reasoning_summary_text", 0, "So", summary_index=1),
    said(0, "output_item.done", output_index=0, item=THOUGHT),
    said(0, "output_item.added", output_index=1, item=MESSAGE | {"content": []}),
    said(0, "content_part.added", output_index=1, content_index=0, part=PART | {"text": ""}),
    *pieces("output_text", 1, "S", "ö", content_index=0, logprobs=[]),
    said(0, "output_text.annotation.added", output_index=1, content_index=0, annotation=CITED),
    said(0, "output_text.done", output_index=1, content_index=0, text="Sö"),
    said(0, "output_item.done", output_index=1, item=MESSAGE),
    said(0, "output_item.added", output_index=2, item=CALL | {"arguments": ""}),
    *pieces("function_call_arguments", 2, '{"x"', ":1}"),
    said(0, "function_call_arguments.done", output_index=2, arguments='{"x":1}'),
    said(0, "output_item.done", output_index=2, item=CALL),
    said(0, "output_item.added", output_index=3, item=CUSTOM | {"input": ""}),
    *pieces("custom_tool_call_input", 3, "***"),
    said(0, "output_item.done", output_index=3, item=CUSTOM),
    said(0, "completed", response=WHOLE),
]
SIZE = len("Hm\n\nSoSösh{'x':1}patch***".encode())
DETAILS = [
    {"type": "reasoning.summary", "summary": "Hm", "format": RESPONSES, "id": "rs_1"},
    {"type": "reasoning.summary", "summary": "So", "format": RESPONSES, "id": "rs_1"},
    {"type": "reasoning.encrypted", "data": "sealed", "format": RESPONSES, "id": "rs_1"},
]


def read(*events: dict[str, Any], native: bool = False) -> list[Event]:
    reader = Reader(native=native)
    return [event for one in events for event in reader.feed(orjson.dumps(one), one)]


def deltas(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [event.parsed["choices"][0]["delta"] for event in read(*events) if event.parsed]


def test_a_stream_as_chunks() -> None:
    found = read(*STREAM)
    assembly = Assembly()
    for event in found:
        assembly.add(event.parsed or {})
    (choice,) = assembly.completion()["choices"]
    message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == ("Sö", "tool_calls")
    assert message["reasoning_content"] == "Hm\n\nSo"
    assert message["reasoning_details"] == DETAILS
    assert message["tool_calls"][0]["function"] == {"name": "sh", "arguments": '{"x":1}'}
    assert message["annotations"][0]["url_citation"]["url"] == "https://x"
    assert found[-1].usage is not None and found[-1].usage.counts == COUNTS
    assert sum(event.text_bytes for event in found) == SIZE


def test_the_same_stream_natively_is_metered_alike() -> None:
    natives = read(*STREAM, native=True)
    assert [orjson.loads(event.data) for event in natives] == STREAM
    assert sum(event.text_bytes for event in natives) == SIZE
    (usage,) = [event.usage for event in natives if event.usage]
    assert usage.counts == COUNTS
    assert [event.finish for event in natives if event.finish] == ["tool_calls"]


@pytest.mark.parametrize("native", [False, True])
def test_a_whole_response(native: bool) -> None:
    event = completion(orjson.dumps(WHOLE), WHOLE, native=native)
    assert event.whole and event.finish == "tool_calls" and event.text_bytes == SIZE
    assert event.usage is not None and event.usage.counts == COUNTS
    assert event.parsed is not None
    if native:
        assert event.parsed == WHOLE
        return
    (choice,) = event.parsed["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("Sö", "Hm\n\nSo")
    assert message["reasoning_details"] == DETAILS
    assert [call["type"] for call in message["tool_calls"]] == ["function", "custom"]
    usage = event.parsed["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (20, 9)


def test_chunks_become_the_same_items_again() -> None:
    writer = ResponsesWriter(Call("openai-responses", "m", {}, b"", stream=True), "gen-1")
    writer.begin(native=False)
    written = b"".join(writer.event(event) for event in read(*STREAM))
    last = payloads(written + writer.tail(Figures(COUNTS, None, {}, ""), cut=False))[-1]  # type: ignore[arg-type]
    thought, message, call, custom = last["response"]["output"]
    assert (thought["encrypted_content"], thought["id"]) == ("sealed", "rs_1")
    assert message["content"][0]["text"] == "Sö" and message["content"][0]["annotations"] == [CITED]
    assert (call["call_id"], call["arguments"], custom["call_id"], custom["input"]) == ("a", '{"x":1}', "b", "***")


def test_arguments_that_come_only_with_the_item() -> None:
    added, done = (said(0, f"output_item.{kind}", output_index=0, item=CALL) for kind in ("added", "done"))
    begun = said(0, "output_item.added", output_index=0, item=CALL | {"arguments": ""})
    for events in ([added, done], [begun, done], [done]):
        calls = [call for delta in deltas(*events) for call in delta["tool_calls"]]
        assert "".join(call["function"].get("arguments", "") for call in calls) == '{"x":1}'


@pytest.mark.parametrize(
    "status, reason, finish",
    [
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("incomplete", None, "length"),
        ("completed", None, "stop"),
    ],
)
def test_why_it_ended(status: str, reason: str | None, finish: str) -> None:
    response = {"status": status, "incomplete_details": {"reason": reason}, "output": [MESSAGE], "usage": USAGE}
    assert completion(b"{}", response, native=False).finish == finish
    (event,) = read(said(0, "incomplete" if status == "incomplete" else "completed", response=response))
    assert event.finish == finish


def test_a_refusal_and_open_thinking() -> None:
    assert deltas(*pieces("refusal", 0, "No.")) == [{"refusal": "No."}]
    assert deltas(*pieces("reasoning_text", 0, "Hm")) == [{"reasoning_content": "Hm"}]
    parts = [{"type": "refusal", "refusal": "No."}]
    event = completion(b"{}", WHOLE | {"output": [MESSAGE | {"content": parts}]}, native=False)
    assert event.parsed is not None and event.parsed["choices"][0]["message"]["refusal"] == "No."


def test_log_probabilities() -> None:
    (event,) = read(*pieces("output_text", 0, "S", logprobs=[{"token": "S", "logprob": -0.1}]))
    assert event.parsed is not None
    assert event.parsed["choices"][0]["logprobs"] == {"content": [{"token": "S", "logprob": -0.1}], "refusal": None}


@pytest.mark.parametrize(
    "usage, output, searches",
    [
        ({}, [{"type": "web_search_call", "action": {"type": "search"}}, {"type": "web_search_call"}], 2),
        ({}, [{"type": "web_search_call", "action": {"type": "open_page"}}], 0),
        ({"tool_calls_details": {"search_web": {"invocation": 3}}}, [], 3),
        ({"server_side_tool_usage_details": {"web_search_calls": 4}}, [], 4),
    ],
)
def test_searches_are_counted(usage: dict[str, Any], output: list[Any], searches: int) -> None:
    found = usage_of({"usage": USAGE | usage, "output": output})
    assert found is not None and found.counts.get("search", 0) == searches


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 1}, {"input_tokens": "x", "output_tokens": 1}, []])
def test_figures_that_are_none(usage: Any) -> None:
    assert usage_of({"usage": usage}) is None


def test_a_part_never_exceeds_its_whole() -> None:
    found = usage_of({"usage": {"input_tokens": 5, "output_tokens": 2,
                                "input_tokens_details": {"cached_tokens": 9},
                                "output_tokens_details": {"reasoning_tokens": 7}}})  # fmt: skip
    assert found is not None and found.counts == {"cache_read": 5, "input": 0, "reasoning": 2, "output": 0}


@pytest.mark.parametrize("event", [{"type": 5}, {"type": "response.new"}, {"type": "response.output_text.delta"},
                                   {"type": "response.output_item.added", "item": []},
                                   {"type": "response.output_item.done", "item": {"type": "reasoning", "summary": 1}},
                                   {"type": "response.completed", "response": [1]}])  # fmt: skip
def test_nonsense_is_nobodys_crash(event: dict[str, Any]) -> None:
    assert sum(one.text_bytes for one in read(event)) == 0
