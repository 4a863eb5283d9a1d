"""`perquery models`: what is on sale, and newer prices within a sanity band."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer

from perquery import money
from perquery.catalog import refresh as refreshing
from perquery.catalog.build import LOCAL_HOSTS, build
from perquery.catalog.models import Catalog
from perquery.catalog.render import entry
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.outbound import Client
from perquery.providers import table

app = typer.Typer(invoke_without_command=True, add_completion=False, help="The models on sale.")
FETCH_BYTES_MAX = 64 * 2**20


@app.callback()
def models(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also what cannot be called here.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="As `serve --sandbox` would sell them.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The models that can be called now, with the prices that callers pay (USD per million tokens, else of a unit)."""
    if context.invoked_subcommand is not None:
        return
    chosen = settings(config_file, data, sandbox=sandbox)
    active = {*table.activate(chosen).hosts, *(LOCAL_HOSTS if sandbox else ())}
    catalog = build(chosen, active, today=datetime.now(UTC).date())
    shown = list(_shown(catalog, everything=everything))
    if as_json:
        put_json(shown)
        return
    rows = [_row(model) for model in shown]
    put_table(["model", "kind", "input", "output", "context", ""], rows)
    say(f"{len(rows)} models")


def _shown(catalog: Catalog, *, everything: bool) -> list[dict[str, object]]:
    today = datetime.now(UTC).date()
    shown = [entry(model) for model in catalog.listing(today, "all")]
    if everything:
        shown += [entry(model, reason) for model, reason in catalog.unavailable(today, "all")]
    return shown


def _row(model: dict[str, object]) -> list[str]:
    pricing = model["pricing"]
    assert isinstance(pricing, dict)
    prices = [money.json(pricing[name]).decode() for name in ("input_per_1M_tokens", "output_per_1M_tokens")]
    note = str(model.get("unavailable_reason") or "")
    if "base_price" in pricing:
        note = f"{money.json(pricing['base_price']).decode()} a {pricing['base_unit']}; {note}".removesuffix("; ")
    return [str(model["id"]), str(model["kind"]), *prices, str(model["context_length"]), note]


@app.command()
def refresh(
    apply: Annotated[bool, typer.Option("--apply", help="Write the changes; without it they are only listed.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Fetch newer prices; those within a factor of three are offered, the rest only reported."""
    chosen = settings(config_file, data)
    found = asyncio.run(_fetched(chosen.data))
    if apply:
        found.write(chosen.data)
    if as_json:
        put_json({"applied": apply, "changes": [str(change) for change in found.changes]})
        return
    for change in found.changes:
        say(str(change))
    say(f"{len(found.changes)} changes {'written' if apply else 'found; --apply writes them'}.")


async def _fetched(data: object) -> refreshing.Refresh:
    client = Client()

    async def fetch(url: str) -> bytes:
        async with await client.request("GET", url, headers={}, timeout_s=60, idle_timeout_s=30) as response:
            if response.status != 200:
                raise ValueError(f"the price list answered {response.status}")
            return await response.read(FETCH_BYTES_MAX)

    try:
        return await refreshing.fetched(fetch, data, datetime.now(UTC).date())  # type: ignore[arg-type]
    finally:
        await client.close()
