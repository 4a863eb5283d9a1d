"""Which wallet pays out: none unless the operator says so, and never one that receives."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perquery.config import ConfigError, RailSetting, RefundSetting, Settings
from perquery.outbound import Client
from perquery.payouts.backends import open_wallet
from perquery.payouts.lnbits import LnbitsPayer
from perquery.payouts.sandbox import SandboxPayer
from perquery.payouts.wallet import Declined, Look
from perquery.rails import bolt11

LNBITS: dict[str, Any] = {"backend": "lnbits", "url": "https://l.example", "key": "k" * 32}


def test_none_unless_asked_for(tmp_path: Path) -> None:
    assert open_wallet(Settings(data=tmp_path), Client()) is None
    off = RefundSetting.model_validate(LNBITS | {"enabled": False})
    assert open_wallet(Settings(data=tmp_path, refunds=off), Client()) is None
    on = RefundSetting.model_validate(LNBITS)
    assert isinstance(open_wallet(Settings(data=tmp_path, refunds=on), Client()), LnbitsPayer)


@pytest.mark.parametrize(
    ("mode", "setting", "says"),
    [
        ("live", {"backend": "sandbox"}, "only `serve --sandbox` has"),
        ("sandbox", LNBITS, "a sandbox has only"),
        ("live", LNBITS | {"url": None}, r"refunds\.url: lnbits needs it"),
        ("live", LNBITS | {"key": None}, r"refunds\.key: lnbits needs it"),
        ("live", LNBITS | {"key": "the till's"}, "a wallet of its own"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, mode: Any, setting: dict[str, Any], says: str) -> None:
    till = RailSetting(backend="lnbits", url="https://l.example", key="the till's")
    rails = {"btc-lightning": till}
    chosen = Settings(mode=mode, data=tmp_path, rails=rails, refunds=RefundSetting.model_validate(setting))
    with pytest.raises(ConfigError, match=says):
        open_wallet(chosen, Client())


def test_the_sandbox_pays_once_and_remembers(tmp_path: Path) -> None:
    def invoice(network: str) -> str:
        made = bolt11.Bolt11(network, 5_000, 1_800_000_000, b"\x01" * 32, b"\x02" * 32, "")
        return bolt11.encode(made, b"\x11" * 32)

    async def body() -> None:
        wallet = SandboxPayer(tmp_path)
        assert await wallet.look("01" * 32) == Look("sandbox", "absent")
        with pytest.raises(Declined, match="play money"):
            await wallet.pay(invoice("bc"))
        await wallet.pay(invoice("bcrt"))
        await wallet.close()
        again = SandboxPayer(tmp_path)
        with pytest.raises(Declined, match="paid already"):
            await again.pay(invoice("bcrt"))
        assert await again.look("01" * 32) == Look("sandbox", "paid", 5_000)
        await again.close()

    asyncio.run(body())
