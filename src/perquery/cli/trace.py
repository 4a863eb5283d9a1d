"""`perquery trace`: from any id to the account behind it, its calls and its money."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from perquery import money
from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.rails import bolt11
from perquery.routes.answers import iso
from perquery.store import trace as traces
from perquery.store.database import open_existing

_HASH: Final = re.compile("[0-9a-fA-F]{64}")
_FIGURES: Final = ("posted", "held", "owed", "bonus")


def trace(
    id: Annotated[
        str,
        typer.Argument(
            help="A generation id, an upstream's request id, a safety id, an invoice, a payment hash, a transaction."
        ),
    ],
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Find whose an id is, and what happened: calls, holds, transfers, invoices, payments."""
    held = bolt11.hash_text(bytes.fromhex(id)) if _HASH.fullmatch(id) else ""
    found = traces.find(open_existing(settings(config_file, data).database), id, held)
    if found is None:
        raise ValueError(
            f"nothing is known by {id[: traces.ID_MAX]!r}: neither a generation, nor an upstream's request or answer,"
            " a safety id, an invoice or a payment"
        )
    if as_json:
        put_json(_shown(found))
        return
    account = found.account
    say(f"{id}: {found.kind}, account {account['id']}, made {iso(account['created_at'])}.")
    say(
        f"safety id {account['safety_id']}; " + ", ".join(f"{name} {money.dollars(account[name])}" for name in _FIGURES)
    )
    rows = [
        [iso(each.at) or "", each.what, each.id, money.plain(each.amount), _told(each.facts)]
        for each in found.happenings
    ]
    put_table(["time", "what", "id", "USD", "more"], rows)


def _told(facts: Mapping[str, Any]) -> str:
    """What is known, in a line."""
    if "source" in facts:
        return f"{facts['source']} → {facts['target']}"
    shown = {name: value for name, value in _public(facts, money.plain).items() if value not in (None, "", [])}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _public(facts: Mapping[str, Any], amount: Callable[[int], Any] = money.number) -> dict[str, Any]:
    """Times and amounts as people and programs read them."""
    shown: dict[str, Any] = {}
    for name, value in facts.items():
        if name.endswith("_at"):
            shown[name] = iso(value)
        elif name.endswith("_nano"):
            shown[name.removesuffix("_nano")] = amount(value)
        else:
            shown[name] = value
    return shown


def _shown(found: traces.Trace) -> dict[str, Any]:
    account = found.account
    return {
        "kind": found.kind,
        "account": {
            "id": account["id"],
            "created_at": iso(account["created_at"]),
            "safety_id": account["safety_id"],
            **{name: money.number(account[name]) for name in _FIGURES},
        },
        "events": [
            {"at": iso(each.at), "what": each.what, "id": each.id, "usd": money.number(each.amount)}
            | _public(each.facts)
            for each in found.happenings
        ],
    }
