"""Passkeys: made by the owner, good for a sign-in as long as they are kept, bound to this site, signed once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.web.authenticator import Authenticator, raw, text
from tests.web.house import HOST, Browser, House, Seen, visit

ORIGIN = f"http://{HOST}"
ADD, SIGN_IN = "/account/passkeys", "/sign-in/passkey"


async def options(browser: Browser, path: str) -> Any:
    answer = await browser.send(f"{path}/options", {})
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


async def added(browser: Browser, key: Authenticator, name: str = "laptop") -> Seen:
    return await browser.send(ADD, {"name": name, "credential": key.made(await options(browser, ADD))})


async def signed_in(browser: Browser, key: Authenticator, place: str = "/account") -> Seen:
    return await browser.send(SIGN_IN, {"credential": key.shown(await options(browser, SIGN_IN)), "next": place})


@pytest.mark.parametrize("counts", [True, False])
def test_a_passkey_opens_what_the_credit_id_opens(tmp_path: Path, counts: bool) -> None:
    async def body(house: House) -> None:
        owner, key = await house.owner(), Authenticator(ORIGIN, counts)
        assert (await added(owner, key, "<i>laptop")).status == 201
        page = await owner.get("/account/access")
        assert "&lt;i&gt;laptop" in page.text and "<i>" not in page.text
        for _ in range(2):
            browser = house.browser()
            answer = await signed_in(browser, key, "/account/keys")
            assert json.loads(answer.body) == {"next": "/account/keys"}
            assert (await browser.get("/account/keys")).status == 200
        assert json.loads((await signed_in(house.browser(), key, "//evil.example")).body) == {"next": "/account"}

    visit(tmp_path, body)


def test_it_is_bound_to_the_host_of_the_public_address(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner = await house.owner()
        asked = await options(owner, ADD)
        assert asked["rp"]["id"] == "ai.example" and asked["attestation"] == "none"
        assert (
            asked["authenticatorSelection"] | {"residentKey": "required", "userVerification": "preferred"}
            == (asked["authenticatorSelection"])
        )
        assert house.made.credit_id not in str(asked)
        signing = await options(house.browser(), SIGN_IN)
        assert (signing["rpId"], signing["allowCredentials"]) == ("ai.example", [])
        assert (await added(owner, Authenticator("https://ai.example"))).status == 201

    visit(tmp_path, body, public_url="https://ai.example")


def test_a_removed_passkey_is_refused(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner, key = await house.owner(), Authenticator(ORIGIN)
        await added(owner, key)
        asked = await options(house.browser(), SIGN_IN)
        assert (await owner.post(f"/account/passkeys/{text(key.id)}/remove")).status == 303
        assert "No passkey yet." in (await owner.get("/account/access")).words
        browser = house.browser()
        answer = await browser.send(SIGN_IN, {"credential": key.shown(asked)})
        assert answer.status == 401 and not browser.cookies and "removed" in answer.text

    visit(tmp_path, body)


def test_a_challenge_is_good_once_and_for_what_it_was_given(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner, key, browser = await house.owner(), Authenticator(ORIGIN), house.browser()
        asked = await options(owner, ADD)
        assert (await owner.send(ADD, {"credential": key.made(asked)})).status == 201
        assert (await owner.send(ADD, {"credential": Authenticator(ORIGIN).made(asked)})).status == 400
        asked = await options(browser, SIGN_IN)
        assert (await browser.send(SIGN_IN, {"credential": key.shown(asked)})).status == 200
        again = await house.browser().send(SIGN_IN, {"credential": key.shown(asked)})
        assert again.status == 400 and "sent twice" in again.text
        for path, given in ((SIGN_IN, await options(owner, ADD)), (ADD, await options(browser, SIGN_IN))):
            shown = key.shown(given | {"rpId": HOST}) if path == SIGN_IN else key.made(given | {"rp": {"id": HOST}})
            assert (await owner.send(path, {"credential": shown})).status == 400
        own = key.shown({"rpId": HOST, "challenge": text(b"made up by the visitor itself...")})
        assert (await house.browser().send(SIGN_IN, {"credential": own})).status == 400

    visit(tmp_path, body)


def test_a_counter_that_goes_back_is_refused(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner, key = await house.owner(), Authenticator(ORIGIN, sign_count=5)
        await added(owner, key)
        assert (await signed_in(house.browser(), key)).status == 200
        for copied in (key.sign_count - 1, 0):
            key.sign_count = copied
            answer = await signed_in(house.browser(), key)
            assert answer.status == 401 and "was refused" in answer.text

    visit(tmp_path, body)


def test_another_sites_origin_host_or_key_is_refused(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner, key = await house.owner(), Authenticator(ORIGIN)
        await added(owner, key)
        wrong = (
            Authenticator("https://evil.example", id=key.id, key=key.key, sign_count=10),
            Authenticator(ORIGIN, id=key.id, sign_count=20),
            Authenticator(ORIGIN, key=key.key, sign_count=30),
        )
        for each in wrong:
            browser = house.browser()
            assert (await signed_in(browser, each)).status == 401 and not browser.cookies
        asked = await options(house.browser(), SIGN_IN)
        shown = key.shown(asked | {"rpId": "evil.example"})
        assert (await house.browser().send(SIGN_IN, {"credential": shown})).status == 401
        foreign = Authenticator("https://evil.example")
        assert (await added(owner, foreign)).status == 400

    visit(tmp_path, body)


def test_a_credential_that_is_cut_or_changed_is_refused_and_breaks_nothing(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        owner, key = await house.owner(), Authenticator(ORIGIN)
        await added(owner, key)
        for part, wrong in _damages():
            made = Authenticator(ORIGIN).made(await options(owner, ADD))
            shown = key.shown(await options(owner, SIGN_IN))
            for path, credential in ((ADD, made), (SIGN_IN, shown)):
                if part in credential["response"]:
                    credential["response"][part] = wrong(credential["response"][part])
                    answer = await owner.send(path, {"credential": credential})
                    assert answer.status in (400, 401), (part, answer.text)
        nothing: tuple[Any, ...] = (None, 1, "x", [], {}, {"response": None}, {"response": {"clientDataJSON": 1}})
        for given in nothing:
            assert (await owner.send(SIGN_IN, {"credential": given})).status == 400
        assert "laptop" in (await owner.get("/account/access")).words

    visit(tmp_path, body)


def _damages() -> list[tuple[str, Any]]:
    parts = ("clientDataJSON", "attestationObject", "authenticatorData", "signature")
    cuts = [lambda given, size=size: text(raw(given)[:size]) for size in (0, 1, 36)]
    return [
        *((part, cut) for part in parts for cut in cuts),
        *((part, lambda given: text(raw(given)[::-1])) for part in parts),
        ("clientDataJSON", lambda _: text(b"[" * 20_000)),
        ("attestationObject", lambda _: text(b"\x81" * 20_000)),
        ("attestationObject", lambda _: text(b"\xa0")),
    ]


def test_only_the_owner_adds_and_only_from_a_page_of_ours(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        holder, owner = house.browser(), await house.owner()
        await holder.sign_in(house.made.api_key)
        assert (await holder.send(f"{ADD}/options", {})).status == 403
        assert (await house.browser().send(f"{ADD}/options", {})).status == 401
        for path in (ADD, f"{ADD}/options", SIGN_IN, f"{SIGN_IN}/options"):
            assert (await owner.send(path, {}, sec_fetch_site="cross-site")).status == 403

    visit(tmp_path, body)


def test_a_site_without_a_name_says_why_it_has_none(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        page = await (await house.owner()).get("/account/access", host="127.0.0.1:8000")
        assert "Passkeys belong to a name." in page.words and "passkey.js" not in page.text

    visit(tmp_path, body)
