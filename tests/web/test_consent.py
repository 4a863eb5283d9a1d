"""Sign-in for apps: what an app may ask, what its user allows, and a code that is good once for who asked."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
import pytest

from perquery.errors import BadRequest
from perquery.web.consent import asking
from tests.web.house import HOST, Browser, House, Seen, ask, visit

VERIFIER = "a-verifier-of-the-app-that-is-long-enough"
S256 = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
CALLBACK = "https://app.example/done?state=1%262"


def query(**changes: str) -> dict[str, str]:
    asked = {"callback_url": CALLBACK, "code_challenge": S256, "code_challenge_method": "S256"} | changes
    return {name: value for name, value in asked.items() if value}


async def allowed(browser: Browser, asked: dict[str, str], **fields: str) -> str:
    """The code that the app gets."""
    answer = await browser.post("/auth", asked | {"answer": "allow", "limit": "5", "reset_period": "monthly"} | fields)
    assert answer.status == 303, answer.words
    return parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]


async def exchanged(house: House, **body: Any) -> Seen:
    sent = orjson.dumps(body)
    return await ask(house.app, house.state, "POST", "/v1/auth/keys", {"host": HOST}, sent)


def test_an_app_gets_a_key_of_its_own(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        asked = "/auth?" + urlencode(query())
        place = (await browser.get(asked)).headers["location"]
        form = await browser.get(place)
        hidden = re.search(r'name="next" value="([^"]+)"', form.text)
        assert hidden
        back = await browser.post(
            "/sign-in", {"credential": house.made.credit_id, "next": hidden[1].replace("&amp;", "&")}
        )
        assert back.headers["location"] == asked
        page = await browser.get(asked)
        assert "Give app.example a key?" in page.words and "$1.50" in page.words
        assert "form-action 'self' https://app.example;" in page.headers["content-security-policy"]
        code = await allowed(browser, query())
        answer = await exchanged(house, code=code, code_verifier=VERIFIER, code_challenge_method="S256")
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "*"
        key = orjson.loads(answer.body)["key"]
        keys = await house.state["accounts"].keys(house.made.account_id)
        assert [(each.name, each.limit_nano, each.reset_period) for each in keys[1:]] == [
            ("app.example", 5 * 10**9, "monthly")
        ]
        assert (await house.browser().sign_in(key)).status == 303

    visit(tmp_path, body)


def test_an_app_that_comes_again_gets_another_key(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        long = query(
            callback_url="http://localhost:3000/a-callback", code_challenge=VERIFIER, code_challenge_method="plain"
        )
        for _ in range(3):
            code = await allowed(browser, long, limit="")
            assert (await exchanged(house, code=code, code_verifier=VERIFIER)).status == 200
        keys = await house.state["accounts"].keys(house.made.account_id)
        assert [key.name for key in keys[1:]] == ["localhost:3000", "localhost:3000 2", "localhost:3000 3"]
        assert keys[1].limit_nano is None

    visit(tmp_path, body)


EXCHANGES: tuple[tuple[dict[str, str], dict[str, Any], int], ...] = (
    (query(), {"code_verifier": VERIFIER}, 200),
    (query(), {"code_verifier": VERIFIER + "x", "code_challenge_method": "S256"}, 403),
    (query(), {"code_verifier": VERIFIER, "code_challenge_method": "plain"}, 403),
    (query(), {"code_verifier": S256, "code_challenge_method": "plain"}, 403),
    (query(), {}, 403),
    (query(code_challenge=VERIFIER, code_challenge_method="plain"), {"code_verifier": VERIFIER}, 200),
    (query(code_challenge=VERIFIER, code_challenge_method=""), {"code_verifier": VERIFIER}, 200),
    (query(code_challenge="", code_challenge_method=""), {}, 200),
    (query(), {"code_verifier": VERIFIER, "code_challenge_method": "S512"}, 400),
    (query(), {"code_verifier": 7}, 400),
    (query(), {"code_verifier": "x" * 300}, 400),
)


def test_only_who_asked_can_exchange_the_code_and_only_once(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for asked, sent, status in EXCHANGES:
            code = await allowed(browser, asked)
            answer = await exchanged(house, code=code, **sent)
            assert answer.status == status, answer.text
            if status != 400:
                again = await exchanged(house, code=code, code_verifier=VERIFIER)
                assert (again.status, orjson.loads(again.body)["error"]["code"]) == (403, "invalid_code")

    visit(tmp_path, body)


def test_who_refuses_goes_back_without_a_code(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for answer in ("refuse", ""):
            back = await browser.post("/auth", query() | {"answer": answer})
            assert back.headers["location"] == CALLBACK + "&error=access_denied"

    visit(tmp_path, body)


def test_a_wrong_limit_is_said_and_nothing_is_given(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        answer = await (await house.owner()).post("/auth", query() | {"answer": "allow", "limit": "much"})
        assert answer.status == 400 and "must be a number" in answer.words and "Give app.example a key?" in answer.words

    visit(tmp_path, body)


def test_a_key_cannot_allow_keys(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        await browser.sign_in(house.made.api_key)
        assert (await browser.post("/auth", query() | {"answer": "allow"})).status == 403

    visit(tmp_path, body)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example",
        "http://app.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "vscode://extension/x",
        "https://user@app.example/",
        "https://app.example\\@evil.example/",
        "https://app.example:99999999/",
        "https://[::1/",
        "https:///done",
        "https://app.example/a b",
        "https://app.example/\r\nx: y",
        "https://ä.example/",
        "https://app.example;script-src *",
        "https://" + "a" * 3_000,
    ],
)
def test_an_app_is_at_an_https_address_or_on_this_machine(url: str) -> None:
    with pytest.raises(BadRequest):
        asking({"callback_url": url})


@pytest.mark.parametrize(
    "url", ["https://app.example/x?y=1#z", "http://localhost:3000", "http://127.0.0.1/", "http://[::1]:80/"]
)
def test_such_an_address_is_taken(url: str) -> None:
    assert asking({"callback_url": url}).callback_url == url


@pytest.mark.parametrize(
    "given",
    [
        {"code_challenge": "a b"},
        {"code_challenge": "x" * 300},
        {"code_challenge": S256, "code_challenge_method": "S512"},
        {"code_challenge_method": "S256"},
    ],
)
def test_a_challenge_is_whole_or_not_there(given: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        asking({"callback_url": CALLBACK} | given)
