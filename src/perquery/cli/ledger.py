"""`perquery ledger verify`: recompute everything from the transfers."""

from __future__ import annotations

import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.store import audit
from perquery.store.database import open_existing

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `verify` a command of its own, with others to come."""


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
