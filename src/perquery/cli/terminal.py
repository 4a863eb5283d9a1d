"""What all commands share: their common options, and printing as text or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from perquery import config, money

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The settings file (or PERQUERY_CONFIG).", dir_okay=False)
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="The folder of databases and state (or PERQUERY_DATA).", file_okay=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def settings(file: Path | None, data: Path | None, *, sandbox: bool = False) -> config.Settings:
    return config.load(file=file, data=data, sandbox=sandbox)


def say(text: str) -> None:
    """A line for people."""
    Console(soft_wrap=True, highlight=False).print(text, markup=False)


def put_json(value: Any) -> None:
    typer.echo(money.json(value).decode())


def put_table(columns: list[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
