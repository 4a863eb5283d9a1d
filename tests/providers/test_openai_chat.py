"""One request out, events in: every way in which hosts answer, on a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.calls import Event
from perquery.providers import line, replies
from perquery.providers.hosts import HOSTS, Host
from perquery.providers.keys import BENCH_S
from perquery.providers.openai_chat import delivered, event
from tests.providers.wire import SSE, answer, answered, piece, sse

HOST = Host("test", "")
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}


def read(payload: Any, host: Host = HOST, *, whole: bool = False) -> Event:
    return event(json.dumps(payload, ensure_ascii=False).encode(), host, whole=whole)


def streamed(body: bytes, kind: str = SSE) -> list[Event]:
    return answered(HOST, answer(200, body, kind)).events


def kinds(events: list[Event]) -> list[str | None]:
    return [each.error.kind if each.error is not None else None for each in events]


# -- streams -------------------------------------------------------------------------------------------------


def test_a_stream() -> None:
    result = answered(HOST, answer(200, sse(piece("Hel"), piece("lo", "stop"), {"choices": [], "usage": USAGE}), SSE))
    assert [(each.text_bytes, each.finish) for each in result.events] == [(3, None), (2, "stop"), (0, None)]


def test_what_comes_in_one_piece_leaves_as_one_batch() -> None:
    result = answered(HOST, answer(200, sse(piece("Hel"), piece("lo", "stop")), SSE))
    assert [len(batch) for batch in result.batches] == [2]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_comments(end: str) -> None:
    lines = [": OPENROUTER PROCESSING", "", "event: message", f"data: {json.dumps(piece('Hi', 'stop'))}", "", ": x", ""]
    assert [each.text_bytes for each in streamed(end.join((*lines, "")).encode())] == [2]


@pytest.mark.parametrize("blank", ["", " ", "   "])
def test_blank_events_are_none(blank: str) -> None:
    assert len(streamed(sse(blank, piece("Hi"), blank, piece(None, "stop")))) == 2


def test_nothing_is_read_behind_the_end() -> None:
    assert len(streamed(sse(piece("Hi", "stop")) + sse(piece("more")))) == 1


def test_a_finish_without_the_end_mark_is_an_end() -> None:
    assert answered(HOST, answer(200, sse(piece("Hi", "stop"), done=False), SSE)).error is None


def test_the_end_mark_without_a_finish_is_an_end() -> None:
    assert answered(HOST, answer(200, sse(piece("Hi")), SSE)).error is None


def test_a_last_event_without_its_blank_line_counts() -> None:
    body = sse(piece("Hi", "stop"), {"choices": [], "usage": USAGE}, done=False)
    assert streamed(body.rstrip(b"\n"))[-1].usage is not None


def test_a_torn_last_event_does_not() -> None:
    assert kinds(streamed(sse(piece("Hi", "stop"), done=False) + b'data: {"choi')) == [None]


@pytest.mark.parametrize("body", [b"", sse(done=False), sse(piece("Hi"), done=False), b": only a comment\n\n"])
def test_a_stream_that_breaks_off(body: bytes) -> None:
    error = answered(HOST, answer(200, body, SSE)).error
    assert error is not None
    assert error.kind == "down"


def test_a_connection_that_breaks_off() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    data = sse(piece("Hi"), done=False)
    result = answered(HOST, head + f"{len(data):x}\r\n".encode() + data + b"\r\n")
    assert (len(result.events), result.error and result.error.kind) == (1, "down")


def test_a_connection_that_breaks_off_behind_the_finish() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    data = sse(piece("Hi", "stop"), done=False)
    result = answered(HOST, head + f"{len(data):x}\r\n".encode() + data + b"\r\n")
    assert (len(result.events), result.error) == (1, None)


@pytest.mark.parametrize("payload", ["]garbage[", "[]", "5", '{"choices": 5}', '{"choices": [5]}', "{} {}"])
def test_garbage(payload: str) -> None:
    assert kinds(streamed(sse(piece("Hi"), payload, piece("more", "stop")))) == [None, "garbage"]


def test_an_event_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.dialects.sse.EVENT_BYTES_MAX", 1000)
    error = answered(HOST, answer(200, b"data: " + b"x" * 2000, SSE)).error
    assert error is not None
    assert error.kind == "garbage"


@pytest.mark.parametrize("kind", ["", "text/plain", "text/plain; charset=utf-8", "application/octet-stream"])
def test_a_stream_by_another_name(kind: str) -> None:
    assert [each.text_bytes for each in streamed(sse(piece("Hi", "stop")), kind)] == [2]


def test_a_plain_answer_to_a_stream() -> None:
    assert [each.whole for each in streamed(json.dumps(WHOLE).encode(), "application/json")] == [True]


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"", b"null", b"{}", b'{"choices": null}'])
def test_a_page_for_a_stream(body: bytes) -> None:
    assert kinds(streamed(body, "text/html")) == ["garbage"]


def test_a_stream_that_was_read_to_its_end_mark_gives_its_connection_back() -> None:
    whole = answer(200, sse(piece("Hi", "stop")), SSE)
    assert answered(HOST, whole, whole, whole, asks=3).connections == 1


@pytest.mark.parametrize(
    ("name", "stream", "asked"), [("local", True, True), ("local", False, False), ("xai", True, False)]
)
def test_a_host_that_closes_behind_its_streams_is_asked_to(name: str, stream: bool, asked: bool) -> None:
    (head,) = answered(HOSTS[name], OK, stream=stream).heads
    assert ("connection: close" in head) is asked


def test_a_refusal_gives_its_connection_back() -> None:
    assert answered(HOST, DEAD, BUSY, OK, keys=["a", "b", "c"]).connections == 1


# -- plain answers -------------------------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    (one,) = answered(HOST, answer(200, json.dumps(WHOLE | {"usage": USAGE}).encode()), stream=False).events
    assert (one.whole, one.text_bytes, one.finish, one.usage and one.usage.counts) == (
        True,
        5,
        "stop",
        {"input": 10, "output": 2},
    )


def test_a_stream_to_a_plain_request() -> None:
    result = answered(HOST, answer(200, sse(piece("Hi", "stop")), SSE), stream=False)
    assert [each.whole for each in result.events] == [False]


def test_a_plain_answer_that_breaks_off() -> None:
    error = answered(HOST, answer(200, json.dumps(WHOLE).encode())[:-5], stream=False).error
    assert error is not None
    assert error.kind == "down"


def test_a_plain_answer_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "PLAIN_BYTES_MAX", 10)
    error = answered(HOST, answer(200, json.dumps(WHOLE).encode()), stream=False).error
    assert error is not None
    assert error.kind == "garbage"


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {"error": {"message": "no", "code": 429}},
        {"error": "overloaded"},
        {"object": "error", "message": "overloaded", "type": "x"},
        {"type": "error", "code": "rate_limit_error"},
        {"x_groq": {"id": "r", "error": "overloaded"}, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"code": 429}}]},
    ],
)
def test_an_error_in_the_stream(payload: Any) -> None:
    assert kinds(streamed(sse(piece("Hi"), payload))) == [None, "busy"]


def test_a_finish_of_error_without_words() -> None:
    assert kinds(streamed(sse(piece("Hi", "error")))) == ["down"]


@pytest.mark.parametrize("nothing", [None, "", {}, []])
def test_an_empty_error_is_none(nothing: Any) -> None:
    assert read(piece("Hi") | {"error": nothing}).error is None


def test_an_error_in_the_place_of_an_answer() -> None:
    body = json.dumps({"error": {"message": "no such model", "code": "model_not_found"}}).encode()
    assert kinds(answered(HOST, answer(200, body), stream=False).events) == ["model"]


def test_a_refusal_is_raised_with_all_that_it_says() -> None:
    body = b'{"error": {"message": "n must be 1", "code": "bad", "param": "n"}}'
    error = answered(HOST, answer(400, body, extra="retry-after: 9\r\n")).error
    assert error is not None
    assert (error.kind, error.status, error.message, error.code, error.param, error.retry_after_s) == (
        *("refused", 400, "n must be 1", "bad", "n"),
        9,
    )


def test_a_refusal_whose_body_breaks_off() -> None:
    error = answered(HOST, answer(503, b'{"error": {"message": "x"}}')[:-5]).error
    assert error is not None
    assert (error.kind, error.status) == ("down", 503)


def test_a_refusal_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "ERROR_BYTES_MAX", 10)
    error = answered(HOST, answer(429, b"x" * 20)).error
    assert error is not None
    assert (error.kind, error.status) == ("busy", 429)


def test_the_key_is_in_no_error() -> None:
    error = answered(HOST, answer(400, b'{"error": "hunter2 is odd"}'), keys=["hunter2"]).error
    assert error is not None
    assert "hunter2" not in error.message


# -- keys ----------------------------------------------------------------------------------------------------

OK = answer(200, json.dumps(WHOLE).encode())
DEAD = answer(401, b"{}")
EMPTY = answer(402, b"{}")
BUSY = answer(429, b"{}", extra="retry-after: 7\r\n")


class Clock:
    """Hand-cranked: each reading moves it by `step` seconds."""

    def __init__(self, step: float = 0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_keys_take_turns() -> None:
    assert answered(HOST, *[OK] * 5, keys=["a", "b"], asks=5).keys == ["a", "b", "a", "b", "a"]


def test_without_a_key_none_is_sent() -> None:
    assert answered(HOST, OK, keys=[]).keys == []


@pytest.mark.parametrize("refusal", [DEAD, EMPTY, BUSY])
def test_a_key_that_is_refused_rests(refusal: bytes) -> None:
    result = answered(HOST, refusal, OK, OK, OK, keys=["a", "b"], asks=3)
    assert (result.keys, result.error) == (["a", "b", "b", "b"], None)


@pytest.mark.parametrize(("refusal", "rest_s"), [(DEAD, BENCH_S), (EMPTY, BENCH_S), (BUSY, 7.0)])
def test_a_key_comes_back_when_its_rest_is_over(refusal: bytes, rest_s: float) -> None:
    result = answered(HOST, refusal, OK, OK, keys=["a", "b"], asks=2, now=Clock(rest_s))
    assert result.keys == ["a", "b", "a"]


def test_when_all_keys_are_refused_the_error_is_told() -> None:
    result = answered(HOST, DEAD, EMPTY, keys=["a", "b"])
    assert (result.keys, result.error and result.error.kind) == (["a", "b"], "funds")


def test_when_all_keys_rest_the_first_that_is_due_is_asked() -> None:
    assert answered(HOST, DEAD, BUSY, OK, keys=["a", "b"], asks=2).keys == ["a", "b", "b"]


@pytest.mark.parametrize("refusal", [answer(400, b"{}"), answer(500, b"{}"), answer(404, b"{}")])
def test_another_key_mends_nothing_else(refusal: bytes) -> None:
    assert answered(HOST, refusal, keys=["a", "b"]).keys == ["a"]


def test_a_single_key_is_asked_again() -> None:
    assert answered(HOST, DEAD, OK, keys=["a"], asks=2).error is None


# -- events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "héllo"}, 6),
        ({"content": ""}, 0),
        ({"content": None, "reasoning": "abc"}, 3),
        ({"reasoning": "abc", "reasoning_content": "abc"}, 3),
        ({"reasoning": "abc", "reasoning_details": [{"type": "reasoning.text", "text": "abc"}]}, 3),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "abc"}]}, 3),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}], "reasoning": "abc"}, 3),
        ({"content": [{"type": "text", "text": "ab"}, {"type": "thinking", "thinking": [{"text": "cd"}]}]}, 4),
        ({"refusal": "no"}, 2),
        ({"tool_calls": [{"function": {"name": "now", "arguments": "{}"}}]}, 5),
        ({"function_call": {"name": "now", "arguments": "{}"}}, 5),
        ({"audio": {"id": "a", "data": "AAAA", "transcript": "hi"}}, 2),
        ({"tool_calls": [None, {"function": None}], "content": [None, 5]}, 0),
        ({"content": 5, "reasoning": {"a": 1}, "tool_calls": "x", "audio": 5}, 0),
        (None, 0),
    ],
)
def test_delivered(message: Any, expected: int) -> None:
    assert delivered(message) == expected


def test_usage_on_the_way_is_the_last_that_came() -> None:
    early = read(piece("Hi", usage={"prompt_tokens": 10, "completion_tokens": 1}))
    assert early.usage is not None
    assert early.usage.counts == {"input": 10, "output": 1}


@pytest.mark.parametrize(
    "usage",
    [{"prompt_tokens": 0, "completion_tokens": 0, "cost": {"total_cost": 0.1}}, {"cost": 0.5}, {"prompt_tokens": -1}],
)
def test_figures_that_are_none_do_not_reach_the_caller(usage: dict[str, Any]) -> None:
    one = read(piece("Hi", usage=usage), HOSTS["perplexity"])
    assert (one.usage, "usage" in (one.parsed or {}), b"usage" in one.data) == (None, False, False)


def test_zeros_at_the_end_are_figures() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0}
    assert [
        read(payload).usage is not None
        for payload in (piece(None, "stop", usage=usage), {"choices": [], "usage": usage})
    ] == [True, True]


@pytest.mark.parametrize(
    ("name", "usage", "pico"),
    [
        ("openrouter", '{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.1000000000000000055}', 100_000_000_001),
        ("openrouter", '{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0}', 0),
        ("openrouter", '{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0, "is_byok": true,'
         ' "cost_details": {"upstream_inference_cost": 0.5}}', 500_000_000_000),
        ("perplexity", '{"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": 5e-3}}', 5_000_000_000),
        ("xai", '{"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 7}', 700),
        ("openai", '{"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}', None),
    ],
)  # fmt: skip
def test_a_reported_cost_is_read_as_it_was_written(name: str, usage: str, pico: int | None) -> None:
    one = event(f'{{"choices": [], "usage": {usage}}}'.encode(), HOSTS[name])
    assert one.usage is not None
    assert one.usage.upstream_cost_pico == pico


@pytest.mark.parametrize("whole", [False, True], ids=["stream", "plain"])
@pytest.mark.parametrize("content", ["{}", "false", "0"])
def test_a_content_that_is_none_is_garbage(content: str, whole: bool) -> None:
    answer = f'{{"choices": [{{"{"message" if whole else "delta"}": {{"content": {content}}}}}]}}'
    one = event(answer.encode(), HOST, whole=whole)
    assert one.error is not None and one.error.kind == "garbage"


@pytest.mark.parametrize("whole", [False, True], ids=["stream", "plain"])
@pytest.mark.parametrize("usage", ["null", '{"prompt_tokens": -1}'], ids=["counted", "written again"])
@pytest.mark.parametrize(("levels", "garbage"), [(50, False), (260, True), (900, True)])
def test_an_answer_that_cannot_be_written_again_is_garbage(levels: int, garbage: bool, usage: str, whole: bool) -> None:
    """JSON is read deeper than it is written, and deeper than Python calls itself."""
    pairs = levels // 2
    deep = '[{"text": ' * pairs + '"Hi"' + "}]" * pairs
    part = "message" if whole else "delta"
    answer = f'{{"choices": [{{"{part}": {{"content": {deep}}}, "finish_reason": "stop"}}], "usage": {usage}}}'
    one = event(answer.encode(), HOST, whole=whole)
    assert (one.error is not None and one.error.kind == "garbage") is garbage


def test_an_event_fits_a_frame() -> None:
    data = json.dumps(piece("Hi", "stop"), indent=1).encode()
    assert b"\n" not in event(data, HOST).data


DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.none() | st.text(max_size=5),
        "reasoning": st.none() | st.text(max_size=5),
        "reasoning_content": st.none() | st.text(max_size=5),
        "tool_calls": st.just([{"index": 0, "function": {"arguments": "{}"}}]),
    },
)


@given(DELTAS, st.none() | st.just("stop"))
def test_the_short_way_counts_as_the_long_one(delta: dict[str, Any], finish: str | None) -> None:
    """Nearly every chunk takes the short way; a line break in the data forces the long one."""
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    short = event(json.dumps(chunk).encode(), HOST)
    long = event(json.dumps(chunk, indent=1).encode(), HOST)
    assert (short.text_bytes, short.parsed, short.finish) == (long.text_bytes, long.parsed, long.finish)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "content",
                    "tool_calls",
                    "function",
                    "usage",
                    "x_groq",
                    "error",
                    "index",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON, st.booleans(), st.sampled_from(sorted(HOSTS)))
def test_whatever_comes_is_an_event(payload: Any, whole: bool, name: str) -> None:
    one = read(payload, HOSTS[name], whole=whole)
    assert one.error is not None or one.parsed is not None
