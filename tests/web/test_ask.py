"""Calls that a page makes for who is signed in: paid as any call, asked by our pages alone, for what is allowed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from perquery import money
from perquery.store import queries
from perquery.web.ask import ALLOWED, CAN_BE_ASKED
from tests.upstream import Script, ScriptedUpstream
from tests.web.house import Browser, House, Seen, called_upstream, visit

CHAT = "/v1/chat/completions"
BODY = {"model": "stub-model", "messages": [{"role": "user", "content": "Say something."}]}
STREAM = BODY | {"stream": True, "stream_options": {"include_usage": True}}


def said(answer: Seen) -> list[Any]:
    """The chunks of a stream."""
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    return [money.from_json(event.encode()) for event in events[:-1]]


async def rows(house: House) -> list[queries.Receipt]:
    return await asyncio.to_thread(queries.history, house.state["database"], house.made.account_id, None, 1, 10)


def test_the_cost_that_an_answer_names_is_the_fall_of_the_balance(tmp_path: Path) -> None:
    async def body(house: House, upstream: ScriptedUpstream) -> None:
        upstream.script = Script(chunks=7, prompt=1_234)
        browser, before = await house.owner(), await house.balance_nano()
        answer = await browser.ask(CHAT, STREAM)
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
        cost = money.nano(said(answer)[-1]["usage"]["cost"])
        assert cost == (1_234 * 1_000 + 7 * 2_000) * 105 // 100
        assert await house.balance_nano() == before - cost
        (row,) = await rows(house)
        assert (row.cost_nano, row.source, row.key_id) == (cost, "site", None)
        assert row.id == answer.headers["x-perquery-generation-id"]

    called_upstream(tmp_path, body)


def test_the_upstream_learns_nothing_of_the_session(tmp_path: Path) -> None:
    async def body(house: House, upstream: ScriptedUpstream) -> None:
        browser = await house.owner()
        await browser.ask(CHAT, BODY, authorization="Bearer sk-other", x_credit_id="other")
        (request,) = upstream.requests
        assert "cookie" not in request.headers and "x-credit-id" not in request.headers
        assert request.headers["authorization"] == "Bearer k"
        (cookie,) = browser.cookies.values()
        assert cookie not in str(request.headers) + str(request.body)

    called_upstream(tmp_path, body)


def test_who_leaves_in_the_middle_is_charged_once(tmp_path: Path) -> None:
    async def body(house: House, upstream: ScriptedUpstream) -> None:
        upstream.script = Script(chunks=9, fault="hang", after=3)
        browser, before = await house.owner(), await house.balance_nano()
        leaves = asyncio.Event()
        asking = asyncio.create_task(browser.ask(CHAT, STREAM, leaves=leaves))
        request = await upstream.arrival()
        await request.reached.wait()
        leaves.set()
        await asking
        await request.hung_up.wait()
        (row,) = await rows(house)
        assert (row.rule, row.output_count) == ("caller_left", 3)
        assert await house.balance_nano() == before - row.cost_nano
        receipt = money.from_json((await browser.ask(f"/v1/generation?id={row.id}", method="GET")).body)["data"]
        assert money.nano(receipt["cost"]) == row.cost_nano > 0

    called_upstream(tmp_path, body)


FOREIGN: tuple[dict[str, Any], ...] = (
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "none"},
    {"sec_fetch_site": "", "origin": "https://evil.example"},
    {"sec_fetch_site": ""},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_foreign_site_can_neither_spend_nor_read(tmp_path: Path, headers: dict[str, Any]) -> None:
    async def body(house: House) -> None:
        browser, before = await house.owner(), await house.balance_nano()
        assert (await browser.ask(CHAT, BODY, **headers)).status == 403
        assert (await browser.ask("/v1/credits", method="GET", **headers)).status == 403
        assert await house.balance_nano() == before and not await rows(house)

    visit(tmp_path, body)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_could_send_is_refused(tmp_path: Path, kind: str) -> None:
    async def body(house: House) -> None:
        answer = await (await house.owner()).ask(CHAT, BODY, content_type=kind)
        assert answer.status == 400 and not await rows(house)

    visit(tmp_path, body)


def test_nobody_asks_who_is_not_signed_in(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for browser in (house.browser(), Browser(house.app, house.state, cookies={"perquery": "1.x.2.3.4"})):
            answer = await browser.ask(CHAT, BODY, authorization=f"Bearer {house.made.api_key}")
            assert answer.status == 401 and json.loads(answer.body)["error"]["code"] == "missing_credentials"

    visit(tmp_path, body)


def test_a_revoked_keys_session_asks_no_more(tmp_path: Path) -> None:
    async def body(house: House, upstream: ScriptedUpstream) -> None:
        browser = house.browser()
        await browser.sign_in(house.made.api_key)
        assert (await browser.ask(CHAT, BODY)).status == 200
        (key,) = await house.state["accounts"].keys(house.made.account_id)
        assert (await rows(house))[0].key_id == key.id
        before = await house.balance_nano()
        await house.state["accounts"].delete_key(house.made.account_id, key.id)
        assert (await browser.ask(CHAT, BODY)).status == 401
        assert await house.balance_nano() == before and len(upstream.requests) == 1

    called_upstream(tmp_path, body)


def test_a_keys_limit_holds_for_its_session(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        key, secret = await house.state["accounts"].create_key(
            house.made.account_id, {"name": "small", "limit_nano": 1, "reset_period": None}
        )
        browser = house.browser()
        await browser.sign_in(secret)
        answer = await browser.ask(CHAT, BODY)
        assert answer.status == 402 and json.loads(answer.body)["error"]["code"] == "key_limit_exceeded", key

    visit(tmp_path, body)


@pytest.mark.parametrize(
    ("public_url", "place"), [(None, "/top-up"), ("https://ai.example/", "https://ai.example/top-up")]
)
def test_who_has_too_little_is_told_where_to_top_up(tmp_path: Path, public_url: str | None, place: str) -> None:
    async def body(house: House) -> None:
        poor = await house.state["accounts"].create("10.9.9.8")
        browser = house.browser(scheme="https" if public_url else "http")
        await browser.sign_in(poor.credit_id)
        error = json.loads((await browser.ask(CHAT, BODY)).body)["error"]
        assert (error["code"], error["topup_url"]) == ("insufficient_credits", place)

    visit(tmp_path, body, public_url=public_url)


def test_only_what_is_allowed_can_be_asked(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for method, path in (
            *(("POST", "/keys"), ("GET", "/keys"), ("POST", "/refunds"), ("POST", "/accounts/create")),
            *(("POST", "/v1/auth/keys"), ("POST", "/nwc-auto-topup/connect"), ("POST", "/topup/webhook/card")),
            *(("GET", CHAT), ("POST", "/v1/models"), ("GET", "/metrics"), ("GET", "/topup/events"), ("GET", "/")),
            *(("POST", "/v1/chat/completions/"), ("POST", "//v1/chat/completions"), ("POST", "/ask/v1/embeddings")),
        ):
            answer = await browser.ask(path, {} if method == "POST" else None, method)
            assert answer.status == 404, (method, path)
        (key,) = await house.state["accounts"].keys(house.made.account_id)
        assert key.deleted_at is None

    visit(tmp_path, body)


def test_what_is_allowed_is_there(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        document = json.loads((await house.browser().get("/openapi.json", accept="*/*")).body)
        there = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
        assert there >= CAN_BE_ASKED
        browser = await house.owner()
        for method, path in ALLOWED:
            answer = await browser.ask(path.partition("{")[0], {} if method == "POST" else None, method)
            assert answer.status in (200, 400, 404, 422), (path, answer.text)

    visit(tmp_path, body)


def test_an_answer_has_a_pages_headers_and_is_open_to_no_other_origin(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for answer in (await browser.ask("/v1/credits", method="GET"), await browser.ask(CHAT, {})):
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert not any(name.startswith("access-control") for name in answer.headers)

    visit(tmp_path, body)
