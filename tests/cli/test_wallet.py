"""`perquery wallet check`: a table for people, JSON for programs, status 1 for a wallet that fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perquery.store.drivers import wall_ms
from tests.rails import lnbits
from tests.serving import run_command


def configured(folder: Path, url: str, key: str) -> Path:
    file = folder / "perquery.toml"
    file.write_text(f'[rails.btc-lightning]\nbackend = "lnbits"\nurl = "{url}"\nkey = "{key}"\n')
    return file


@pytest.mark.parametrize(("key", "spends"), [(lnbits.INVOICE_KEY, False), (lnbits.ADMIN_KEY, True)])
def test_a_wallet_that_works(tmp_path: Path, key: str, spends: bool) -> None:
    with lnbits.running(wall_ms) as wallet:
        config = configured(tmp_path, wallet.url, key)
        (shown,) = json.loads(run_command("wallet", "check", "--json", data=tmp_path, config=config).stdout)
        told = run_command("wallet", "check", "btc-lightning", data=tmp_path, config=config).stdout
    assert (shown["ok"], shown["node"], shown["network"], shown["may_spend"]) == (
        True,
        "LNbits, wallet 'till'",
        "bc",
        spends,
    )
    assert ("Warning: this is the admin key" in told) == spends
    assert not (tmp_path / "perquery.db").exists()


def test_a_wallet_that_lies_fails(tmp_path: Path) -> None:
    with lnbits.running(wall_ms) as wallet:
        wallet.change = {"network": "bcrt"}
        config = configured(tmp_path, wallet.url, lnbits.INVOICE_KEY)
        result = run_command("wallet", "check", "--json", data=tmp_path, config=config, check=False)
    (shown,) = json.loads(result.stdout)
    assert (result.returncode, shown["ok"]) == (1, False)
    assert "for the network bcrt, not bc" in shown["wrong"]


def test_an_unknown_rail_is_named(tmp_path: Path) -> None:
    result = run_command("wallet", "check", "doge", data=tmp_path, check=False)
    assert result.returncode == 1
    assert "configured are none" in result.stderr


def test_the_wallet_that_pays_refunds_is_proven_too(tmp_path: Path) -> None:
    """Here it is the very wallet that receives, lets a fee take more than is held for it, and holds too little."""
    with lnbits.running(wall_ms) as wallet:
        wallet.balance_msat, wallet.reserve_msat = 99_999_999, 10_000_001
        config = configured(tmp_path, wallet.url, lnbits.INVOICE_KEY)
        refunds = f'[refunds]\nbackend = "lnbits"\nurl = "{wallet.url}"\nkey = "{lnbits.ADMIN_KEY}"\n'
        config.write_text(f'rates.fixed.BTC = "100000"\n{config.read_text()}{refunds}')
        rail, paying = json.loads(run_command("wallet", "check", "--json", data=tmp_path, config=config).stdout)
        told = run_command("wallet", "check", "refunds", data=tmp_path, config=config).stdout
        assert not [row for row in wallet.rows if row["status"] != "pending"] and wallet.balance_msat == 99_999_999
    assert (rail["rail"], rail["receivable"], rail["unit"]) == ("btc-lightning", None, "msat")
    assert (paying["rail"], paying["ok"], paying["node"]) == ("refunds", True, "LNbits, wallet 'till'")
    assert (paying["balance"], paying["daily_most"], paying["unit"]) == (99_999_999, 100_000_000, "msat")
    assert (paying["fee_reserve"], paying["fee_most"], paying["same_as"]) == (10_000_001, 10_000_000, "btc-lightning")
    assert len(paying["advice"]) == told.count("Warning: refunds: ") == 3
    assert "holds 99999999 msat" in told and "btc-lightning  " not in told


def test_a_key_that_cannot_pay_refunds_fails(tmp_path: Path) -> None:
    with lnbits.running(wall_ms) as wallet:
        config = tmp_path / "perquery.toml"
        config.write_text(
            f'rates.fixed.BTC = "100000"\n[refunds]\nbackend = "lnbits"\nurl = "{wallet.url}"\n'
            f'key = "{lnbits.INVOICE_KEY}"\n'
        )
        result = run_command("wallet", "check", "--json", data=tmp_path, config=config, check=False)
    (shown,) = json.loads(result.stdout)
    assert (result.returncode, shown["ok"]) == (1, False)
    assert "not the wallet's admin key" in shown["wrong"]
