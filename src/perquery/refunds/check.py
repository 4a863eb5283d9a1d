"""Proving the wallet that refunds come out of: what it is, what it holds and sets aside, and that it is not the wallet
that receives. It never pays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from perquery import money
from perquery.config import RefundSetting
from perquery.payouts.wallet import OwnInvoice, ProvableWallet, Purse
from perquery.rails import bolt11
from perquery.rails.check import Proof
from perquery.rails.rail import RailDown
from perquery.refunds import engine

ASKED_MSAT: Final = 10**9  # whose fee is asked about: a hundredth of a bitcoin


@dataclass(frozen=True, slots=True)
class WalletProof:
    """What was found of the paying wallet. same_as: the rail that receives into this very wallet; cap_msat: what all
    refunds of a day come to at most, None without a rate; fee_most_msat: what a refund of `ASKED_MSAT` holds for its
    fee; wrong: what failed, "" for nothing; took_ms: for all questions together.
    """

    purse: Purse | None
    network: str
    same_as: str | None
    cap_msat: int | None
    fee_most_msat: int
    wrong: str
    took_ms: int

    @property
    def ok(self) -> bool:
        return not self.wrong

    @property
    def balance_msat(self) -> int | None:
        return self.purse.balance_msat if self.purse else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should change, in words."""
        purse = self.purse
        if purse is None:
            return ()
        held, cap = self.balance_msat, self.cap_msat
        said = {
            f"it is the wallet that {self.same_as} receives into, whose key can now spend all that callers pay: make a"
            " wallet for refunds alone": self.same_as is not None,
            f"it lets a fee take {purse.reserve_msat} msat of a payment of {ASKED_MSAT}, and a refund holds"
            f" {self.fee_most_msat}: what is above is yours to pay": purse.reserve_msat > self.fee_most_msat,
            f"it holds {held} msat, less than the refunds of a day may come to ({cap})": (
                held is not None and cap is not None and held < cap
            ),
        }
        return tuple(words for words, holds in said.items() if holds)


async def prove(
    wallet: ProvableWallet,
    setting: RefundSetting,
    receiving: Sequence[Proof],
    usd_nano_per_coin: int | None,
    clock: Callable[[], int],
) -> WalletProof:
    """Ask it. receiving: the rails as they were proven, with the invoices that they made; clock: milliseconds. Never
    raises RailDown: that is the finding.
    """
    begun, purse, same_as, wrong = clock(), None, None, ""
    try:
        purse = await wallet.inspect(ASKED_MSAT)
        for proof in receiving:
            if await _made_by(wallet, proof):
                same_as = proof.rail
    except RailDown as error:
        wrong = str(error)
    rate = usd_nano_per_coin
    cap_msat = money.nano(setting.daily_usd) * engine.MSAT_PER_COIN // rate if rate else None
    fee_most_msat = engine.quote(ASKED_MSAT, rate or 1).fee_most_msat
    return WalletProof(purse, setting.network, same_as, cap_msat, fee_most_msat, wrong, clock() - begun)


async def _made_by(wallet: ProvableWallet, proof: Proof) -> bool:
    """Whether the invoice that a rail made is one of this wallet's own."""
    try:
        invoice = bolt11.decode(proof.made.text if proof.made else "")
    except ValueError:
        return False  # a coin's address, or a page
    try:
        await wallet.look(invoice.payment_hash.hex())
    except OwnInvoice:
        return True
    return False
