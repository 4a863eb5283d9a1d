"""`perquery ledger reconcile`: beside a wallet that was paid, as a table and as JSON, status 1 for a difference."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fire.test_live_topup import DOLLAR_MSAT, created, world
from tests.serving import run_command


def test_the_wallets_list_equals_the_deposits(tmp_path: Path) -> None:
    with world(tmp_path) as (gateway, wallet, _):
        _, key = gateway.account()
        for _ in range(2):
            invoice = created(gateway, key)
            wallet.pay(invoice["lightning_invoice"])
            gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key)
        (found,) = json.loads(
            run_command("ledger", "reconcile", "--json", data=gateway.data, config=gateway.config).stdout
        )
        assert (found["ok"], found["received"], found["credited"]) == (True, 2 * DOLLAR_MSAT, 2 * DOLLAR_MSAT)
        assert (found["difference"], found["credited_usd"]) == (0, 2)
        wallet.rows[0]["payment_hash"] = "ab" * 32
        gateway.stop()
        told = run_command("ledger", "reconcile", data=gateway.data, config=gateway.config, check=False)
        assert told.returncode == 1 and "credited and not received" in told.stdout
