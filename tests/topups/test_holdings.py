"""Where coins that came have gone: every paid address once a chain, by its number, with all that came to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perquery.config import RailSetting, Settings
from perquery.rails.backends import numbered
from perquery.rails.evm_addresses import EvmAddresses
from perquery.rails.tokens import Token
from perquery.store import deposits
from perquery.store.deposits import Paid
from perquery.topups.holdings import Holding, holdings
from perquery.topups.methods import BITCOIN, USDC
from tests.rails import evm
from tests.topups.conftest import RunTill, Till
from tests.topups.test_chain_conformance import KEY

ADDRESSES = EvmAddresses(evm.XPUB)
ON_TWO = replace(USDC, networks=(Token("ethereum", 1, "0xaa", 6), Token("base", 8453, "0xbb", 6)))


def paid(number: int, receipt: str, amount: int) -> Paid:
    return Paid(ADDRESSES.at(number), f"invoice {number}", receipt, amount)


def test_a_row_for_each_address_and_chain() -> None:
    ours = [paid(4, "1:a:0", 5), paid(4, "1:b:0", 6), paid(2, "8453:c:0", 7), paid(4, "8453:d:0", 8)]
    found = holdings(ON_TWO, ADDRESSES.at, [*ours, paid(1, "56:e:0", 9)], 5)
    assert [(each.chain_id, each.network, each.number, each.received) for each in found] == [
        (1, "ethereum", 4, 11),
        (56, None, 1, 9),  # a chain that the settings no longer name
        (8453, "base", 2, 7),
        (8453, "base", 4, 8),
    ]
    assert found[0] == Holding("usdc", 4, ADDRESSES.at(4), 11, ("invoice 4",), "ethereum", 1, "0xaa")
    assert ADDRESSES.path(4) == "m/44'/60'/0'/0/4" and EvmAddresses(evm.account(7)).path(0) == "m/44'/60'/7'/0/0"


def test_an_address_of_another_key_is_named_and_not_left_out() -> None:
    with pytest.raises(ValueError, match=r"rails\.usdc\.xpub: 0x.* is no address of this key"):
        holdings(ON_TWO, EvmAddresses(evm.account(1)).at, [paid(0, "1:a:0", 5)], 3)


def test_the_numbers_are_those_that_invoices_were_made_by(run: RunTill) -> None:
    """What was taken back is not there."""

    async def body(till: Till) -> None:
        setting = RailSetting.model_validate({**KEY, "backend": "core", "url": "http://127.0.0.1:1", "key": "u:p"})
        address = numbered("btc", setting)
        assert address is not None
        till.rail.addresses = address
        topups = till.topups(settings=Settings(mode="sandbox", data=till.data, rails={"btc": setting}), name="btc")
        account = till.account()
        made = [(await topups.create(account, "btc", 100, "USD")).invoice for _ in range(3)]
        for each in made[1:]:
            till.rail.pay(each.rail_ref, each.crypto_due)
        await topups.poll()
        till.rail.change(made[1].rail_ref, "gone")
        await topups.poll()
        (found,) = holdings(BITCOIN, address, *deposits.paid(till.database, "btc"))
        assert (found.number, found.received, found.invoices) == (2, made[2].crypto_due, (made[2].id,))
        await topups.close()

    run(body)
