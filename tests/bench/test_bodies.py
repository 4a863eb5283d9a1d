"""The benchmark's bytes are what an OpenAI client and an OpenAI upstream would say."""

from __future__ import annotations

import json
from typing import Any

from bench import bodies, messages


def _payloads(chunks: tuple[bytes, ...]) -> list[Any]:
    """The JSON of chunked SSE events, [DONE] left out."""
    text = [chunk.partition(b"\r\n")[2].partition(b"\n\n")[0].removeprefix(b"data: ") for chunk in chunks]
    return [json.loads(each) for each in text if each != b"[DONE]"]


def test_plain_reply_states_its_length_and_holds_usage() -> None:
    head, _, body = bodies.plain_reply().partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    assert json.loads(body)["usage"]["completion_tokens"] == bodies.CHUNKS
    assert 600 <= len(body) <= 900


def test_stream_is_a_hundred_chunks_then_finish_usage_and_done() -> None:
    events = bodies.stream_events()
    parsed = _payloads(events)
    assert [bool(each["choices"]) for each in parsed] == [True] * (bodies.CHUNKS + 1) + [False]
    assert [each["choices"][0]["finish_reason"] for each in parsed[:-1]] == [None] * bodies.CHUNKS + ["stop"]
    assert parsed[-1]["usage"]["total_tokens"] == 187
    assert events[-1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_every_event_states_its_chunk_size() -> None:
    for event in (*bodies.stream_events(), bodies.stamped_event(7)):
        size, _, rest = event.partition(b"\r\n")
        assert rest[int(size, 16) :][:2] == b"\r\n"


def test_a_stamp_is_read_back_from_its_event() -> None:
    assert list(bodies.stamps(bodies.stamped_event(12) + bodies.stamped_event(3_456))) == [12, 3_456]


def test_request_states_the_length_of_its_body() -> None:
    body = bodies.ask(stream=True)
    head, _, rest = bodies.request(host="h", path=bodies.PATH, key="k", body=body).partition(b"\r\n\r\n")
    assert (rest, b"content-length: %d" % len(body) in head) == (body, True)


def test_messages_say_the_same_as_chat() -> None:
    chat, told = json.loads(bodies.ask(stream=True)), json.loads(messages.ask(stream=True, model="m"))
    assert [told["system"], told["messages"][0]["content"]] == [each["content"] for each in chat["messages"]]
    plain = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in (bodies.plain_reply(), messages.plain_reply())]
    assert plain[0]["choices"][0]["message"]["content"] == plain[1]["content"][0]["text"]
    frames = b"".join(event.partition(b"\r\n")[2] for event in messages.stream_events())
    events = [json.loads(line[6:]) for line in frames.splitlines() if line.startswith(b"data: ")]
    assert [event["type"] for event in events].count("content_block_delta") == bodies.CHUNKS - 1
    assert (events[-2]["usage"]["output_tokens"], events[-1]["type"]) == (bodies.CHUNKS, "message_stop")
    assert frames.endswith(b"\r\n0\r\n\r\n")
