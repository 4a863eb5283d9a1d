"""`perquery sandbox pay`: the payer's side of the sandbox's Lightning wallet."""

from __future__ import annotations

from typing import Annotated

import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, say, settings
from perquery.rails import sandbox
from perquery.store.drivers import wall_ms

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `pay` a command of its own, with others to come."""


@app.command()
def pay(
    invoice: Annotated[str, typer.Argument(help="The BOLT11 invoice (lnbcrt...).")],
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Pay an invoice of this gateway's sandbox wallet, as a wallet of the payer's would."""
    paid = sandbox.pay(settings(config_file, data, sandbox=True).data, invoice, wall_ms)
    if as_json:
        put_json({"paid": True, "payment_hash": paid.payment_hash, "amount_msat": paid.amount_msat})
    else:
        say(f"Paid {paid.amount_msat // 1000} sats ({paid.payment_hash}).")
