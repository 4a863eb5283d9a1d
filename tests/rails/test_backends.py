"""Which wallet stands behind which rail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perquery.config import ConfigError, RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import LIGHTNING, Means, open_rails
from perquery.rails.sandbox import SandboxWallet


def means() -> Means:
    return Means(Client(), lambda: 0, asyncio.Event())


def test_a_sandbox_has_the_sandbox_wallet(tmp_path: Path) -> None:
    rails = open_rails(Settings(mode="sandbox", data=tmp_path), means())
    assert {name: type(rail) for name, rail in rails.items()} == {LIGHTNING: SandboxWallet}


def test_a_live_gateway_has_none_by_default(tmp_path: Path) -> None:
    assert open_rails(Settings(data=tmp_path), means()) == {}


def test_a_field_that_is_wrong_is_named_and_not_shown(tmp_path: Path) -> None:
    rails = {LIGHTNING: RailSetting(backend="nwc", key="nostr+walletconnect://secret-part")}
    with pytest.raises(ConfigError, match=r"rails\.btc-lightning\.key: .* must have one secret") as caught:
        open_rails(Settings(data=tmp_path, rails=rails), means())
    assert "secret-part" not in str(caught.value)


def test_a_disabled_rail_is_not_opened(tmp_path: Path) -> None:
    rails = {LIGHTNING: RailSetting(backend="sandbox", enabled=False)}
    assert open_rails(Settings(mode="sandbox", data=tmp_path, rails=rails), means()) == {}


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("doge", "sandbox", "rails.doge: not a rail"),
        (LIGHTNING, "magic", 'backend: "magic" is not known'),
        (LIGHTNING, "sandbox", "serves only"),
    ],
)
def test_a_live_gateway_refuses_by_name(tmp_path: Path, name: str, backend: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_rails(Settings(data=tmp_path, rails={name: RailSetting(backend=backend)}), means())
