"""The client against a wallet with faults: which answer counts, what silence is, and what a relay can do to it."""

from __future__ import annotations

import asyncio

import pytest

from perquery.nwc import Info, NoAnswer, WalletError
from tests.nwc.conftest import AT, HANG_S, PREIMAGE, SOON_S, pay, reaching, scene
from tests.nwc.relays import loose_relay
from tests.nwc.wallet import FORGED, PAYING, Fault, NwcWallet, Refusal, local_relay

PAID = {"preimage": PREIMAGE, "fees_paid": 0}
DEAD = "ws://127.0.0.1:1"


@pytest.mark.parametrize(("offers", "chosen"), [("nip44_v2 nip04", "nip44_v2"), ("nip04", "nip04"), (None, "nip04")])
def test_over_a_whole_relay_by_what_the_wallet_reads(offers: str | None, chosen: str) -> None:
    async def main() -> None:
        wallet = NwcWallet(pay, encryption=offers)
        async with local_relay() as url:
            await wallet.start(url)
            async with reaching(url, wallet=wallet) as nwc:
                info = await nwc.info(HANG_S)
                assert info == Info(frozenset(PAYING), chosen, frozenset(), info.said_at)  # type: ignore[arg-type]
                event = nwc.sign("pay_invoice", {"invoice": "lnbc1"}, info.encryption, None, AT)
                assert await nwc.send(event, HANG_S) == PAID
            await wallet.stop()
        assert wallet.paid == {"lnbc1": 1}

    asyncio.run(main())


@pytest.mark.parametrize("fault", FORGED)
def test_only_the_true_answer_counts(fault: Fault) -> None:
    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(fault)
            assert await at.nwc.send(at.payment(), HANG_S) == PAID

    asyncio.run(main())


@pytest.mark.parametrize("fault", [Fault.NORMAL, Fault.TWICE])
def test_an_answer(fault: Fault) -> None:
    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(fault)
            assert await at.nwc.send(at.payment(), HANG_S) == PAID
            assert await at.nwc.send(at.payment("lnbc2"), HANG_S) == PAID
        assert at.wallet.paid == {"lnbc1": 1, "lnbc2": 1}

    asyncio.run(main())


def test_the_first_answer_is_returned_even_if_it_is_an_error() -> None:
    """What a later one says is for whoever asks about the invoice."""

    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(Fault.ERROR_FIRST)
            with pytest.raises(WalletError) as caught:
                await at.nwc.send(at.payment(), HANG_S)
            assert caught.value.code == "INTERNAL"

    asyncio.run(main())


def test_the_wallet_says_no() -> None:
    async def refuse(_invoice: str) -> str:
        raise Refusal("QUOTA_EXCEEDED", "the budget is used up")

    async def main() -> None:
        async with scene(lambda _: NwcWallet(refuse)) as at:
            with pytest.raises(WalletError, match="QUOTA_EXCEEDED: the budget"):
                await at.nwc.send(at.payment(), HANG_S)

    asyncio.run(main())


def test_silence_is_no_answer_and_the_request_is_out() -> None:
    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(Fault.SILENT)
            with pytest.raises(NoAnswer, match="the wallet does not answer") as caught:
                await at.nwc.send(at.payment(), SOON_S)
            assert caught.value.sent

    asyncio.run(main())


def test_the_same_event_again_pays_no_second_time() -> None:
    async def main() -> None:
        async with scene() as at:
            event = at.payment()
            assert await at.nwc.send(event, HANG_S) == PAID
            with pytest.raises(NoAnswer):
                await at.nwc.send(event, SOON_S)
            assert list(at.wallet.seen.values()) == [2]
        assert at.wallet.paid == {"lnbc1": 1}

    asyncio.run(main())


def test_a_slow_answer_comes_while_another_is_asked() -> None:
    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(Fault.SLOW)
            slow = asyncio.create_task(at.nwc.send(at.payment(), HANG_S))
            while not at.wallet.asked:
                await at.relay.subscribed.wait()
                await asyncio.sleep(0)
            assert await at.nwc.send(at.payment("lnbc2"), HANG_S) == PAID
            assert not slow.done()
            at.wallet.release.set()
            assert await slow == PAID

    asyncio.run(main())


def test_an_answer_after_the_relay_was_lost_in_between() -> None:
    """The same event is published again, so the wallet that knows it does not pay again."""

    async def main() -> None:
        async with scene() as at:
            at.wallet.plan.append(Fault.DROP)
            assert await at.nwc.send(at.payment(), HANG_S) == PAID
            assert list(at.wallet.seen.values()) == [2]
            assert at.relay.accepted == 3  # the wallet's line, ours, and ours again
        assert at.wallet.paid == {"lnbc1": 1}

    asyncio.run(main())


def test_it_listens_before_it_asks() -> None:
    async def main() -> None:
        async with scene() as at:
            await at.nwc.send(at.payment(), HANG_S)
            await at.nwc.info(HANG_S)
        assert at.relay.log[:5] == ["REQ", "REQ", "EVENT", "CLOSE", "CLOSE"]
        answers = {"kinds": [23195], "authors": [at.wallet.keys.public_key().to_hex()], "since": AT - 600}
        us, request = at.wallet.app.public_key().to_hex(), next(iter(at.wallet.seen))
        assert at.relay.wanted[:2] == [answers | {"#p": [us]}, answers | {"#e": [request]}]


def test_an_answer_that_names_only_the_request() -> None:
    async def main() -> None:
        async with scene(lambda _: NwcWallet(pay, addressed=False)) as at:
            assert await at.nwc.send(at.payment(), HANG_S) == PAID

    asyncio.run(main())


@pytest.mark.parametrize("serves", ["#p", "#e"])
def test_a_relay_that_serves_only_one_kind_of_filter(serves: str) -> None:
    async def main() -> None:
        async with scene() as at:
            at.relay.closes, at.relay.serves = "error: filter too broad", serves
            assert await at.nwc.send(at.payment(), HANG_S) == PAID
            at.wallet.plan.append(Fault.SILENT)
            with pytest.raises(NoAnswer, match="the wallet does not answer"):
                await at.nwc.send(at.payment("lnbc2"), SOON_S)

    asyncio.run(main())

    asyncio.run(main())


def test_a_relay_that_never_says_that_it_listens_is_published_to_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.nwc.relay.STANDS_S", 0.05)

    async def main() -> None:
        async with scene() as at:
            at.relay.quiet = True
            assert await at.nwc.send(at.payment(), HANG_S) == PAID

    asyncio.run(main())


def test_noise_is_passed_over() -> None:
    async def main() -> None:
        async with scene() as at:
            at.relay.noise = [
                "no JSON",
                "{}",
                "[]",
                '["EVENT"]',
                '["EVENT","x",{"kind":23195}]',
                '["AUTH","challenge"]',
                '["NOTICE","hello"]',
                '["OK","00",true,""]',
                '["EOSE",7]',
            ]
            assert await at.nwc.send(at.payment(), HANG_S) == PAID

    asyncio.run(main())


def test_a_relay_that_refuses_the_request_is_named() -> None:
    async def main() -> None:
        async with scene() as at:
            at.relay.refuses = "rate-limited: slow down"
            with pytest.raises(NoAnswer, match=r"127\.0\.0\.1: the relay refuses the request: rate-limited: slow down"):
                await at.nwc.send(at.payment(), SOON_S)

    asyncio.run(main())


def test_a_relay_that_does_not_let_us_listen_never_gets_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.nwc.relay.STANDS_S", 0.01)

    async def main() -> None:
        async with scene() as at:
            at.relay.closes = "auth-required: who are you"
            with pytest.raises(NoAnswer, match="refuses to listen for the answer: auth-required") as caught:
                await at.nwc.send(at.payment(), SOON_S)
            assert not caught.value.sent
        assert not at.wallet.asked

    asyncio.run(main())


def test_one_relay_of_two_is_dead() -> None:
    async def main() -> None:
        async with loose_relay() as relay:
            wallet = NwcWallet(pay)
            await wallet.start(relay.url)
            async with reaching(DEAD, relay.url, wallet=wallet) as nwc:
                assert (await nwc.info(HANG_S)).encryption == "nip44_v2"
                event = nwc.sign("pay_invoice", {"invoice": "lnbc1"}, "nip44_v2", None, AT)
                assert await nwc.send(event, HANG_S) == PAID
            await wallet.stop()

    asyncio.run(main())


@pytest.mark.parametrize("stale", [0, 1])
def test_of_what_two_relays_keep_about_the_wallet_the_newest_counts(stale: int) -> None:
    async def main() -> None:
        now_ms = AT * 1000
        async with loose_relay() as one, loose_relay() as two:
            wallet = NwcWallet(pay, encryption=None, clock=lambda: now_ms)
            await wallet.start(one.url, two.url)
            await asyncio.gather(one.informed.wait(), two.informed.wait())
            (one, two)[stale].stale = True
            wallet.encryption, now_ms = "nip44_v2 nip04", now_ms + 60_000
            (one, two)[1 - stale].informed.clear()
            await wallet.announce()
            await (one, two)[1 - stale].informed.wait()
            async with reaching(one.url, two.url, wallet=wallet) as nwc:
                info = await nwc.info(HANG_S)
                assert (info.encryption, info.said_at) == ("nip44_v2", AT + 60)
            await wallet.stop()

    asyncio.run(main())


def test_two_relays_carry_the_same_request_and_it_is_paid_once() -> None:
    async def main() -> None:
        async with loose_relay() as one, loose_relay() as two:
            wallet = NwcWallet(pay)
            await wallet.start(one.url, two.url)
            async with reaching(one.url, two.url, wallet=wallet) as nwc:
                for invoice in ("lnbc1", "lnbc2"):  # by the second one both sockets are open
                    event = nwc.sign("pay_invoice", {"invoice": invoice}, "nip44_v2", None, AT)
                    assert await nwc.send(event, HANG_S) == PAID
            await wallet.stop()
        assert wallet.paid == {"lnbc1": 1, "lnbc2": 1}

    asyncio.run(main())


def test_dead_relays_are_no_answer_and_nothing_was_sent() -> None:
    async def main() -> None:
        wallet = NwcWallet(pay)
        async with reaching(DEAD, wallet=wallet) as nwc:
            event = nwc.sign("pay_invoice", {"invoice": "lnbc1"}, "nip44_v2", None, AT)
            with pytest.raises(NoAnswer, match=r"127\.0\.0\.1: no connection") as caught:
                await nwc.send(event, SOON_S)
            assert not caught.value.sent
            with pytest.raises(NoAnswer, match="no connection"):
                await nwc.info(SOON_S)

    asyncio.run(main())


@pytest.mark.parametrize(
    "url", ["ws://relay.example", "wss://127.0.0.1", "wss://[::ffff:10.0.0.1]", "wss://8.8.8.8:22"]
)
def test_a_relay_that_may_not_be_reached_is_refused_at_once(url: str) -> None:
    async def main() -> None:
        wallet = NwcWallet(pay)
        async with reaching(url, wallet=wallet, allow_private=False) as nwc, asyncio.timeout(HANG_S / 2):
            for _ in range(2):
                with pytest.raises(NoAnswer, match=r"must be wss|not a public address|port must be"):
                    await nwc.info(HANG_S)
            async for _ in nwc.notifications(AT):
                pass

    asyncio.run(main())


def test_what_the_wallet_tells_unasked() -> None:
    async def main() -> None:
        async with scene() as at:
            hints = at.nwc.notifications(0)
            first = asyncio.ensure_future(anext(hints))
            await at.relay.subscribed.wait()
            await at.wallet.notify("payment_received", {"payment_hash": "00", "amount": 1000})
            assert await first == {
                "notification_type": "payment_received",
                "notification": {"payment_hash": "00", "amount": 1000},
            }
            await hints.aclose()

    asyncio.run(main())
