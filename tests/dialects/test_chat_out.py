"""Chat completions: how answers are written."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery import money
from perquery.calls import Call, Event, Figures, Usage
from perquery.dialects.chat_out import ChatWriter, as_chunk, relayed, usage_object
from perquery.errors import UpstreamUnavailable

COST: dict[str, Any] = {"cost": money.number(5)}
TEXT = {"id": "c1", "created": 5, "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}


def figures(upstream: dict[str, Any] | None = None) -> Figures:
    return Figures({"input": 3, "output": 4}, upstream, COST, "perquery {}")


def writer(*, wants_usage: bool = False) -> ChatWriter:
    return ChatWriter(Call("openai-chat", "m", {}, b"", stream=True, wants_usage=wants_usage), "gen-1")


def payloads(written: bytes) -> list[bytes]:
    return [frame.removeprefix(b"data: ") for frame in written.split(b"\n\n") if frame]


def test_usage_nulls_are_hidden_from_who_did_not_ask() -> None:
    data = b'{"id":"1","choices":[{"delta":{"content":",\\"usage\\":null"}}],"usage":null}'
    assert relayed(data, wants_usage=True) == b"data: " + data + b"\n\n"
    hidden = relayed(data, wants_usage=False)
    assert hidden == b'data: {"id":"1","choices":[{"delta":{"content":",\\"usage\\":null"}}]}\n\n'


def test_the_upstreams_own_cost_is_not_shown() -> None:
    usage = {"prompt_tokens": 3, "cost": 1.0, "cost_details": {}, "is_byok": True}
    assert usage_object(figures(usage)) == {"prompt_tokens": 3} | COST
    assert usage_object(figures()) == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7} | COST


def test_an_error_within_a_stream_is_readable_by_sdks() -> None:
    out = writer()
    out.event(Event(orjson.dumps(TEXT), 2, TEXT))
    first, done = payloads(out.broken(UpstreamUnavailable("Later.")))
    chunk = orjson.loads(first)
    assert chunk["error"]["message"] == "Later."
    assert (chunk["id"], chunk["choices"][0]["finish_reason"]) == ("c1", "error")
    assert done == b"[DONE]"


def test_usage_waits_for_its_price() -> None:
    """The upstream's last chunk may carry both an end and its usage: only the end leaves before the settlement."""
    out = writer(wants_usage=True)
    last = TEXT | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    (now,) = payloads(out.event(Event(orjson.dumps(last), 0, last, Usage({"input": 3}), "stop")))
    assert "usage" not in orjson.loads(now)
    usage, done = payloads(out.tail(figures({"prompt_tokens": 3}), cut=False))
    assert orjson.loads(usage)["usage"] == {"prompt_tokens": 3, "cost": 5e-09}
    assert done == b"[DONE]"


@pytest.mark.parametrize("cut", [True, False])
def test_who_wants_no_usage_finds_the_price_in_a_comment(cut: bool) -> None:
    lines = writer().tail(figures(), cut=cut).split(b"\n\n")
    assert lines[-3:] == [b": perquery {}", b"data: [DONE]", b""]
    assert [b'"finish_reason":"length"' in line for line in lines[:-3]] == [True] * cut


def test_a_whole_answer_is_one_chunk_of_a_stream() -> None:
    message = {"role": "assistant", "content": "Hi"}
    completion = {"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}}
    chunk = as_chunk(completion, Event(b"", 2, completion, Usage({}), "stop", whole=True))
    assert chunk.parsed == {
        "object": "chat.completion.chunk",
        "id": "c1",
        "choices": [{"index": 0, "delta": message, "finish_reason": "stop"}],
    }
