"""Proving a wallet: the invoice that it makes must be one that it can be asked about."""

from __future__ import annotations

import asyncio

from perquery.outbound import Client
from perquery.rails.check import Proof, prove
from perquery.rails.lnd import LndWallet
from tests.rails.lnd import RECEIVE, ScriptedLnd, refusal, running


def proof(node: ScriptedLnd) -> Proof:
    async def run() -> Proof:
        client = Client()
        try:
            return await prove("btc-lightning", LndWallet(client, node.url, RECEIVE, "bc"), lambda: 0)
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_wallet_whose_invoices_can_be_looked_up_is_proven() -> None:
    with running(lambda: 0) as node:
        found = proof(node)
    assert (found.ok, found.wrong) == (True, "")


def test_one_that_makes_invoices_and_does_not_tell_of_them_is_not() -> None:
    with running(lambda: 0) as node:
        node.spoil = {"/v1/invoice/": refusal(500, 2, "permission denied")}
        found = proof(node)
    assert not found.ok and "permission denied" in found.wrong
