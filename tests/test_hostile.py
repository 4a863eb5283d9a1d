"""Bad bodies against the gateway as a process: malformed, of wrong types, too large, too slow, broken off."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.gate import CHAT, GOOD, HELLO, KEYS, MEMORY_KB_MAX, MIB, TOPUP, Gate, attacked, connected

POSTS: Final = (CHAT, KEYS, TOPUP)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with attacked(tmp_path_factory.mktemp("hostile")) as gate:
        yield gate


# -- bodies that are not what they should be -----------------------------------------------------------------------

NOT_JSON: Final = {
    "nothing": b"",
    "blank": b" \n\t ",
    "null": b"null",
    "list": b"[]",
    "text": b'"model"',
    "number": b"1",
    "half": b'{"model": "stub-model", "mess',
    "two": b'{"name": "a"}{"name": "b"}',
    "brackets": b"[" * 60_000,
    "many brackets": b"[" * 100_000,
    "nested lists": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"name":' * 100_000 + b"1" + b"}" * 100_000,
    "infinite": b'{"amount": 1e999, "usage_limit_usd": 1e999, "seed": 1e999}',
    "long number": b'{"amount": %d, "usage_limit_usd": %d, "seed": %d}' % ((10**400,) * 3),
    "very long number": b'{"amount": 1' + b"0" * 10_000 + b"}",
    "long exponent": b'{"amount": 1e' + b"9" * 1_000 + b"}",
    "NaN": b'{"amount": NaN, "usage_limit_usd": NaN, "name": "x", "temperature": NaN}',
    "Infinity": b'{"amount": -Infinity, "usage_limit_usd": Infinity, "name": "x", "temperature": Infinity}',
    "not UTF-8": b'{"name": "\xff\xfe", "model": "\xff"}',
    "overlong": b'{"name": "\xc0\xaf", "model": "\xc0\xaf"}',
    "encoded surrogate": b'{"name": "\xed\xa0\x80", "model": "\xed\xa0\x80"}',
    "lone surrogate": rb'{"name": "\ud800", "model": "\udc00", "currency": "\ud800", "amount": 1}',
    "NUL": rb'{"name": "\u0000", "model": 7, "currency": "\u0000", "amount": 1}',
    "bare NUL": b'{"name": "\x00"}',
    "UTF-16": '{"name": "", "model": 1}'.encode("utf-16"),
    "gzip": gzip.compress(json.dumps(GOOD | {"name": "x", "amount": 1}).encode()),
    "form": b"model=stub-model&name=x&amount=1",
    "XML": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
@pytest.mark.parametrize("path", POSTS)
def test_a_bad_body_is_refused(gate: Gate, path: str, body: bytes) -> None:
    assert gate.post(path, body).status == (413 if path != CHAT and len(body) > 64 * 1024 else 400)


@pytest.mark.parametrize("depth", [253, 300, 1_000])
def test_depth_that_is_read_but_cannot_be_written_is_a_400(gate: Gate, depth: int) -> None:
    body = json.dumps(GOOD)[:-1] + ', "metadata": {"a": ' + "[" * depth + "]" * depth + "}}"
    assert gate.post(CHAT, body.encode()).status == 400


@pytest.mark.parametrize("item", ["{}", "[]", '""', "1.5"])
def test_a_body_that_would_grow_in_memory_is_a_400(gate: Gate, item: str) -> None:
    body = '{"model": "stub-model", "messages": [' + f"{item}," * (6 * MIB // (len(item) + 1)) + "1]}"
    assert "values" in gate.post(CHAT, body.encode()).json()["message"]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "application/json; charset=utf-16", "?", ""])
def test_the_content_type_changes_nothing(gate: Gate, kind: str) -> None:
    assert gate.post(CHAT, json.dumps(GOOD).encode(), {"content-type": kind}).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"model": "stub-model", "model": "nobody", "messages": %s}', 404),
        ('{"model": "nobody", "model": "stub-model", "messages": %s}', 200),
        ('{"model": "stub-model", "n": 1, "n": 1000, "messages": %s}', 400),
        ('{"model": "stub-model", "messages": [], "messages": %s}', 200),
    ],
)
def test_of_a_field_that_comes_twice_the_last_counts(gate: Gate, body: str, status: int) -> None:
    assert gate.post(CHAT, (body % json.dumps(HELLO)).encode()).status == status


# -- fields of the wrong type --------------------------------------------------------------------------------------

VALUES: Final[dict[str, Any]] = {
    "flag": True,
    "integer": 1,
    "number": 0.5,
    "negative": -1,
    "huge": 10**30,
    "text": "x",
    "bytes": "\x00\u202e\U0001f4a9",
    "list": ["x"],
    "lists": [[[[]]]],
    "object": {"x": 1},
}
CHAT_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "model": (),  # none of the values is a model's name
    "messages": (),
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "n"), ("integer",)),
    **dict.fromkeys(("stream", "parallel_tool_calls", "logprobs"), ("flag",)),
    **dict.fromkeys(("temperature", "top_p", "top_k", "min_p"), ("integer", "number", "negative", "huge")),
    **dict.fromkeys(
        ("frequency_penalty", "presence_penalty", "repetition_penalty"), ("integer", "number", "negative", "huge")
    ),
    **dict.fromkeys(("seed", "top_logprobs"), ("integer", "negative")),
    **dict.fromkeys(("stop",), ("text", "bytes", "list")),
    **dict.fromkeys(("tools",), ()),
    **dict.fromkeys(("functions", "modalities", "plugins"), ("list", "lists")),
    **dict.fromkeys(("tool_choice", "function_call"), ("text", "bytes", "object")),
    **dict.fromkeys(("stream_options", "response_format", "logit_bias", "metadata", "reasoning"), ("object",)),
    **dict.fromkeys(("prediction", "audio", "usage", "provider", "web_search_options"), ("object",)),
    **dict.fromkeys(("user", "safety_identifier", "reasoning_effort", "verbosity"), ("text", "bytes")),
    **dict.fromkeys(("previous_response_id", "conversation", "container", "background", "speed"), ()),
    "models": ("list",),
    **dict.fromkeys(("inference_geo", "search_parameters", "route", "service_tier"), ()),
}


@pytest.mark.parametrize("field", CHAT_FIELDS)
def test_a_chat_field_of_the_wrong_type_is_refused(gate: Gate, field: str) -> None:
    for kind, value in VALUES.items():
        answer = gate.chat(**{field: value})
        if kind in CHAT_FIELDS[field]:
            assert answer.status == 200, kind
        elif field == "model" and isinstance(value, str):
            assert answer.json()["error"]["code"] == "model_not_found"
        else:
            assert (answer.status, answer.json()["error"]["param"][: len(field)]) == (400, field), kind


@pytest.mark.parametrize("field", ["query_source", "session_id", "store", "zdr", "credit_id", "api_key", "anything"])
def test_a_field_that_is_ours_or_unknown_breaks_nothing(gate: Gate, field: str) -> None:
    assert {gate.chat(**{field: value}).status for value in VALUES.values()} == {200}


@pytest.mark.parametrize(
    "messages",
    [
        *(value for value in VALUES.values() if value != ["x"]),
        [],
        [None],
        [{}],
        [{"role": None}],
        [{"role": 1, "content": "x"}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": {"text": "x"}}],
        [{"role": "user", "content": [1]}],
        [{"role": "user", "content": [None]}],
        [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-of-another"}}]}],
    ],
    ids=repr,
)
def test_bad_messages_are_a_400(gate: Gate, messages: Any) -> None:
    assert gate.chat(messages=messages).json()["error"]["param"].startswith("messages")


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_the_inside_of_a_message_is_the_upstreams_to_judge(gate: Gate, value: Any) -> None:
    part = {"type": value, "image_url": value, "file": value, "input_audio": value, "cache_control": value}
    nested = {"image_url": {"url": value, "detail": value}, "file": {"file_data": value}}
    message = {"role": "user", "content": [part, nested], "name": value, "tool_calls": value, "reasoning": value}
    options = {"stream_options": {"include_usage": value}, "usage": {"include": value}}
    provider = {"provider": {"anything": value}, "reasoning": {"effort": value, "enabled": value}}
    assert gate.chat(messages=[message], **options, **provider).status == 200


@pytest.mark.parametrize("field", ["name", "usage_limit_usd", "reset_period", "expire_at", "models", "prompt_caching"])
def test_a_field_of_a_key_of_the_wrong_type_is_refused(gate: Gate, field: str) -> None:
    right = {"name": ("text",), "usage_limit_usd": ("integer", "number"), "prompt_caching": ("flag",)}.get(field, ())
    for kind, value in VALUES.items():
        sent = {"name": "spare"} | {field: value}
        if kind not in right:
            answer = gate.post(KEYS, sent)
            assert (answer.status, answer.json()["error"]["param"]) == (400, field), kind


@pytest.mark.parametrize("field", ["amount", "currency"])
def test_a_field_of_a_top_up_of_the_wrong_type_is_refused(gate: Gate, field: str) -> None:
    for kind, value in VALUES.items():
        if field == "currency" or kind not in ("integer", "number"):
            answer = gate.post(TOPUP, {"amount": 1, "currency": "USD"} | {field: value})
            assert (answer.status, answer.json()["error"]["param"]) == (400, field), kind


# -- bodies that are too large, too slow, or break off -------------------------------------------------------------


@pytest.mark.parametrize("path", [*POSTS, "/credits/balance"])
def test_what_says_that_it_is_too_large_is_refused_before_it_comes(gate: Gate, path: str) -> None:
    lines = [] if path == "/credits/balance" else [f"X-Api-Key: {gate.key}"]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Credit-Id: {gate.credit_id}\r\nContent-Length: {100 * MIB}\r\n"
    if path == "/credits/balance":
        head = head.replace(f"X-Credit-Id: {gate.credit_id}\r\n", "")
    answer = gate.raw("\r\n".join([head.rstrip(), *lines, "", ""]).encode())
    assert answer is not None
    assert (answer.status, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [*(("POST", path) for path in POSTS), ("POST", "/accounts/create"), ("GET", "/v1/models"), ("POST", "/nowhere")],
)
def test_a_body_that_does_not_end_is_never_kept(gate: Gate, method: str, path: str) -> None:
    head = gate.head(method, path, f"X-Credit-Id: {gate.credit_id}", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (MIB, b"[" * MIB)
    answer = gate.raw(head, *[chunk] * 100, b"0\r\n\r\n")
    assert answer is None or answer.status in (200, 201, 403, 404, 413)
    assert gate.memory_kb() < MEMORY_KB_MAX


def test_a_large_body_of_a_stranger_is_not_read(gate: Gate) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (50 * MIB)
    answer = gate.raw(head, b"[" * (50 * MIB))
    assert answer is None or answer.status == 401
    assert gate.memory_kb() < MEMORY_KB_MAX


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("reset", [False, True])
def test_a_caller_who_leaves_within_the_body_costs_nothing(gate: Gate, path: str, reset: bool) -> None:
    before = gate.gateway.balance(gate.key)
    for sent in (b"", b"{", json.dumps(GOOD).encode()):
        with connected(gate.gateway) as connection:
            connection.sendall(gate.head("POST", path, "Content-Length: 1000") + sent)
            if reset:
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    gate.settled()
    assert gate.gateway.balance(gate.key) == before
