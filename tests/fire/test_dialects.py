"""The same call in every shape that callers speak: the same text, the same tokens billed, the price said and taken."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from perquery import money
from tests.fire.bed import Account, model, price
from tests.fire.client import Answer, exchange
from tests.fire.hearth import Hearth, burning
from tests.upstream import MARK

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
PATHS = (CHAT, COMPLETIONS, MESSAGES, RESPONSES, "/messages?beta=true", "/responses")
SAID = "yes yes yes yes yes "


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    models = (model("stub-model", "scripted"),)
    with burning(tmp_path_factory.mktemp("hearth"), models=models) as lasting:
        yield lasting


def body(path: str, script: str, *, stream: bool) -> dict[str, Any]:
    told = MARK + script
    asked: dict[str, Any] = {"model": "stub-model", "stream": stream}
    if "responses" in path:
        return asked | {"input": told}
    if path == COMPLETIONS:
        return asked | {"prompt": told, "stream_options": {"include_usage": True}}
    asked["messages"] = [{"role": "user", "content": told}]
    return asked | ({"max_tokens": 500} if "messages" in path else {"stream_options": {"include_usage": True}})


async def asked(hearth: Hearth, account: Account, path: str, script: str, *, stream: bool, key: str = "") -> Answer:
    headers = {"x-api-key": key or account.key}
    async with exchange(hearth.bed.port, path, body(path, script, stream=stream), headers) as opened:
        return await opened.answer()


def text_in(answer: Answer) -> str:
    """What was said, whatever the shape."""
    whole = answer.body.decode()
    if answer.headers["content-type"].startswith("text/event-stream"):
        return "".join(re.findall(r'"(?:content|text|delta)": ?"((?:yes )+)"', re.sub(r'"[a-z_.]+done".*', "", whole)))
    return "".join(re.findall(r'"(?:content|text)": ?"((?:yes )+)"', whole))


def costs_in(answer: Answer) -> set[int]:
    found = re.findall(r'"cost": ?([0-9.]+)', answer.body.decode())
    return {money.nano(Decimal(cost)) for cost in found}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_the_same_call_costs_the_same(hearth: Hearth, path: str, stream: bool) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        answer = await asked(hearth, account, path, "prompt=1000 completion=50", stream=stream)
        assert answer.status == 200
        assert costs_in(answer) == {price(1000, 50)}
        assert await hearth.bed.spent(account) == price(1000, 50)
        assert SAID in text_in(answer)

    hearth.run(run())


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_breaks_says_so_and_is_free(hearth: Hearth, path: str) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        answer = await asked(hearth, account, path, "fault=break after=2", stream=True)
        assert answer.status == 200
        assert re.search(rb'"(?:error|response\.failed)"', answer.body)
        assert not costs_in(answer)
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_failure_before_the_answer_is_a_status(hearth: Hearth, path: str, stream: bool) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        answer = await asked(hearth, account, path, "status=500", stream=stream)
        assert answer.status == (529 if "messages" in path else 503)
        error = answer.json()
        assert error["error"]["message"] == error["message"]
        assert (error.get("type") == "error") is ("messages" in path)
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_key_is_told_in_the_callers_shape(hearth: Hearth, path: str) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        answer = await asked(hearth, account, path, "", stream=False, key="sk-wrong")
        assert answer.status == 401
        kind = answer.json()["error"]["type"]
        assert kind == "authentication_error"

    hearth.run(run())


def test_counting_is_free(hearth: Hearth) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        counted = {"model": "stub-model", "messages": [{"role": "user", "content": "one two three"}]}
        headers = {"authorization": f"Bearer {account.key}"}
        async with exchange(hearth.bed.port, "/v1/messages/count_tokens?beta=true", counted, headers) as opened:
            answer = await opened.answer()
        assert 3 <= answer.json()["input_tokens"] <= 40
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


def test_a_websocket_is_answered_so_that_codex_posts(hearth: Hearth) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        headers = {"authorization": f"Bearer {account.key}", "connection": "upgrade", "upgrade": "websocket"}
        async with exchange(hearth.bed.port, RESPONSES, b"", headers, method="GET") as opened:
            answer = await opened.answer()
        assert (answer.status, answer.json()["error"]["code"]) == (426, "websocket_not_supported")

    hearth.run(run())


@pytest.mark.parametrize(
    "path",
    ["//v1/chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions", "/v1//v1/messages", "//messages"],
)
def test_a_base_url_with_a_slash_or_a_version_too_many(hearth: Hearth, path: str) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        answer = await asked(hearth, account, path, "prompt=1000 completion=50", stream=False)
        assert (answer.status, await hearth.bed.spent(account)) == (200, price(1000, 50))

    hearth.run(run())


@pytest.mark.parametrize("path", ["/v1/models", "//v1/models/", "/models?limit=1000"])
def test_models_in_anthropics_form(hearth: Hearth, path: str) -> None:
    async def run() -> None:
        headers = {"anthropic-version": "2023-06-01"}
        async with exchange(hearth.bed.port, path, b"", headers, method="GET") as opened:
            listed = (await opened.answer()).json()
        (shown,) = (one for one in listed["data"] if one["id"] == "stub-model")
        async with exchange(hearth.bed.port, "/v1/models/stub-model", b"", headers, method="GET") as opened:
            assert (await opened.answer()).json() == shown
        assert (shown["type"], shown["created_at"][-1], listed["has_more"]) == ("model", "Z", False)
        assert listed["last_id"] == listed["data"][-1]["id"]

    hearth.run(run())


@pytest.mark.parametrize("frame", [31, 15])  # gzip's, zlib's
def test_a_packed_body(hearth: Hearth, frame: int) -> None:
    async def run() -> None:
        account = await hearth.bed.account()
        packer = zlib.compressobj(wbits=frame)
        told = json.dumps(body(CHAT, "prompt=1000 completion=50", stream=False)).encode()
        packed = packer.compress(told) + packer.flush()
        headers = {"x-api-key": account.key, "content-encoding": "gzip" if frame == 31 else "deflate"}
        async with exchange(hearth.bed.port, CHAT, packed, headers) as opened:
            assert (await opened.answer()).status == 200
        assert await hearth.bed.spent(account) == price(1000, 50)

    hearth.run(run())
