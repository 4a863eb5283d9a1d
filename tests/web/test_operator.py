"""The operator's page: behind its key alone, with the house's figures."""

from __future__ import annotations

from pathlib import Path

from perquery.accounts import SIGN_INS_PER_ADDRESS_HOUR
from tests.web.house import OPERATOR_KEY, Browser, House, visit


async def operator(house: House, key: str = OPERATOR_KEY) -> Browser:
    browser = house.browser()
    await browser.post("/operator/sign-in", {"credential": key})
    return browser


def test_without_a_key_there_is_no_such_page(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        assert (await browser.get("/operator/sign-in")).status == 404
        assert (await browser.post("/operator/sign-in", {"credential": ""})).status == 404
        assert (await browser.get("/operator")).headers["location"] == "/operator/sign-in?next=/operator"

    visit(tmp_path, body)


def test_only_the_key_opens_it(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for key in ("", "wrong", OPERATOR_KEY[:-1], OPERATOR_KEY + "x", "ü"):
            browser = await operator(house, key)
            assert not browser.cookies
            assert (await browser.get("/operator")).status == 303
        assert (await (await house.owner()).get("/operator")).status == 303

    visit(tmp_path, body, operator_key=OPERATOR_KEY)


def test_signing_out_ends_the_operators_session_for_whoever_copied_it(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser, thief = await operator(house), house.browser()
        thief.cookies |= browser.cookies
        assert (await thief.get("/operator")).status == 200
        await browser.post("/sign-out")
        assert (await thief.get("/operator")).status == 303

    visit(tmp_path, body, operator_key=OPERATOR_KEY)


def test_a_visitors_session_under_the_operators_name_opens_nothing(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        (cookie,) = (await house.owner()).cookies.values()
        (operators,) = (await operator(house)).cookies.values()
        forged = Browser(house.app, house.state, cookies={"perquery-operator": cookie, "perquery": operators})
        assert (await forged.get("/operator")).status == 303
        assert (await forged.get("/account")).status == 303

    visit(tmp_path, body, operator_key=OPERATOR_KEY)


def test_guessing_the_key_is_bounded(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        for _ in range(SIGN_INS_PER_ADDRESS_HOUR):
            assert (await browser.post("/operator/sign-in", {"credential": "x"})).status == 401
        assert (await browser.post("/operator/sign-in", {"credential": OPERATOR_KEY})).status == 429

    visit(tmp_path, body, operator_key=OPERATOR_KEY)


def test_the_house_sees_its_money_wallets_and_upstreams(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        await house.called(1_000_000, upstream_nano=400_000)
        place = (await (await house.owner()).post("/top-up", {"rail": "btc-lightning", "amount": "3"})).headers[
            "location"
        ]
        browser = await operator(house)
        page = await browser.get("/operator")
        assert page.headers["cache-control"] == "no-store"
        for words in ("Charged for calls $0.001", "Upstreams took $0.00 04", "Margin $0.00 06", "Not asked yet."):
            assert words.replace("$0.001", "$0.00 1") in page.words
        assert f'href="{place}"' in page.text and "host 1" in page.words
        assert "Bitcoin Lightning $0.00 agrees" in (await browser.get("/operator?wallets")).words

    visit(tmp_path, body, operator_key=OPERATOR_KEY)


def test_an_operator_is_no_accounts_holder(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await operator(house)
        assert (await browser.get("/account")).headers["location"] == "/sign-in?next=/account"
        await browser.post("/sign-out")
        assert not browser.cookies

    visit(tmp_path, body, operator_key=OPERATOR_KEY)
