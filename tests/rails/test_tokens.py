"""Tokens as data: the known ones, those of the settings, and amounts in their own units."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perquery.config import ConfigError, RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import Means, open_rails
from perquery.rails.evm_addresses import checksummed
from perquery.rails.tokens import Token, tokens_of
from tests.rails.evm import XPUB, account

OWN: dict[str, Any] = {"chain_id": 56, "contract": "0x55d398326f99059fF775485246999027B3197955", "decimals": 18}


def setting(**chains: Any) -> RailSetting:
    urls = {"urls": ["http://127.0.0.1:1"]}
    named = {name: urls | row for name, row in chains.items()}
    return RailSetting.model_validate({"backend": "evm", "xpub": XPUB, "chains": named})


# As the issuers publish them.
PUBLISHED = [
    ("usdc", "ethereum", 1, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
    ("usdc", "base", 8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
    ("usdt", "ethereum", 1, "0xdAC17F958D2ee523a2206206994597C13D831ec7"),
    ("usdt", "base", 8453, "0xfde4C96c8593536E31F229EA8f37b2ADa2699bb2"),
]


@pytest.mark.parametrize(("rail", "chain", "chain_id", "contract"), PUBLISHED)
def test_known_by_the_chains_name(rail: str, chain: str, chain_id: int, contract: str) -> None:
    (token,) = tokens_of(rail, setting(**{chain: {}}))
    assert (token.chain_id, checksummed(token.contract), token.decimals, token.final) == (chain_id, contract, 6, None)


def test_any_other_chain_is_a_row_of_the_settings() -> None:
    base, own = tokens_of("usdt", setting(base={"final": 12}, bnb=OWN))
    assert (base.chain, base.final) == ("base", 12)
    assert own == Token("bnb", 56, OWN["contract"].lower(), 18)


@pytest.mark.parametrize(
    ("chains", "why"),
    [
        ({}, "chains: write"),
        ({"polygon": {}}, r"chains\.polygon: needs chain_id, contract and decimals"),
        ({"base": {"decimals": 18}}, r"chains\.base: needs chain_id, contract and decimals"),
        ({"bnb": OWN | {"contract": "0x55d3"}}, r"chains\.bnb\.contract: write 0x and 40"),
        ({"bnb": OWN | {"contract": OWN["contract"].replace("fF", "Ff")}}, r"chains\.bnb\.contract: its capitals"),
        ({"bnb": OWN, "again": OWN}, "chains: chain_id 56 stands twice"),
        ({"base": {"urls": []}}, r"chains\.base\.urls: name at least two"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, chains: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=r"rails\.usdt\." + why):
        open_rails(Settings(data=tmp_path, rails={"usdt": setting(**chains)}), means())


def means() -> Means:
    return Means(Client(), lambda: 0, asyncio.Event())


def test_two_rails_share_no_account(tmp_path: Path) -> None:
    rails = {"usdc": setting(base={}), "usdt": setting(base={})}
    with pytest.raises(ConfigError, match=r"rails\.usdt\.xpub: is that of rails\.usdc"):
        open_rails(Settings(data=tmp_path, rails=rails), means())
    rails["usdt"] = rails["usdt"].model_copy(update={"xpub": account(1)})
    assert set(open_rails(Settings(data=tmp_path, rails=rails), means())) == {"usdc", "usdt"}


@pytest.mark.parametrize(
    ("decimals", "amount", "units"),
    [(6, 1_000, 1), (6, 1_001, 2), (18, 1, 10**9), (9, 7, 7), (2, 1, 1)],
)
def test_what_is_due_is_rounded_up(decimals: int, amount: int, units: int) -> None:
    assert Token("c", 1, "0x", decimals).units(amount) == units


@pytest.mark.parametrize(
    ("decimals", "units", "amount"),
    [(6, 1, 1_000), (18, 10**9, 1), (18, 10**9 - 1, 0), (9, 7, 7), (2, 1, 10**7)],
)
def test_what_arrived_is_rounded_down(decimals: int, units: int, amount: int) -> None:
    assert Token("c", 1, "0x", decimals).amount(units) == amount
