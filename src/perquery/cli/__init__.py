"""The command line. Every command takes --config, --data, --json and --help; errors are one line and status 1.

Composition only: each command loads the settings, opens what it needs, calls one function and prints.
"""

from __future__ import annotations

import sys

import typer
from sqlalchemy.exc import OperationalError

from perquery.cli import accounts, catalog, checks, ledger, rates, sandbox, serve, storage, trace, wallet, webhooks
from perquery.config import ConfigError
from perquery.errors import PerQueryError
from perquery.outbound import OutboundError

app = typer.Typer(
    help="PerQuery: an open, self-hostable, pay-per-query AI gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("backup")(storage.backup)
app.command("restore")(storage.restore)
app.command("rates")(rates.rates)
app.command("trace")(trace.trace)
app.add_typer(sandbox.app, name="sandbox", help="The sandbox's own wallet.")
app.add_typer(accounts.app, name="account", help="Callers' accounts.")
app.add_typer(ledger.app, name="ledger", help="The books.")
app.add_typer(wallet.app, name="wallet", help="The wallets that callers pay into.")
app.add_typer(webhooks.app, name="webhooks", help="What the operator's own service is told.")
app.add_typer(catalog.app, name="models", help="The models on sale.")
app.add_typer(checks.providers, name="providers", help="The upstreams.")
app.add_typer(checks.config, name="config", help="The configuration.")


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
