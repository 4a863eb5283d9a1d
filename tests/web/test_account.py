"""An account's pages: figures to the last digit, calls and their receipts, files; nothing of another account."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from perquery import money
from perquery.store.operations import Credit, Reverse
from tests.web.house import House, visit

EVIL = "<script>alert(1)</script>"


def test_an_account_sees_its_balance_and_what_it_spent(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        await house.called(123_456_789, model="some/model")
        await house.called(1, number=1, model="other/model", error_code="timeout")
        browser = await house.owner()
        page = await browser.get("/account")
        assert page.status == 200 and page.headers["cache-control"] == "no-store"
        for words in (
            "$1.37 654321",
            "About 1,376 sats",
            "Spent in 30 days: $0.12 345679",
            "2 calls, 1 ended in an error",
        ):
            assert words in page.words
        assert "some/ model 1 $0.12 3456789" in page.words
        assert (await browser.get("/account?days=7")).words.count("Spent in 7 days") == 1
        assert "Spent in 30 days" in (await browser.get("/account?days=9999999999")).words

    visit(tmp_path, body)


def test_an_empty_account_is_told_what_to_do(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = house.browser()
        await browser.post("/account/new")
        page = (await browser.get("/account")).words
        assert "$0.00" in page and "The balance is low." in page and "No calls in these days." in page
        assert "http://gateway.test/v1" in page
        assert "No calls yet." in (await browser.get("/account/calls")).words
        assert "Nothing was topped up yet." in (await browser.get("/account/top-ups")).words

    visit(tmp_path, body)


def test_who_owes_is_told_so(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        account_id = house.made.account_id
        await house.state["ledger"].submit(Credit(account_id, "test:2", money.nano("1"), "deposits:test"))
        await house.called(money.nano("1.1"))
        await house.called(money.nano("0.7"), number=1)
        await house.state["ledger"].submit(Reverse(account_id, "test:2", money.nano("1")))
        page = (await (await house.owner()).get("/account")).words
        assert "−$0.30" in page and "Calls are refused until $0.30 are paid" in page

    visit(tmp_path, body)


def test_a_call_has_a_receipt_of_its_own(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        name = await house.called(123_456, model=EVIL, provider=EVIL, source=EVIL)
        browser = await house.owner()
        listing, receipt = await browser.get("/account/calls"), await browser.get(f"/account/calls/{name}")
        assert f'href="/account/calls/{name}"' in listing.text
        assert "input 80 $1.50 $0.00012" in receipt.words
        assert "You paid, markup included $0.00 0123456" in receipt.words
        assert "after 1 that failed" in receipt.words
        assert EVIL not in listing.text + receipt.text

    visit(tmp_path, body)


def test_calls_are_paged(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        for number in range(51):
            await house.called(1, number=number)
        browser = await house.owner()
        first, second = await browser.get("/account/calls"), await browser.get("/account/calls?page=2")
        assert first.text.count("<time") == 50 and 'rel="next" href="/account/calls?page=2"' in first.text
        assert second.text.count("<time") == 1 and 'rel="prev"' in second.text
        assert "There are no calls on this page." in (await browser.get("/account/calls?page=99999999")).words
        assert (await browser.get("/account/calls?page=-1")).status == 200

    visit(tmp_path, body)


def test_calls_are_a_file_too(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        name = await house.called(123_456, model="=evil()")
        browser = await house.owner()
        table, objects = await browser.get("/account/calls.csv"), await browser.get("/account/calls.json")
        (row,) = csv.DictReader(io.StringIO(table.text))
        assert (row["id"], row["model"], row["cost_usd"]) == (name, "'=evil()", "0.000123456")
        (call,) = money.from_json(objects.body)
        assert (call["id"], str(call["cost_usd"])) == (name, "0.000123456")
        assert table.headers["content-disposition"] == 'attachment; filename="calls.csv"'
        assert (await browser.get("/account/calls.exe")).status == 404

    visit(tmp_path, body)


def test_nobody_sees_anothers_calls(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        name = await house.called(123_456)
        stranger = house.browser()
        await stranger.post("/account/new")
        assert (await stranger.get(f"/account/calls/{name}")).status == 404
        assert "No calls yet." in (await stranger.get("/account/calls")).words
        assert (await stranger.get("/account/calls.json")).body == b"[]"

    visit(tmp_path, body)


def test_who_came_with_a_key_sees_that_keys_calls_alone(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        name = await house.called(123_456)
        _, secret = await house.state["accounts"].create_key(house.made.account_id, {"name": "other"})
        browser = house.browser()
        await browser.sign_in(secret)
        assert (await browser.get(f"/account/calls/{name}")).status == 404
        assert (await browser.get("/account/calls.json")).body == b"[]"
        for path in ("/account/keys", "/account/auto-top-up"):
            refused = await browser.get(path)
            assert refused.status == 403 and "credit id" in refused.words

    visit(tmp_path, body)


def test_an_id_that_cannot_be_one_is_not_found(tmp_path: Path) -> None:
    async def body(house: House) -> None:
        browser = await house.owner()
        for name in ("x", "%00", "%C3%BC", "a" * 500, "%0d%0aset-cookie:x"):
            assert (await browser.get(f"/account/calls/{name}")).status == 404
            assert (await browser.get(f"/account/keys/{name}")).status == 404
            assert (await browser.get(f"/checkout/{name}")).status == 404

    visit(tmp_path, body)
