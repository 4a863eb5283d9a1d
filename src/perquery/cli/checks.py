"""`perquery providers check` and `perquery config check`: prove what is configured."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from perquery import money
from perquery.catalog.build import build
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.outbound import Client
from perquery.providers import check, table

providers = typer.Typer(no_args_is_help=True, add_completion=False, help="The upstreams.")
config = typer.Typer(no_args_is_help=True, add_completion=False, help="The configuration.")


@providers.callback()
def _providers() -> None:
    """Keeps `check` a command of its own, with others to come."""


@config.callback()
def _config() -> None:
    """Keeps `check` a command of its own, with others to come."""


@config.command("check")
def check_config(
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Check it for `serve --sandbox`.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Read the configuration as `serve` would, and say what it makes active."""
    chosen = settings(config_file, data, sandbox=sandbox)
    active = table.activate(chosen)
    catalog = build(chosen, active.hosts, today=datetime.now(UTC).date())
    table.check_routes(chosen, catalog.models.values(), active.hosts)
    if as_json:
        put_json({"ok": True, "mode": chosen.mode, "providers": sorted(active.hosts), "notes": list(active.notes)})
        return
    for note in active.notes:
        say(f"Note: {note}")
    say(f"The configuration is right ({chosen.mode}); active upstreams: {', '.join(sorted(active.hosts)) or 'none'}.")


@providers.command("check")
def check_provider(
    name: Annotated[str, typer.Argument(help="An active upstream.")],
    model: Annotated[str | None, typer.Option("--model", help="The upstream's name of the model to try.")] = None,
    max_usd: Annotated[str, typer.Option("--max-usd", help="The most that this may cost.")] = "0.05",
    record: Annotated[Path | None, typer.Option("--record", help="A folder for scrubbed recordings.")] = None,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Prove an upstream live: models, plain, stream, tools, JSON, cancel, bad key, usage against cost."""
    chosen = settings(config_file, data)
    active = table.activate(chosen)
    if name not in active.hosts:
        raise ValueError(f"{name} is not active; active are {', '.join(sorted(active.hosts)) or 'none'}")
    if not active.hosts[name].host.chats:
        raise ValueError(f"{name} does not chat, and only chat is checked; call one of its models")
    rows = asyncio.run(_check(active.hosts[name], model, money.nano(max_usd), record))
    if as_json:
        put_json([{"check": row.name, "ok": row.ok, "detail": row.detail} for row in rows])
    else:
        put_table(["check", "result", "detail"], [[r.name, "ok" if r.ok else "FAILED", r.detail] for r in rows])
    if not all(row.ok for row in rows):
        raise typer.Exit(1)


async def _check(active: table.ActiveHost, model: str | None, max_nano: int, record: Path | None) -> list[check.Row]:
    client = Client()
    try:
        return await check.check(active, client, model=model, max_nano=max_nano, record=record, now=time.monotonic)
    finally:
        await client.close()
