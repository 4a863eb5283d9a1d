"""`providers check` against a host that does everything right, one that does nothing right, and the local model."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perquery.calls import Dialect
from perquery.outbound import Client
from perquery.providers.check import WRONG_KEY, Row, check
from perquery.providers.hosts import HOSTS, Host
from perquery.providers.local import MODEL, LocalModel
from perquery.providers.openai_chat import event
from perquery.providers.table import ActiveHost
from tests.outbound.wire import Link, serving
from tests.providers.goldens import encoded, understood
from tests.providers.wire import SSE, answer, piece, sse
from tests.upstream import Script, scripted
from tests.vendors import KEY, vendors

CHECKS = ["models", "model", "plain", "stream", "tools", "json", "cancel", "bad key", "cost"]
MODEL_PRICED = "openai/gpt-4o-mini"  # the catalogue's price at OpenRouter: $0.15 and $0.60 a million
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
CENT = 10**7
Reply = Callable[[dict[str, Any]], bytes]


def plain(body: dict[str, Any]) -> bytes:
    content = '{"ok": true}' if "response_format" in body else "Hello, I am user_0123456789abc."
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    whole = {"id": "gen-secret", "user": "house", "choices": [choice], "usage": USAGE | {"cost": 0.000021}}
    return answer(200, json.dumps(whole).encode())


def right(body: dict[str, Any]) -> bytes:
    """A host that does everything as it should."""
    if not body["stream"]:
        return plain(body)
    usage = {"choices": [], "usage": USAGE | {"cost": 0.000021}}
    return answer(200, sse({"id": "gen-secret", **piece("Hel")}, piece("lo", "stop"), usage), SSE)


class Desk:
    """A host on a socket: its list of models, its answers, what it was asked."""

    def __init__(self, reply: Reply = right, models: tuple[str, ...] = (MODEL_PRICED,)) -> None:
        self.reply = reply
        self.models = models
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, link: Link) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, body = await link.request()
                await link.send(self.answer(head.decode(), body))

    def answer(self, head: str, body: bytes) -> bytes:
        if head.startswith("GET"):
            return answer(200, json.dumps({"data": [{"id": name} for name in self.models]}).encode())
        if WRONG_KEY in head:
            return answer(401, b'{"error": {"message": "No such key", "code": 401}, "user_id": "user_0123456789"}')
        self.asked.append(json.loads(body))
        return self.reply(self.asked[-1])


class Trusting(Desk):
    def answer(self, head: str, body: bytes) -> bytes:
        return super().answer(head.replace(WRONG_KEY, "any"), body)


def checked(
    desk: Desk,
    *,
    host: Host = HOSTS["openrouter"],
    model: str | None = None,
    max_nano: int = CENT,
    record: Path | None = None,
    address: str = "127.0.0.1",
) -> dict[str, Row]:
    async def run() -> list[Row]:
        async with serving(desk) as server:
            client = Client()
            active = ActiveHost(replace(host, base_url=server.url("/v1", address)), ("sk-of-the-house",))
            try:
                return await check(active, client, model=model, max_nano=max_nano, record=record, now=lambda: 0.0)
            finally:
                await client.close()

    return {row.name: row for row in asyncio.run(asyncio.wait_for(run(), 60))}


def test_a_host_that_does_everything_right() -> None:
    rows = checked(Desk())
    assert [(name, row.ok) for name, row in rows.items()] == [(name, True) for name in CHECKS]


def test_the_cost_is_compared() -> None:
    assert checked(Desk())["cost"].detail == "it reports $0.000021; by the catalogue $0.000021"


def test_the_cheapest_model_is_tried() -> None:
    desk = Desk(models=("anthropic/claude-opus-4.5", MODEL_PRICED, "openai/gpt-4o"))
    checked(desk)
    assert {body["model"] for body in desk.asked} == {MODEL_PRICED}


def test_a_model_that_is_named_is_tried() -> None:
    desk = Desk()
    checked(desk, model="openai/gpt-4o")
    assert {body["model"] for body in desk.asked} == {"openai/gpt-4o"}


def test_what_the_model_refuses_is_not_sent() -> None:
    desk = Desk()
    checked(desk, host=HOSTS["groq"])
    assert all("logprobs" not in body for body in desk.asked)


def test_no_money_no_requests() -> None:
    desk = Desk()
    rows = checked(desk, max_nano=0)
    assert (desk.asked, [row.name for row in rows.values() if row.ok]) == ([], ["models", "model"])


def test_what_the_money_does_not_cover_is_left_out() -> None:
    desk = Desk()
    rows = checked(desk, max_nano=100_000)  # two requests of at most $0.00004 or so
    assert [name for name, row in rows.items() if "left out" in row.detail] == ["tools", "json", "cancel", "bad key"]


@pytest.mark.parametrize(("address", "asked"), [("localhost", 1), ("127.0.0.1", 6)])
def test_a_model_without_a_price_is_reckoned_as_the_dearest(address: str, asked: int) -> None:
    """Two cents cover one request of it; at an address of the operator's own it costs nothing."""
    desk = Trusting(models=("nobody/knows",))
    checked(desk, max_nano=2 * CENT, address=address)
    assert len(desk.asked) == asked


def test_without_a_model_there_is_nothing_to_try() -> None:
    rows = checked(Desk(models=()))
    assert [(row.name, row.ok) for row in rows.values()] == [("models", False), ("model", False)]


def test_a_host_without_a_list() -> None:
    rows = checked(Desk(), host=HOSTS["github"], model="openai/gpt-4.1-mini")
    assert rows["models"] == Row("models", True, "this host has no list")


def failing(name: str, reply: Reply) -> bool:
    return not checked(Desk(reply))[name].ok


def test_a_stream_without_figures_fails() -> None:
    assert failing("stream", lambda _: answer(200, sse(piece("Hi", "stop")), SSE))


def test_an_answer_without_figures_fails() -> None:
    body = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert failing("plain", lambda _: answer(200, json.dumps(body).encode()))


def test_json_that_is_none_fails() -> None:
    body = {"choices": [{"index": 0, "message": {"content": "Sure!"}, "finish_reason": "stop"}], "usage": USAGE}
    assert failing("json", lambda _: answer(200, json.dumps(body).encode()))


def test_a_cost_that_is_far_off_fails() -> None:
    body = {"choices": [], "usage": USAGE | {"cost": 0.5}}
    assert failing("cost", lambda _: answer(200, json.dumps(body).encode()))


def test_a_wrong_key_that_is_accepted_fails() -> None:
    assert not checked(Trusting())["bad key"].ok


@pytest.mark.parametrize(
    "script",
    [Script(status=500), Script(fault="garbage"), Script(fault="html"), Script(fault="break"), Script(status=401)],
    ids=lambda script: f"{script.status}{script.fault}",
)
def test_a_host_that_does_nothing_right_is_reported(script: Script) -> None:
    async def run() -> list[Row]:
        async with scripted() as upstream:
            upstream.script = script
            client = Client()
            active = ActiveHost(replace(HOSTS["openrouter"], base_url=upstream.base_url), ("key",))
            try:
                return await check(active, client, model=MODEL_PRICED, max_nano=CENT, record=None, now=lambda: 0.0)
            finally:
                await client.close()

    rows = {row.name: row.ok for row in asyncio.run(asyncio.wait_for(run(), 60))}
    assert [name for name in ("models", "plain", "stream", "cost") if rows[name]] == []


def test_an_address_where_nobody_listens() -> None:
    async def run() -> list[Row]:
        client = Client()
        active = ActiveHost(replace(HOSTS["openrouter"], base_url="http://127.0.0.1:1/v1"), ("key",))
        try:
            return await check(active, client, model=MODEL_PRICED, max_nano=CENT, record=None, now=lambda: 0.0)
        finally:
            await client.close()

    assert [row.name for row in asyncio.run(run()) if row.ok] == ["model"]


def recorded(folder: Path) -> dict[str, Any]:
    checked(Desk(), record=folder)
    return {path.stem: json.loads(path.read_text("utf-8")) for path in (folder / "openrouter").iterdir()}


def test_a_recording_has_the_form_of_the_goldens(tmp_path: Path) -> None:
    kept = recorded(tmp_path)
    host = HOSTS["openrouter"]
    assert sorted(kept) == ["error", "plain", "stream", "usage"]
    assert understood([event(encoded(each), host) for each in kept["stream"]["events"]]) == kept["stream"]["expect"]
    assert kept["usage"][0]["upstream_cost_pico"] == 21_000_000
    assert kept["error"][0]["kind"] == "auth"


@pytest.mark.parametrize("secret", ["gen-secret", "sk-of-the-house", "user_0123456789", '"house"', WRONG_KEY])
def test_a_recording_has_no_names_and_keys(tmp_path: Path, secret: str) -> None:
    assert secret not in json.dumps(recorded(tmp_path))


def test_the_local_model() -> None:
    """Everything holds against a real server; its JSON is its own affair."""

    async def run(base_url: str, key: str) -> list[Row]:
        client = Client()
        active = ActiveHost(replace(HOSTS["local"], base_url=base_url), (key,))
        try:
            return await check(active, client, model=MODEL, max_nano=CENT, record=None, now=lambda: 0.0)
        finally:
            await client.close()

    local = LocalModel()
    running = local.open()
    try:
        rows = asyncio.run(asyncio.wait_for(run(running.base_url, running.key), 120))
    finally:
        local.stop()
    assert [row for row in rows if not row.ok and row.name != "json"] == []


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic", "gemini"])
def test_every_dialect_is_checked_in_its_own_words(dialect: Dialect) -> None:
    async def run(address: str) -> list[Row]:
        client = Client()
        active = ActiveHost(Host("mine", address, cancel_stops_billing=True, dialect=dialect), (KEY,))
        try:
            return await check(active, client, model=None, max_nano=CENT, record=None, now=lambda: 0.0)
        finally:
            await client.close()

    with vendors() as running:
        rows = asyncio.run(asyncio.wait_for(run(running.base_url(dialect)), 60))
    failed = [(row.name, row.detail) for row in rows if not row.ok]
    assert failed == [("json", "finish stop, not whole JSON")]  # it says the same whatever it is asked
    assert len(rows) == len(CHECKS)
