"""Guides, posts and the documentation as pages: every one is whole, filled in, and leads to pages that there are."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from perquery.web import prose
from tests.web.house import House, visit

DOCS = Path(__file__).parents[2] / "docs"
API_URL = "https://api.example"


def test_every_text_is_whole_and_leads_to_pages_that_there_are(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        listing = await browser.get("/blog")
        paths = {f"/blog/{slug}" for slug in prose.GUIDES} | {f"/api-docs/{name}" for name in prose.CHAPTERS}
        paths |= {f"/blog/{post.slug}" for post in prose.posts()}
        assert {path for path in paths if path.startswith("/blog/")} <= set(re.findall(r'href="([^"]*)"', listing.text))
        led: set[str] = set()
        for path in sorted(paths):
            page = await browser.get(path)
            assert page.status == 200, path
            assert "$BASE" not in page.text and "127.0.0.1:8000" not in page.text, path
            assert "](" not in re.sub(r"<code>.*?</code>", "", page.text, flags=re.DOTALL), path
            article = page.text.partition("<article")[2].partition("</article>")[0]
            led |= {href.partition("#")[0] for href in re.findall(r'href="(/[^"]*)"', article)}
        for href in led:
            assert (await browser.get(href)).status in (200, 303), href
        guide = await browser.get("/blog/using-claude-code-with-payperq")
        assert f"ANTHROPIC_BASE_URL={API_URL} " in guide.text

    visit(tmp_path, body, api_url=API_URL)


def test_every_tool_has_a_guide_and_its_page_starts_with_what_is_filled_in() -> None:
    files = {file.stem for file in (DOCS / "tools").glob("*.md")} - {"README"}
    assert set(prose.GUIDES.values()) == files
    for name in files:
        assert prose.PREAMBLE.search((DOCS / "tools" / f"{name}.md").read_text("utf-8")), name


def test_unknown_texts_are_not_there(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for path in ("/blog/nothing", "/api-docs/ledger", "/api-docs/..%2Fapi", "/blog/tools%2Faider"):
            assert (await house.browser().get(path)).status == 404, path

    visit(tmp_path, body)


def test_markup_in_a_text_is_text() -> None:
    text = prose.Text("x", "X", "<script>x</script>\n\n[a](javascript:x)\n\n```\n</code><b>\n```\n")
    shown = prose.html(text, API_URL)
    assert "<script>" not in shown and "<b>" not in shown and 'href="javascript' not in shown


def test_the_feed_and_the_texts_for_models(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        feed = await browser.get("/blog/feed.xml")
        assert feed.headers["content-type"].startswith("application/rss+xml")
        (first, *_) = ElementTree.fromstring(feed.text).iter("item")
        link = first.findtext("link") or ""
        assert (await browser.get(link.removeprefix("http://gateway.test"))).status == 200
        short, full = await browser.get("/llms.txt"), await browser.get("/llms-full.txt")
        assert short.headers["content-type"].startswith("text/plain") and f"{API_URL}/v1" in short.text
        for link in re.findall(r"\]\(http://gateway\.test([^)]*)\)", short.text):
            assert (await browser.get(link)).status == 200, link
        assert "## Credentials" in full.text and "$BASE" not in full.text

    visit(tmp_path, body, api_url=API_URL)
