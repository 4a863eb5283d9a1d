"""OpenAI Responses at the caller's side: numbered, well-formed events whatever comes, and whole responses."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson
import pytest

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.dialects.responses_out import ResponsesWriter, usage
from perquery.dialects.thoughts import PACKED, RESPONSES
from perquery.errors import InsufficientCredits
from perquery.metering.ids import new_id
from tests.dialects.frames import payloads as events

FIGURES = Figures(
    {"input": 5, "cache_read": 7, "output": 3, "reasoning": 4}, None, {"cost": money.number(5)}, "perquery {}"
)
TOOLS = [{"type": "namespace", "name": "web", "tools": [{"type": "function", "name": "open"}]}]


def writer(*, native: bool = False) -> ResponsesWriter:
    call = Call("openai-responses", "m", {}, b"", stream=True, native={"tools": TOOLS, "metadata": {"a": "b"}})
    made = ResponsesWriter(call, new_id(5_000)[0])
    made.begin(native=native)
    return made


def spoken(*deltas: dict[str, Any], finish: str | None = "stop", cut: bool = False) -> list[dict[str, Any]]:
    """All events of a stream of these deltas; their numbers must follow each other."""
    out, written = writer(), b""
    for delta in [*deltas, {}]:
        choice = {"index": 0, "delta": delta, "finish_reason": None if delta else finish}
        written += out.event(Event(orjson.dumps({"choices": [choice]})))
    found = events(written + out.tail(FIGURES, cut=cut))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def checked(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of the last event, which must be those that were added and done, and the sum of their deltas."""
    output: list[dict[str, Any]] = found[-1]["response"]["output"]
    added = [event["item"]["type"] for event in found if event["type"] == "response.output_item.added"]
    done = {event["output_index"]: event["item"] for event in found if event["type"] == "response.output_item.done"}
    assert added == [item["type"] for item in output]
    assert [done[place] for place in range(len(output))] == output
    texts = "".join(event["delta"] for event in found if event["type"].endswith(".delta"))
    assert len(texts) == sum(len(_text_of(item)) for item in output)
    return output


def _text_of(item: dict[str, Any]) -> str:
    parts = [*item.get("content", ()), *item.get("summary", ())]
    said: str = "".join(part.get("text", part.get("refusal", "")) for part in parts)
    return f"{said}{item.get('arguments', '')}{item.get('input', '')}"


def test_log_probabilities_stay_with_their_words() -> None:
    one, two = ({"token": token, "logprob": -0.1, "bytes": [104], "top_logprobs": []} for token in ("Hel", "lo"))
    out, written = writer(), b""
    for text, held in (("Hel", [one]), ("lo", [two])):
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, "logprobs": {"content": held}}
        written += out.event(Event(orjson.dumps({"choices": [choice]})))
    found = events(written + out.tail(FIGURES, cut=False))
    assert [event["logprobs"] for event in found if event["type"].endswith("text.delta")] == [[one], [two]]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [one, two]
    message = {"role": "assistant", "content": "Hello"}
    answer = {"choices": [{"message": message, "finish_reason": "stop", "logprobs": {"content": [one, two]}}]}
    whole = orjson.loads(writer().whole(answer, FIGURES, cut=False))
    assert whole["output"][0]["content"][0]["logprobs"] == [one, two]


def call(number: int, more: str, **start: Any) -> dict[str, Any]:
    name = {"name": start.pop("name")} if "name" in start else {}
    return {"tool_calls": [{"index": number, **start, "function": name | {"arguments": more}}]}


def test_text() -> None:
    found = spoken({"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo"})
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    (item,) = checked(found)
    assert item["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    response = found[-1]["response"]
    assert (response["created_at"], response["metadata"], response["store"]) == (5, {"a": "b"}, False)
    assert response["usage"]["cost"] == 5e-09


def test_calls_that_interleave_and_a_namespace() -> None:
    found = spoken(
        call(0, "", id="a", name="web__open"),
        call(1, "", id="b", name="ls"),
        call(0, '{"x":'),
        call(1, "{}"),
        call(0, "1}"),
        finish="tool_calls",
    )
    first, second = checked(found)
    assert (first["call_id"], first["namespace"], first["name"]) == ("a", "web", "open")
    assert (first["arguments"], second["name"], second["arguments"]) == ('{"x":1}', "ls", "{}")
    assert "namespace" not in second and second["status"] == "completed"


def test_a_custom_tools_input() -> None:
    begun = {"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "patch", "input": "*** "}}]}
    more = {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]}
    (item,) = checked(spoken(begun, more, finish="tool_calls"))
    assert (item["type"], item["input"]) == ("custom_tool_call", "*** x")
    assert "status" not in item  # which this one alone of OpenAI's types has not


def test_a_thought_takes_its_seal_along() -> None:
    seal = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "s", "id": "rs_9", "format": RESPONSES}]}
    found = spoken({"reasoning_content": "H", "reasoning": "H"}, {"reasoning_content": "m"}, seal, {"content": "So"})
    thought, message = checked(found)
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert (thought["encrypted_content"], message["type"]) == ("s", "message")


def test_another_vendors_thinking_is_sealed_by_us() -> None:
    detail = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}
    (thought, _) = checked(spoken({"reasoning_content": "Hm", "reasoning_details": [detail]}, {"content": "So"}))
    assert orjson.loads(b64decode(thought["encrypted_content"].removeprefix(PACKED))) == [detail]


def test_a_seal_that_comes_last_has_an_item_of_its_own() -> None:
    seal = {"reasoning_details": [{"type": "reasoning.encrypted", "data": "s", "format": "google-gemini-v1"}]}
    _, thought = checked(spoken({"content": "So"}, seal))
    assert thought["type"] == "reasoning" and thought["encrypted_content"].startswith(PACKED)


def test_refusals_and_citations() -> None:
    cited = {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x", "title": "X"}}]}
    found = spoken({"content": "So"}, cited, {"refusal": "No."})
    (item,) = found[-1]["response"]["output"]
    assert item["content"][0]["annotations"][0]["url"] == "https://x"
    assert item["content"][1] == {"type": "refusal", "refusal": "No."}


@pytest.mark.parametrize(
    ("finish", "cut", "why"),
    [
        ("length", False, "max_output_tokens"),
        ("content_filter", False, "content_filter"),
        (None, True, "max_output_tokens"),
    ],
)
def test_what_is_not_whole_says_why(finish: str | None, cut: bool, why: str) -> None:
    last = spoken({"content": "So"}, finish=finish, cut=cut)[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == ("response.incomplete", {"reason": why})


def test_totals_include_their_parts() -> None:
    assert usage(FIGURES) | {"cost": None} == {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 19,
        "cost": None,
    }


def test_a_whole_response() -> None:
    message = {
        "content": "So",
        "reasoning_content": "Hm",
        "tool_calls": [{"id": "a", "function": {"name": "web__open", "arguments": "{}"}}],
    }
    answer = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    body = orjson.loads(writer().whole(answer, FIGURES, cut=False))
    thought, text, called = body["output"]
    assert (thought["summary"][0]["text"], text["content"][0]["text"]) == ("Hm", "So")
    assert (called["namespace"], called["name"], called["status"]) == ("web", "open", "completed")
    assert (body["status"], body["usage"]["cost"]) == ("completed", 5e-09)


def test_native_events_pass_and_the_last_waits() -> None:
    out = writer(native=True)
    data = b'{"type":"response.created","sequence_number":0}'
    assert out.event(Event(data)) == b"event: response.created\ndata: " + data + b"\n\n"
    last = {"type": "response.completed", "sequence_number": 1, "response": {"id": "r1", "usage": {}}}
    assert out.event(Event(b"", parsed=last)) == b""
    (end,) = events(out.tail(FIGURES, cut=False))
    assert (end["type"], end["response"]["id"], end["response"]["usage"]["total_tokens"]) == (
        "response.completed",
        "r1",
        19,
    )


def test_a_native_response_keeps_its_fields() -> None:
    body = orjson.loads(writer(native=True).whole({"id": "r1", "usage": {}}, FIGURES, cut=False))
    assert (body["id"], body["usage"]["total_tokens"]) == ("r1", 19)


def test_an_error_within_the_stream() -> None:
    found = events(writer().broken(InsufficientCredits("Empty.")))
    assert found[-1]["type"] == "response.failed"
    assert found[-1]["response"]["error"] == {"code": "insufficient_quota", "message": "Empty."}
