"""`perquery sandbox`: the payer's side of the sandbox's wallet, by hand or as a wallet that pays by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, say, settings
from perquery.nwc.paying import PayingWallet, serving
from perquery.rails import sandbox
from perquery.store.drivers import wall_ms

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The sandbox's own wallet.")


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


@app.command()
def nwc(config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Be a wallet on Nostr Wallet Connect that pays this gateway's invoices, until stopped with Ctrl-C."""
    folder = settings(config_file, data, sandbox=True).data
    try:
        asyncio.run(_nwc(folder, as_json))
    except KeyboardInterrupt:
        say("Stopped.")


async def _nwc(folder: Path, as_json: bool) -> None:
    def pay_one(invoice: str) -> str:
        paid = sandbox.pay(folder, invoice, wall_ms)
        put_json({"paid": paid.payment_hash}) if as_json else say(f"Paid {paid.amount_msat // 1000} sats.")
        return paid.preimage

    wallet = PayingWallet(pay_one)
    async with serving(wallet) as (relay, task):
        address = wallet.connection(relay).uri()
        if as_json:
            put_json({"nwc_url": address})
        else:
            say(f"Connect this wallet, which moves no real coins and lives as long as this command:\n\n{address}\n")
        await task
