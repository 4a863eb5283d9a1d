"""Where coins that came have gone: each address that was paid, with its number, its invoice and its sum, for whoever
moves them away. It reads the books and asks nodes for balances, and must never see a key that spends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from perquery.rails.evm import EvmChain
from perquery.store.deposits import Paid
from perquery.topups.methods import Method


@dataclass(frozen=True, slots=True)
class Holding:
    """An address that was paid. network, chain_id, contract: of a token, else None; received: by the books; balance:
    what a node says that is there now, None where none was asked; both in the rail's smallest unit.
    """

    rail: str
    number: int
    address: str
    received: int = 0
    invoices: tuple[str, ...] = ()
    network: str | None = None
    chain_id: int | None = None
    contract: str | None = None
    balance: int | None = None


@dataclass(slots=True)
class _Sum:
    amount: int = 0
    invoices: dict[str, None] = field(default_factory=dict)


def holdings(method: Method, address: Callable[[int], str], paid: Sequence[Paid], numbers: int) -> list[Holding]:
    """By number, and of a token by chain too. numbers: how many addresses were given out. Pure.

    Raises ValueError where an address is not one of this key: the settings have another than the invoices were made by.
    """
    sums: dict[tuple[str, str], _Sum] = {}
    for row in paid:
        chain_id = row.receipt_id.partition(":")[0] if method.networks else ""
        came = sums.setdefault((row.payable, chain_id), _Sum())
        came.amount += row.amount
        came.invoices[row.invoice_id] = None
    left = {payable for payable, _ in sums}
    places: dict[str, int] = {}
    for number in range(numbers):
        if not left:
            break
        if (made := address(number)) in left:
            places[made] = number
            left.discard(made)
    if left:
        raise ValueError(f"rails.{method.name}.xpub: {min(left)} is no address of this key")
    tokens = {str(token.chain_id): token for token in method.networks}
    found: list[Holding] = []
    for (payable, chain_id), came in sums.items():
        holding = Holding(method.name, places[payable], payable, came.amount, tuple(came.invoices))
        if chain_id:
            token = tokens.get(chain_id)
            holding = replace(
                holding,
                network=token.chain if token else None,
                chain_id=int(chain_id),
                contract=token.contract if token else None,
            )
        found.append(holding)
    return sorted(found, key=lambda each: (each.chain_id or 0, each.number))


async def with_balances(found: Sequence[Holding], chains: Sequence[EvmChain]) -> list[Holding]:
    """The same, with what the chains' nodes say. Raises RailDown."""
    held: dict[tuple[int | None, str], int] = {}
    for chain in chains:
        there = [each.address for each in found if each.chain_id == chain.token.chain_id]
        for address, balance in zip(there, await chain.balances(there), strict=True):
            held[chain.token.chain_id, address] = balance
    return [replace(each, balance=held.get((each.chain_id, each.address))) for each in found]
