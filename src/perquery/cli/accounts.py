"""`perquery account ...`: make, show and credit accounts, list their keys."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import uuid4

import typer

from perquery import money
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.store import credentials, queries
from perquery.store.database import Database, open_existing
from perquery.store.ledger import GATEWAY, Ledger
from perquery.store.operations import Credit, Result

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Callers' accounts.")
Account = Annotated[str, typer.Argument(help="A credit id, an API key, or the account's number.")]


def _find(database: Database, account: str) -> int:
    with database.reader.begin() as connection:
        found = credentials.account_named(connection, account)
    if found is None:
        raise ValueError("no such account")
    return found


@app.command()
def create(config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Make an account; its credit id and key are shown once."""
    database = open_existing(settings(config_file, data).database)
    made = credentials.create_account(database)
    if as_json:
        put_json({"account": made.account_id, "credit_id": made.credit_id, "api_key": made.api_key})
    else:
        say(f"Account {made.account_id}\ncredit id {made.credit_id}\nAPI key   {made.api_key}")


@app.command()
def show(account: Account, config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """An account's figures."""
    database = open_existing(settings(config_file, data).database)
    figures = queries.figures(database, _find(database, account))
    shown: dict[str, Any] = {name: money.number(amount) for name, amount in figures.items()}
    if as_json:
        put_json(shown)
    else:
        put_table(["figure", "USD"], [[name, money.plain(amount)] for name, amount in figures.items()])


@app.command()
def credit(
    account: Account,
    amount_usd: Annotated[str, typer.Argument(help="How much, in USD, such as 10 or 0.50.")],
    reference: Annotated[
        str | None, typer.Option("--reference", help="Names the credit: the same one is booked once.")
    ] = None,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Put credit on an account, from the operator's own book."""
    amount = money.nano(amount_usd)
    if amount <= 0:
        raise ValueError("the amount must be above 0")
    database = open_existing(settings(config_file, data).database)
    named = f"operator:{reference or uuid4().hex}"
    result = asyncio.run(_credit(database, Credit(_find(database, account), named, amount, "deposits:operator")))
    if result.status == "REFUSED":
        raise ValueError(f"refused: {result.reason}")
    if as_json:
        put_json({"status": result.status, "reference": named, "balance": money.number(result.balance)})
    else:
        say(f"{result.status}: the balance is {money.dollars(result.balance)} ({named})")


async def _credit(database: Database, operation: Credit) -> Result:
    ledger = Ledger(database.driver(), f"{GATEWAY}cli-{uuid4().hex}")
    ledger.start()
    try:
        return await ledger.submit(operation)
    finally:
        await ledger.close()


@app.command()
def keys(account: Account, config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """An account's keys (never the secrets)."""
    database = open_existing(settings(config_file, data).database)
    rows = credentials.list_keys(database, _find(database, account))
    if as_json:
        put_json([{"id": row.id, "name": row.name, "deleted": row.deleted_at is not None} for row in rows])
    else:
        put_table(["id", "name", "state"], [[r.id, r.name, "revoked" if r.deleted_at else "active"] for r in rows])
