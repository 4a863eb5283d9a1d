"""`perquery wallet check`: prove the wallets behind the rails, without a gateway and without a database."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.config import Settings
from perquery.outbound import Client
from perquery.rails.backends import Means, open_rails
from perquery.rails.check import Proof, prove
from perquery.store.drivers import wall_ms

app = typer.Typer(no_args_is_help=True)
_SPENDS = {True: "YES", False: "no", None: "unknown"}


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own, with others to come."""


@app.command()
def check(
    rail: Annotated[str | None, typer.Argument(help="A rail; all that are configured, where it is left out.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Check the wallet of `serve --sandbox`.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Ask each wallet what it is and whether our key may spend; make and verify an invoice; read what came."""
    proofs = asyncio.run(_proofs(settings(config_file, data, sandbox=sandbox), rail))
    if as_json:
        put_json([_shown(proof) for proof in proofs])
    else:
        columns = ["rail", "node", "network", "receivable (msat)", "may spend", "ms", "result"]
        put_table(columns, [_row(proof) for proof in proofs])
        for proof in proofs:
            for advice in proof.inspection.advice if proof.inspection else ():
                say(f"{'Warning' if proof.inspection and proof.inspection.may_spend else 'Note'}: {advice}")
    if not all(proof.ok for proof in proofs):
        raise typer.Exit(1)


async def _proofs(chosen: Settings, only: str | None) -> list[Proof]:
    client = Client()
    try:
        rails = open_rails(chosen, Means(client, wall_ms, asyncio.Event()))
        try:
            if not rails or only not in (None, *rails):
                raise ValueError(f"no rail to check; configured are {', '.join(rails) or 'none'}")
            return [await prove(name, rail, wall_ms) for name, rail in rails.items() if only in (None, name)]
        finally:
            for rail in rails.values():
                await rail.close()
    finally:
        await client.close()


def _row(proof: Proof) -> list[str]:
    node = proof.inspection
    receivable = "unknown" if proof.receivable is None else str(proof.receivable)
    told = [node.node, node.network, receivable, _SPENDS[node.may_spend]] if node else ["?", "?", receivable, "?"]
    return [proof.rail, *told, str(proof.took_ms), "ok" if proof.ok else f"FAILED: {proof.wrong}"]


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
        "receivable_msat": proof.receivable,
        "took_ms": proof.took_ms,
    }
