"""Errors: one body that PPQ's clients, the SDKs and Aider all read."""

from __future__ import annotations

import pytest

from perquery import errors


def subclasses(kind: type[errors.PerQueryError]) -> list[type[errors.PerQueryError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in subclasses(child))]


@pytest.mark.parametrize("kind", subclasses(errors.PerQueryError))
def test_every_error_has_the_superset_body(kind: type[errors.PerQueryError]) -> None:
    body = errors.body_in(kind("What happened."), "openai")
    assert body["message"] == body["error"]["message"] == "What happened."
    assert (body["status"], body["statusCode"]) == ("error", kind.status)
    assert set(body["error"]) == {"message", "type", "code", "param"}


@pytest.mark.parametrize("kind", subclasses(errors.PerQueryError))
def test_every_error_has_the_anthropic_shape(kind: type[errors.PerQueryError]) -> None:
    body = errors.body_in(kind("What happened."), "anthropic", "req-1")
    assert body["type"] == "error"
    assert body["error"]["message"] == body["message"] == "What happened."
    assert body["request_id"] == "req-1"


def test_messages_says_529_where_the_others_say_503() -> None:
    error = errors.UpstreamUnavailable("Later.")
    assert (errors.status_in(error, "openai"), errors.status_in(error, "anthropic")) == (503, 529)


def test_details_stand_beside_the_message() -> None:
    body = errors.body_in(errors.InsufficientCredits("x", details={"required": "0.1"}), "openai")
    assert body["error"]["required"] == "0.1"
    assert body["error"]["code"] == "insufficient_credits"
