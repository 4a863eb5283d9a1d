"""What could spend is found wherever it stands in the settings, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from embit import bip39
from embit.bip32 import HDKey
from embit.networks import NETWORKS

from perquery.config import ConfigError, RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import BACKENDS, Means, open_rails
from perquery.rails.spending import could_spend, is_bare_key

ROOT = HDKey.from_seed(bip39.mnemonic_to_seed("abandon " * 11 + "about"))
SPENDS = [
    *(str(ROOT.to_base58(network[kind])) for network in NETWORKS.values() for kind in ("xprv", "yprv", "zprv")),
    f"wpkh([73c5da0a/84h/0h/0h]{ROOT.to_base58()}/0/*)#abcdefgh",
    f"https://node.example.org/{ROOT.to_base58()}",
    *(str(ROOT.derive("m/44h/60h/0h/0/0").key.wif(NETWORKS[name])) for name in ("main", "test")),
    *(bip39.mnemonic_from_bytes(bytes(range(size))) for size in (16, 24, 32)),
    " ".join(bip39.mnemonic_from_bytes(bytes(16)).upper().split()),
]
ONLY_RECEIVES = [
    "",
    str(ROOT.to_public().to_base58()),
    str(ROOT.to_public().to_base58(NETWORKS["main"]["zpub"])),
    "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48",
    "nostr+walletconnect://b889ff5b1513b641e2a139f661a661364979c5beee91842f8f0ef42ab558e9d4?secret=" + "71" * 32,
    "https://eth.example.org/v3/" + "7f" * 16,
    "a passphrase of more than twelve words is not one of a wallet as long as it has others too",
    "rk_live_" + "5K" * 26,
]


@pytest.mark.parametrize("text", SPENDS)
def test_it_could_spend(text: str) -> None:
    assert could_spend(text)


@pytest.mark.parametrize("text", ONLY_RECEIVES)
def test_it_could_not(text: str) -> None:
    assert not could_spend(text)


def test_a_bare_key() -> None:
    assert is_bare_key("0x" + "5c" * 32) and is_bare_key(" " + "5C" * 32 + "\n") and not is_bare_key("5c" * 31)


def places() -> Iterator[tuple[str, str, str]]:
    """Every text that a setting of a rail may hold: rail, backend, field."""
    for rail, backends in BACKENDS.items():
        for kind, backend in backends.items():
            for field in sorted(backend.needs | backend.takes):
                if RailSetting.model_fields[field].annotation in (str | None, tuple[str, ...]) or field == "chains":
                    yield rail, kind, field


@pytest.mark.parametrize(("rail", "kind", "field"), list(places()))
def test_no_rail_is_opened_with_what_could_spend(tmp_path: Path, rail: str, kind: str, field: str) -> None:
    secret = SPENDS[0]
    value: dict[str, Any] = {"urls": [secret], "coins": [secret], "chains": {"ethereum": {"urls": [secret]}}}
    setting = RailSetting.model_validate({"backend": kind, field: value.get(field, secret)})
    with pytest.raises(ConfigError) as caught:
        open_rails(Settings(data=tmp_path, rails={rail: setting}), Means(Client(), lambda: 0, asyncio.Event()))
    assert str(caught.value).startswith(f"rails.{rail}.{field}: it holds a private key, which could spend")
    assert secret not in str(caught.value)
