"""LNbits as a rail: its invoices verified, its list heard page by page, its errors as RailDown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.lnbits import PAGE, LnbitsWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.rails.lnbits import ADMIN_KEY, INVOICE_KEY, ScriptedLnbits, running

ASKED = PayableRequest(1_000_000, "Top-up", 900)


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def lnbits(now: list[int]) -> Iterator[ScriptedLnbits]:
    with running(lambda: now[0]) as wallet:
        yield wallet


def ask(lnbits: ScriptedLnbits, question: Callable[[LnbitsWallet], Awaitable[Any]], key: str = INVOICE_KEY) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(LnbitsWallet(client, lnbits.url, key, "bc"))
        finally:
            await client.close()

    return asyncio.run(run())


def heard(lnbits: ScriptedLnbits, cursor: str = "", *refs: str) -> tuple[list[Receipt], str]:
    """All that there is since the cursor, as the service asks for it."""

    async def rounds(rail: LnbitsWallet) -> tuple[list[Receipt], str]:
        found: list[Receipt] = []
        before, watched = cursor, [Watched(ref, 0) for ref in refs]
        for _ in range(20):
            page, after = await rail.receipts(before, watched)
            found += page
            if after == before:
                return found, after
            before = after
        raise AssertionError("the list has no end")

    found: tuple[list[Receipt], str] = ask(lnbits, rounds)
    return found


def test_an_invoice_and_its_payment(lnbits: ScriptedLnbits, now: list[int]) -> None:
    made = ask(lnbits, lambda rail: rail.make(ASKED))
    assert heard(lnbits) == ([], "")
    now[0] += 5_000
    lnbits.pay(made.text)
    receipts, cursor = heard(lnbits)
    assert receipts[0] == Receipt(made.rail_ref, made.rail_ref, 1_000_000, "confirmed", now[0])
    assert heard(lnbits, cursor) == ([], cursor)


def test_payments_of_one_moment_over_several_pages(lnbits: ScriptedLnbits) -> None:
    async def many(rail: LnbitsWallet) -> list[Payable]:
        return [await rail.make(ASKED) for _ in range(2 * PAGE + 1)]

    made = ask(lnbits, many)
    for each in made[:-1]:
        lnbits.pay(each.text)
    receipts, cursor = heard(lnbits)
    assert {receipt.id for receipt in receipts} == {each.rail_ref for each in made[:-1]}
    lnbits.pay(made[-1].text)
    lnbits.rows.insert(0, lnbits.rows.pop())
    assert [receipt.id for receipt in heard(lnbits, cursor, made[-1].rail_ref)[0]] == [made[-1].rail_ref]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 999_000}, "for 999000 msat"),
        ({"payment_hash": b"\x22" * 32}, "another payment hash"),
        ({"network": "bcrt"}, "for the network bcrt"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_another_invoice_than_asked_for(lnbits: ScriptedLnbits, change: dict[str, Any], says: str) -> None:
    lnbits.change = change
    with pytest.raises(RailDown, match=says):
        ask(lnbits, lambda rail: rail.make(ASKED))


SPOILT = [
    (401, '{"detail": "Missing user ID or access token."}', "401"),
    (404, '{"detail": "Wallet not found."}', "Wallet not found"),
    (520, '{"detail": "Failed to create invoice", "status": "failed"}', "Failed to create invoice"),
    (502, "<html>Bad Gateway</html>", "502"),
    (200, "<html>welcome</html>", "something else than JSON"),
    (200, '{"detail": "the node is asleep"}', "LNbits answered"),
    (200, '[{"payment_hash": "00", "status": "success", "amount": null, "updated_at": "2026-11-23"}]', "LNbits"),
    (200, '[{"payment_hash": "00", "status": "success", "amount": 1, "updated_at": "soon"}]', "LNbits"),
]


@pytest.mark.parametrize(("status", "body", "says"), SPOILT)
def test_an_error_is_no_answer(lnbits: ScriptedLnbits, status: int, body: str, says: str) -> None:
    lnbits.spoil = (status, body)
    awaited = [Watched("00", 0)]
    for question in (
        lambda rail: rail.make(ASKED),
        lambda rail: rail.receipts("", awaited),
        lambda rail: rail.inspect(),
    ):
        with pytest.raises(RailDown, match=says) as caught:
            ask(lnbits, question)
        assert INVOICE_KEY not in str(caught.value)


def test_a_row_that_makes_no_sense_holds_up_no_other(lnbits: ScriptedLnbits) -> None:
    """One that is awaited is not taken for unpaid; one that is no matter of ours is passed over."""

    async def rounds(rail: LnbitsWallet) -> None:
        strange, good = await rail.make(ASKED), await rail.make(ASKED)
        for each in (good, strange):
            lnbits.pay(each.text)
        lnbits.rows[0] |= {"amount": None}
        for _ in range(2):
            with pytest.raises(RailDown, match="but not how much") as caught:
                await rail.receipts("", [Watched(strange.rail_ref, 0)])
            assert [receipt.rail_ref for receipt in caught.value.found] == [good.rail_ref]
        found, _ = await rail.receipts("", [])
        assert [receipt.rail_ref for receipt in found] == [good.rail_ref]

    ask(lnbits, rounds)


def test_an_unknown_key_is_no_answer(lnbits: ScriptedLnbits) -> None:
    with pytest.raises(RailDown, match="Wallet not found"):
        ask(lnbits, lambda rail: rail.inspect(), "wrong")


def test_the_admin_key_is_told_apart(lnbits: ScriptedLnbits) -> None:
    safe, risky = ask(lnbits, lambda rail: rail.inspect()), ask(lnbits, lambda rail: rail.inspect(), ADMIN_KEY)
    assert (safe.node, safe.network, safe.may_spend, safe.advice) == ("LNbits, wallet 'till'", "bc", False, ())
    assert risky.may_spend and "Invoice/read key" in risky.advice[0]
