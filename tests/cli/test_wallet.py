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
