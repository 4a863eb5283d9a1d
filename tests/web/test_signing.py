"""An account in one click, signing in with a credit id or a key, signing out; bounds, and nothing shown twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perquery.accounts import SIGN_INS_PER_ADDRESS_HOUR
from perquery.own_key import own_key
from perquery.store import sessions
from perquery.store.sessions import Session
from perquery.web.door import Door
from perquery.web.sessions import Sessions
from perquery.web.signing import ACCOUNT, onward
from perquery.web.site import Site
from tests.web.house import Browser, House, Seen, visit

CREDIT_ID = re.compile(r"<code>([0-9a-f-]{36})</code>")
API_KEY = re.compile(r"<code>(sk-[\w-]+)</code>")


def test_one_click_makes_an_account_and_signs_in(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        answer = await browser.post("/account/new")
        assert (answer.status, answer.headers["cache-control"]) == (201, "no-store")
        (credit_id,), (key,) = CREDIT_ID.findall(answer.text), API_KEY.findall(answer.text)
        assert f"credit%20id%3A%20{credit_id}" in answer.text  # the file
        assert (await browser.get("/sign-in")).headers["location"] == ACCOUNT
        for secret in (credit_id, key):
            assert (await house.browser().sign_in(secret)).status == 303

    visit(tmp_path, body)


def test_a_new_account_loaded_again_makes_no_other(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        browser = house.browser()
        await browser.post("/account/new")
        return await browser.post("/account/new")

    answer = visit(tmp_path, body)
    assert (answer.status, answer.headers["location"]) == (303, ACCOUNT)


def test_secrets_are_never_compressed_beside_each_other(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        return await house.browser().post("/account/new", accept_encoding="gzip")

    assert "content-encoding" not in visit(tmp_path, body).headers


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(tmp_path: Path) -> None:
    async def body(house: House) -> list[Seen]:
        return [await house.browser(scheme=scheme).sign_in(house.made.credit_id) for scheme in ("http", "https")]

    plain, secure = (answer.set_cookies[0].lower() for answer in visit(tmp_path, body))
    for cookie in (plain, secure):
        assert "httponly" in cookie and "samesite=lax" in cookie and "path=/" in cookie and "domain" not in cookie
    assert "secure" not in plain
    assert secure.startswith("__host-perquery=") and "; secure" in secure


def test_the_cookie_holds_no_secret(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        answer = await browser.sign_in(house.made.api_key)
        text = str(answer.headers) + str(answer.set_cookies)
        assert house.made.api_key not in text and house.made.credit_id not in text

    visit(tmp_path, body)


def test_what_is_no_credential_is_refused_and_not_repeated(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for shown in ("", "sk-unknown", "00000000-0000-4000-8000-000000000000", "x" * 600, "sk-\x00"):
            answer = await house.browser().sign_in(shown)
            assert answer.status == 401 and not answer.set_cookies
            assert 'aria-invalid="true"' in answer.text
            assert not shown or shown not in answer.text

    visit(tmp_path, body)


def test_signing_out_ends_this_session_for_whoever_copied_it(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser, elsewhere = await house.owner(), await house.owner()
        thief = house.browser()
        thief.cookies |= browser.cookies
        assert (await thief.get("/account")).status == 200
        assert (await browser.post("/sign-out")).headers["location"] == "/"
        assert not browser.cookies
        for out in (browser, thief):
            assert (await out.get("/account")).headers["location"] == "/sign-in?next=/account"
        assert (await elsewhere.get("/account")).status == 200

    visit(tmp_path, body)


def test_the_owner_signs_out_everywhere(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        first, second, holder = await house.owner(), await house.owner(), house.browser()
        await holder.sign_in(house.made.api_key)
        assert "3 sessions go on" in (await first.get("/account/access")).words
        assert (await holder.post("/account/access/end-all")).status == 403
        assert (await first.post("/account/access/end-all")).headers["location"] == "/sign-in"
        for browser in (first, second, holder):
            assert (await browser.get("/account")).status == 303
        assert (await (await house.owner()).get("/account")).status == 200

    visit(tmp_path, body)


def test_a_session_ends_by_itself(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        database = house.state["database"]
        ids = [sessions.begin(database, Session(house.made.account_id), lasts_s) for lasts_s in (60, 0)]
        signed = Sessions(own_key(house.state["settings"]))
        for id, status in zip(ids, (200, 303), strict=True):
            browser = Browser(house.app, house.state, cookies={"perquery": signed.written(id)})
            assert (await browser.get("/account")).status == status

    visit(tmp_path, body)


def test_a_revoked_key_ends_its_sessions(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        await browser.sign_in(house.made.api_key)
        assert (await browser.get("/sign-in")).status == 303
        accounts = house.state["accounts"]
        (key,) = await accounts.keys(house.made.account_id)
        await accounts.delete_key(house.made.account_id, key.id)
        assert (await browser.get("/sign-in")).status == 200
        assert (await house.browser().sign_in(house.made.api_key)).status == 401

    visit(tmp_path, body)


def test_guessing_is_bounded_by_address(tmp_path: Path) -> None:
    async def body(house: House) -> list[int]:
        browser = house.browser("10.0.0.1")
        first = [(await browser.sign_in("sk-guess")).status for _ in range(SIGN_INS_PER_ADDRESS_HOUR)]
        assert set(first) == {401}
        return [
            (await browser.sign_in(house.made.credit_id)).status,
            (await house.browser("10.0.0.2").sign_in(house.made.credit_id)).status,
        ]

    assert visit(tmp_path, body) == [429, 303]


def test_new_accounts_are_bounded_by_address(tmp_path: Path) -> None:
    async def body(house: House) -> list[int]:
        return [(await house.browser("10.0.0.1").post("/account/new")).status for _ in range(3)]

    assert visit(tmp_path, body, limits={"accounts_per_address_hour": 2}) == [201, 201, 429]


def test_without_a_key_of_the_gateways_own_nobody_signs_in_and_is_told_why(tmp_path: Path) -> None:
    async def body(house: House) -> list[Seen]:
        keyless = Site(house.state["settings"], Sessions(None))
        browser = Browser(Door(keyless, house.app.api, ()), house.state)
        return [await browser.post("/account/new"), await browser.sign_in(house.made.credit_id)]

    for answer in visit(tmp_path, body):
        assert answer.status == 503 and "secret_key" in answer.words and not answer.set_cookies


@pytest.mark.parametrize(
    ("place", "leads"),
    [
        ("/account/keys", "/account/keys"),
        ("/auth?callback_url=https%3A%2F%2Fa.example&x=1", "/auth?callback_url=https%3A%2F%2Fa.example&x=1"),
        ("//evil.example", ACCOUNT),
        ("/\\evil.example", ACCOUNT),
        ("https://evil.example", ACCOUNT),
        ("javascript:alert(1)", ACCOUNT),
        ("/a\r\nset-cookie: x", ACCOUNT),
        ("", ACCOUNT),
        ("/" + "a" * 3_000, ACCOUNT),
    ],
)
def test_signing_in_leads_only_to_paths_of_ours(place: str, leads: str) -> None:
    assert onward(place) == leads


def test_what_a_visitor_sends_is_escaped(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        return await house.browser().post(
            "/sign-in", {"credential": '"><script>alert(1)</script>', "next": '/"><script>alert(1)</script>'}
        )

    assert "<script>alert" not in visit(tmp_path, body).text


def test_only_a_form_is_taken(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
            answer = await house.browser().post("/sign-in", {"credential": "x"}, content_type=kind)
            assert answer.status == 400

    visit(tmp_path, body)
