"""Answers: exact amounts, one shape of error whatever went wrong, nothing from inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI

from perquery import money
from perquery.errors import BadRequest, InsufficientCredits, PerQueryError, UpstreamUnavailable
from perquery.routes import answers
from tests.asgi import Answer, call


def app() -> FastAPI:
    made = FastAPI()
    answers.install(made)

    @made.get("/number")
    async def number(page: int = 1) -> None:
        raise BadRequest(f"page {page}", param="page")

    @made.get("/bug")
    async def bug() -> None:
        raise RuntimeError("secret: sk-inside /some/path")

    return made


def ask(method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    return asyncio.run(call(app(), method, path, headers))


def test_amounts_are_plain_decimals() -> None:
    assert answers.MoneyJSON({"a": money.number(100)}).body == b'{"a":0.0000001}'


def test_a_time_is_written_as_ppq_does() -> None:
    assert answers.iso(1_767_571_200_007) == "2026-01-05T00:00:00.007Z"
    assert answers.iso(None) is None


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "param"),
    [
        ("GET", "/number", 400, "invalid_request", "page"),
        ("GET", "/number?page=x", 400, "invalid_request", "page"),
        ("GET", "/nothing", 404, "not_found", None),
        ("POST", "/number", 405, "method_not_allowed", None),
    ],
)
def test_every_refusal_has_the_one_shape(method: str, path: str, status: int, code: str, param: str | None) -> None:
    answer = ask(method, path)
    body = answer.json()
    assert (answer.status, body["statusCode"], body["status"]) == (status, status, "error")
    assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    assert body["message"] == body["error"]["message"] != ""
    assert answer.headers["content-type"] == "application/json"


def test_a_wrong_method_is_told_the_right_one() -> None:
    assert ask("POST", "/number").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1", True), ("x" * 128, True), ("x" * 129, False), ("", False), ("é", False), ("a\tb", False)],
)
def test_a_request_id_comes_back_if_it_is_a_sane_one(sent: str, kept: bool) -> None:
    found = ask("GET", "/nothing", {"x-request-id": sent}).headers
    assert found["x-request-id"] == found["request-id"] != ""
    assert (found["x-request-id"] == sent) == kept


def test_a_bug_tells_the_caller_nothing_but_an_id(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        async def through(scope: Any, receive: Any, send: Any) -> None:
            await app()(scope, receive, keep)

        await call(through, "GET", "/bug", {"x-request-id": "abc-1"})

    with pytest.raises(RuntimeError):  # the server logs it
        asyncio.run(run())
    body = money.from_json(sent[1]["body"])
    assert (sent[0]["status"], body["error"]["code"]) == (500, "internal_error")
    assert "abc-1" in body["message"] and b"secret" not in sent[1]["body"] and b"path" not in sent[1]["body"]
    assert "abc-1" in caplog.text and "sk-inside" not in caplog.messages[0]


@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_plain_asgi_and_response_say_the_same(shape: Any) -> None:
    error = UpstreamUnavailable("Later.", headers={"retry-after": "5"})
    response = answers.error_response(error, shape, "r1")

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await answers.send_error(send, error, shape=shape, request_id="r1")

    answer = asyncio.run(call(plain, "GET", "/"))
    assert (answer.status, answer.body, answer.headers) == (response.status_code, response.body, dict(response.headers))
    assert answer.status == (529 if shape == "anthropic" else 503)


def test_a_message_may_quote_anything() -> None:
    assert answers.error_response(BadRequest("no \ud800")).status_code == 400


@pytest.mark.parametrize(("error", "found"), [(InsufficientCredits("x"), "false"), (PerQueryError("x"), None)])
def test_a_402_is_not_to_be_tried_again(error: PerQueryError, found: str | None) -> None:
    assert answers.error_response(error).headers.get("x-should-retry") == found
