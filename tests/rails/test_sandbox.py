"""The sandbox wallet: true invoices, paid from another process's point of view."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from perquery.rails import bolt11, sandbox
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt

START_MS = 1_800_000_000_000


class Clock:
    """Milliseconds, cranked by hand."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> sandbox.SandboxWallet:
    return sandbox.SandboxWallet(tmp_path, clock)


def make(wallet: sandbox.SandboxWallet, amount: int = 100_000, expiry_s: int = 900) -> Payable:
    return asyncio.run(wallet.make(PayableRequest(amount, "PerQuery top-up", expiry_s)))


def receipts(wallet: sandbox.SandboxWallet, cursor: str = "") -> tuple[Sequence[Receipt], str]:
    return asyncio.run(wallet.receipts(cursor, ()))


def test_an_invoice_is_a_true_one(wallet: sandbox.SandboxWallet) -> None:
    payable = make(wallet, amount=123_456)
    invoice = bolt11.decode(payable.text)
    assert payable.text.startswith("lnbcrt") and payable.rail_ref == invoice.payment_hash.hex()
    assert (invoice.amount_msat, invoice.expiry_s, invoice.created_at) == (123_456, 900, START_MS // 1000)
    assert invoice.description == "PerQuery top-up" and invoice.payment_secret is not None


def test_no_two_invoices_share_a_hash(wallet: sandbox.SandboxWallet) -> None:
    assert make(wallet).rail_ref != make(wallet).rail_ref


def test_a_payment_becomes_a_receipt(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    payable = make(wallet)
    paid = sandbox.pay(tmp_path, payable.text, clock)
    assert hashlib.sha256(bytes.fromhex(paid.preimage)).hexdigest() == paid.payment_hash == payable.rail_ref
    assert (paid.amount_msat, paid.description) == (100_000, "PerQuery top-up")
    receipt = Receipt(payable.rail_ref, payable.rail_ref, 100_000, "confirmed", START_MS)
    assert receipts(wallet) == ([receipt], "1")


def test_receipts_are_resumed_at_the_cursor(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    first, second = make(wallet), make(wallet)
    sandbox.pay(tmp_path, first.text, clock)
    _, cursor = receipts(wallet)
    assert receipts(wallet, cursor) == ([], cursor)
    sandbox.pay(tmp_path, second.text, clock)
    assert [receipt.rail_ref for receipt in receipts(wallet, cursor)[0]] == [second.rail_ref]


def test_another_process_pays(wallet: sandbox.SandboxWallet, tmp_path: Path) -> None:
    payable = make(wallet)
    code = (
        "import sys, pathlib\nfrom perquery.rails import sandbox\n"
        f"sandbox.pay(pathlib.Path(sys.argv[1]), sys.argv[2], lambda: {START_MS})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), payable.text], check=True, timeout=30)
    assert [receipt.rail_ref for receipt in receipts(wallet)[0]] == [payable.rail_ref]


def test_a_second_payment_is_refused(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    payable = make(wallet)
    sandbox.pay(tmp_path, payable.text, clock)
    with pytest.raises(ValueError, match="paid already"):
        sandbox.pay(tmp_path, payable.text, clock)
    assert len(receipts(wallet)[0]) == 1


def test_an_expired_invoice_is_refused(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    payable = make(wallet)
    clock.now_ms += 900_000
    with pytest.raises(ValueError, match="expired"):
        sandbox.pay(tmp_path, payable.text, clock)


def test_an_invoice_is_payable_up_to_its_last_moment(
    wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock
) -> None:
    payable = make(wallet)
    clock.now_ms += 899_999
    assert sandbox.pay(tmp_path, payable.text, clock).amount_msat == 100_000


def test_an_invoice_for_real_coins_is_refused(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    real = dataclasses.replace(bolt11.decode(make(wallet).text), network="bc")
    with pytest.raises(ValueError, match="real coins"):
        sandbox.pay(tmp_path, bolt11.encode(real, b"\x01" * 32), clock)


def test_a_forged_invoice_for_a_known_hash_is_refused(
    wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock
) -> None:
    forged = bolt11.encode(bolt11.decode(make(wallet).text), b"\x01" * 32)
    with pytest.raises(ValueError, match="not issued by"):
        sandbox.pay(tmp_path, forged, clock)


def test_another_wallets_invoice_is_refused(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    other = make(sandbox.SandboxWallet(tmp_path / "other", clock))
    with pytest.raises(ValueError, match="not issued by"):
        sandbox.pay(tmp_path, other.text, clock)


def test_text_that_is_no_invoice_is_refused(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ValueError, match="not a Lightning invoice"):
        sandbox.pay(tmp_path, "lnbcrt1nonsense", clock)


def test_without_a_wallet_paying_says_so_and_makes_none(
    wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no sandbox wallet"):
        sandbox.pay(empty, make(wallet).text, clock)
    assert list(empty.iterdir()) == []


def test_a_restarted_wallet_is_the_same(wallet: sandbox.SandboxWallet, tmp_path: Path, clock: Clock) -> None:
    payable = make(wallet)
    asyncio.run(wallet.close())
    again = sandbox.SandboxWallet(tmp_path, clock)
    sandbox.pay(tmp_path, payable.text, clock)
    assert [receipt.rail_ref for receipt in receipts(again)[0]] == [payable.rail_ref]
    assert bolt11.decode(make(again).text).payee == bolt11.decode(payable.text).payee


def test_a_closed_wallet_is_down(wallet: sandbox.SandboxWallet) -> None:
    asyncio.run(wallet.close())
    with pytest.raises(RailDown):
        receipts(wallet)
