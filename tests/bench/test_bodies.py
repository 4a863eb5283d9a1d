"""The benchmark's bytes are what an OpenAI client and an OpenAI upstream would say."""

from __future__ import annotations

import json
from typing import Any

from bench import bodies


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
