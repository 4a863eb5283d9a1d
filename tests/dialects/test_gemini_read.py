"""Gemini's answers: payloads as chunks, figures in buckets, signatures kept, reasons told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.calls import Event
from perquery.dialects.assemble import Assembly
from perquery.dialects.gemini_read import Reader, usage_of
from perquery.dialects.reading import chat_usage
from perquery.dialects.thoughts import GEMINI
from tests.dialects.test_gemini_ask import JSON

HEAD = {"responseId": "r1", "modelVersion": "gemini-3.5-flash"}
USAGE = {"promptTokenCount": 5, "totalTokenCount": 5}
LAST = {
    "promptTokenCount": 15,
    "cachedContentTokenCount": 7,
    "candidatesTokenCount": 9,
    "thoughtsTokenCount": 4,
    "totalTokenCount": 28,
}
COUNTS = {"input": 8, "cache_read": 7, "output": 9, "reasoning": 4}


def said(*parts: dict[str, Any], finish: str | None = None, usage: Any = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **fields}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **HEAD} | ({"usageMetadata": usage} if usage else {})


def call(name: str, given: Any = None, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": given or {}, **fields}}


STREAM: list[dict[str, Any]] = [
    said({"text": "Hm", "thought": True}, usage=USAGE),
    said({"text": "S"}, usage=USAGE | {"candidatesTokenCount": 1, "totalTokenCount": 6}),
    said({"text": "ö"}),
    said(call("sh", {"x": 1}, id="a") | {"thoughtSignature": "A"}, call("ls")),
    said({"text": "", "thoughtSignature": "t"}, finish="STOP", usage=LAST),
]


def read(*payloads: dict[str, Any]) -> list[Event]:
    reader = Reader()
    return [event for one in payloads for event in reader.feed(one, orjson.dumps(one))]


def whole(payload: dict[str, Any]) -> Event:
    return Reader().whole(payload, orjson.dumps(payload))


def message(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = (event.parsed or {})["choices"][0]["message"]
    return found


def test_a_stream_as_chunks() -> None:
    found = read(*STREAM)
    assembly = Assembly()
    for event in found:
        assert orjson.loads(event.data) == event.parsed
        assembly.add(event.parsed or {})
    made = assembly.completion()
    (choice,) = made["choices"]
    text = choice["message"]
    assert (made["id"], made["model"]) == ("r1", "gemini-3.5-flash")
    assert (text["content"], text["reasoning_content"], choice["finish_reason"]) == ("Sö", "Hm", "tool_calls")
    first, second = text["tool_calls"]
    assert (first["id"], first["function"]) == ("a", {"name": "sh", "arguments": '{"x":1}'})
    assert second["id"].startswith("call_") and second["function"] == {"name": "ls", "arguments": "{}"}
    assert text["reasoning_details"] == [
        {"type": "reasoning.encrypted", "data": "A", "format": GEMINI, "id": "a"},
        {"type": "reasoning.encrypted", "data": "t", "format": GEMINI},
    ]
    assert sum(event.text_bytes for event in found) == len("HmSösh{'x':1}ls{}".encode())


def test_the_last_figures_count_and_those_before_any_output_are_none() -> None:
    found = read(*STREAM)
    assert [event.usage is not None for event in found] == [False, True, False, False, True]
    assert found[-1].usage is not None and found[-1].usage.counts == COUNTS
    assert found[-1].parsed is not None and found[-1].parsed["usage"]["total_tokens"] == 28


def test_calls_are_numbered_over_chunks() -> None:
    found = read(said(call("a")), said(call("b"), call("c"), finish="STOP"))
    numbers = [one["index"] for event in found for one in (event.parsed or {})["choices"][0]["delta"]["tool_calls"]]
    assert numbers == [0, 1, 2]


def test_a_call_without_an_id_gets_one_of_its_own() -> None:
    ids = [message(whole(said(call("a"))))["tool_calls"][0]["id"] for _ in range(2)]
    assert len(set(ids)) == 2


def test_candidates_are_choices() -> None:
    second = {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "MAX_TOKENS"}
    first = said({"text": "a"})
    reader = Reader()
    (event,) = reader.feed(first | {"candidates": [*first["candidates"], second]}, b"")
    assert [(one["index"], one["finish_reason"]) for one in (event.parsed or {})["choices"]] == [
        (0, None),
        (1, "length"),
    ]
    assert not reader.finished
    reader.feed(said(finish="STOP"), b"")
    assert reader.finished


def test_a_whole_answer() -> None:
    event = whole(said({"text": "Hm", "thought": True}, {"text": "S"}, {"text": "o"}, finish="STOP", usage=LAST))
    nothing: dict[str, Any] = {"refusal": None, "annotations": []}
    assert message(event) == {"role": "assistant", "content": "So", "reasoning_content": "Hm", **nothing}
    assert (event.parsed or {})["choices"][0]["logprobs"] is None
    assert event.whole and event.finish == "stop" and event.parsed is not None
    assert event.parsed["object"] == "chat.completion" and event.usage is not None
    assert (event.usage.counts, event.text_bytes) == (COUNTS, 4)


def test_images_and_sound() -> None:
    image, sound = (
        {"inlineData": {"mimeType": kind, "data": "aGk="}} for kind in ("image/png", "audio/L16;rate=24000")
    )
    made = message(whole(said(image | {"thoughtSignature": "i"}, image, sound, {"executableCode": {}}, finish="STOP")))
    assert [one["image_url"]["url"] for one in made["images"]] == ["data:image/png;base64,aGk="] * 2
    assert made["audio"]["data"] == "aGk="
    assert [(one["id"], one["data"]) for one in made["reasoning_details"]] == [("image_0", "i")]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("NO_IMAGE", "stop"),
        ("SOMETHING_NEW", "stop"),
        ("FINISH_REASON_UNSPECIFIED", None),
    ],
)
def test_reasons(reason: str, finish: str | None) -> None:
    assert whole(said({"text": "a"}, finish=reason)).finish == finish


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("MALFORMED_FUNCTION_CALL", "garbage"),
        ("MISSING_THOUGHT_SIGNATURE", "garbage"),
        ("OTHER", "garbage"),
        ("PUP_LIMITED_DISABLED", "auth"),
    ],
)
def test_reasons_that_leave_no_answer(reason: str, kind: str) -> None:
    for event in (whole(said(finish=reason)), *read(said(finish=reason))):
        assert event.error is not None and (event.error.kind, event.error.code) == (kind, reason)


def test_a_blocked_prompt() -> None:
    payload = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE, **HEAD}
    plain = whole(payload)
    reader = Reader()
    (chunk,) = reader.feed(payload, b"")
    assert reader.finished and "SAFETY" in message(plain)["refusal"]
    for event in (plain, chunk):
        assert (event.finish, event.text_bytes) == ("content_filter", 0)
        assert event.usage is not None and event.usage.counts == {"input": 5, "output": 0}


def test_figures_alone() -> None:
    reader = Reader()
    reader.feed(said({"text": "a"}, finish="STOP"), b"")
    (event,) = reader.feed({"usageMetadata": LAST, **HEAD}, b"")
    assert event.usage is not None and event.parsed is not None and event.parsed["choices"] == []


def test_no_candidates_and_no_reason() -> None:
    event = whole({**HEAD, "promptFeedback": {}})
    assert event.error is not None and event.error.kind == "garbage"


def test_nested_too_deep() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"x": deep}
    payload = said(call("a", deep))
    for event in (Reader().whole(payload, b""), *Reader().feed(payload, b"")):
        assert event.error is not None and event.error.kind == "garbage"


def test_sources_with_their_places_in_characters() -> None:
    chunks = [{"web": {"uri": "https://x", "title": "X"}}, {"web": {"uri": "https://y"}}, {"retrievedContext": {}}]
    support = {"segment": {"startIndex": 3, "endIndex": 7, "text": "bär"}, "groundingChunkIndices": [0, 1, 2, 9]}
    grounding = {"groundingChunks": chunks, "groundingSupports": [support]}
    found = read(said({"text": "Ö "}), said({"text": "bär"}, finish="STOP", groundingMetadata=grounding))
    annotations = (found[-1].parsed or {})["choices"][0]["delta"]["annotations"]
    place = {"start_index": 2, "end_index": 5, "content": "bär"}
    assert [one["url_citation"] for one in annotations] == [
        {"url": "https://x", "title": "X", **place},
        {"url": "https://y", "title": "", **place},
    ]


def test_sources_alone() -> None:
    grounding = {"groundingChunks": [{"web": {"uri": "https://x", "title": "X"}}]}
    (annotation,) = message(whole(said({"text": "a"}, groundingMetadata=grounding)))["annotations"]
    nowhere = {"start_index": 0, "end_index": 0}  # chat's schema requires them
    assert annotation == {"type": "url_citation", "url_citation": {"url": "https://x", "title": "X", **nowhere}}


def test_log_probabilities() -> None:
    chosen = {"token": "ö", "logProbability": -0.5, "tokenId": 1}
    result = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen]}]}
    event = whole(said({"text": "ö"}, logprobsResult=result))
    one = {"token": "ö", "logprob": -0.5, "bytes": [195, 182]}
    assert (event.parsed or {})["choices"][0]["logprobs"]["content"] == [one | {"top_logprobs": [one]}]


def test_all_buckets_are_apart() -> None:
    usage = usage_of(
        {
            "promptTokenCount": 100,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 40},
                {"modality": "AUDIO", "tokenCount": 30},
                {"modality": "IMAGE", "tokenCount": 30},
            ],
            "cachedContentTokenCount": 50,
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}, {"modality": "IMAGE", "tokenCount": 5}],
            "toolUsePromptTokenCount": 7,
            "candidatesTokenCount": 20,
            "candidatesTokensDetails": [
                {"modality": "IMAGE", "tokenCount": 12},
                {"modality": "AUDIO", "tokenCount": 3},
            ],
            "thoughtsTokenCount": 9,
        }
    )
    assert usage is not None
    assert usage.counts == {
        "audio_input": 20,
        "image_input": 25,
        "audio_cache_read": 10,
        "cache_read": 40,
        "input": 12,
        "audio_output": 3,
        "image_output": 12,
        "output": 5,
        "reasoning": 9,
    }
    chat = chat_usage(usage)
    assert (chat["prompt_tokens"], chat["completion_tokens"], chat["total_tokens"]) == (107, 29, 136)
    assert chat["prompt_tokens_details"] == {
        "cached_tokens": 50,
        "cache_write_tokens": 0,
        "audio_tokens": 30,
        "image_tokens": 25,
    }


@pytest.mark.parametrize(
    ("found", "counts"),
    [
        ({"promptTokenCount": 5, "totalTokenCount": 9}, {"input": 5, "output": 4}),
        (
            {"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 8},
            {"input": 5, "output": 0, "reasoning": 3},
        ),
        (
            {"promptTokenCount": 5, "cachedContentTokenCount": 9, "candidatesTokenCount": 1},
            {"input": 0, "cache_read": 5, "output": 1},
        ),
        ({"promptTokenCount": 5}, None),
        ({"candidatesTokenCount": 5}, None),
        ({"promptTokenCount": True, "candidatesTokenCount": -1}, None),
        ({}, None),
    ],
)
def test_figures(found: dict[str, Any], counts: dict[str, int] | None) -> None:
    usage = usage_of(found)
    assert (usage.counts if usage else None) == counts


FIGURES = st.integers(0, 10**9)
DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE"]), "tokenCount": FIGURES})
)


@given(FIGURES, FIGURES, FIGURES, FIGURES, DETAILS, DETAILS, DETAILS)
def test_no_token_is_in_two_buckets(
    prompt: int, cached: int, made: int, thoughts: int, given: Any, hit: Any, out: Any
) -> None:
    usage = usage_of(
        {
            "promptTokenCount": prompt,
            "cachedContentTokenCount": cached,
            "candidatesTokenCount": made,
            "thoughtsTokenCount": thoughts,
            "promptTokensDetails": given,
            "cacheTokensDetails": hit,
            "candidatesTokensDetails": out,
        }
    )
    if usage is not None:
        counts = usage.counts
        inputs = sum(
            counts.get(unit, 0) for unit in ("input", "cache_read", "audio_input", "audio_cache_read", "image_input")
        )
        assert inputs == prompt and min(counts.values()) >= 0
        assert sum(counts.get(unit, 0) for unit in ("output", "audio_output", "image_output")) == made


PARTS = st.dictionaries(
    st.sampled_from(["text", "thought", "functionCall", "inlineData", "thoughtSignature"]),
    JSON | st.dictionaries(st.sampled_from(["id", "name", "args", "mimeType", "data"]), JSON),
)
CANDIDATES = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON | st.fixed_dictionaries({"parts": JSON | st.lists(PARTS | JSON, max_size=3)}),
        "index": JSON,
        "finishReason": JSON,
        "logprobsResult": st.dictionaries(
            st.sampled_from(["chosenCandidates", "topCandidates"]), st.lists(JSON | PARTS)
        ),
        "groundingMetadata": st.fixed_dictionaries(
            {}, optional={"groundingChunks": JSON | st.lists(PARTS), "groundingSupports": JSON | st.lists(PARTS)}
        ),
    },
)


@given(st.lists(JSON | CANDIDATES, max_size=3) | JSON, JSON, JSON)
def test_whatever_comes_is_an_event(candidates: Any, feedback: Any, usage: Any) -> None:
    payload = {"candidates": candidates, "promptFeedback": feedback, "usageMetadata": usage}
    for event in (whole(payload), *read(payload)):
        assert event.error is not None or orjson.loads(event.data) == event.parsed
