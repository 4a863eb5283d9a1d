"""`perquery wallet holdings`: the addresses that were paid, for moving away what is there. It reads, without a key."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer

from perquery import money
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, settings
from perquery.config import Settings
from perquery.outbound import Client
from perquery.rails.backends import Means, numbered, open_rails
from perquery.rails.evm import EvmRail
from perquery.store import deposits
from perquery.store.database import open_existing
from perquery.store.drivers import wall_ms
from perquery.topups.holdings import Holding, holdings, with_balances
from perquery.topups.methods import METHODS, Method, methods_from

_ADDRESSED: Final = ", ".join(name for name, method in METHODS.items() if method.uri and name != "xmr")


def show(
    rail: Annotated[str, typer.Argument(help=f"One of {_ADDRESSED}.")],
    check: Annotated[bool, typer.Option("--check", help="Ask the token's nodes what is there now.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """List the addresses that were paid: number, derivation path, invoices, what came by the books, what is there."""
    chosen = settings(config_file, data)
    method, paths, found = asyncio.run(_found(chosen, rail, check=check))
    if as_json:
        put_json([_shown(method, paths, each) for each in found])
        return
    columns = ["network", "number", "path", "address", "received", "balance", "invoices"]
    put_table(columns, [_row(method, paths, each) for each in found])


async def _found(chosen: Settings, rail: str, *, check: bool) -> tuple[Method, dict[int, str], list[Holding]]:
    """The method, where a wallet has the keys by number, where that is known, and the holdings."""
    address = numbered(rail, chosen.rails[rail]) if rail in chosen.rails else None
    if address is None:
        raise ValueError(f"no such addresses: name a rail of the settings that is one of {_ADDRESSED}")
    method, database, client = methods_from(chosen)[rail], open_existing(chosen.database), Client()
    rails = open_rails(chosen, Means(client, wall_ms, asyncio.Event()))
    try:
        opened = rails.get(rail)
        found = holdings(method, address, *await asyncio.to_thread(deposits.paid, database, rail))
        if not isinstance(opened, EvmRail):
            if check:
                raise ValueError("--check: only the nodes of usdc and usdt are asked; your wallet knows the others")
            return method, {}, found
        paths = {each.number: opened.addresses.path(each.number) for each in found}
        return method, paths, await with_balances(found, opened.chains) if check else found
    finally:
        for each in rails.values():
            await each.close()
        await client.close()
        database.close()


def _row(method: Method, paths: dict[int, str], each: Holding) -> list[str]:
    held = "" if each.balance is None else money.plain(each.balance, method.coin_digits)
    received = money.plain(each.received, method.coin_digits)
    where = [each.network or "", str(each.number), paths.get(each.number, ""), each.address]
    return [*where, received, held, " ".join(each.invoices)]


def _shown(method: Method, paths: dict[int, str], each: Holding) -> dict[str, Any]:
    return {
        "rail": each.rail,
        "network": each.network,
        "chain_id": each.chain_id,
        "contract": each.contract,
        "number": each.number,
        "path": paths.get(each.number),
        "address": each.address,
        "invoices": list(each.invoices),
        "received": money.number(each.received, method.coin_digits),
        "balance": None if each.balance is None else money.number(each.balance, method.coin_digits),
    }
