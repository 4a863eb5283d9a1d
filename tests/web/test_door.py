"""Which requests are for the pages, what every page is sent with, and how one is refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from perquery.errors import Forbidden
from perquery.store.database import Database
from perquery.web import door, guard
from tests.web.house import HOST, House, Seen, ask, visit


def seen(folder: Path, path: str, **headers: str) -> Seen:
    async def body(house: House) -> Seen:
        return await house.browser().get(path, **headers)

    return visit(folder, body)


def test_a_browser_sees_the_site_and_a_program_the_api_at_the_root(tmp_path: Path) -> None:
    async def body(house: House) -> list[Seen]:
        browser = house.browser()
        return [
            await browser.get("/"),
            await browser.get("/", accept="*/*"),
            await ask(house.app, house.state, "HEAD", "/", {"host": HOST}),
        ]

    page, api, head = visit(tmp_path, body)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert (api.status, api.headers["content-type"]) == (200, "application/json")
    assert (head.status, head.headers["content-type"]) == (200, "application/json")


def test_a_path_of_the_api_is_the_apis_for_browsers_too(tmp_path: Path) -> None:
    async def body(house: House) -> list[Seen]:
        return [await house.browser().get(path) for path in ("/v1/models", "/keys", "/v1/nothing", "/health")]

    models, keys, nothing, health = visit(tmp_path, body)
    for answer, status in ((models, 200), (keys, 401), (nothing, 404), (health, 200)):
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")


def test_no_page_sits_on_a_path_of_the_api(tmp_path: Path) -> None:
    async def body(house: House) -> set[str]:
        return set(house.app._of_pages & house.app._of_api)

    assert visit(tmp_path, body) == set()


def test_what_is_nowhere_is_a_page_for_browsers_and_json_for_programs(tmp_path: Path) -> None:
    async def body(house: House) -> tuple[Seen, Seen]:
        browser = house.browser()
        return await browser.get("/nowhere"), await browser.get("/nowhere", accept="application/json")

    page, api = visit(tmp_path, body)
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page." in page.words
    assert (api.status, api.headers["content-type"]) == (404, "application/json")


def test_every_page_has_the_headers_that_keep_it_to_itself(tmp_path: Path) -> None:
    async def body(house: House) -> list[Seen]:
        return [await house.browser().get(path) for path in ("/", "/sign-in", "/nowhere", "/account")]

    for page in visit(tmp_path, body):
        headers = page.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert "http" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "strict-transport-security" not in headers


def test_over_tls_browsers_are_told_to_stay_there(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        return await house.browser(scheme="https").get("/")

    assert visit(tmp_path, body).headers["strict-transport-security"] == "max-age=31536000"


def test_pages_and_files_are_compressed_for_who_takes_it(tmp_path: Path) -> None:
    async def body(house: House) -> tuple[Seen, Seen, Seen]:
        browser = house.browser()
        plain = await browser.get("/")
        style = plain.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        return (
            plain,
            await browser.get("/", accept_encoding="br, gzip"),
            await browser.get(style, accept_encoding="gzip"),
        )

    plain, small, style = visit(tmp_path, body)
    assert small.headers["content-encoding"] == "gzip" and gzip.decompress(small.body) == plain.body
    assert "accept-encoding" in small.headers["vary"]
    assert style.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert b"--accent" in gzip.decompress(style.body)


def test_a_file_of_another_version_is_not_there(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for path in ("/static/site.0000000000000000.css", "/static/..%2fsite.py", "/static/"):
            assert (await house.browser().get(path)).status == 404

    visit(tmp_path, body)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://own.example"}, False),
        ({"origin": "https://own.example"}, True),
        ({"origin": "http://gateway.test:8000"}, True),
        ({"origin": "https://gateway.test.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({}, False),
    ],
)
def test_only_our_own_forms_may_change_something(headers: dict[str, str], passes: bool) -> None:
    sent = {"host": "gateway.test:8000"} | headers
    guard.refuse_foreign("GET", sent, None)
    if passes:
        guard.refuse_foreign("POST", sent, "https://own.example")
    else:
        with pytest.raises(Forbidden):
            guard.refuse_foreign("POST", sent, "https://own.example")


def test_every_form_is_refused_where_it_comes_from_another_site(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for page in door.PAGES:
            if "POST" in page.methods:
                answer = await browser.post(page.path.replace("{", "").replace("}", ""), sec_fetch_site="cross-site")
                assert answer.status == 403 and "another site" in answer.words and not answer.set_cookies, page.path

    visit(tmp_path, body)


def test_a_method_that_a_page_does_not_take_is_refused(tmp_path: Path) -> None:
    answer = seen(tmp_path, "/sign-out")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_database_that_is_away_is_a_page_that_says_so(tmp_path: Path) -> None:
    async def body(house: House) -> Seen:
        browser = await house.owner()
        house.state["accounts"]._database = nowhere = Database(f"sqlite:///{tmp_path}/nothing/perquery.db")
        answer = await browser.get("/account")
        nowhere.close()
        return answer

    answer = visit(tmp_path, body)
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert "The database does not answer" in answer.words


def test_a_bug_of_ours_shows_nothing_of_the_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def body(house: House) -> tuple[int, str]:
        del house.state["catalog"]
        messages: list[Any] = []
        with pytest.raises(AttributeError):  # which the server logs
            await ask(house.app, house.state, "GET", "/", {"host": HOST, "accept": "text/html"}, messages=messages)
        return messages[0]["status"], b"".join(m.get("body", b"") for m in messages[1:]).decode()

    with caplog.at_level("CRITICAL"):
        status, text = visit(tmp_path, body)
    assert status == 500 and "Something went wrong here" in text
    assert "AttributeError" not in text and "Traceback" not in text
