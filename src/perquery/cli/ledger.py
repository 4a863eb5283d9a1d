"""`perquery ledger`: recompute everything from the transfers, and compare the deposits with the wallets."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from perquery import money
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.config import Settings
from perquery.outbound import Client
from perquery.payouts.backends import open_wallet
from perquery.rails.backends import Means, open_rails
from perquery.refunds import reconcile as refunding
from perquery.refunds.reconcile import Compared
from perquery.store import audit
from perquery.store.database import open_existing
from perquery.store.drivers import wall_ms
from perquery.topups import reconcile as reconciling
from perquery.topups.reconcile import Reconciled

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The books.")
REFUNDS: Final = "refunds"


@app.command()
def verify(config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Check every balance and invariant in one snapshot; exit status 1 if anything is wrong."""
    report = audit.verify(open_existing(settings(config_file, data).database))
    if as_json:
        put_json(report.as_json())
    else:
        put_table(["figure", "value"], [[name, value] for name, value in report.lines()])
        for finding in report.findings:
            say(f"WRONG: {finding}")
        say("The books are right." if report.ok else f"{len(report.findings)} findings: the books are WRONG.")
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def reconcile(
    rail: Annotated[str | None, typer.Argument(help="A rail, or `refunds`; all that there are, if left out.")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="The wallet of `serve --sandbox`.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare what each wallet received with what was credited, and what the paying one paid with the refunds; exit
    status 1 where they differ.
    """
    found, compared = asyncio.run(_reconciled(settings(config_file, data, sandbox=sandbox), rail))
    if as_json:
        put_json([*(_shown(each) for each in found), *(_shown_refunds(each) for each in compared)])
    else:
        columns = ["rail", "received", "credited", "difference", "credited USD", "others"]
        put_table(columns, [_row(each) for each in found])
        for each in found:
            for difference in each.differences:
                say(f"WRONG: {each.rail}: {difference.words}")
        for refunds in compared:
            paid, taken = refunds.paid_msat, refunds.taken_msat
            say(f"{REFUNDS}: {paid} msat paid, {taken} taken; {refunds.others} by other wallets.")
            for words in refunds.differences:
                say(f"WRONG: {REFUNDS}: {words}")
    if not all(each.ok for each in found) or not all(refunds.ok for refunds in compared):
        raise typer.Exit(1)


async def _reconciled(chosen: Settings, only: str | None) -> tuple[list[Reconciled], list[Compared]]:
    database, client = open_existing(chosen.database), Client()
    try:
        rails = open_rails(chosen, Means(client, wall_ms, asyncio.Event()))
        wallet = open_wallet(chosen, client)
        names = [*rails, *([REFUNDS] if wallet is not None else [])]
        try:
            if not names or only not in (None, *names):
                raise ValueError(f"no rail to reconcile; configured are {', '.join(names) or 'none'}")
            named = [(name, rail) for name, rail in rails.items() if only in (None, name)]
            found = [await reconciling.reconcile(database, name, rail) for name, rail in named]
            asked = wallet is not None and only in (None, REFUNDS)
            return found, [await refunding.reconcile(database, wallet)] if asked and wallet is not None else []
        finally:
            for rail in rails.values():
                await rail.close()
            if wallet is not None:
                await wallet.close()
    finally:
        await client.close()
        database.close()


def _row(found: Reconciled) -> list[str]:
    sums = (found.received, found.credited, found.received - found.credited)
    return [found.rail, *(str(each) for each in sums), money.plain(found.credited_nano), str(found.others)]


def _shown(found: Reconciled) -> dict[str, Any]:
    return {
        "rail": found.rail,
        "ok": found.ok,
        "received": found.received,
        "credited": found.credited,
        "difference": found.received - found.credited,
        "credited_usd": money.number(found.credited_nano),
        "others": found.others,
        "differences": [
            {"receipt_id": each.receipt_id, "received": each.received, "credited": each.credited}
            for each in found.differences
        ],
    }


def _shown_refunds(compared: Compared) -> dict[str, Any]:
    return {
        "rail": REFUNDS,
        "ok": compared.ok,
        "paid_msat": compared.paid_msat,
        "taken_msat": compared.taken_msat,
        "taken_usd": money.number(compared.taken_nano),
        "others": compared.others,
        "differences": list(compared.differences),
    }
