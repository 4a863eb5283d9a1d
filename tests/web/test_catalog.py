"""The list of models finds by its query string what the script finds by typing; each model's page has its prices."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from time import process_time
from typing import Final

from perquery.config import Provider
from tests.web.house import HOSTED, STUB, House, Seen, visit

ROW = re.compile(r"<tr data-by=[^>]*?( hidden)?>.*?<code class=\"under\">([^<]*)</code>", re.DOTALL)

LOCAL: Final = Provider(name="local", dialect="openai-chat", base_url="http://127.0.0.1:9/v1", api_keys=("k",))


def shown(page: Seen) -> list[str]:
    assert page.status == 200
    return [name for hidden, name in ROW.findall(page.text) if not hidden]


def test_many_models_are_drawn_once(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        for path in ("/catalog", "/playground"):
            spent_s = []
            for _ in range(4):
                began_s = process_time()
                page = await browser.get(path, accept_encoding="gzip")
                spent_s.append(process_time() - began_s)
                assert len(page.body) < 60 * 1024
            assert min(spent_s[1:]) < spent_s[0] / 2, (path, spent_s)

    visit(tmp_path, body, models=tuple(STUB.model_copy(update={"id": f"a/{n}", "aliases": ()}) for n in range(620)))


def test_the_first_pages_rows_lead_to_the_models(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        (place,) = re.findall(r'<th scope="row"><a href="([^"]*)">', (await browser.get("/")).text)
        assert (await browser.get(place)).status == 200 and place == "/catalog/stub-model"

    visit(tmp_path, body)


def test_the_list_finds_and_sorts_by_the_query_string(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        everything = await browser.get("/catalog")
        names = shown(everything)
        assert len(names) > 500 and names == sorted(names)
        assert len(gzip.compress(everything.body, 5)) < 60 * 1024

        async def found(query: str) -> list[str]:
            return shown(await browser.get(f"/catalog?{query}"))

        assert await found("q=SONNET+anthropic") == [n for n in names if "sonnet" in n and "anthropic" in n]
        assert {name.partition("/")[0] for name in await found("by=anthropic")} == {"anthropic"}
        assert await found("kind=chat") == names and await found("kind=tts") == []
        assert 0 < len(await found("can=image-out")) < 50
        assert await found("price=0.2&sort=cheap") and len(await found("price=0.2")) < len(await found("price=3"))
        assert "openai/gpt-5" in await found("context=128000&can=tools")
        assert sorted(await found("sort=dear")) == names != await found("sort=dear")
        nothing = await browser.get("/catalog?q=no-such-model")
        assert not shown(nothing) and "No model is like that." in nothing.words

    visit(tmp_path, body, providers=(HOSTED, LOCAL))


def test_what_the_query_string_says_wrongly_excludes_nothing(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        page = await house.browser().get("/catalog?price=%3Cb%3E&context=x&kind=x&can=x&sort=x&q=%22%3E%3Cscript%3E")
        assert page.status == 200 and '"><script>' not in page.text
        assert len(shown(await house.browser().get("/catalog?price=1e9&context=-1&sort=&kind=nothing"))) > 500

    visit(tmp_path, body, providers=(HOSTED, LOCAL))


def test_a_models_page_has_prices_limits_and_code_with_the_readers_address(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        page = await browser.get("/catalog/openai/gpt-5")
        assert page.status == 200 and "million tokens" in page.words and " sats" in page.words
        for text in ("curl https://api.example/v1/chat/completions", 'base_url="https://api.example/v1"', "baseURL"):
            assert text in page.text.replace("&#34;", '"')
        moved = await browser.get("/catalog/gpt-5")
        assert (moved.status, moved.headers["location"]) == (303, "/catalog/openai/gpt-5")
        unknown = await browser.get("/catalog/<b>gpt")
        assert unknown.status == 404 and "<b>gpt" not in unknown.text

    visit(tmp_path, body, providers=(HOSTED, LOCAL), api_url="https://api.example")


def test_every_models_page_is_whole(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        kinds = {model.kind: model.id for model in house.state["catalog"].models.values()}
        tiered = next(m.id for m in house.state["catalog"].models.values() if len(m.price.tiers) > 1)
        for name in (*kinds.values(), tiered, "stub-model"):
            page = await house.browser().get(f"/catalog/{name}")
            assert page.status == 200 and name in page.text, name

    visit(tmp_path, body, providers=(HOSTED, LOCAL))
