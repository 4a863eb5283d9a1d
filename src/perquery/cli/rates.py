"""`perquery rates`: what a coin is worth now, and who says so."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from perquery import money
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.config import Settings
from perquery.errors import Unavailable
from perquery.outbound import Client
from perquery.rates.live import LiveRates, rates_from
from perquery.store.drivers import wall_ms


def rates(
    coins: Annotated[list[str] | None, typer.Argument(help="BTC, where none is named.")] = None,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Ask the sources of exchange rates once. Exit status 1 where a coin has no rate."""
    found = asyncio.run(_found(settings(config_file, data), [coin.upper() for coin in coins or ["BTC"]]))
    if as_json:
        put_json(found)
    else:
        put_table(["coin", "usd", "source", "says"], [row for coin in found for row in _rows(coin)])
        for coin in found:
            if coin["why"]:
                say(f"{coin['coin']}: {coin['why']}")
    if any(coin["why"] for coin in found):
        raise typer.Exit(1)


async def _found(chosen: Settings, coins: list[str]) -> list[dict[str, Any]]:
    client = Client()
    try:
        asked = rates_from(chosen, coins, client, wall_ms)
        if not isinstance(asked, LiveRates):
            return [_fixed(coin, asked.usd_nano_per_coin) for coin in coins]
        await asked.refresh()
        shown = []
        for coin in coins:
            standing = asked.standing(coin)
            usd = money.plain(standing.usd_nano) if standing.usd_nano is not None else None
            used = {quote.source: money.plain(quote.usd_nano) for quote in standing.used}
            shown.append({"coin": coin, "usd": usd, "why": standing.why, "sources": used})
        return shown
    finally:
        await client.close()


def _fixed(coin: str, rate: Any) -> dict[str, Any]:
    try:
        return {"coin": coin, "usd": money.plain(rate(coin)), "why": "", "sources": {}}
    except Unavailable as error:
        return {"coin": coin, "usd": None, "why": error.message, "sources": {}}


def _rows(coin: dict[str, Any]) -> list[list[str]]:
    named = list(coin["sources"].items()) or [("fixed" if coin["usd"] else "", coin["usd"] or "")]
    return [[coin["coin"], coin["usd"] or "none", source, says] for source, says in named]
