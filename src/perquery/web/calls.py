"""Every call of an account, the receipt of each, and all of them as a file."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any, Final

from starlette.responses import Response

from perquery import money
from perquery.errors import NotFound
from perquery.routes.answers import iso
from perquery.routes.usage import PAGE_MAX, spreadsheet_safe
from perquery.store import queries
from perquery.store.queries import Receipt
from perquery.web import guard
from perquery.web.site import Page, Visit

ON_A_PAGE: Final = 50
EXPORTED_MAX: Final = 10_000
ID_MAX: Final = 200
_COLUMNS: Final = (
    *("id", "time", "model", "provider", "kind", "api_key_id", "input_count", "output_count", "cost_usd", "rule"),
    *("error_code", "first_event_ms", "total_ms"),
)


async def listing(visit: Visit) -> Response:
    number = _number(visit.request.query_params.get("page", "1"))
    found = await _history(visit, number, ON_A_PAGE)
    return visit.page("calls.html", calls=found[:ON_A_PAGE], number=number, more=len(found) > ON_A_PAGE)


def _number(text: str) -> int:
    return min(max(1, int(text)), PAGE_MAX) if text.isdecimal() and len(text) < 9 else 1


async def _history(visit: Visit, number: int, count: int) -> list[Receipt]:
    arguments = (visit.state.database, visit.account_id, visit.signed_in.key_id, number, count)
    return await asyncio.to_thread(queries.history, *arguments)


async def receipt(visit: Visit) -> Response:
    """Who came with a key sees that key's calls alone."""
    name = visit.request.path_params["id"]
    found = None
    if 0 < len(name) <= ID_MAX and name.isascii() and name.isprintable():
        found = await asyncio.to_thread(queries.generation, visit.state.database, visit.account_id, name)
    if found is None or visit.signed_in.key_id not in (None, found.key_id):
        raise NotFound("There is no such call.")
    return visit.page("call.html", call=found, rate=visit.usd_nano_per_btc())


async def export(visit: Visit) -> Response:
    """The newest calls, at most EXPORTED_MAX, as CSV or JSON."""
    kind = visit.request.path_params["kind"]
    if kind not in ("csv", "json"):
        raise NotFound("Calls are exported as csv or json.")
    calls = (await _history(visit, 1, EXPORTED_MAX))[:EXPORTED_MAX]
    written = await asyncio.to_thread(_csv if kind == "csv" else _json, calls)
    sent = guard.headers(secure=visit.secure) | {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="calls.{kind}"',
    }
    return Response(written, headers=sent, media_type="text/csv" if kind == "csv" else "application/json")


def _row(call: Receipt) -> dict[str, Any]:
    values = (
        *(call.id, iso(call.at), call.model, call.provider, call.kind, call.key_id, call.input_count),
        *(call.output_count, call.cost_nano, call.rule, call.error_code, call.first_event_ms, call.total_ms),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _json(calls: list[Receipt]) -> bytes:
    return money.json([_row(call) | {"cost_usd": money.number(call.cost_nano)} for call in calls])


def _csv(calls: list[Receipt]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for call in calls:
        row = _row(call) | {"cost_usd": money.plain(call.cost_nano)}
        writer.writerow([spreadsheet_safe(value) if isinstance(value, str) else value for value in row.values()])
    return out.getvalue().encode()


PAGES: Final = (
    Page("/account/calls", listing, needs="account"),
    Page("/account/calls.{kind}", export, needs="account"),
    Page("/account/calls/{id}", receipt, needs="account"),
)
