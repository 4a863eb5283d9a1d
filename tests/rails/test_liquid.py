"""Liquid: blinded payments of another library opened, other assets left out, and whatever else a server may say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.liquid import LiquidAccount, LiquidEsplora
from perquery.rails.rail import RailDown
from tests.rails import liquid

AT_MS = 1_800_000_000_000
Body = Callable[[LiquidEsplora, liquid.Esplora, LiquidAccount], Awaitable[None]]


def asking(body: Body) -> None:
    async def main(serves: liquid.Esplora) -> None:
        client, account = Client(), LiquidAccount(liquid.DESCRIPTOR, "bcrt")
        await body(LiquidEsplora(client, serves.url, account), serves, account)
        await client.close()

    with liquid.running(liquid.LiquidChain(lambda: AT_MS)) as serves:
        asyncio.run(main(serves))


def test_in_the_pool_then_in_a_block() -> None:
    async def body(source: LiquidEsplora, serves: liquid.Esplora, account: LiquidAccount) -> None:
        first, second = account.at(0), account.at(1)
        assert first != second and first.startswith("el1")
        paid = serves.chain.pay((first, 12_345), (second, 7))
        (seen,) = (await source.look([first])).outputs
        assert (seen.id, seen.amount, seen.confirmations, seen.mined) == (f"{paid.id}:0", 12_345, 0, False)
        serves.chain.mine(2)
        view = await source.look([first, second])
        assert [(each.amount, each.confirmations, each.at_ms) for each in view.outputs] == [
            (12_345, 2, AT_MS),
            (7, 2, AT_MS),
        ]

    asking(body)


def test_another_asset_is_no_bitcoin_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def body(source: LiquidEsplora, serves: liquid.Esplora, account: LiquidAccount) -> None:
        serves.chain.asset = liquid.TETHER  # type: ignore[attr-defined]  # it is Liquid's
        serves.chain.pay((account.at(0), 12_345))
        assert (await source.look([account.at(0)])).outputs == []

    with caplog.at_level(logging.WARNING):
        asking(body)
    assert f"12345 of the asset {liquid.TETHER}" in caplog.text


def test_what_is_blinded_for_somebody_else_is_not_ours() -> None:
    """The right script under another blinding key: the payer's mistake, which nobody could see."""

    async def body(source: LiquidEsplora, serves: liquid.Esplora, account: LiquidAccount) -> None:
        other = LiquidAccount(liquid.DESCRIPTOR.partition("#")[0].replace("slip77(9", "slip77(8"), "bcrt").at(0)
        assert str(account.script(other)) == str(account.script(account.at(0))) and other != account.at(0)
        serves.chain.pay((other, 12_345))
        assert (await source.look([other])).outputs == []

    asking(body)


@pytest.mark.parametrize(
    ("says", "spoil"),
    [
        ("answered 429", lambda serves, paid: setattr(serves, "spoil", (429, b"Too Many Requests"))),
        ("without a height", lambda serves, paid: setattr(serves, "spoil", (200, {"height": 1}))),
        ("something else than JSON", lambda serves, paid: setattr(serves, "spoil", (200, b"<html>"))),
        ("something else than transaction", lambda serves, paid: serves.instead.update({paid.id: "zz"})),
        (
            "another transaction",
            lambda serves, paid: serves.instead.update({paid.id: serves.chain.pay(*paid.outputs).raw}),
        ),
    ],
)
def test_what_is_wrong_is_named(says: str, spoil: Callable[[Any, Any], object]) -> None:
    async def body(source: LiquidEsplora, serves: liquid.Esplora, account: LiquidAccount) -> None:
        spoil(serves, serves.chain.pay((account.at(0), 12_345)))
        with pytest.raises(RailDown, match=says):
            await source.look([account.at(0)])

    asking(body)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a confidential descriptor"),
        ("hello", "not a confidential descriptor"),
        (liquid.DESCRIPTOR[:-1], "not a confidential descriptor"),
        (liquid.DESCRIPTOR.replace("xpub", "xprv").replace("tpub", "tprv"), "private key"),
    ],
)
def test_what_is_no_public_descriptor_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        LiquidAccount(text, "bcrt")
