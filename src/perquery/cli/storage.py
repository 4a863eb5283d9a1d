"""`perquery backup` and `perquery restore`: the embedded database, while the gateway runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, say, settings
from perquery.store import backup as backups


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write a consistent copy of the database, also while the gateway runs."""
    size = backups.backup(settings(config_file, data).database, target)
    put_json({"file": str(target), "bytes": size}) if as_json else say(f"Wrote {target} ({size} bytes).")


def restore(
    source: Annotated[Path, typer.Argument(help="A file that `perquery backup` wrote.", exists=True)],
    force: Annotated[bool, typer.Option("--force", help="Replace the database that is there.")] = False,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in place, after checking it; the gateway must be stopped."""
    url = settings(config_file, data).database
    backups.restore(source, url, force=force)
    put_json({"restored": str(source)}) if as_json else say(f"Restored {source}.")
