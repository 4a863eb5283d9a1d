"""From the form to the receipt: an invoice made once, what its page shows in every state, who may see it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from perquery.rails.sandbox import pay
from perquery.store.drivers import wall_ms
from perquery.web.checkout import qr
from tests.web.house import Browser, House, ask, visit


class Heard(list[Any]):
    """What was sent; `event` is set by the first event of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    def append(self, message: Any) -> None:
        super().append(message)
        if message.get("body"):
            self.event.set()


INVOICE = re.compile(r"<code>(lnbcrt\w+)</code>")


async def asked(browser: Browser, amount: str = "10", currency: str = "USD", form: str = "f1") -> str:
    """The place of a new invoice's checkout."""
    fields = {"rail": "btc-lightning", "amount": amount, "currency": currency, "form": form}
    answer = await browser.post("/top-up", fields)
    assert answer.status == 303, answer.words
    return answer.headers["location"]


def test_paying_from_the_form_to_the_receipt(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        form = (await browser.get("/top-up")).words
        assert "Bitcoin Lightning +5 %" in form and "$0.10 to $1,000.00" in form
        place = await asked(browser)
        open_page = await browser.get(place)
        (invoice,) = set(INVOICE.findall(open_page.text))
        assert "Pay 0.0001 BTC" in open_page.words and f'href="lightning:{invoice}"' in open_page.text
        assert '<noscript><meta http-equiv="refresh"' in open_page.text and 'class="qr"' in open_page.text
        assert f"perquery sandbox pay --data {tmp_path} {invoice}" in open_page.words
        await asyncio.to_thread(pay, tmp_path, invoice, wall_ms)
        paid = await browser.get(place)
        assert "Paid $10.50" in paid.words and "$0.50 of it as a bonus" in paid.words
        assert "refresh" not in paid.text and 'data-live=""' in paid.text
        receipt = (await browser.get(f"{place}/receipt")).words
        assert "Bonus $0.50" in receipt and "Credited $10.50" in receipt and "play money" in receipt
        assert "settled $10.50" in (await browser.get("/account/top-ups")).words

    visit(tmp_path, body)


def test_a_form_sent_twice_makes_one_invoice(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        assert await asked(browser, form="same") == await asked(browser, form="same")
        assert await asked(browser, form="same") != await asked(browser, form="other")

    visit(tmp_path, body)


CANNOT: tuple[tuple[dict[str, str], str], ...] = (
    ({"rail": "btc-lightning", "amount": "0", "currency": "USD"}, "amount must be between 0.1 and 1000 USD"),
    ({"rail": "btc-lightning", "amount": "ten", "currency": "USD"}, "must be a plain number"),
    ({"rail": "btc-lightning", "amount": "1e9", "currency": "USD"}, "must be a plain number"),
    ({"rail": "btc-lightning", "amount": "1", "currency": "XMR"}, "currency must be one of"),
    ({"rail": "pigeons", "amount": "1", "currency": "USD"}, "Unknown payment method"),
    ({}, "Unknown payment method"),
)


def test_what_cannot_be_asked_is_explained(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for fields, words in CANNOT:
            answer = await browser.post("/top-up", fields)
            assert answer.status == 400 and words in answer.words, fields

    visit(tmp_path, body)


def test_whoever_has_the_address_may_pay_and_sees_nothing_else(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        place = await asked(await house.owner())
        page = await house.browser().get(place)
        assert page.status == 200
        for secret in (house.made.credit_id, house.made.api_key):
            assert secret not in page.text
        assert (await house.browser().get("/checkout/" + "A" * 22)).status == 404

    visit(tmp_path, body)


def test_the_invoices_changes_are_streamed_to_its_end(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        place = await asked(browser)
        (invoice,) = set(INVOICE.findall((await browser.get(place)).text))
        heard, gone = Heard(), asyncio.Event()
        following = asyncio.create_task(
            ask(house.app, house.state, "GET", f"{place}/events", {"host": "h"}, messages=heard, stays=gone)
        )
        await heard.event.wait()
        await asyncio.to_thread(pay, tmp_path, invoice, wall_ms)
        seen = await following
        assert seen.headers["content-type"].startswith("text/event-stream")
        assert "access-control-allow-origin" not in seen.headers
        states = re.findall(r'"state":"(\w+)"', seen.text)
        assert states[0] == "new" and states[-1] == "settled"
        last = re.findall(r"^id: (\d+)$", seen.text, re.MULTILINE)[-1]
        again = await browser.get(f"{place}/events", last_event_id=last)
        assert again.status == 204
        assert (await browser.get(f"{place}/events", last_event_id="x")).status == 400

    visit(tmp_path, body)


def test_a_gateway_without_a_way_to_pay_says_so(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        answer = await (await house.owner()).get("/top-up")
        assert "There is no way to pay here now." in answer.words

    visit(tmp_path, body, rails={"btc-lightning": {"backend": "sandbox", "enabled": False}})


def test_a_code_holds_the_whole_text_and_no_style() -> None:
    drawn = qr("lightning:lnbcrt" + "1" * 400)
    assert drawn.startswith("<svg role=") and "style" not in drawn
