"""The website in a real browser against a running sandbox: the way from the first page to a paid call, every page in
every size and scheme, by keyboard alone, and without scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from perquery import money
from perquery.rails.sandbox import pay
from perquery.store.drivers import wall_ms
from perquery.web.door import PAGES
from tests.browser.chromium import (
    AXE,
    BYTES_MAX,
    PATIENCE_MS,
    PROGRAM,
    SCHEMES,
    SIZES,
    Scheme,
    Watched,
    browser,
    visitor,
)
from tests.serving import Gateway, serving

pytestmark = pytest.mark.slow
OPERATOR_KEY: Final = "an-operator-key-of-32-characters"
MODEL: Final = "local/smollm2-135m-instruct"
# Not pages to look at: answers to forms, streams and files.
UNSEEN: Final = (
    *("/sign-out", "/account/new", "/checkout/{id}/events", "/account/calls.{kind}"),
    *("/blog/feed.xml", "/llms.txt", "/llms-full.txt", "/ask/{path:path}"),
)


@dataclass(frozen=True)
class Street:
    """A gateway with an account that has made a call and a top-up, and the places of what has an id there."""

    gateway: Gateway
    credit_id: str
    key: str
    places: dict[str, str]


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    if not PROGRAM.exists():
        pytest.skip("no Chromium here: scripts/debian-packages browser")
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("site")
    config = folder / "perquery.toml"
    config.write_text(f'operator_key = "{OPERATOR_KEY}"\n', "utf-8")
    with serving(folder / "data", config) as gateway:
        credit_id, key = gateway.account("5")
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        call = gateway.call("POST", "/v1/chat/completions", body, key=key, timeout_s=120)
        invoice = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1}, key=key).json()
        (first,) = gateway.call("GET", "/keys", headers={"x-credit-id": credit_id}).json()["data"]
        places = {
            "/account/calls/{id}": f"/account/calls/{call.headers['x-perquery-generation-id']}",
            "/account/keys/{id}": f"/account/keys/{first['_id']}",
            "/checkout/{id}": f"/checkout/{invoice['invoice_id']}",
            "/checkout/{id}/receipt": f"/checkout/{invoice['invoice_id']}/receipt",
            "/catalog/{id:path}": f"/catalog/{MODEL}",
            "/blog/{slug}": "/blog/using-roo-with-payperq",
            "/api-docs/{name}": "/api-docs/api",
            "/auth": "/auth?callback_url=https%3A%2F%2Fapp.example%2Fdone",
        }
        yield Street(gateway, credit_id, key, places)


def seen_pages() -> list[str]:
    return [page.path for page in PAGES if "GET" in page.methods and page.path not in UNSEEN]


def sign_in(watched: Watched, secret: str, path: str = "/sign-in") -> None:
    watched.open(path)
    watched.page.fill("#credential", secret)
    watched.page.click("main .button.primary")


def invoice_on(page: Page) -> str:
    found = re.search(r"lnbcrt\w+", page.locator("main").inner_text())
    assert found
    return found[0]


def test_from_the_first_page_to_a_revoked_key(street: Street, running: Browser) -> None:
    gateway = street.gateway
    with visitor(running) as context:
        watched = Watched(context.new_page(), gateway.base_url)
        page = watched.page
        watched.open("/")
        page.get_by_role("button", name="Create account").click()
        expect(page.get_by_role("heading", name="Save these two now")).to_be_visible()
        page.get_by_role("link", name="Saved; top up").click()
        page.get_by_label("Amount").fill("3")
        page.get_by_role("button", name="Continue to pay").click()
        page.evaluate("window.loadedOnce = true")
        pay(gateway.data, invoice_on(page), wall_ms)
        expect(page.get_by_role("heading", name="Paid")).to_be_visible()
        assert page.evaluate("window.loadedOnce")  # seen live, not by loading again
        page.get_by_role("link", name="To the account").click()
        assert "$3.15" in page.locator("main").inner_text()
        page.get_by_role("link", name="Keys", exact=True).click()
        page.get_by_label("Name").fill("laptop")
        page.get_by_label("Limit in USD").fill("1")
        page.get_by_role("button", name="Create key").click()
        secret = page.locator("main code").first.inner_text()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
        assert gateway.call("POST", "/v1/chat/completions", body, key=secret, timeout_s=120).status == 200
        page.get_by_role("link", name="Saved; to all keys").click()
        page.get_by_role("link", name="Change laptop").click()
        page.get_by_role("button", name="Revoke laptop").click()
        expect(page.get_by_text("1 revoked")).to_be_visible()
        assert gateway.call("POST", "/v1/chat/completions", body, key=secret).status == 401
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Create account")).to_be_visible()
        watched.check()


def balance_of(gateway: Gateway, key: str) -> Decimal:
    answer = gateway.call("POST", "/credits/balance", {}, key=key)
    return Decimal(str(money.from_json(answer.body)["balance"]))


def test_an_answer_in_the_playground_costs_what_the_balance_falls_by(street: Street, running: Browser) -> None:
    gateway = street.gateway
    credit_id, key = gateway.account("1")
    with visitor(running, SIZES[0], "dark") as context:
        watched = Watched(context.new_page(), gateway.base_url)
        page = watched.page
        sign_in(watched, credit_id, f"/sign-in?next=/playground?model={MODEL}")
        message, turns = page.get_by_label("Your message"), page.locator("[data-turns] > li")
        message.focus()
        page.keyboard.type("Hello. <b>Who</b> are you?\n")  # Enter sends
        expect(turns.last).to_contain_text("receipt", timeout=PATIENCE_MS)
        (cost,) = re.findall(r"\$([\d.]+)", turns.last.locator(".hint").inner_text())
        assert balance_of(gateway, key) == 1 - Decimal(cost) < 1
        assert "<b>Who</b>" in turns.first.inner_text()  # as text
        page.keyboard.type("Write a long story about a ledger.\n")
        expect(turns.last.locator(".words")).not_to_be_empty(timeout=PATIENCE_MS)
        page.keyboard.press("Escape")
        expect(turns.last).to_contain_text(re.compile(r"stopped · \$"), timeout=PATIENCE_MS)
        (spent,) = re.findall(r"\$([\d.]+)", page.locator("[data-total]").inner_text())
        assert balance_of(gateway, key) == 1 - Decimal(spent) < 1 - Decimal(cost)
        assert not watched.violations()
        watched.open("/playground")
        expect(turns).to_have_count(4)  # kept here
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete all").click()
        expect(turns).to_have_count(0)
        assert page.evaluate("localStorage.length") == 0
        watched.check()


def test_a_request_of_the_reference_is_sent_from_its_page(street: Street, running: Browser) -> None:
    with visitor(running) as context:
        watched = Watched(context.new_page(), street.gateway.base_url)
        page = watched.page
        sign_in(watched, street.credit_id, "/sign-in?next=/api-docs")
        form = page.get_by_role("form", name="Try POST /v1/chat/completions")
        page.locator("details", has=page.locator("[data-try='POST /v1/chat/completions']")).locator("summary").click()
        hello = [{"role": "user", "content": "Hi"}]
        form.get_by_label("Body").fill(json.dumps({"model": MODEL, "stream": True, "max_tokens": 4, "messages": hello}))
        form.get_by_role("button", name="Send").click()
        expect(form.locator("[data-said]")).to_contain_text(re.compile(r"200 · .* s · \$0\.0"), timeout=PATIENCE_MS)
        assert "data: [DONE]" in form.locator("[data-answer]").inner_text()
        assert not watched.violations()
        watched.check()


def test_a_passkey_is_a_way_back_in(street: Street, running: Browser) -> None:
    with visitor(running) as context:
        # Passkeys belong to a name, and this is the one that every machine has.
        watched = Watched(context.new_page(), street.gateway.base_url.replace("127.0.0.1", "localhost"))
        page = watched.page
        device = context.new_cdp_session(page)
        device.send("WebAuthn.enable")
        kind = {"protocol": "ctap2", "transport": "internal", "automaticPresenceSimulation": True}
        able = {"hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True}
        device.send("WebAuthn.addVirtualAuthenticator", {"options": kind | able})
        sign_in(watched, street.credit_id, "/sign-in?next=/account/access")
        page.get_by_label("Name of a new passkey").fill("laptop")
        page.get_by_role("button", name="Add a passkey").click()
        expect(page.get_by_role("row", name="laptop")).to_be_visible()
        page.get_by_role("button", name="Sign out", exact=True).click()
        watched.open("/sign-in?next=/account/access")
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.get_by_role("heading", name="Passkeys")).to_be_visible()
        watched.check()
        page.get_by_role("button", name="Remove laptop").click()
        expect(page.get_by_text("No passkey yet.")).to_be_visible()
        page.get_by_role("button", name="Sign out everywhere").click()
        page.get_by_role("button", name="Use a passkey").click()
        expect(page.get_by_role("alert")).to_contain_text("was removed")
        assert not watched.foreign and not watched.violations()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_whole_readable_and_small(
    street: Street, running: Browser, size: tuple[int, int], scheme: Scheme
) -> None:
    assert AXE.exists(), "make test-slow installs axe-core"
    with visitor(running, size, scheme) as context:
        watched = Watched(context.new_page(), street.gateway.base_url)
        signed_out = [path for path in seen_pages() if path.endswith("sign-in")]
        look_at(watched, signed_out, {})
        sign_in(watched, street.credit_id)
        sign_in(watched, OPERATOR_KEY, "/operator/sign-in")
        look_at(watched, [path for path in seen_pages() if path not in signed_out], street.places)


def look_at(watched: Watched, paths: list[str], places: dict[str, str]) -> None:
    for path in paths:
        answer = watched.open(places.get(path, path))
        assert answer is not None and answer.status == 200, path
        watched.check()
        assert not watched.violations(), path
        assert watched.bytes_loaded <= BYTES_MAX, path


def test_a_page_that_is_nowhere_is_readable_too(street: Street, running: Browser) -> None:
    with visitor(running, SIZES[0], "dark") as context:
        watched = Watched(context.new_page(), street.gateway.base_url)
        answer = watched.open("/nowhere")
        assert answer is not None and answer.status == 404
        assert not watched.violations() and not watched.foreign and watched.sideways_px <= 0


def test_the_keyboard_alone_is_enough(street: Street, running: Browser) -> None:
    with visitor(running) as context:
        watched = Watched(context.new_page(), street.gateway.base_url)
        page = watched.page
        watched.open("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        tab_to(page, "Create account")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Save these two now")).to_be_visible()
        tab_to(page, "Saved; top up")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Amount")).to_be_visible()
        tab_to(page, "Continue to pay")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Pay 0.0001 BTC")).to_be_visible()
        watched.check()


def tab_to(page: Page, name: str) -> None:
    """Go on by the Tab key until what has that name has the focus, which shows."""
    for _ in range(60):
        page.keyboard.press("Tab")
        here: Any = page.evaluate(
            "[document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
        )
        if here[0] == name:
            assert here[1] != "none"
            return
    raise AssertionError(f"the Tab key does not reach {name!r}")


def test_without_scripts_reading_and_topping_up_work(street: Street, running: Browser) -> None:
    gateway = street.gateway
    with visitor(running, scripts=False) as context:
        watched = Watched(context.new_page(), gateway.base_url)
        page = watched.page
        watched.open("/")
        expect(page.get_by_role("table").first).to_be_visible()
        page.get_by_role("button", name="Create account").click()
        page.get_by_role("link", name="Saved; top up").click()
        page.get_by_role("button", name="Continue to pay").click()
        pay(gateway.data, invoice_on(page), wall_ms)
        expect(page.get_by_role("heading", name="Paid")).to_be_visible(timeout=60_000)  # the page loads itself anew
        page.get_by_role("link", name="Receipt").click()
        assert "$10.50" in page.locator("main").inner_text()
        assert not watched.foreign


def test_the_visitors_scheme_is_kept(street: Street, running: Browser) -> None:
    grounds = {}
    for scheme in SCHEMES:
        with visitor(running, scheme=scheme) as context:
            watched = Watched(context.new_page(), street.gateway.base_url)
            watched.open("/")
            grounds[scheme] = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(251, 250, 246)", "dark": "rgb(20, 21, 22)"}
