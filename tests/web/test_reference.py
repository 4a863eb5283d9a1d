"""The API's own page has every request of the OpenAPI document; the status page says what is known now."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

from perquery.errors import UpstreamError
from perquery.web import reference
from perquery.web.ask import CAN_BE_ASKED
from tests.upstream import ScriptedUpstream
from tests.web.house import House, called_upstream, visit


def test_every_request_is_on_the_page_with_the_readers_address(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        page = await house.browser().get("/api-docs")
        assert page.status == 200 and "https://api.example/v1/chat/completions" in page.text
        for request in ("POST /keys", "GET /v1/models", "POST /v1/chat/completions"):
            assert f"{request.replace('/', '/<wbr>')}</code>" in page.text, request

    visit(tmp_path, body, api_url="https://api.example")


def test_a_request_that_is_there_twice_is_shown_once() -> None:
    said = {"post": {"summary": "Chat", "tags": ["chat"], "security": [], "requestBody": {}}, "head": {}}
    found = reference.operations({"paths": {"/chat": said, "/v1/chat": said}}, {})
    assert found == {"chat": [reference.Operation("POST", "/v1/chat", "Chat", False, True, ())]}


def test_what_can_be_asked_can_be_tried_by_who_is_signed_in(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        out = await house.browser().get("/api-docs")
        assert "data-try" not in out.text and "to send requests from this page" in out.words
        page = await (await house.owner()).get("/api-docs")
        tried = re.findall(r'data-try="(\w+) ([^"]+)"', page.text)
        assert set(tried) == CAN_BE_ASKED and len(tried) == len(CAN_BE_ASKED)
        assert house.made.api_key not in page.text and house.made.credit_id not in page.text

    visit(tmp_path, body)


def test_an_example_is_a_body_that_is_taken(tmp_path: Path) -> None:
    async def body(house: House, _upstream: ScriptedUpstream) -> None:
        browser = await house.owner()
        page = await browser.get("/api-docs")
        (text,) = re.findall(r'data-try="POST /v1/chat/completions".*?<textarea[^>]*>(.*?)</textarea>', page.text, re.S)
        example = json.loads(unescape(text))
        assert example["model"] == "stub-model"
        answer = await browser.ask("/v1/chat/completions", example)
        assert answer.status == 200 and answer.text.endswith("data: [DONE]\n\n")

    called_upstream(tmp_path, body)


def test_the_status_says_who_rests_and_how_one_can_pay(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        well = await browser.get("/status")
        assert "The gateway takes calls." in well.words and "host" in well.words and "well" in well.words
        (route,) = house.state["catalog"].models["stub-model"].routes
        house.state["gateway"].health.failed(route, UpstreamError("funds", "empty"))
        assert "1 resting" in (await browser.get("/status")).words
        house.state["ledger"].down = True
        assert "no call is taken now" in (await browser.get("/status")).words
        house.state["ledger"].down = False

    visit(tmp_path, body)
