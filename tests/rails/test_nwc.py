"""Nostr Wallet Connect as a rail: invoices verified, look-ups read as they are meant, all else RailDown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails import nwc as rail_nwc
from perquery.rails.nwc import NwcReceiver
from perquery.rails.rail import PayableRequest, RailDown, Receipt, Watched
from tests.nwc.wallet import FORGED, PAYING, RECEIVING, Fault, Refusal
from tests.rails.nwc import HANG_S, Running, running

NOW_MS = 1_800_000_000_000
ASKED = PayableRequest(1_000_000, "Top-up", 900)
OTHER_HASH = "44" * 32


def clock() -> int:
    return NOW_MS


@contextmanager
def wallet(**options: Any) -> Iterator[Running]:
    with running(clock, **options) as at:
        yield at


def ask(
    at: Running,
    question: Callable[[NwcReceiver], Awaitable[Any]],
    news: asyncio.Event | None = None,
    now: Callable[[], int] = clock,
) -> Any:
    async def run() -> Any:
        client = Client()
        rail = NwcReceiver(client, at.connection(), "bc", now, news or asyncio.Event())
        try:
            return await question(rail)
        finally:
            await rail.close()
            await client.close()

    return asyncio.run(run())


def heard(at: Running, *refs: str) -> list[Receipt]:
    found, cursor = ask(at, lambda rail: rail.receipts("", [Watched(ref, 0) for ref in refs]))
    assert cursor == ""
    return list(found)


@pytest.mark.parametrize("encryption", ["nip44_v2 nip04", "nip04", None])
def test_an_invoice_and_its_payment(encryption: str | None) -> None:
    with wallet(encryption=encryption) as at:
        made = ask(at, lambda rail: rail.make(ASKED))
        asked = at.wallet.asked[-1]
        assert asked == ("make_invoice", {"amount": 1_000_000, "description": "Top-up", "expiry": 900})
        assert heard(at, made.rail_ref) == []
        at.book.pay(made.text)
        assert heard(at, made.rail_ref) == [
            Receipt(made.rail_ref, made.rail_ref, 1_000_000, "confirmed", NOW_MS),
        ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 2_000_000}, "for 2000000 msat"),
        ({"network": "tb"}, "network tb"),
        ({"payment_hash": bytes.fromhex(OTHER_HASH)}, "another payment hash"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_an_invoice_that_is_not_what_was_asked_for(change: dict[str, Any], says: str) -> None:
    with wallet() as at:
        at.book.change = change
        with pytest.raises(RailDown, match=says):
            ask(at, lambda rail: rail.make(ASKED))


@pytest.mark.parametrize(
    ("found", "amount"),
    [
        ({"state": None}, 1_000_000),  # a wallet without states: the time of settlement counts
        ({"settled_at": None}, 1_000_000),
        ({"amount": 1_500_000}, 1_500_000),  # what really came
        ({"amount": 900_000}, 900_000),
        ({"state": "accepted"}, None),  # held: it may go back
        ({"state": "pending"}, None),
        ({"state": "failed"}, None),
        ({"state": None, "settled_at": None}, None),
        ({"state": None, "settled_at": 0}, None),
    ],
)
def test_what_a_lookup_means(found: dict[str, Any], amount: int | None) -> None:
    with wallet() as at:
        made = ask(at, lambda rail: rail.make(ASKED))
        at.book.pay(made.text)
        at.book.found = found
        receipts = heard(at, made.rail_ref)
        assert [receipt.amount for receipt in receipts] == ([] if amount is None else [amount])


@pytest.mark.parametrize(
    "found",
    [
        {"amount": None},
        {"amount": "1000000"},
        {"amount": 0},
        {"amount": -1},
        {"amount": 1.5},
        {"amount": 10**30},
        {"payment_hash": OTHER_HASH},
        {"settled_at": -5},
    ],
)
def test_a_payment_that_cannot_be(found: dict[str, Any]) -> None:
    with wallet() as at:
        made = ask(at, lambda rail: rail.make(ASKED))
        at.book.pay(made.text)
        at.book.found = found
        with pytest.raises(RailDown, match=r"calls .* paid"):
            heard(at, made.rail_ref)


def test_an_invoice_that_the_wallet_does_not_know_is_unpaid() -> None:
    with wallet() as at:
        assert heard(at, OTHER_HASH) == []


def test_many_are_looked_up() -> None:
    async def many(rail: NwcReceiver) -> list[Receipt]:
        made = [await rail.make(ASKED) for _ in range(20)]
        for each in made[::2]:
            at.book.pay(each.text)
        found, _ = await rail.receipts("", [Watched(each.rail_ref, 0) for each in made])
        assert {one.rail_ref for one in found} == {each.rail_ref for each in made[::2]}
        return list(found)

    with wallet() as at:
        assert len(ask(at, many)) == 10


def test_what_ended_long_ago_is_asked_about_seldom() -> None:
    now_ms = [NOW_MS]

    async def rounds(rail: NwcReceiver) -> None:
        made = await rail.make(ASKED)
        watched = [Watched(made.rail_ref, NOW_MS + 900_000)]
        for at_s, lookups in ((0, 1), (900, 2), (1_199, 3), (1_200, 3), (1_798, 3), (1_799, 4), (1_800, 4)):
            now_ms[0] = NOW_MS + at_s * 1_000
            await rail.receipts("", watched)
            assert len([method for method, _ in at.wallet.asked if method == "lookup_invoice"]) == lookups
        at.book.rows[made.rail_ref] |= {"state": "settled", "settled_at": now_ms[0] // 1000}
        now_ms[0] += 600_000
        assert [receipt.amount for receipt in (await rail.receipts("", watched))[0]] == [1_000_000]

    with running(lambda: now_ms[0]) as at:
        ask(at, rounds, now=lambda: now_ms[0])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("INTERNAL", "the node is not started"),
        ("RESTRICTED", "not allowed"),
        ("UNAUTHORIZED", "no such app"),
        ("RATE_LIMITED", "slow down"),
        ("NOT_IMPLEMENTED", "no"),
        ("OTHER", "who knows"),
        ("UNSUPPORTED_ENCRYPTION", "nip44"),
    ],
)
def test_what_the_wallet_refuses_is_down(code: str, words: str) -> None:
    with wallet() as at:
        at.book.refusal = Refusal(code, words)
        with pytest.raises(RailDown, match=f"refuses make_invoice: {code}: {words}"):
            ask(at, lambda rail: rail.make(ASKED))
        with pytest.raises(RailDown, match=f"refuses lookup_invoice: {code}: {words}"):
            heard(at, OTHER_HASH)


@pytest.mark.parametrize("fault", FORGED)
def test_a_forged_answer_is_not_believed(fault: Fault) -> None:
    with wallet() as at:
        made = ask(at, lambda rail: rail.make(ASKED))
        at.wallet.plan.append(fault)
        assert heard(at, made.rail_ref) == []


def test_a_silent_wallet_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rail_nwc, "TIMEOUT_S", 0.2)
    with wallet() as at:
        at.wallet.plan.append(Fault.DEAF)
        with pytest.raises(RailDown, match="does not answer"):
            ask(at, lambda rail: rail.make(ASKED))


def test_a_wallet_that_begins_to_speak_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old wallet in the place of a new one cannot read what is sent; after the silence its info is read anew."""
    monkeypatch.setattr(rail_nwc, "TIMEOUT_S", 0.3)

    async def twice(rail: NwcReceiver) -> None:
        await rail.make(ASKED)
        at.wallet.encryption = None
        at.do(at.wallet.announce())
        with pytest.raises(RailDown):
            await rail.make(ASKED)
        await rail.make(ASKED)

    with wallet() as at:
        ask(at, twice)


def test_a_relay_lost_in_between() -> None:
    async def lost(rail: NwcReceiver) -> None:
        await rail.make(ASKED)
        at.soon(at.relay.drop)
        await rail.make(ASKED)

    with wallet() as at:
        ask(at, lost)
        assert at.relay.accepted == 3


@pytest.mark.parametrize("missing", ["make_invoice", "lookup_invoice"])
def test_a_connection_that_cannot_serve(missing: str) -> None:
    allowed = [method for method in RECEIVING if method != missing]
    refusal = pytest.raises(RailDown, match=f"does not let this connection {missing}")
    with wallet(methods=allowed) as at, refusal:
        ask(at, lambda rail: rail.inspect())


def test_it_looks_at_once_when_the_wallet_tells_of_a_payment() -> None:
    async def told(rail: NwcReceiver) -> None:
        assert rail.pace_s == 2.0
        await rail.receipts("", ())
        assert rail.pace_s == 10.0
        for _ in range(50):  # until the subscription stands
            at.do(at.wallet.notify("payment_received", {"payment_hash": OTHER_HASH}))
            try:
                async with asyncio.timeout(HANG_S / 50):
                    await news.wait()
                    return
            except TimeoutError:
                continue
        raise AssertionError("it was not heard")

    news = asyncio.Event()
    with wallet() as at:
        at.wallet.notifies = ("payment_received",)
        at.do(at.wallet.announce())
        ask(at, told, news)


def test_what_it_says_of_itself() -> None:
    with wallet() as at:
        found = ask(at, lambda rail: rail.inspect())
        assert (found.node, found.network, found.may_spend) == ("NWC wallet scripted", "bcrt", False)
        assert "tells nothing of payments" in found.advice[0]


def test_a_connection_that_can_spend_is_named() -> None:
    with wallet(methods=(*RECEIVING, *PAYING)) as at:
        found = ask(at, lambda rail: rail.inspect())
        assert found.may_spend
        assert "this connection can spend" in found.advice[0]


def test_a_refused_get_info_says_nothing() -> None:
    with wallet(methods=("make_invoice", "lookup_invoice")) as at:
        found = ask(at, lambda rail: rail.inspect())
        assert (found.node, found.network, found.may_spend) == ("NWC wallet", "unknown", False)
