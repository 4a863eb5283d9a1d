"""What failures mean beyond the hosts' goldens: whose trouble it is, how long to wait, what may be said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.errors import UpstreamKind
from perquery.outbound import Kind, OutboundError
from perquery.providers.failures import TEXT_MAX, answered, broke, scrubbed, within

DATE = "Mon, 23 Nov 2026 10:00:00 GMT"


def told(message: str, **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, "refused"), (413, "refused"), (422, "refused"), (401, "auth"), (402, "funds"), (403, "auth")),
        *((404, "model"), (408, "timeout"), (429, "busy"), (500, "down"), (502, "down"), (503, "down"), (504, "down")),
        *((529, "busy"), (301, "down"), (204, "down"), (418, "down")),
    ],
)
def test_a_status_alone(status: int, kind: UpstreamKind) -> None:
    assert answered(status, {}, b"").kind == kind


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for function 'billing': payment required is no type",
        "Invalid value: 'Your credit balance is too low'",
        "tools[0].name: model x does not exist",
        "messages[0].content: insufficient balance",
        "Expected a string, got 'Incorrect API key provided'",
        "Invalid value: 'This organization has been disabled'",
    ],
)
def test_a_caller_s_words_bench_no_host(message: str) -> None:
    """A 400 often quotes the request; only how the vendor's own sentence begins says more than the status."""
    assert answered(400, {}, told(message)).kind == "refused"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("This organization has been disabled.", "auth"),
        ("User location is not supported for the API use.", "auth"),
        ("You have reached your specified API usage limits. You will regain access on 2026-12-01.", "funds"),
        ("Your credit balance is too low to access the API.", "funds"),
        ("Your organization must be verified to stream this model.", "model"),
    ],
)
def test_the_operator_s_own_account_is_no_fault_of_the_caller(message: str, kind: UpstreamKind) -> None:
    """Vendors answer 400 to it, which would end at the caller, with the vendor's words."""
    assert answered(400, {}, told(message, type="invalid_request_error")).kind == kind


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(429, "insufficient_quota", "funds"), (400, "model_not_found", "model"), (413, "rate_limit_exceeded", "busy")],
)
def test_a_code_goes_before_the_status(status: int, code: str, kind: UpstreamKind) -> None:
    assert answered(status, {}, told("No.", code=code)).kind == kind


def test_a_rate_limit_that_speaks_of_billing_is_none_of_it() -> None:
    """Gemini says so of its limits per minute."""
    assert (
        answered(429, {}, told("You exceeded your current quota, please check your plan and billing.")).kind == "busy"
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("something broke", "down"),
        ({"message": "overloaded"}, "busy"),
        ({"message": "no", "code": 400}, "refused"),
        ({"message": "no", "code": "402"}, "funds"),
        ({"message": "no", "code": 1500}, "down"),
        ({"message": "no", "code": True}, "down"),
        ({"message": "too long", "code": "context_length_exceeded"}, "refused"),
        ({"type": "overloaded_error", "message": "Overloaded"}, "busy"),
        ({"type": "invalid_request_error", "message": "Insufficient Balance"}, "funds"),
        ({}, "down"),
        (None, "down"),
        ([], "down"),
        (5, "down"),
    ],
)
def test_an_error_within_an_answer(error: Any, kind: UpstreamKind) -> None:
    assert within(error).kind == kind


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [("connect", "down"), ("timeout", "timeout"), ("idle", "timeout"), ("broken", "down"), ("protocol", "garbage")],
)
def test_a_connection_that_fails(kind: Kind, meaning: UpstreamKind) -> None:
    assert broke(OutboundError(kind, "why", sent=True)).kind == meaning


@pytest.mark.parametrize("sent", [True, False])
def test_whether_it_was_sent(sent: bool) -> None:
    assert broke(OutboundError("broken", "why", sent=sent)).sent is sent


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 2),
        ({"retry-after": "99999999999999"}, 86_400),
        ({"retry-after-ms": "1500", "retry-after": "60"}, 2),
        ({"retry-after": "Mon, 23 Nov 2026 10:01:30 GMT", "date": DATE}, 90),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Mon, 23 Nov 2026 10:01:30 -0000", "date": DATE}, None),
        ({"retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "."}, None),
        ({"retry-after": "²"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: int | None) -> None:
    assert answered(429, headers, b"").retry_after_s == seconds


@given(st.text(max_size=40))
def test_any_retry_after_is_survived(text: str) -> None:
    assert (answered(429, {"retry-after": text, "date": DATE}, b"").retry_after_s or 0) >= 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the upstream answered 400"),
        (b"<html><title>400</title></html>", "the upstream answered 400"),
        (b"plain words", "plain words"),
        (b'"json words"', "json words"),
        (b"{}", "the upstream answered 400"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error": "words"}', "words"),
        (b'{"message": "words"}', "words"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "too many"}, {"msg": "and more"}]}', "body.n: too many; and more"),
        (b'{"error": {"message": {"detail": "words"}}}', "words"),
        (b'{"error": {"message": 5}}', "the upstream answered 400"),
    ],
)
def test_the_message(body: bytes, message: str) -> None:
    assert answered(400, {}, body).message == message


def test_a_message_is_bounded() -> None:
    assert len(answered(400, {}, told("x" * 100_000)).message) == TEXT_MAX


def test_code_and_parameter_are_bounded() -> None:
    error = answered(400, {}, told("no", code="c" * 5000, param="p" * 5000))
    assert (len(error.code or ""), len(error.param or "")) == (100, 100)


@pytest.mark.parametrize(
    "secret",
    [
        *("sk-proj-abcdefgh12345678", "sk-ant-api03-abcdef-123456", "gsk_abcdefgh12345", "xai-abcdefgh12345"),
        *("pplx-abcdefgh12345", "AIzaSyA-abcdefghijk", "hf_abcdefghijk", "nvapi-abcdefghijk", "org-abcdefghij12"),
        "org_01abcdefghij",
    ],
)
def test_keys_and_organisations_are_cut_out(secret: str) -> None:
    assert secret not in answered(400, {}, told(f"Key {secret} of the house")).message


def test_the_key_that_was_used_is_cut_out_whatever_it_looks_like() -> None:
    assert answered(400, {}, told("what is hunter2?"), "hunter2").message == "what is [redacted]?"


@pytest.mark.parametrize("words", ["key_limit_exceeded", "organization", "user-defined", "ask-me", "request_id"])
def test_harmless_words_stay(words: str) -> None:
    assert scrubbed(words) == words


def test_a_provider_behind_the_host_is_quoted() -> None:
    body = told("Provider returned error", code=400, metadata={"raw": '{"error": {"message": "n must be 1"}}'})
    assert answered(400, {}, body).message == "Provider returned error: n must be 1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "metadata", "raw", "loc", "msg", "param"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.integers(201, 599), JSON)
def test_any_body_is_survived(status: int, body: Any) -> None:
    assert answered(status, {}, json.dumps(body).encode()).message


@given(JSON)
def test_any_error_object_is_survived(error: Any) -> None:
    assert within(error).message


def test_a_deep_body_is_survived() -> None:
    deep = '{"message":' * 500 + '"x"' + "}" * 500
    assert answered(400, {}, deep.encode()).kind == "refused"
