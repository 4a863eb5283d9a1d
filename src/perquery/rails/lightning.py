"""What every Lightning node's invoice must be before a caller sees it: exactly what was asked for; and what a payment
must be to count: some amount that there can be, at some time.

A node may lie, be misconfigured or sit on another network; none of that may reach a payer.
"""

from __future__ import annotations

from perquery.rails import bolt11
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt

EARLIER_S = 60  # how much sooner than asked an invoice may expire: clocks differ
_MSAT_MAX = 21_000_000 * bolt11.MSAT_PER_BTC
_AT_S_MAX = 1 << 35  # BOLT #11's times end there


def payable(node: str, text: str, payment_hash: str, request: PayableRequest, network: str) -> Payable:
    """The invoice to hand out, its payment hash (lower-case hex) as `rail_ref`. `payment_hash`: as the node states it.

    Raises RailDown where the invoice is for another amount, hash or network, names an address too, or ends
    too soon.
    """
    try:
        invoice = bolt11.decode(text)
    except ValueError as error:
        raise RailDown(f"{node} made no invoice: {error}") from error
    wrong = {
        f"for the network {invoice.network}, not {network}": invoice.network != network,
        f"for {invoice.amount_msat} msat, not {request.amount}": invoice.amount_msat != request.amount,
        "for another payment hash than it says": invoice.payment_hash.hex() != payment_hash.lower(),
        "that names an address of the chain, where a payment would not be seen": invoice.has_fallback,
        f"payable for {invoice.expiry_s} s, not {request.expiry_s}": invoice.expiry_s < request.expiry_s - EARLIER_S,
    }
    for what, holds in wrong.items():
        if holds:
            raise RailDown(f"{node} made an invoice {what}")
    return Payable(text.strip(), invoice.payment_hash.hex())


def receipt(node: str, payment_hash: str, amount_msat: int, at_s: int) -> Receipt:
    """A payment that is final, named by its hash. Raises RailDown where it cannot be."""
    if not (0 < amount_msat <= _MSAT_MAX and 0 < at_s < _AT_S_MAX):
        raise RailDown(f"{node} calls {payment_hash} paid, with {amount_msat} msat at {at_s}, which cannot be")
    return Receipt(payment_hash, payment_hash, amount_msat, "confirmed", at_s * 1_000)
