"""`perquery wallet check`: prove the wallets behind the rails and the one that pays refunds, without a gateway and
without a database.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from perquery.cli import holdings
from perquery.cli.ledger import REFUNDS
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.config import Settings
from perquery.errors import Unavailable
from perquery.outbound import Client
from perquery.payouts.backends import open_wallet
from perquery.payouts.wallet import ProvableWallet
from perquery.rails.backends import Means, open_rails
from perquery.rails.check import Proof, prove
from perquery.rates.live import LiveRates, rates_from
from perquery.refunds import check as refunds
from perquery.refunds.check import WalletProof
from perquery.refunds.service import COIN
from perquery.store.drivers import wall_ms
from perquery.topups.methods import METHODS

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="The wallets that are paid into, and the one that pays."
)
_SPENDS = {True: "YES", False: "no", None: "unknown"}


app.command("holdings")(holdings.show)


@app.command()
def check(
    rail: Annotated[str | None, typer.Argument(help="A rail, or `refunds`; all that there are, if left out.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Check the wallets of `serve --sandbox`.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Ask each wallet what it is and whether our key may spend; make and verify an invoice; read what came. Ask the
    one that pays refunds what it holds, and whether it is another. Nothing is paid.
    """
    proofs, paying = asyncio.run(_proofs(settings(config_file, data, sandbox=sandbox), rail))
    if as_json:
        put_json([*map(_shown, proofs), *map(_shown_paying, paying)])
    else:
        columns = ["rail", "node", "network", "receivable", "may spend", "ms", "result"]
        put_table(columns, [*map(_row, proofs), *map(_row_paying, paying)])
        for proof in proofs:
            for advice in proof.inspection.advice if proof.inspection else ():
                say(f"{'Warning' if proof.inspection and proof.inspection.may_spend else 'Note'}: {advice}")
        for each in paying:
            _tell(each)
    if not all(proof.ok for proof in proofs) or not all(each.ok for each in paying):
        raise typer.Exit(1)


async def _proofs(chosen: Settings, only: str | None) -> tuple[list[Proof], list[WalletProof]]:
    client = Client()
    try:
        rails, wallet = open_rails(chosen, Means(client, wall_ms, asyncio.Event())), open_wallet(chosen, client)
        names = [*rails, *([REFUNDS] if wallet is not None else [])]
        try:
            if not names or only not in (None, *names):
                raise ValueError(f"no rail to check; configured are {', '.join(names) or 'none'}")
            asked = wallet if only in (None, REFUNDS) else None
            # Whether the paying wallet is another is seen by the invoices that the rails make.
            named = [name for name in rails if asked or only in (None, name)]
            proofs = [await prove(name, rails[name], wall_ms) for name in named]
            paying = [await _paying(chosen, client, asked, proofs)] if asked else []
            return [proof for proof in proofs if only in (None, proof.rail)], paying
        finally:
            for rail in rails.values():
                await rail.close()
            if wallet is not None:
                await wallet.close()
    finally:
        await client.close()


async def _paying(chosen: Settings, client: Client, wallet: ProvableWallet, proofs: list[Proof]) -> WalletProof:
    assert chosen.refunds is not None
    return await refunds.prove(wallet, chosen.refunds, proofs, await _rate(chosen, client), wall_ms)


async def _rate(chosen: Settings, client: Client) -> int | None:
    rates = rates_from(chosen, [COIN], client, wall_ms)
    if isinstance(rates, LiveRates):
        await rates.refresh()
    try:
        return rates.usd_nano_per_coin(COIN)
    except Unavailable:
        return None


def _row(proof: Proof) -> list[str]:
    node = proof.inspection
    receivable = "unknown" if proof.receivable is None else f"{proof.receivable} {METHODS[proof.rail].unit}"
    told = [node.node, node.network, receivable, _SPENDS[node.may_spend]] if node else ["?", "?", receivable, "?"]
    return [proof.rail, *told, str(proof.took_ms), _result(proof.wrong)]


def _row_paying(proof: WalletProof) -> list[str]:
    told = [proof.purse.node, proof.network, "–", _SPENDS[True]] if proof.purse else ["?", "?", "–", "?"]
    return [REFUNDS, *told, str(proof.took_ms), _result(proof.wrong)]


def _result(wrong: str) -> str:
    return f"FAILED: {wrong}" if wrong else "ok"


def _tell(proof: WalletProof) -> None:
    if proof.purse is not None:
        held, most = (
            f"{msat} msat" if msat is not None else "unknown" for msat in (proof.balance_msat, proof.cap_msat)
        )
        say(f"Note: {REFUNDS}: it holds {held}; all refunds of a day, their fees included: at most {most}.")
    for warning in proof.warnings:
        say(f"Warning: {REFUNDS}: {warning}.")


def _msat(amount: int | None) -> str:
    return "an unknown amount" if amount is None else f"{amount} msat"


def _shown(proof: Proof) -> dict[str, Any]:
    node = proof.inspection
    return {
        "rail": proof.rail,
        "ok": proof.ok,
        "wrong": proof.wrong,
        "node": node.node if node else None,
        "network": node.network if node else None,
        "may_spend": node.may_spend if node else None,
        "advice": list(node.advice) if node else [],
        "receivable": proof.receivable,
        "unit": METHODS[proof.rail].unit,
        "took_ms": proof.took_ms,
    }


def _shown_paying(proof: WalletProof) -> dict[str, Any]:
    purse = proof.purse
    return {
        "rail": REFUNDS,
        "ok": proof.ok,
        "wrong": proof.wrong,
        "node": purse.node if purse else None,
        "network": proof.network,
        "may_spend": True if purse else None,
        "advice": list(proof.warnings),
        "same_as": proof.same_as,
        "balance": proof.balance_msat,
        "daily_most": proof.cap_msat,
        "fee_reserve": purse.reserve_msat if purse else None,
        "fee_most": proof.fee_most_msat,
        "unit": "msat",
        "took_ms": proof.took_ms,
    }
