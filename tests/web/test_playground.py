"""The playground: every chat model to choose from, one chosen by its address, and words for who cannot use it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from perquery.config import ModelSetting, PriceSetting, RouteSetting
from tests.web.house import STUB, House, Seen, visit

PAINTER = ModelSetting(
    id="painter",
    kind="image",
    routes=(RouteSetting(provider="host", model="p"),),
    price_usd_per_million=PriceSetting(image=Decimal("0.04")),
)


def chosen(page: Seen) -> str:
    value: str
    (value,) = re.findall(r'<input id="model" list="models" value="([^"]*)"', page.text)
    return value


def test_every_chat_model_can_be_chosen_and_no_other(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        page = await house.browser().get("/playground")
        options = re.findall(r'<option value="([^"]+)" data-in="([^"]+)" data-out="([^"]+)">', page.text)
        assert options == [("stub-model", "$1.05", "$2.10")]
        assert chosen(page) == "stub-model"

    visit(tmp_path, body, models=(STUB, PAINTER))


def test_a_models_page_leads_to_it(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        (place,) = re.findall(r'href="(/playground[^"]*)"', (await browser.get("/catalog/z/other")).text)[1:]
        page = await browser.get(place)
        assert chosen(page) == "z/other" and "data-asked" in page.text
        assert 'href="/sign-in?next=/playground%3Fmodel%3Dz/other"' in page.text
        assert chosen(await browser.get('/playground?model="><script>')) == "stub-model"

    other = STUB.model_copy(update={"id": "z/other", "aliases": ()})
    visit(tmp_path, body, models=(STUB, other))


def test_who_is_signed_in_can_send_and_no_key_is_on_the_page(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        out = await house.browser().get("/playground")
        assert "disabled>Send" in out.text and "Answers are paid from an account." in out.words
        page = await (await house.owner()).get("/playground")
        assert "data-send>Send" in page.text and page.headers["cache-control"] == "no-store"
        for secret in (house.made.credit_id, house.made.api_key):
            assert secret not in page.text

    visit(tmp_path, body)


def test_without_a_script_it_says_what_is_missing_and_where_to_go(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        page = await house.browser().get("/playground")
        (told,) = re.findall(r"<noscript>(.*?)</noscript>", page.text, re.DOTALL)
        assert "needs JavaScript" in told and 'href="/api-docs"' in told
        assert re.search(r"<div data-playground[^>]* hidden>", page.text)

    visit(tmp_path, body)


def test_without_models_it_says_so(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        return await house.browser().get("/playground")

    assert "No chat model can be called here now." in visit(tmp_path, body, models=()).words
