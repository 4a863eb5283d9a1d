"""The command line. Every command takes --config, --data, --json and --help; errors are one line and status 1.

Composition only: each command loads the settings, opens what it needs, calls one function and prints.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import typer
from sqlalchemy.exc import OperationalError
from typer.core import TyperGroup

from perquery.config import ConfigError
from perquery.errors import PerQueryError
from perquery.outbound import OutboundError

# Each command's module and what of it is the command: only the one that is called is loaded, as most need little of
# what `serve` does.
COMMANDS: Final = {
    "serve": ("serve", "serve"),
    "backup": ("storage", "backup"),
    "restore": ("storage", "restore"),
    "rates": ("rates", "rates"),
    "trace": ("trace", "trace"),
    "sandbox": ("sandbox", "app"),
    "account": ("accounts", "app"),
    "ledger": ("ledger", "app"),
    "wallet": ("wallet", "app"),
    "webhooks": ("webhooks", "app"),
    "models": ("catalog", "app"),
    "providers": ("checks", "providers"),
    "config": ("checks", "config"),
}


class Commands(TyperGroup):
    """The commands, by what the command line names. Typer keeps the types that it inherits from to itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        if not isinstance(found, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _perquery() -> None:
    """PerQuery: an open, self-hostable, pay-per-query AI gateway."""


def main() -> None:
    """Run the command; what a person can mend is said in one line."""
    try:
        app()
    except (ConfigError, OutboundError, PerQueryError, ValueError, OSError) as error:
        wrong = str(error)
    except OperationalError as error:
        wrong = f"the database does not answer: {' '.join(str(error.orig).split())}"
    else:
        return
    print(f"perquery: {wrong}", file=sys.stderr)  # noqa: T201
    sys.exit(1)
