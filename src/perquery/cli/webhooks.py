"""`perquery webhooks`: what the operator's service was told, told again by hand, and tried."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
import typer

from perquery.cli.terminal import AsJson, ConfigFile, DataFolder, put_json, put_table, say, settings
from perquery.config import Settings, WebhookSetting
from perquery.outbound import Client
from perquery.routes.answers import iso
from perquery.store import webhooks
from perquery.store.database import open_existing
from perquery.store.drivers import wall_ms
from perquery.store.webhooks import DeliveryRow, new_id
from perquery.webhooks import Answer, send

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What the operator's own service is told.")
DeliveryId = Annotated[str, typer.Argument(metavar="ID", help="A delivery's id (dlv_…).")]


@app.command("list")
def list_deliveries(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")] = 50,
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest deliveries of all webhooks."""
    rows = webhooks.latest(open_existing(settings(config_file, data).database), limit)
    if as_json:
        put_json([_shown(row) for row in rows])
        return
    columns = ["id", "time", "webhook", "type", "invoice", "state", "attempts", "answer"]
    put_table(columns, [_line(row) for row in rows])


@app.command("show")
def show(id: DeliveryId, config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Show a delivery: what is sent, and what was answered."""
    row = _found(settings(config_file, data), id)
    if as_json:
        put_json(_shown(row) | {"body": orjson.Fragment(row.sent)})
        return
    for name, value in _shown(row).items():
        if value is not None:
            say(f"{name}: {value}")
    say(row.sent.decode())


@app.command("redeliver")
def redeliver(id: DeliveryId, config_file: ConfigFile = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Have a running gateway send a delivery's event again, behind what waits already."""
    chosen = settings(config_file, data)
    row = _found(chosen, id)
    if row.webhook not in [webhook.label for webhook in chosen.webhooks]:
        raise ValueError(f"the settings have no webhook {row.webhook} any more")
    fresh = webhooks.repeat(open_existing(chosen.database), row)
    if as_json:
        put_json(_shown(fresh))
    else:
        say(f"{fresh.id}: {fresh.type} waits for {fresh.webhook}.")


@app.command("test")
def test(
    which: Annotated[str, typer.Argument(metavar="URL-OR-NAME", help="A webhook of the settings.")],
    config_file: ConfigFile = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Send a webhook a signed event of the type `webhook.test`, once; status 1 where it is not taken."""
    webhook = _named(settings(config_file, data), which)
    answer = asyncio.run(_tried(webhook))
    if as_json:
        put_json({"webhook": webhook.label, "ok": answer.taken, "status": answer.status, "answer": answer.text})
    else:
        said = f"answered {answer.status}" if answer.status is not None else "no answer"
        say(f"{webhook.label}: {'taken' if answer.taken else 'NOT taken'}: {said}. {answer.text}".rstrip())
    if not answer.taken:
        raise typer.Exit(1)


async def _tried(webhook: WebhookSetting) -> Answer:
    at_s = wall_ms() // 1000
    event = {"id": new_id("evt"), "type": "webhook.test", "created_at": at_s}
    client = Client()
    try:
        return await send(client, webhook, new_id("dlv"), orjson.dumps(event), at_s)
    finally:
        await client.close()


def _named(chosen: Settings, which: str) -> WebhookSetting:
    for webhook in chosen.webhooks:
        if which in (webhook.label, webhook.url):
            return webhook
    known = ", ".join(webhook.label for webhook in chosen.webhooks) or "none"
    raise ValueError(f"no such webhook in the settings; there are: {known}")


def _found(chosen: Settings, id: str) -> DeliveryRow:
    row = webhooks.find(open_existing(chosen.database), id)
    if row is None:
        raise ValueError(f"there is no delivery {id[:60]!r}; they are kept for 30 days")
    return row


def _line(row: DeliveryRow) -> list[str]:
    answer = str(row.answer_status) if row.answer_status is not None else row.answer or ""
    facts = [row.id, iso(row.created_at) or "", row.webhook, row.type, row.invoice_id, row.state]
    return [*facts, str(row.attempts), answer]


def _shown(row: DeliveryRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "webhook": row.webhook,
        "event_id": row.event_id,
        "type": row.type,
        "invoice_id": row.invoice_id,
        "state": row.state,
        "created_at": iso(row.created_at),
        "redelivery_of": row.redelivery_of,
        "attempts": row.attempts,
        "attempted_at": iso(row.attempted_at) if row.attempted_at is not None else None,
        "next_attempt_at": iso(row.due_at) if row.state == "pending" else None,
        "status": row.answer_status,
        "answer": row.answer,
    }
