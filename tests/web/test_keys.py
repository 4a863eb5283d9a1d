"""Keys on pages: made and shown once, changed, revoked at once; what is wrong stands at its field."""

from __future__ import annotations

import re
from pathlib import Path

from tests.web.house import Browser, House, visit

SECRET = re.compile(r"<code>(sk-[\w-]+)</code>")
KEYS = "/account/keys"


async def key_named(house: House, name: str) -> str:
    keys = await house.state["accounts"].keys(house.made.account_id)
    return str(next(key.id for key in keys if key.name == name))


def test_a_key_with_every_term_is_shown_once(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        terms = {
            "name": "laptop",
            "usage_limit_usd": "2.50",
            "reset_period": "monthly",
            "expire_at": "2099-12-31T10:30",
            "models": "stub\nstub-model",
            "caching": "on",
        }
        made = await browser.post(KEYS, terms, accept_encoding="gzip")
        assert made.status == 201 and made.headers["cache-control"] == "no-store"
        assert "content-encoding" not in made.headers
        (secret,) = SECRET.findall(made.text)
        assert (await house.browser().sign_in(secret)).status == 303
        listing = await browser.get(KEYS)
        assert secret not in listing.text and "laptop" in listing.words and "$2.50 monthly" in listing.words
        form = (await browser.get(f"{KEYS}/{await key_named(house, 'laptop')}")).text
        for shown in (
            'value="2.5"',
            'value="2099-12-31T10:30"',
            ">stub-model</textarea>",
            "selected>monthly",
            "checked",
        ):
            assert shown in form

    visit(tmp_path, body)


WRONG = (
    ("name", "", "1 to 25 printable characters"),
    ("name", "Default", "Another key is named"),
    ("usage_limit_usd", "a lot", "must be a number"),
    ("usage_limit_usd", "0.001", "must be a number"),
    ("usage_limit_usd", "1e3", "must be a number"),
    ("reset_period", "yearly", "daily, weekly, monthly"),
    ("expire_at", "tomorrow", "must be a time"),
    ("expire_at", "2001-01-01T00:00", "has passed"),
    ("models", "no-such-model", "No model is called"),
)


def test_what_is_wrong_stands_at_its_field(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for field, value, words in WRONG:
            answer = await browser.post(KEYS, {"name": "new", field: value})
            assert answer.status == 400 and words in answer.words, field
            assert "field wrong" in answer.text
        assert len(await house.state["accounts"].keys(house.made.account_id)) == 1

    visit(tmp_path, body)


def test_a_key_is_changed_and_revoked(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        key_id = await key_named(house, "Default")
        changed = await browser.post(f"{KEYS}/{key_id}", {"name": "<b>new</b>", "usage_limit_usd": "1", "caching": ""})
        assert (changed.status, changed.headers["location"]) == (303, KEYS)
        listing = await browser.get(KEYS)
        assert "<b>new</b>" not in listing.text and "<b>new</b>" in listing.words.replace("&lt;", "<")
        assert (await browser.post(f"{KEYS}/{key_id}/revoke")).status == 303
        assert "1 revoked" in (await browser.get(KEYS)).words
        assert (await house.browser().sign_in(house.made.api_key)).status == 401

    visit(tmp_path, body)


def test_an_expiry_that_has_passed_does_not_hinder_a_change(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        accounts, account_id = house.state["accounts"], house.made.account_id
        soon = house.state["database"].now_ms() + 1
        key, _ = await accounts.create_key(account_id, {"name": "short", "expire_at": soon + 60_000})
        browser = await house.owner()
        shown = re.search(r'type="datetime-local" value="([^"]+)"', (await browser.get(f"{KEYS}/{key.id}")).text)
        assert shown
        await browser.post(f"{KEYS}/{key.id}", {"name": "renamed", "expire_at": shown.group(1)})
        kept = await accounts.key(account_id, key.id)
        assert (kept.name, kept.expire_at) == ("renamed", soon + 60_000)

    visit(tmp_path, body)


def test_nobody_touches_anothers_key(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        key_id = await key_named(house, "Default")
        stranger: Browser = house.browser()
        await stranger.post("/account/new")
        assert (await stranger.get(f"{KEYS}/{key_id}")).status == 404
        assert (await stranger.post(f"{KEYS}/{key_id}/revoke")).status == 404
        assert (await house.browser().post(f"{KEYS}/{key_id}/revoke")).status == 401
        assert (await house.state["accounts"].key(house.made.account_id, key_id)).deleted_at is None

    visit(tmp_path, body)
